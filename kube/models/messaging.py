"""messaging.knative.dev: Channel and the channels that stand behind it, Subscription.

Source: spec eventing-channels.md 6, 7, 9.
"""

from typing import Any, ClassVar

from msgspec import field

from kube.models.duck import (
    Auth,
    ChannelableStatus,
    DeliverySpec,
    Destination,
    KReference,
    PlainStatus,
    SubscribableSpec,
    TemplateSpec,
)
from kube.models.meta import Model, Resource, ResourceInfo

__all__ = [
    "Channel",
    "ChannelSpec",
    "ChannelStatus",
    "InMemoryChannel",
    "NatsJetStreamChannel",
    "NatsJetStreamChannelSpec",
    "PhysicalSubscription",
    "Subscription",
    "SubscriptionSpec",
    "SubscriptionStatus",
]

GROUP = "messaging.knative.dev"

SUBSCRIBABLE_ANNOTATION = "messaging.knative.dev/subscribable"
"""`v1` on every kind of channel that has `spec.subscribers` of this shape."""
SCOPE_ANNOTATION = "eventing.knative.dev/scope"
"""On an InMemoryChannel: `namespace` for a dispatcher in its own namespace; else the one of the system namespace."""
ASYNC_ANNOTATION = "messaging.knative.dev/async-handler"
"""On an InMemoryChannel: whether 202 comes before the dispatch (spec 4)."""


class ChannelSpec(SubscribableSpec):
    """Any kind of channel; `channel_template` says which."""

    channel_template: TemplateSpec | None = None


class ChannelStatus(ChannelableStatus):
    """The state of the channel behind, and which it is."""

    channel: KReference | None = None


class Channel(Resource):
    """A channel whose kind others chose; the one behind has the same name."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "channels", "Channel")
    spec: ChannelSpec = field(default_factory=ChannelSpec)
    status: ChannelStatus = field(default_factory=ChannelStatus)


class InMemoryChannel(Resource):
    """A channel that keeps nothing: who sends waits until all subscribers have the event."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "inmemorychannels", "InMemoryChannel")
    spec: SubscribableSpec = field(default_factory=SubscribableSpec)
    status: ChannelableStatus = field(default_factory=ChannelableStatus)


class NatsJetStreamChannelSpec(SubscribableSpec):
    """`stream` and `consumer_config_template` are raw (spec 9.1)."""

    stream: dict[str, Any] | None = None
    consumer_config_template: dict[str, Any] | None = None


class NatsJetStreamChannel(Resource):
    """A channel that keeps events in a stream of NATS."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "natsjetstreamchannels", "NatsJetStreamChannel")
    spec: NatsJetStreamChannelSpec = field(default_factory=NatsJetStreamChannelSpec)
    status: ChannelableStatus = field(default_factory=ChannelableStatus)


class SubscriptionSpec(Model):
    """Who gets a channel's events, and where the answers go. `channel` never changes."""

    channel: KReference = field(default_factory=KReference)
    subscriber: Destination | None = None
    reply: Destination | None = None
    delivery: DeliverySpec | None = None


class PhysicalSubscription(Model):
    """All addresses, resolved."""

    subscriber_uri: str | None = None
    subscriber_ca_certs: str | None = field(default=None, name="subscriberCACerts")
    subscriber_audience: str | None = None
    reply_uri: str | None = None
    reply_ca_certs: str | None = field(default=None, name="replyCACerts")
    reply_audience: str | None = None
    dead_letter_sink_uri: str | None = None
    dead_letter_sink_ca_certs: str | None = field(default=None, name="deadLetterSinkCACerts")
    dead_letter_sink_audience: str | None = None


class SubscriptionStatus(PlainStatus):
    """What was written into the channel."""

    physical_subscription: PhysicalSubscription = field(default_factory=PhysicalSubscription)
    auth: Auth | None = None


class Subscription(Resource):
    """Somebody who gets the events of a channel."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "subscriptions", "Subscription")
    spec: SubscriptionSpec = field(default_factory=SubscriptionSpec)
    status: SubscriptionStatus = field(default_factory=SubscriptionStatus)
