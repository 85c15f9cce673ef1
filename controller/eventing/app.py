"""The controller of eventing put together: one loop per kind, and which change wakes which object.

`KINDS` is the whole list. Waking follows from it: a change of an object wakes the object, its owner, and everybody who
refers to it; what is behind a Service of the system wakes those whose conditions tell of it; settings wake everything.

Of several replicas one acts (`controller.leading`).
"""

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from controller.collection import Collection, Reconciler
from controller.eventing import keys
from controller.eventing.addresses import concerns
from controller.eventing.broker import BrokerReconciler
from controller.eventing.channel import ChannelReconciler
from controller.eventing.cluster import CA_KEY, EventingCluster
from controller.eventing.config import EventingConfig
from controller.eventing.ducks import reference_key
from controller.eventing.event_metadata import EventPolicyReconciler, EventTypeReconciler
from controller.eventing.job_sink import JobSinkReconciler
from controller.eventing.parallel import ParallelReconciler
from controller.eventing.physical_channel import InMemoryChannelReconciler, JetStreamChannelReconciler
from controller.eventing.resolving import destination_keys
from controller.eventing.sequence import SequenceReconciler
from controller.eventing.sources.api_server import ApiServerSourceReconciler
from controller.eventing.sources.container import ContainerSourceReconciler
from controller.eventing.sources.jetstream import JetStreamSourceReconciler
from controller.eventing.sources.ping import ADAPTER as PING_ADAPTER
from controller.eventing.sources.ping import PingSourceReconciler
from controller.eventing.sources.sink_binding import SinkBindingReconciler
from controller.eventing.subscribers import SubscriberLists
from controller.eventing.subscription import SubscriptionReconciler
from controller.eventing.trigger import TriggerReconciler, dependency_of
from controller.leading import Leading
from controller.process_metrics import ProcessMetrics
from eventing.bundles import Bundles
from kube.autoscaling.config import InvalidConfig
from kube.client import Client
from kube.events import WARNING
from kube.models.core import ConfigMap, Secret
from kube.models.duck import DeliverySpec, KReference
from kube.models.eventing import Broker, EventType, Trigger
from kube.models.eventpolicy import EventPolicy
from kube.models.messaging import InMemoryChannel, NatsJetStreamChannel, Subscription
from kube.models.meta import Resource
from kube.models.sources import ApiServerSource, JetStreamSource, PingSource, SinkBinding
from kube.reconcile import Loop
from proxies.environment import ConfigError
from proxies.logs import Logger

__all__ = ["App", "Kind"]

Key = tuple[str, str]
References = Callable[[Any], Iterable[str]]

_REFERENCES = "references"
_WORKERS = 8
_SUBSCRIPTION_WORKERS = 64
"""Those who wait for the same channel are written together, so the more that wait the fewer writes there are."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind that is looked after: who does it, and to which objects each of the kind refers."""

    collection: Collection[Any]
    reconciler: Reconciler[Any]
    references: References
    """Of an object: keys as `reference_key` makes them."""
    is_ours: Callable[[Any], bool] = lambda _obj: True
    """Whether an object of the kind is for this controller."""
    workers: int = _WORKERS


