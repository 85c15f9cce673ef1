"""Broker: a channel from the template of its ConfigMap, and the addresses of the ingress.

Class `MTChannelBasedBroker`; a Broker of our class `JetStreamBroker` has a stream instead of the channel, whose state
the ingress tells. Source: knative/eventing `pkg/reconciler/broker/broker.go`; spec eventing-broker.md 7, 11.
"""

from typing import Any

import msgspec

from controller.collection import Reconciler
from controller.eventing import keys
from controller.eventing.addresses import apply_policies, has_addresses, resolve_dead_letter_sink, tell_addresses
from controller.eventing.channel_templates import spec_of
from controller.eventing.children import NotOwned, child_metadata, provide
from controller.eventing.cluster import EventingCluster
from controller.eventing.ducks import ChannelDuck, UnknownKind
from controller.eventing.propagation import copy_condition, propagate
from controller.eventing.resolving import delivery_within
from controller.eventing.settings import channel_template
from kube.autoscaling.config import InvalidConfig
from kube.conditions import Conditions, ConditionSet
from kube.models import eventing
from kube.models.core import ConfigMap
from kube.models.eventing import Broker, BrokerStatus
from kube.models.eventpolicy import EventPolicy
from kube.names import child_name

__all__ = ["BrokerReconciler", "mirror"]

JsonObject = dict[str, Any]

CONDITIONS = ConditionSet(
    (
        "IngressReady",
        "TriggerChannelReady",
        "FilterReady",
        "Addressable",
        "DeadLetterSinkResolved",
        "EventPoliciesReady",
    )
)
_TLS_SECRET = "mt-broker-ingress-server-tls"  # noqa: S105 - a name
_RETRY_S = 30.0
_ANNOTATIONS = (
    eventing.CHANNEL_ADDRESS_ANNOTATION,
    eventing.CHANNEL_CA_CERTS_ANNOTATION,
    eventing.CHANNEL_AUDIENCE_ANNOTATION,
    keys.CHANNEL_API_VERSION,
    keys.CHANNEL_KIND,
    keys.CHANNEL_NAME,
)


class NoTemplate(Exception):
    """The Broker's configuration does not say what its channel is."""


