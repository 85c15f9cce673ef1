"""InMemoryChannel and NatsJetStreamChannel: a name that leads to the dispatcher, and whether that is there.

The dispatcher itself reads the channel, and tells of its subscribers (and of the stream) in the same status; those
parts are left as they are. Source: knative/eventing `pkg/reconciler/inmemorychannel/controller`,
knative-extensions/eventing-natss `pkg/channel/jetstream/controller`; spec eventing-channels.md 6.4, 9.2.
"""

from dataclasses import dataclass
from typing import Any, Final

from controller.collection import Collection, Reconciler
from controller.eventing import keys
from controller.eventing.addresses import apply_policies, has_addresses, resolve_dead_letter_sink, tell_addresses
from controller.eventing.children import NotOwned, child_metadata, provide
from controller.eventing.cluster import EventingCluster
from kube.conditions import Conditions, ConditionSet
from kube.models.core import Endpoints
from kube.models.duck import Addressable, ChannelableStatus
from kube.models.messaging import SCOPE_ANNOTATION, InMemoryChannel, NatsJetStreamChannel
from kube.names import child_name

__all__ = ["InMemoryChannelReconciler", "JetStreamChannelReconciler"]

JsonObject = dict[str, Any]

_RETRY_S = 30.0
_IMC_TLS_SECRET = "imc-dispatcher-server-tls"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class _Flavour:
    """What differs between the two kinds."""

    conditions: ConditionSet
    suffix: str
    """Of the Service's name."""
    dispatcher: str
    """Name of the dispatcher's Deployment and Service."""
    role: str
    """Label of the Service, as the originals have it."""


_IN_MEMORY: Final = _Flavour(
    ConditionSet(
        (
            "ServiceReady",
            "EndpointsReady",
            "Addressable",
            "ChannelServiceReady",
            "DeadLetterSinkResolved",
            "EventPoliciesReady",
        )
    ),
    "-kn-channel",
    keys.IMC_DISPATCHER,
    "in-memory-channel",
)
_JETSTREAM: Final = _Flavour(
    ConditionSet(
        (
            "DispatcherReady",
            "ServiceReady",
            "EndpointsReady",
            "Addressable",
            "ChannelServiceReady",
            "StreamReady",
            "DeadLetterSinkResolved",
        )
    ),
    "-kn-jsm-channel",
    keys.JETSTREAM_DISPATCHER,
    "nats-jetstream-channel",
)


class _PhysicalChannels:
    """What both kinds have in common."""

    flavour: _Flavour

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    async def _reconcile_common(
        self, channel: InMemoryChannel | NatsJetStreamChannel, conditions: Conditions
    ) -> tuple[str, float | None]:
        """Mark what both have: the channel's host name, empty when it has none, and seconds to wait for a retry."""
        namespace = self._dispatcher_namespace(channel)
        self._check_dispatcher(namespace, conditions)
        flavour, cluster = self.flavour, self._cluster
        name = child_name(channel.name, flavour.suffix)
        target = f"{flavour.dispatcher}.{namespace}.svc.{cluster.cluster_domain}"
        wanted: JsonObject = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": child_metadata(channel, name, {"messaging.knative.dev/role": flavour.role}),
            "spec": {"type": "ExternalName", "externalName": target},
        }
        try:
            await provide(cluster.services, channel, wanted, fields=("type", "externalName"))
        except NotOwned as error:
            conditions.mark_false("ChannelServiceReady", "ChannelServiceFailed", f"Channel Service failed: {error}")
            return "", _RETRY_S
        conditions.mark_true("ChannelServiceReady")
        return f"{name}.{channel.namespace}.svc.{cluster.cluster_domain}", None

    def _dispatcher_namespace(self, channel: InMemoryChannel | NatsJetStreamChannel) -> str:
        return self._cluster.system_namespace

    def _endpoints(self, namespace: str) -> Endpoints | None:
        return self._cluster.endpoints.get(namespace, self.flavour.dispatcher)

    def _check_dispatcher(self, namespace: str, conditions: Conditions) -> None:
        """Deployment, Service and Endpoints, each of which has its condition."""
        cluster, name = self._cluster, self.flavour.dispatcher
        deployment = cluster.deployments.get(namespace, name)
        if namespace != cluster.system_namespace:
            conditions.mark_true("DispatcherReady", "NotObserved", "the dispatcher of a namespace is that namespace's")
        elif deployment is None:
            conditions.mark_false(
                "DispatcherReady", "DispatcherDeploymentDoesNotExist", "Dispatcher Deployment does not exist"
            )
        elif deployment.status.available_replicas:
            conditions.mark_true("DispatcherReady")
        else:
            conditions.mark_unknown("DispatcherReady", "DispatcherNotAvailable", "no replica is available yet")
        if cluster.services.get(namespace, name) is None:
            conditions.mark_false("ServiceReady", "DispatcherServiceDoesNotExist", "Dispatcher Service does not exist")
        else:
            conditions.mark_true("ServiceReady")
        endpoints: Endpoints | None = self._endpoints(namespace)
        if endpoints is None:
            conditions.mark_false(
                "EndpointsReady", "DispatcherEndpointsDoesNotExist", "Dispatcher Endpoints does not exist"
            )
        elif has_addresses(endpoints):
            conditions.mark_true("EndpointsReady")
        else:
            text = "There are no endpoints ready for Dispatcher service"
            conditions.mark_false("EndpointsReady", "DispatcherEndpointsNotReady", text)


