"""Ingress objects to a served configuration and a status that is true.

An Ingress is programmed as soon as it is seen, proved by probing through Envoy, and only then reported ready
(spec ingress.md 1). Objects of another class are never touched.
"""

import asyncio
import time
from collections.abc import Callable

import msgspec

from gateway.config import Config
from gateway.prober import Prober, targets
from gateway.programmer import DomainConflict, Programmer
from gateway.translate import defaulted
from gateway.version_hash import version_hash
from kube.client import Client
from kube.conditions import Conditions, ConditionSet
from kube.informer import Informer
from kube.models.networking import Ingress, LoadBalancer, LoadBalancerIngress
from kube.reconcile import Loop
from proxies.logs import Logger

__all__ = ["CLASS_ANNOTATION", "IngressReconciler"]

CLASS_ANNOTATION = "networking.knative.dev/ingress.class"
Key = tuple[str, str]

_CONDITIONS = ConditionSet(("NetworkConfigured", "LoadBalancerReady"))


class IngressReconciler:
    """Programs and reports. `push` is called when Envoys have something to fetch."""

    def __init__(
        self,
        client: Client,
        config: Config,
        ingresses: Informer[Ingress],
        programmer: Programmer,
        prober: Prober,
        *,
        push: Callable[[], None],
        log: Logger,
    ) -> None:
        self._client = client
        self._config = config
        self._ingresses = ingresses
        self._programmer = programmer
        self._prober = prober
        self._push = push
        self._log = log
        self._served: dict[Key, str] = {}
        self._probing: dict[Key, tuple[str, asyncio.Task[None]]] = {}
        self._conflicts: set[Key] = set()
        self.loop: Loop[Key] = Loop("gateway", self._reconcile, log=log)
        ingresses.on_change(self._changed)

    def prime(self) -> None:
        """Translate everything that exists, before the first Envoy is answered: a restart never serves less.

        What was reported ready before is not proved again, so that a restart is not seen in any status.
        """
        now_s = time.monotonic()
        for ingress in sorted(self._ingresses.list(), key=lambda i: (i.metadata.creation_timestamp or "", i.key)):
            if self._is_ours(ingress):
                try:
                    self._programmer.apply(ingress, now_s)
                except DomainConflict:
                    self._conflicts.add(ingress.key)
                    continue
                if _is_reported_ready(ingress):
                    self._served[ingress.key] = version_hash(defaulted(ingress.spec), *ingress.key)

    async def stop(self) -> None:
        """End reconciling and probing."""
        await self.loop.stop()
        for _, task in self._probing.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._probing.values()), return_exceptions=True)

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
                self._retry_conflicts()
                self._conflicts.add(key)
                self._log.warning("ingress_conflict", namespace=key[0], ingress=key[1], conflict=str(conflict))
            await self._write_status(ingress, _mark_conflict)
            return
        self._conflicts.discard(key)
        version = version_hash(defaulted(ingress.spec), *key)
        if self._served.get(key) == version:
            self._cancel_probe(key)
            await self._write_status(ingress, _mark_ready)
            return
        self._served.pop(key, None)  # a former version that comes back is to be proved anew
        self._probe(key, ingress, version)
        await self._write_status(ingress, _mark_waiting)

    def _forget(self, key: Key) -> None:
        self._cancel_probe(key)
        self._served.pop(key, None)
        self._conflicts.discard(key)
        if self._programmer.remove(key, time.monotonic()):
            self._push()
            self._log.info("ingress_removed", namespace=key[0], ingress=key[1])
        self._retry_conflicts()

    def _retry_conflicts(self) -> None:
        for waiting in self._conflicts:
            self.loop.add(waiting)  # its host may be free

    def _probe(self, key: Key, ingress: Ingress, version: str) -> None:
        under_way = self._probing.get(key)
        if under_way is not None and under_way[0] == version:
            return
        self._cancel_probe(key)
        wanted = targets(
            defaulted(ingress.spec),
            external=str(self._config.external_probe),
            internal=str(self._config.internal_probe),
        )
        began_s = time.monotonic()

        async def prove() -> None:
            await self._prober.probe_until_served(wanted, version)
            self._served[key] = version
            elapsed_ms = round((time.monotonic() - began_s) * 1000)
            self._log.info("ingress_served", namespace=key[0], ingress=key[1], hosts=len(wanted), after_ms=elapsed_ms)
            self.loop.add(key)

        task = asyncio.get_running_loop().create_task(prove(), name=f"probe {key[0]}/{key[1]}")
        self._probing[key] = (version, task)

    def _cancel_probe(self, key: Key) -> None:
        under_way = self._probing.pop(key, None)
        if under_way is not None:
            under_way[1].cancel()

    async def _write_status(self, ingress: Ingress, mark: Callable[[Conditions], None]) -> None:
        conditions = _CONDITIONS.manage(ingress.status.conditions, time.time())
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
            self._ingresses.apply_local(await self._client.patch_status(ingress, status))

    def _load_balancer(self, service: str) -> LoadBalancer:
        name = f"{service}.{self._config.system_namespace}.svc.{self._config.cluster_domain}"
        return LoadBalancer(ingress=[LoadBalancerIngress(domain_internal=name)])


def _is_reported_ready(ingress: Ingress) -> bool:
    is_current = ingress.status.observed_generation == ingress.metadata.generation
    return is_current and _CONDITIONS.manage(ingress.status.conditions, 0.0).is_true("Ready")


def _mark_ready(conditions: Conditions) -> None:
    conditions.mark_true("NetworkConfigured")
    conditions.mark_true("LoadBalancerReady")


def _mark_waiting(conditions: Conditions) -> None:
    conditions.mark_true("NetworkConfigured")
    conditions.mark_unknown("LoadBalancerReady", "Uninitialized", "Waiting for load balancer to be ready")


def _mark_conflict(conditions: Conditions) -> None:
    conditions.mark_true("NetworkConfigured")
    conditions.mark_false(
        "LoadBalancerReady",
        "DomainConflict",
        "Ingress rejected: ingress has a conflicting domain with another ingress",
    )
