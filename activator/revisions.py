"""The revisions that exist, each with its throttler and its ways to pods, kept current from the API and from probes.

Every event names a revision, and `Revisions.refresh` then looks at all of its objects anew; which of them arrived first
does not matter. What follows from them goes into one snapshot, which replaces the throttler's.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from activator.active_revision import ActiveRevision, ColdStart
from activator.endpoints import (
    activator_addresses,
    activators_changed,
    addresses_of,
    cluster_address_of,
    port_name_of,
    private_service_name,
    trusts_not_ready,
)
from activator.loads import RevisionKey
from activator.objects import Endpoints, Revision, Service
from activator.pod_checks import PodChecks
from activator.pod_prober import Observation, PodProber
from activator.pod_states import Backends, ProbeSettings
from kube.client import Client
from kube.informer import Informer
from proxies.logs import Logger
from proxies.pool import Pool

if TYPE_CHECKING:
    from activator.internal_tls import InternalTls
    from activator.traces import Traces

__all__ = ["Revisions"]

_SERVICE_TYPE: Final = "networking.internal.knative.dev/serviceType"
_PRIVATE: Final = f"serving.knative.dev/revisionUID,{_SERVICE_TYPE}=Private"
_PUBLIC: Final = f"{_SERVICE_TYPE}=Public"
_BY_REVISION: Final = "revision"
_AUDITED_PER_TURN: Final = 50
"""Revisions that are audited before others have a turn: about a millisecond."""


class Revisions:
    """All revisions of the cluster. `start` returns when it has seen them."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: Client,
        pool: Pool,
        *,
        own_address: str,
        probe_settings: ProbeSettings,
        probe_timeout_s: float,
        held_max: int,
        held_bytes_max: int,
        retries: bool,
        spreads: bool,
        check_s: float,
        tls: "InternalTls | None",
        log: Logger,
    ) -> None:
        """`own_address`: as the public Endpoints list it. `held_max`: requests that wait per revision at most.

        `held_bytes_max`: bytes that these hold at most. `retries`: what cannot be sent to its pod goes to another.
        `spreads`: pods get requests evenly, not as the original chooses. `check_s`: how often pods in use are
        looked at. `tls`: how pods are spoken to; None: in plaintext.
        """
        self.by_key: dict[RevisionKey, ActiveRevision] = {}
        """For the request path: one look-up."""
        self.cold_started: Callable[[ColdStart], None] | None = None
        """Told of each cold start; set before `start`."""
        self.traces: Traces | None = None
        """Told of what is forwarded; set before `start`."""
        self._pool = pool
        self._own_address = own_address
        self._passthrough = probe_settings.passthrough
        self._held_max = held_max
        self._held_bytes_max = held_bytes_max
        self._retries = retries
        self._spreads = spreads
        self._tls = tls
        self._log = log
        self._prober = PodProber(
            loop, probe_settings, timeout_s=probe_timeout_s, publish=self._publish, over=self._pod_is_over
        )
        self._checks = PodChecks(check_s)
        self._revisions = Informer(client, Revision, log=log)
        self._private = Informer(client, Endpoints, label_selector=_PRIVATE, log=log)
        self._public = Informer(client, Endpoints, label_selector=_PUBLIC, log=log)
        self._services = Informer(client, Service, log=log)

    async def start(self) -> None:
        """List everything, then follow it."""
        for informer in (self._private, self._public):
            informer.add_index(_BY_REVISION, _revision_of)
            informer.on_change(self._labelled_changed)
        self._services.on_change(self._labelled_changed)
        self._revisions.on_change(self._revision_changed)
        await asyncio.gather(
            self._revisions.start(), self._private.start(), self._public.start(), self._services.start()
        )

    async def stop(self) -> None:
        """Follow nothing any more."""
        self._prober.close()
        for informer in (self._revisions, self._private, self._public, self._services):
            await informer.stop()

    def refresh(self, namespace: str, name: str) -> None:
        """Look at a revision's objects and let everything that follows from them follow."""
        key = RevisionKey(namespace.encode(), name.encode())
        revision = self._revisions.get(namespace, name)
        active = self.by_key.get(key)
        if active is not None and (revision is None or revision.metadata.uid != active.uid):
            # First out of sight, so that what the prober says of its end reaches nobody.
            del self.by_key[key]
            self._prober.forget((namespace, name))
            active.retire()
            active = None
        if revision is None:
            return
        if active is None:
            active = self.by_key[key] = self._create(revision)
        port_name = port_name_of(revision)
        for public in self._public.by_index(_BY_REVISION, f"{namespace}/{name}"):
            activators = activator_addresses(public, port_name)
            active.update(activators_changed(active.throttler.snapshot, activators, self._own_address))
        private = next(iter(self._private.by_index(_BY_REVISION, f"{namespace}/{name}")), None)
        if private is None:
            self._prober.forget((namespace, name))
            return
        service = self._services.get(namespace, private_service_name(name))
        observation = Observation(
            addresses=addresses_of(private, port_name),
            cluster_address=cluster_address_of(service, port_name),
            trusts_not_ready=trusts_not_ready(revision),
            passthrough_host=_passthrough_host(revision),
        )
        self._prober.observe((namespace, name), observation)

    def check_pods(self, in_use: Iterable[RevisionKey], now_s: float) -> None:
        """Once a second: look whether pods of the revisions `in_use` are on their way out."""
        known = ((key, self.by_key.get(key)) for key in in_use)
        pods = [(key, len(active.throttler.snapshot.pods)) for key, active in known if active is not None]
        for key in self._checks.take(pods, now_s):
            addresses = [target.address for target in self.by_key[key].throttler.targets]
            self._prober.check((key.namespace.decode(), key.name.decode()), addresses)

    async def audit(self) -> list[str]:
        """Compare everything with fresh lists and with the probes, repair and name what differs. Raises as lists do."""
        differences = []
        for informer in (self._revisions, self._private, self._public, self._services):
            kind = informer.kind.RESOURCE.kind
            differences += [
                f"{kind} {namespace}/{name} was not as listed" for namespace, name in await informer.audit()
            ]
        keys = {revision.key for revision in self._revisions.list()}
        keys.update((key.namespace.decode(), key.name.decode()) for key in self.by_key)
        for index, key in enumerate(sorted(keys)):
            if self._repair(*key):
                differences.append(f"the snapshot of {key[0]}/{key[1]} did not follow from its objects and probes")
            if index % _AUDITED_PER_TURN == 0:
                await asyncio.sleep(0)
        return differences

    def _repair(self, namespace: str, name: str) -> bool:
        """Let everything about a revision follow anew; whether something changed thereby."""
        key = RevisionKey(namespace.encode(), name.encode())
        before = self.by_key.get(key)
        snapshot = before.throttler.snapshot if before is not None else None
        self.refresh(namespace, name)
        self._publish((namespace, name), self._prober.backends((namespace, name)))
        after = self.by_key.get(key)
        return before is not after or (after is not None and after.throttler.snapshot != snapshot)

    def state(self) -> dict[str, Any]:
        """Return what is known of every revision, as what can be written as JSON."""
        return {
            f"{key.namespace.decode()}/{key.name.decode()}": {
                **active.state(),
                "unsettled": self._prober.unsettled((key.namespace.decode(), key.name.decode())),
            }
            for key, active in self.by_key.items()
        }

    def _create(self, revision: Revision) -> ActiveRevision:
        active = ActiveRevision(
            revision,
            pool=self._pool,
            held_max=self._held_max,
            held_bytes_max=self._held_bytes_max,
            passthrough_host=_passthrough_host(revision) if self._passthrough else b"",
            suspect=self._suspected,
            retries=self._retries,
            spreads=self._spreads,
            security=None if self._tls is None else self._tls.security(revision.metadata.namespace),
            log=self._log,
        )
        active.cold_started = self.cold_started
        active.traces = self.traces
        return active

    def _publish(self, key: tuple[str, str], backends: Backends) -> None:
        """The prober found other backends."""
        active = self.by_key.get(RevisionKey(key[0].encode(), key[1].encode()))
        if active is None:
            return
        snapshot = active.throttler.snapshot
        if (backends.pods, backends.cluster_address) != (snapshot.pods, snapshot.cluster_address):
            self._log.info(
                "backends_changed",
                namespace=key[0],
                revision=key[1],
                pods=len(backends.pods),
                unsettled=len(self._prober.unsettled(key)),
                cluster_address=backends.cluster_address,
            )
        active.update(
            replace(
                active.throttler.snapshot,
                pods=backends.pods,
                cluster_address=backends.cluster_address,
                ready_count=backends.ready_count,
            )
        )

    def _suspected(self, key: RevisionKey, address: str, reason: str) -> None:
        """A request could not be sent to this address."""
        namespace, name = key.namespace.decode(), key.name.decode()
        if self._prober.suspect((namespace, name), address):
            self._log.warning("pod_suspect", namespace=namespace, revision=name, pod=address, reason=reason)

    def _pod_is_over(self, key: tuple[str, str], address: str, reason: str) -> None:
        """A probe of a pod in use said that it is on its way out, gone, or another one."""
        self._log.info("pod_over", namespace=key[0], revision=key[1], pod=address, reason=reason)

    def _revision_changed(self, old: Revision | None, new: Revision | None) -> None:
        changed = new or old
        assert changed is not None
        self.refresh(*changed.key)

    def _labelled_changed(self, old: Endpoints | Service | None, new: Endpoints | Service | None) -> None:
        changed = new or old
        assert changed is not None
        metadata = changed.metadata
        if metadata.labels.revision:
            self.refresh(metadata.namespace, metadata.labels.revision)


def _revision_of(endpoints: Endpoints) -> list[str]:
    metadata = endpoints.metadata
    name = metadata.labels.revision
    return [f"{metadata.namespace}/{name}"] if name else []


def _passthrough_host(revision: Revision) -> bytes:
    return f"{private_service_name(revision.metadata.name)}.{revision.metadata.namespace}".encode()