class InMemoryChannelReconciler(_PhysicalChannels):
    """InMemoryChannel: host-based over HTTP, path-based over HTTPS."""

    flavour = _IN_MEMORY

    def reconciler(self) -> Reconciler[InMemoryChannel]:
        """The envelope for this kind."""
        collection: Collection[InMemoryChannel] = self._cluster.in_memory_channels
        return Reconciler(collection, self.flavour.conditions, self.reconcile, self._cluster.now_s, guards_status=True)

    async def reconcile(
        self, channel: InMemoryChannel, status: ChannelableStatus, conditions: Conditions
    ) -> float | None:
        """One pass."""
        cluster = self._cluster
        sink_again_s = await resolve_dead_letter_sink(
            cluster, channel.spec.delivery, channel.namespace, status, conditions
        )
        host, again_s = await self._reconcile_common(channel, conditions)
        if host:
            path = f"{channel.namespace}/{channel.name}"
            tell_addresses(
                status,
                http_url=f"http://{host}",
                https_url=f"https://{cluster.host_of(keys.IMC_DISPATCHER)}/{path}",
                ca_certs=cluster.ca_of(_IMC_TLS_SECRET),
                features=cluster.settings.features,
                audience=f"messaging.knative.dev/inmemorychannel/{path}".lower(),
            )
            conditions.mark_true("Addressable")
        apply_policies(cluster, channel, status, conditions)
        return again_s or sink_again_s

    def _dispatcher_namespace(self, channel: InMemoryChannel | NatsJetStreamChannel) -> str:
        if channel.metadata.annotations.get(SCOPE_ANNOTATION) == "namespace":
            return channel.namespace
        return self._cluster.system_namespace

    def _endpoints(self, namespace: str) -> Endpoints | None:
        return self._cluster.dispatcher_endpoints.get(namespace, self.flavour.dispatcher)


class JetStreamChannelReconciler(_PhysicalChannels):
    """NatsJetStreamChannel: host-based, without TLS. `StreamReady` is the dispatcher's to tell."""

    flavour = _JETSTREAM

    def reconciler(self) -> Reconciler[NatsJetStreamChannel]:
        """The envelope for this kind."""
        collection: Collection[NatsJetStreamChannel] = self._cluster.jetstream_channels
        return Reconciler(collection, self.flavour.conditions, self.reconcile, self._cluster.now_s, guards_status=True)

    async def reconcile(
        self, channel: NatsJetStreamChannel, status: ChannelableStatus, conditions: Conditions
    ) -> float | None:
        """One pass."""
        sink_again_s = await resolve_dead_letter_sink(
            self._cluster, channel.spec.delivery, channel.namespace, status, conditions
        )
        host, again_s = await self._reconcile_common(channel, conditions)
        is_guarded = self._cluster.settings.features.is_oidc_on
        if host:
            audience = f"messaging.knative.dev/natsjetstreamchannel/{channel.namespace}/{channel.name}".lower()
            address = Addressable(name="http", url=f"http://{host}", audience=audience if is_guarded else None)
            status.address, status.addresses = address, []
            conditions.mark_true("Addressable")
        if is_guarded or conditions.get("EventPoliciesReady") is not None:
            # The original's kind has no such condition; it is told where it says something, and counts for nothing.
            apply_policies(self._cluster, channel, status, conditions)
        return again_s or sink_again_s