def kinds(cluster: EventingCluster, lists: SubscriberLists, config: EventingConfig) -> list[Kind]:
    """All kinds, in the order in which one needs the other."""

    sources = cluster.sources
    watching = ApiServerSourceReconciler(cluster, sources, image=config.api_server_source_image)
    pulling = JetStreamSourceReconciler(cluster, sources, image=config.jetstream_source_image)
    binding = SinkBindingReconciler(cluster, sources, mode=config.sink_binding_selection)

    def is_ours(broker: Broker) -> bool:
        return broker.broker_class in keys.BROKER_CLASSES

    def has_our_broker(trigger: Trigger) -> bool:
        broker = cluster.brokers.get(*trigger.broker_key)
        return broker is None or is_ours(broker)

    return [
        Kind(cluster.in_memory_channels, InMemoryChannelReconciler(cluster).reconciler(), _of_channel),
        Kind(cluster.jetstream_channels, JetStreamChannelReconciler(cluster).reconciler(), _of_channel),
        Kind(cluster.channels, ChannelReconciler(cluster).reconciler(), _of_nothing),
        Kind(cluster.brokers, BrokerReconciler(cluster).reconciler(), _of_broker, is_ours),
        Kind(cluster.triggers, TriggerReconciler(cluster).reconciler(), _of_trigger, has_our_broker),
        Kind(
            cluster.subscriptions,
            SubscriptionReconciler(cluster, lists).reconciler(),
            _of_subscription,
            workers=_SUBSCRIPTION_WORKERS,
        ),
        Kind(cluster.sequences, SequenceReconciler(cluster).reconciler(), _of_nothing),
        Kind(cluster.parallels, ParallelReconciler(cluster).reconciler(), _of_nothing),
        Kind(cluster.job_sinks, JobSinkReconciler(cluster).reconciler(), _of_nothing),
        Kind(sources.ping_sources, PingSourceReconciler(cluster, sources).reconciler(), _of_source),
        Kind(sources.api_server_sources, watching.reconciler(), _of_source),
        Kind(sources.container_sources, ContainerSourceReconciler(cluster, sources).reconciler(), _of_nothing),
        Kind(sources.sink_bindings, binding.reconciler(), _of_sink_binding),
        Kind(sources.jetstream_sources, pulling.reconciler(), _of_source),
        Kind(cluster.event_types, EventTypeReconciler(cluster).reconciler(), _of_event_type),
        Kind(cluster.event_policies, EventPolicyReconciler(cluster).reconciler(), _of_event_policy),
    ]


