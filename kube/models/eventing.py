"""eventing.knative.dev: Broker, Trigger, EventType (spec eventing-broker.md 7, 8, 11; eventing-sources.md 8)."""

from typing import Any, ClassVar

from msgspec import field

from kube.models.duck import (
    Auth,
    DeliverableStatus,
    DeliverySpec,
    Destination,
    KReference,
    PlainStatus,
)
from kube.models.meta import Model, Resource, ResourceInfo

__all__ = [
    "Broker",
    "BrokerSpec",
    "BrokerStatus",
    "EventAttribute",
    "EventType",
    "EventTypeSpec",
    "Trigger",
    "TriggerSpec",
    "TriggerStatus",
]

GROUP = "eventing.knative.dev"

BROKER_CLASS_ANNOTATION = "eventing.knative.dev/broker.class"
CHANNEL_ADDRESS_ANNOTATION = "knative.dev/channelAddress"
"""In a Broker's status: the URL to which its ingress sends."""
CHANNEL_CA_CERTS_ANNOTATION = "knative.dev/channelCACerts"
CHANNEL_AUDIENCE_ANNOTATION = "knative.dev/channelAudience"


class BrokerSpec(Model):
    """`config` names what the class needs to know, for `MTChannelBasedBroker` a ConfigMap with a channel template."""

    config: KReference | None = None
    delivery: DeliverySpec | None = None


class BrokerStatus(DeliverableStatus):
    """Where events are taken in; annotations say which channel stands behind it."""


class Broker(Resource):
    """Takes events in and gives each to the Triggers that want it."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "brokers", "Broker")
    spec: BrokerSpec = field(default_factory=BrokerSpec)
    status: BrokerStatus = field(default_factory=BrokerStatus)

    @property
    def broker_class(self) -> str:
        """Who looks after this Broker; empty when defaulting never saw it."""
        return self.metadata.annotations.get(BROKER_CLASS_ANNOTATION, "")


class TriggerSpec(Model):
    """`filters` and `filter` are raw, as `eventing.filters.dialects.compile_trigger` takes them."""

    broker: str = ""
    broker_ref: KReference | None = None
    filter: dict[str, Any] | None = None
    filters: list[dict[str, Any]] | None = None
    subscriber: Destination = field(default_factory=Destination)
    delivery: DeliverySpec | None = None


class TriggerStatus(PlainStatus):
    """The subscriber and the dead letter sink, resolved."""

    subscriber_uri: str | None = None
    subscriber_ca_certs: str | None = field(default=None, name="subscriberCACerts")
    subscriber_audience: str | None = None
    dead_letter_sink_uri: str | None = None
    dead_letter_sink_ca_certs: str | None = field(default=None, name="deadLetterSinkCACerts")
    dead_letter_sink_audience: str | None = None
    auth: Auth | None = None


class Trigger(Resource):
    """The wish of a subscriber to get some of a Broker's events."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "triggers", "Trigger")
    spec: TriggerSpec = field(default_factory=TriggerSpec)
    status: TriggerStatus = field(default_factory=TriggerStatus)

    @property
    def broker_key(self) -> tuple[str, str]:
        """(namespace, name) of the Broker, which stands in another namespace only by `brokerRef`."""
        reference = self.spec.broker_ref
        if reference is None:
            return self.namespace, self.spec.broker
        return reference.namespace or self.namespace, reference.name


class EventAttribute(Model):
    """One attribute of the events of a type; `value` may hold placeholders in braces."""

    name: str = ""
    required: bool = False
    value: str = ""


class EventTypeSpec(Model):
    """`reference` is who sends such events, often a Broker."""

    reference: KReference | None = None
    description: str = ""
    attributes: list[EventAttribute] = []


class EventType(Resource):
    """A type of events that exists, for people to find."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1beta3", "eventtypes", "EventType")
    spec: EventTypeSpec = field(default_factory=EventTypeSpec)
    status: PlainStatus = field(default_factory=PlainStatus)
