"""Ingress objects to a served configuration and a status that is true.

An Ingress is programmed as soon as it is seen, proved by probing through Envoy as soon as every Envoy has answered for
its routes, and only then reported ready (spec ingress.md 1). Objects of another class are never touched. Of several
gateways all serve, and one, the holder of the Lease, probes and reports.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from gateway.certificates import InvalidCertificate
from gateway.checks import InvalidIngress
from gateway.config import Config
from gateway.programmer import DomainConflict, Programmer
from gateway.targets import targets
from gateway.trust import InvalidTrust
from kube.client import Client
from kube.conditions import Conditions, ConditionSet
from kube.errors import NotFound
from kube.informer import Informer
from kube.ingress.prober import Prober, Target
from kube.ingress.spec import defaulted
from kube.ingress.version_hash import version_hash
from kube.models.networking import Ingress, LoadBalancer, LoadBalancerIngress
from kube.reconcile import Loop
from proxies.logs import Logger

__all__ = ["CLASS_ANNOTATION", "CONDITIONS", "IngressReconciler", "RoutesState"]

CLASS_ANNOTATION = "networking.knative.dev/ingress.class"
Key = tuple[str, str]

CONDITIONS = ConditionSet(("NetworkConfigured", "LoadBalancerReady"))


class RoutesState(NamedTuple):
    """How new the routes are: as they are offered, and as every Envoy has answered for them; -1: there is no Envoy."""

    offered: int
    answered: int


class _Probe(NamedTuple):
    """A version that is being proved."""

    version: str
    task: asyncio.Task[None]
    hurry: asyncio.Event


class _Waiting(NamedTuple):
    """An Ingress whose routes are on their way to Envoy."""

    version: str
    targets: list[Target]
    offered: int


class IngressReconciler:
    """Programs and reports.

    `push` is called when Envoys have something to fetch, `routes` says how new the routes are, offered and answered,
    and `is_leading` whether status is ours to write.
    """

    def __init__(
        self,
        client: Client,
        config: Config,
        ingresses: Informer[Ingress],
        programmer: Programmer,
        prober: Prober,
        *,
        push: Callable[[], None],
        routes: Callable[[], RoutesState],
        is_leading: Callable[[], bool],
        log: Logger,
    ) -> None:
        self._client = client
        self._config = config
        self._ingresses = ingresses
        self._programmer = programmer
        self._prober = prober
        self._push = push
        self._routes = routes
        self._is_leading = is_leading
        self._log = log
        self._served: dict[Key, str] = {}
        self._probing: dict[Key, _Probe] = {}
        self._waiting: dict[Key, _Waiting] = {}
        self._conflicts: dict[Key, str] = {}
        self._versions: dict[Key, tuple[str, int, str]] = {}
        self.loop: Loop[Key] = Loop("gateway", self._reconcile, log=log)
        ingresses.on_change(self._changed)

    def prime(self) -> None:
        """Translate everything that exists, before the first Envoy is answered: a restart never serves less.

        What was reported ready before is not proved again, so that a restart is not seen in any status. Raises
        `InvalidTrust` when something that was ready could not be served: Envoys then keep what they have.
        """
        now_s = time.monotonic()
        for ingress in sorted(self._ingresses.list(), key=lambda i: (i.metadata.creation_timestamp or "", i.key)):
            if self._is_ours(ingress):
                try:
                    self._programmer.apply(ingress, now_s, is_restored=True)
                except DomainConflict as conflict:
                    self._conflicts[ingress.key] = conflict.args[1]
                    continue
                except InvalidTrust:
                    if _is_reported_ready(ingress):
                        raise
                    continue
                except (InvalidIngress, InvalidCertificate):
                    continue  # it is told in its status, once it is reconciled
                if _is_reported_ready(ingress):
                    self._served[ingress.key] = self._version(ingress)

    async def stop(self) -> None:
        """End reconciling and probing."""
        await self.loop.stop()
        self._waiting.clear()
        tasks = [probe.task for probe in self._probing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def unready_count(self) -> int:
        """How many Ingresses are ours and not proved to be served."""
        return sum(
            1 for ingress in self._ingresses.list() if self._is_ours(ingress) and ingress.key not in self._served
        )

    def _is_ours(self, ingress: Ingress) -> bool:
        return ingress.metadata.annotations.get(CLASS_ANNOTATION) == self._config.ingress_class

    def consider(self, ingress: Ingress) -> None:
        """Reconcile `ingress` if it is ours."""
        if self._is_ours(ingress):
            self.loop.add(ingress.key)

    def _changed(self, old: Ingress | None, new: Ingress | None) -> None:
        # Both: a change of class takes an Ingress away from us as a deletion does.
        for ingress in (old, new):
            if ingress is not None:
                self.consider(ingress)

    def consider_all(self) -> None:
        """Reconcile everything that is ours."""
        for ingress in self._ingresses.list():
            self.consider(ingress)

    def consider_unready(self) -> None:
        """Reconcile what is not served yet: Envoy refused something, maybe because of one of these."""
        for ingress in self._ingresses.list():
            if ingress.key not in self._served:
                self.consider(ingress)

    def backend_changed(self, namespace: str, service: str) -> None:
        """A Service or its endpoints changed: who waited for them goes on."""
        for key in self._programmer.waiting_for(namespace, service):
            self.loop.add(key)
        for key in self._programmer.users_of(namespace, service):
            probe = self._probing.get(key)
            if probe is not None:
                probe.hurry.set()
                probe.hurry.clear()

    def routes_answered(self) -> None:
        """An Envoy has answered for routes: probe what it must have by now."""
        answered = self._routes().answered
        due = [key for key, waiting in self._waiting.items() if answered < 0 or waiting.offered <= answered]
        for key in due:
            waiting = self._waiting.pop(key)
            self._probe(key, waiting.version, waiting.targets)

    async def _reconcile(self, key: Key) -> None:
        ingress = self._ingresses.get(*key)
        if ingress is None or not self._is_ours(ingress) or ingress.metadata.deletion_timestamp is not None:
            self._forget(key)
            return
        try:
            if self._programmer.apply(ingress, time.monotonic()):
                self._push()
                self._retry_conflicts()
        except DomainConflict as conflict:
            self._push()
            self._cancel_probe(key)
            self._served.pop(key, None)
            if key not in self._conflicts:
                self._log.warning("ingress_conflict", namespace=key[0], ingress=key[1], conflict=str(conflict))
            self._conflicts[key] = conflict.args[1]
            self._retry_conflicts()
            await self._write_status(ingress, _mark_conflict)
            return
        except (InvalidIngress, InvalidCertificate, InvalidTrust) as error:
            # Repeating it does not help: the object has to change, or its Secret, and then we are here again.
            self._cancel_probe(key)
            self._served.pop(key, None)
            text = str(error)
            self._log.warning("ingress_refused", namespace=key[0], ingress=key[1], error=text)
            await self._write_status(ingress, lambda conditions: _mark_failed(conditions, text))
            return
        self._conflicts.pop(key, None)
        version = self._version(ingress)
        if not self._is_leading() and _is_reported_ready(ingress):
            self._served[key] = version  # whoever leads has proved it, and we may be the next
        if self._served.get(key) == version:
            self._cancel_probe(key)
            await self._write_status(ingress, _mark_ready)
            return
        self._served.pop(key, None)  # a former version that comes back is to be proved anew
        if self._is_leading():
            self._prove(key, ingress, version)
        await self._write_status(ingress, _mark_waiting)

    def _version(self, ingress: Ingress) -> str:
        """The version's hash, computed once for each state of the spec."""
        meta = ingress.metadata
        known = self._versions.get(ingress.key)
        if known is not None and known[:2] == (meta.uid, meta.generation):
            return known[2]
        version = version_hash(defaulted(ingress.spec), *ingress.key)
        self._versions[ingress.key] = (meta.uid, meta.generation, version)
        return version

    def _forget(self, key: Key) -> None:
        self._cancel_probe(key)
        self._served.pop(key, None)
        self._versions.pop(key, None)
        self._conflicts.pop(key, None)
        if self._programmer.remove(key, time.monotonic()):
            self._push()
            self._log.info("ingress_removed", namespace=key[0], ingress=key[1])
        self._retry_conflicts()

    def _retry_conflicts(self) -> None:
        for key, domain in self._conflicts.items():
            if not self._programmer.is_owned(domain):
                self.loop.add(key)

    def _prove(self, key: Key, ingress: Ingress, version: str) -> None:
        """Probe the version when its routes have arrived; what is under way for it already goes on."""
        for known in (self._waiting.get(key), self._probing.get(key)):
            if known is not None and known.version == version:
                return
        self._cancel_probe(key)
        wanted = targets(defaulted(ingress.spec), self._config.probed)
        routes = self._routes()
        if 0 <= routes.answered < routes.offered:
            self._waiting[key] = _Waiting(version, wanted, routes.offered)
        else:
            self._probe(key, version, wanted)

    def _probe(self, key: Key, version: str, wanted: list[Target]) -> None:
        began_s = time.monotonic()
        hurry = asyncio.Event()

        async def prove() -> None:
            await self._prober.probe_until_served(wanted, version, hurry)
            self._served[key] = version
            elapsed_ms = round((time.monotonic() - began_s) * 1000)
            self._log.info("ingress_served", namespace=key[0], ingress=key[1], hosts=len(wanted), after_ms=elapsed_ms)
            self.loop.add(key)

        task = asyncio.get_running_loop().create_task(prove(), name=f"probe {key[0]}/{key[1]}")
        self._probing[key] = _Probe(version, task, hurry)

    def _cancel_probe(self, key: Key) -> None:
        self._waiting.pop(key, None)
        under_way = self._probing.pop(key, None)
        if under_way is not None:
            under_way.task.cancel()

    async def _write_status(self, ingress: Ingress, mark: Callable[[Conditions], None]) -> None:
        if not self._is_leading():
            return
        conditions = CONDITIONS.manage(ingress.status.conditions, time.time())
        conditions.initialise()
        mark(conditions)
        status = msgspec.structs.replace(
            ingress.status,
            observed_generation=ingress.metadata.generation,
            conditions=conditions.listed(),
        )
        if conditions.is_true("Ready"):
            status.public_load_balancer = self._load_balancer("gateway")
            status.private_load_balancer = self._load_balancer("gateway-internal")
        if msgspec.json.encode(status) != msgspec.json.encode(ingress.status):
            with contextlib.suppress(NotFound):  # it was deleted as we worked; that event is on its way
                self._ingresses.apply_local(await self._client.patch_status(ingress, status))

    def _load_balancer(self, service: str) -> LoadBalancer:
        name = f"{service}.{self._config.system_namespace}.svc.{self._config.cluster_domain}"
        return LoadBalancer(ingress=[LoadBalancerIngress(domain_internal=name)])


def _is_reported_ready(ingress: Ingress) -> bool:
    is_current = ingress.status.observed_generation == ingress.metadata.generation
    return is_current and CONDITIONS.manage(ingress.status.conditions, 0.0).is_true("Ready")


def _mark_ready(conditions: Conditions) -> None:
    conditions.mark_true("NetworkConfigured")
    conditions.mark_true("LoadBalancerReady")


def _mark_waiting(conditions: Conditions) -> None:
    conditions.mark_true("NetworkConfigured")
    conditions.mark_unknown("LoadBalancerReady", "Uninitialized", "Waiting for load balancer to be ready")


def _mark_failed(conditions: Conditions, text: str) -> None:
    conditions.mark_unknown("NetworkConfigured", "ReconcileIngressFailed", text)


def _mark_conflict(conditions: Conditions) -> None:
    conditions.mark_true("NetworkConfigured")
    conditions.mark_false(
        "LoadBalancerReady",
        "DomainConflict",
        "Ingress rejected: ingress has a conflicting domain with another ingress",
    )
