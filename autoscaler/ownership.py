"""Which revisions this replica decides about, and what becomes of stats for the others.

Theory of operation. The revisions are divided into buckets by a hash that every replica computes alike; who holds a
bucket's Lease owns its revisions. Gaining a bucket means to reconcile its revisions, which begin without data: a
decider that starts over several ready pods starts in panic, so nothing shrinks until its windows are full. Losing one
means to forget them *at once*: reconciles under way are cancelled, and `owns` asks the clock, so that nothing is
written for a revision that somebody else may own.

A stat for a revision of ours is accepted, any other is stamped with the second of its arrival and forwarded to whoever
holds the Lease. In a StatefulSet the owner follows from the ordinal, and there are no Leases.

Source: knative/serving `cmd/autoscaler/leaderelection.go`, `pkg/autoscaler/statforwarder`; spec autoscaler.md 8.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TypeVar

from autoscaler.bucket_services import BucketServices
from autoscaler.buckets import StatefulSet, holder_identity, holder_ip
from autoscaler.config import Config
from autoscaler.forwarder import Forwarder, PeerAddress
from autoscaler.multiscaler import RevisionKey
from kube.client import Client
from kube.election.elector import Elector
from kube.election.settings import ElectionSettings
from kube.informer import Informer
from kube.models.coordination import Lease
from kube.resolve import Resolver
from kube.subset import bucket_names, bucket_owner
from proxies.environment import ConfigError
from proxies.logs import Logger
from proxies.wire.stat import StatMessage

__all__ = ["Ownership"]

T = TypeVar("T")

_SERVICE_PORT = 8080
_BUCKETS_REMEMBERED = 1 << 16
"""Revisions whose bucket need not be computed again."""


class Ownership:
    """The buckets. `accept(message)` takes stats of our revisions; `on_gained()` and `on_lost()` say that `owns`
    answers differently for some revisions."""

    def __init__(
        self,
        client: Client,
        resolver: Resolver,
        config: Config,
        *,
        accept: Callable[[StatMessage], None],
        on_gained: Callable[[], None],
        on_lost: Callable[[], None],
        clock: Callable[[], float],
        log: Logger,
    ) -> None:
        self._client = client
        self._config = config
        self._accept = accept
        self._on_gained = on_gained
        self._on_lost = on_lost
        self._clock = clock
        self._log = log
        self._leases = Informer(client, Lease, namespace=config.system_namespace, log=log)
        self._forwarder = Forwarder(resolver, log)
        self._services = BucketServices(
            client, namespace=config.system_namespace, pod_ip=config.pod_ip, port=config.stat_port, log=log
        )
        self._elector: Elector | None = None
        self._held: set[str] = set()
        self._holds: Callable[[str], bool] = self._held.__contains__
        self._buckets: list[str] = []
        self._bucket_of = lru_cache(_BUCKETS_REMEMBERED)(self._compute_bucket)
        self._reconciles: dict[str, set[asyncio.Timeout]] = {}

    @property
    def held_buckets(self) -> list[str]:
        """The buckets that are ours."""
        return sorted(self._held)

    def owns(self, key: RevisionKey) -> bool:
        """Whether this replica may act for a revision at this moment."""
        return self._holds(self._bucket_of(key))

    def owns_bucket(self, bucket: str) -> bool:
        """The same for a bucket by name; False for names that are none."""
        return self._holds(bucket)

    def take(self, message: StatMessage) -> None:
        """Accept or forward a stat."""
        bucket = self._bucket_of((message.namespace, message.name))
        if bucket in self._held:
            self._accept(message)
            return
        if not message.stat.timestamp:
            message.stat.timestamp = int(self._clock())
        self._forwarder.forward(bucket, message)

    async def while_owned(self, key: RevisionKey, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do `work` for a revision of ours, and cancel it when the revision is lost; None when it was not done."""
        if not self.owns(key):
            return None
        reconciles = self._reconciles.setdefault(self._bucket_of(key), set())
        scope = asyncio.timeout(None)
        try:
            async with scope:
                reconciles.add(scope)
                try:
                    return await work()
                finally:
                    reconciles.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            return None

    # Life.

    async def follow(self) -> None:
        """Begin to watch who holds what."""
        if self._config.stateful_set is None:
            await self._leases.start()

    async def contend(self, settings: ElectionSettings) -> None:
        """Take what nobody else holds, and go on trying. Raises `ConfigError` for an ordinal without a bucket."""
        if self._config.stateful_set is not None:
            self._own_by_ordinal(self._config.stateful_set, settings.buckets)
        else:
            await self._contend_for_leases(settings)

    async def hand_over(self) -> None:
        """Give everything up, so that other replicas take it at once; stats are forwarded to them from here on."""
        if self._elector is not None:
            await self._elector.stop()

    async def stop(self) -> None:
        """End everything, in any state."""
        await self.hand_over()
        await self._services.stop()
        await self._forwarder.stop()
        await self._leases.stop()

    def _divide_into(self, buckets: list[str]) -> None:
        self._buckets = buckets
        self._bucket_of.cache_clear()

    def _own_by_ordinal(self, replica: StatefulSet, count: int) -> None:
        namespace, domain = self._config.system_namespace, self._config.cluster_domain
        if replica.ordinal >= count:
            problem = f"STATEFUL_CONTROLLER_ORDINAL: ordinal {replica.ordinal} is out of range [0, {count})"
            raise ConfigError([f"{problem}: config-leader-election has {count} buckets"])
        self._divide_into(replica.buckets(count, namespace, domain))
        for ordinal, bucket in enumerate(self._buckets):
            host = replica.host(ordinal, namespace, domain)
            self._forwarder.set_route(bucket, (PeerAddress(host, replica.port, host),))
        self._gained(self._buckets[replica.ordinal])

    async def _contend_for_leases(self, settings: ElectionSettings) -> None:
        self._divide_into(bucket_names(settings.buckets))
        self._elector = Elector(
            self._client,
            self._leases,
            namespace=self._config.system_namespace,
            names=self._buckets,
            identity=holder_identity(self._config.pod_name, self._config.pod_ip),
            timing=settings.timing,
            on_acquired=self._acquired,
            on_lost=self._lost,
            log=self._log,
        )
        self._holds = self._elector.holds
        self._leases.on_change(self._lease_changed)
        for lease in self._leases.list():
            self._lease_changed(None, lease)
        await self._elector.start()

    # Events.

    def _acquired(self, bucket: str) -> None:
        self._gained(bucket)
        self._services.publish(bucket, while_true=lambda: self._holds(bucket))

    def _gained(self, bucket: str) -> None:
        self._held.add(bucket)
        waiting = self._forwarder.take_back(bucket)
        self._on_gained()
        for message in waiting:
            self._accept(message)

    def _lost(self, bucket: str) -> None:
        self._held.discard(bucket)
        now = asyncio.get_running_loop().time()
        # Taken away, since a reconcile that still ends from an earlier loss cannot be cancelled again.
        for scope in self._reconciles.pop(bucket, ()):
            scope.reschedule(now)
        self._on_lost()
        lease = self._leases.get(self._config.system_namespace, bucket)
        if lease is not None:
            self._lease_changed(None, lease)

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        """Send a bucket's stats to its holder. A Lease without one changes nothing: the holder before it still knows
        more than we do."""
        if new is None or new.name not in self._buckets or new.name in self._held:
            return
        ip = holder_ip(new.spec.holder_identity or "")
        if ip and ip != self._config.pod_ip:
            name = f"{new.name}.{self._config.system_namespace}.svc.{self._config.cluster_domain}"
            addresses = (PeerAddress(ip, self._config.stat_port, name), PeerAddress(name, _SERVICE_PORT, name))
            self._forwarder.set_route(new.name, addresses)

    def _compute_bucket(self, key: RevisionKey) -> str:
        return bucket_owner(self._buckets, "/".join(key)) if self._buckets else ""