class App:
    """One controller. `start` returns when it follows the cluster, and acts if nobody else does.

    Raises `ConfigError` when a ConfigMap cannot be used. `metrics` are those of the process, if others run in it.
    """

    def __init__(
        self, config: EventingConfig, log: Logger | None = None, metrics: ProcessMetrics | None = None
    ) -> None:
        fields = {"pod": config.pod_name} if config.pod_name else {}
        self._log = log or Logger("eventing-controller", fields=fields)
        self._client = Client(config.api, user_agent="knuv-eventing-controller")
        self._cluster = EventingCluster(
            self._client,
            system_namespace=config.system_namespace,
            cluster_domain=config.cluster_domain,
            host=config.pod_name,
            log=self._log,
        )
        self._config = config
        self._metrics = metrics or ProcessMetrics()
        self._lists = SubscriberLists()
        self._leading = Leading(
            self._client,
            name="eventing-controller",
            namespace=config.system_namespace,
            pod_name=config.pod_name,
            begin=self._start_loops,
            end=self._stop_loops,
            log=self._log,
        )
        self._kinds = kinds(self._cluster, self._lists, config)
        self._loops: dict[tuple[str, str], Loop[Key]] = {}
        for kind in self._kinds:
            info = kind.collection.kind.RESOURCE
            self._loops[info.group, info.kind] = self._loop(kind)
            kind.collection.informer.add_index(_REFERENCES, kind.references)
        self._follow()

    async def start(self) -> None:
        """Read the cluster, then act on it."""
        await self._client.open()
        try:
            await self._cluster.start()
        except InvalidConfig as error:
            raise ConfigError([f"ConfigMaps: {error}"]) from error
        await self._metrics.start(
            "eventing-controller",
            self._config,
            self._cluster.config_maps,
            loops=self._loops.values(),
            kinds=[kind.collection for kind in self._kinds],
            log=self._log,
        )
        await self._leading.start(self._cluster.config_maps)
        self._log.info("eventing_controller_started", brokers=len(self._cluster.brokers.informer.list()))

    async def drain(self) -> None:
        """Stop acting. What was under way is found half done by the next controller, which takes it from there."""
        await self._leading.drain()

    async def stop(self) -> None:
        """End everything, in any state."""
        await self._leading.stop()
        await self._metrics.stop()
        await self._cluster.stop()
        await self._client.close()

    # Acting.

    async def _start_loops(self) -> None:
        """Look at everything, whatever was noticed before."""
        for loop in self._loops.values():
            loop.start()
        self._wake_all()

    async def _stop_loops(self) -> None:
        await asyncio.gather(*(loop.stop() for loop in self._loops.values()))
        await self._lists.stop()

    def _failed(self, obj: Resource, error: Exception) -> None:
        self._cluster.events.report(obj, WARNING, "InternalError", str(error))

    def _loop(self, kind: Kind) -> Loop[Key]:
        reconciler = dataclasses.replace(kind.reconciler, on_failure=self._failed)

        async def while_leading(key: Key) -> float | None:
            # The clock is asked, not only the Lease's events: a process that was suspended must not act on.
            obj = kind.collection.get(*key)
            if obj is None or not self._leading.is_acting() or not kind.is_ours(obj):
                return None
            return await reconciler(key)

        name = kind.collection.kind.RESOURCE.kind.lower()
        return Loop(name, while_leading, workers=kind.workers, forgets=True, log=self._log)

    # Who is woken by what.

    def _follow(self) -> None:
        cluster = self._cluster
        for kind in self._kinds:
            kind.collection.informer.on_change(self._changed)
        cluster.services.informer.on_change(self._changed)
        cluster.sources.deployments.informer.on_change(self._changed)
        cluster.sources.namespaces.informer.on_change(self._namespace_changed)
        cluster.addressables.on_change(self._changed)
        cluster.channelables.on_change(self._changed)
        cluster.config_maps.informer.on_change(self._changed)
        cluster.config_maps.informer.on_change(self._bundle_changed)
        cluster.event_policies.informer.on_change(self._policy_changed)
        for collection in (cluster.endpoints, cluster.dispatcher_endpoints, cluster.deployments):
            collection.informer.on_change(self._system_changed)
        cluster.secrets.informer.on_change(self._secret_changed)
        cluster.on_settings(self._wake_all)

    def _changed(self, old: Any, new: Any) -> None:
        obj = new if new is not None else old
        self._wake_referrers(obj)
        if new is not None:
            self._wake(new.RESOURCE.group, new.RESOURCE.kind, new.key)
        for each in (old, new):
            # Whom an object belonged to misses it when it is gone, and when it changes hands.
            owner = each.metadata.controller() if each is not None else None
            if owner is not None:
                self._wake(owner.api_version.partition("/")[0], owner.kind, (each.namespace, owner.name))

    def _wake(self, group: str, kind: str, key: Key) -> None:
        loop = self._loops.get((group, kind))
        if loop is not None:
            loop.add(key)

    def _wake_referrers(self, obj: Resource) -> None:
        info = obj.RESOURCE
        key = reference_key(info.api_version, info.kind, obj.namespace, obj.name)
        for kind in self._kinds:
            for referrer in kind.collection.informer.by_index(_REFERENCES, key):
                self._wake(referrer.RESOURCE.group, referrer.RESOURCE.kind, referrer.key)

    def _system_changed(self, old: Resource | None, new: Resource | None) -> None:
        """Ingress and filter are in the conditions of Brokers, dispatchers in those of channels."""
        obj = new if new is not None else old
        assert obj is not None
        if obj.name in (keys.INGRESS, keys.FILTER):
            self._wake_kind(self._cluster.brokers)
        elif obj.name == keys.IMC_DISPATCHER:
            self._wake_kind(self._cluster.in_memory_channels)
        elif obj.name == keys.JETSTREAM_DISPATCHER:
            self._wake_kind(self._cluster.jetstream_channels)
        elif obj.name == keys.JOB_SINK:
            self._wake_kind(self._cluster.job_sinks)
        elif obj.name == PING_ADAPTER:
            self._wake_kind(self._cluster.sources.ping_sources)

    def _namespace_changed(self, old: Resource | None, new: Resource | None) -> None:
        """A source may watch all namespaces with some labels."""
        if old is None or new is None or old.metadata.labels != new.metadata.labels:
            self._wake_kind(self._cluster.sources.api_server_sources)

    def _bundle_changed(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        """Subjects of bindings have copies of the cluster's trust bundles."""
        system = self._cluster.system_namespace
        if any(each is not None and each.namespace == system and Bundles.is_one(each) for each in (old, new)):
            self._wake_kind(self._cluster.sources.sink_bindings)

    def _secret_changed(self, old: Secret | None, new: Secret | None) -> None:
        """Authorities are in addresses; other Secrets there, such as tokens of bindings, come and go."""
        before, after = (each.data.get(CA_KEY) if each is not None else None for each in (old, new))
        if before != after:
            self._wake_all()

    def _policy_changed(self, old: EventPolicy | None, new: EventPolicy | None) -> None:
        """It may hold for everything in its namespace, or for a single object."""
        policies = [each for each in (old, new) if each is not None]
        for collection in self._cluster.guarded:
            info = collection.kind.RESOURCE
            for policy in policies:
                for obj in collection.informer.list(policy.namespace):
                    if concerns(self._cluster, policy, obj):
                        self._wake(info.group, info.kind, obj.key)

    def _wake_kind(self, collection: Collection[Any]) -> None:
        info = collection.kind.RESOURCE
        for obj in collection.informer.list():
            self._wake(info.group, info.kind, obj.key)

    def _wake_all(self) -> None:
        for kind in self._kinds:
            self._wake_kind(kind.collection)


# To what objects refer.


def _of_nothing(_obj: Resource) -> Iterator[str]:
    """Children and their states are all that counts."""
    return iter(())


def _of_channel(channel: InMemoryChannel | NatsJetStreamChannel) -> Iterator[str]:
    yield from _of_delivery(channel.spec.delivery, channel.namespace)
    owner = channel.metadata.controller()
    if owner is not None and owner.kind != "Broker":
        # Policies for what it is the way in to hold for it.
        yield reference_key(owner.api_version, owner.kind, channel.namespace, owner.name)


def _of_broker(broker: Broker) -> Iterator[str]:
    yield from _of_delivery(broker.spec.delivery, broker.namespace)
    if broker.spec.config is not None:
        yield _key(broker.spec.config, broker.namespace)


def _of_trigger(trigger: Trigger) -> Iterator[str]:
    yield reference_key(Broker.RESOURCE.api_version, "Broker", *trigger.broker_key)
    yield from destination_keys(trigger.spec.subscriber, trigger.namespace)
    yield from _of_delivery(trigger.spec.delivery, trigger.namespace)
    dependency = dependency_of(trigger)
    if dependency is not None:
        yield _key(dependency, trigger.namespace)


def _of_subscription(subscription: Subscription) -> Iterator[str]:
    spec, namespace = subscription.spec, subscription.namespace
    yield _key(spec.channel, namespace)
    for destination in (spec.subscriber, spec.reply):
        yield from destination_keys(destination, namespace)
    yield from _of_delivery(spec.delivery, namespace)


def _of_source(source: PingSource | ApiServerSource | SinkBinding | JetStreamSource) -> Iterator[str]:
    yield from destination_keys(source.spec.sink, source.namespace)


def _of_sink_binding(binding: SinkBinding) -> Iterator[str]:
    yield from _of_source(binding)
    subject = binding.spec.subject
    if subject.name:
        yield reference_key(subject.api_version, subject.kind, binding.namespace, subject.name)


def _of_event_type(event_type: EventType) -> Iterator[str]:
    if event_type.spec.reference is not None:
        yield _key(event_type.spec.reference, event_type.namespace)


def _of_event_policy(policy: EventPolicy) -> Iterator[str]:
    for each in policy.spec.from_:
        if each.ref is not None:
            yield _key(each.ref, policy.namespace)


def _of_delivery(delivery: DeliverySpec | None, namespace: str) -> Iterator[str]:
    if delivery is not None:
        yield from destination_keys(delivery.dead_letter_sink, namespace)


def _key(ref: KReference, namespace: str) -> str:
    return reference_key(ref.api_version, ref.kind, ref.namespace or namespace, ref.name)