class BrokerReconciler:
    """The logic; `reconciler()` wraps it in the common envelope."""

    def __init__(self, cluster: EventingCluster) -> None:
        self._cluster = cluster

    def reconciler(self) -> Reconciler[Broker]:
        """The envelope for this kind."""
        return Reconciler(self._cluster.brokers, CONDITIONS, self.reconcile, self._cluster.now_s, guards_status=True)

    async def reconcile(self, broker: Broker, status: BrokerStatus, conditions: Conditions) -> float | None:
        """One pass. A Broker without its channel has no address."""
        cluster = self._cluster
        again_s = await resolve_dead_letter_sink(cluster, broker.spec.delivery, broker.namespace, status, conditions)
        self._propagate_endpoints(conditions, "IngressReady", keys.INGRESS, "Ingress")
        self._propagate_endpoints(conditions, "FilterReady", keys.FILTER, "Filter")
        if broker.broker_class == keys.JETSTREAM_BROKER:
            mirror(conditions, "StreamReady", "TriggerChannelReady", "the ingress has not told of the stream yet")
        elif (problem := await self._provide_channel(broker, status, conditions)) is not None:
            return problem
        self._tell_addresses(broker, status)
        conditions.mark_true("Addressable")
        apply_policies(cluster, broker, status, conditions)
        return again_s

    async def _provide_channel(self, broker: Broker, status: BrokerStatus, conditions: Conditions) -> float | None:
        """Make the channel and tell where it is; seconds to wait when there is nothing to be told."""
        cluster = self._cluster
        try:
            template = await self._template(broker)
            collection = await cluster.channelables.of(template["apiVersion"], template["kind"])
            channel: ChannelDuck = await provide(collection, broker, channel_of(broker, template), fields=("delivery",))
            if cluster.settings.features.is_oidc_on:
                await provide(cluster.event_policies, broker, self._channel_policy(broker, channel, template))
        except NoTemplate as error:
            text = f"Error on setting up the ChannelTemplate: {error}"
            return self._without_channel(status, conditions, "ChannelTemplateFailed", text)
        except (NotOwned, UnknownKind) as error:
            return self._without_channel(status, conditions, "ChannelFailure", str(error))
        propagate(
            conditions,
            "TriggerChannelReady",
            channel,
            reason="ChannelNotConfigured",
            message="Channel has not yet been reconciled.",
        )
        address = channel.status.address
        if address is None or not address.url:
            if not conditions.is_false("TriggerChannelReady"):
                conditions.mark_unknown("TriggerChannelReady", "NoAddress", "Channel does not have an address.")
            _forget_channel(status)
            return None
        told = {
            eventing.CHANNEL_ADDRESS_ANNOTATION: address.url,
            eventing.CHANNEL_CA_CERTS_ANNOTATION: address.ca_certs,
            eventing.CHANNEL_AUDIENCE_ANNOTATION: address.audience,
            keys.CHANNEL_API_VERSION: template["apiVersion"],
            keys.CHANNEL_KIND: template["kind"],
            keys.CHANNEL_NAME: channel.name,
        }
        _forget_channel(status)
        status.annotations |= {name: text for name, text in told.items() if text}
        return None

    def _channel_policy(self, broker: Broker, channel: ChannelDuck, template: JsonObject) -> JsonObject:
        """Who may send to the channel: the ingress, whose namespace is another one, and nobody past it."""
        sender = f"system:serviceaccount:{self._cluster.system_namespace}:{keys.INGRESS_ACCOUNT}"
        ref = {"apiVersion": template["apiVersion"], "kind": template["kind"], "name": channel.name}
        return {
            "apiVersion": EventPolicy.RESOURCE.api_version,
            "kind": "EventPolicy",
            "metadata": child_metadata(broker, child_name(broker.name, "-kne-trigger-ingress")),
            "spec": {"from": [{"sub": sender}], "to": [{"ref": ref}]},
        }

    def _without_channel(self, status: BrokerStatus, conditions: Conditions, reason: str, text: str) -> float:
        _forget_channel(status)
        status.address, status.addresses = None, []
        conditions.mark_false("TriggerChannelReady", reason, text)
        conditions.mark_false("Addressable", reason, text)
        return _RETRY_S

    async def _template(self, broker: Broker) -> JsonObject:
        """What the channel is made from. Raises `NoTemplate`."""
        ref = broker.spec.config
        if ref is None:
            raise NoTemplate("spec.config is missing")
        if (ref.api_version, ref.kind) != ("v1", "ConfigMap"):
            raise NoTemplate(f"spec.config: expected a ConfigMap of v1, got {ref.kind} of {ref.api_version}")
        namespace = ref.namespace or broker.namespace
        config: ConfigMap | None = self._cluster.config_maps.get(namespace, ref.name)
        if config is None:
            raise NoTemplate(f'configmaps "{ref.name}" not found in namespace {namespace}')
        try:
            return channel_template(config.data)
        except InvalidConfig as error:
            raise NoTemplate(f"{namespace}/{ref.name}: {error}") from error

    def _propagate_endpoints(self, conditions: Conditions, type_: str, service: str, what: str) -> None:
        if has_addresses(self._cluster.endpoints.get(self._cluster.system_namespace, service)):
            conditions.mark_true(type_)
        else:
            conditions.mark_false(
                type_, "EndpointsUnavailable", f'Endpoints "{service}" of the {what} are unavailable.'
            )

    def _tell_addresses(self, broker: Broker, status: BrokerStatus) -> None:
        cluster = self._cluster
        path = f"{cluster.host_of(keys.INGRESS)}/{broker.namespace}/{broker.name}"
        tell_addresses(
            status,
            http_url=f"http://{path}",
            https_url=f"https://{path}",
            ca_certs=cluster.ca_of(_TLS_SECRET),
            features=cluster.settings.features,
            audience=f"eventing.knative.dev/broker/{broker.namespace}/{broker.name}".lower(),
        )


def channel_of(broker: Broker, template: JsonObject) -> JsonObject:
    """The Broker's channel as it should be."""
    annotations = {"eventing.knative.dev/scope": "cluster"} | {
        key: value for key, value in broker.metadata.annotations.items() if key.startswith(keys.MESSAGING_PREFIX)
    }
    spec = spec_of(template)
    delivery = delivery_within(broker.spec.delivery, broker.namespace)
    if delivery is not None:
        spec["delivery"] = msgspec.to_builtins(delivery)
    labels = {keys.BROKER: broker.name, keys.BROKER_EVERYTHING: "true"}
    return {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": child_metadata(broker, child_name(broker.name, "-kne-trigger"), labels, annotations),
        "spec": spec,
    }


def _forget_channel(status: BrokerStatus) -> None:
    status.annotations = {key: text for key, text in status.annotations.items() if key not in _ANNOTATIONS}


def mirror(conditions: Conditions, told: str, as_: str, missing: str) -> None:
    """Set a condition as another one, which a process of the data plane writes."""
    found = conditions.get(told)
    if found is None:
        conditions.mark_unknown(as_, "NotTold", missing)
    else:
        copy_condition(conditions, as_, found)
