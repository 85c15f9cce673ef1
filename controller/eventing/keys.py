"""Names that the control plane of eventing writes and others read. Source: spec eventing-broker.md 11."""

from typing import Final

__all__ = [
    "BROKER",
    "BROKER_EVERYTHING",
    "DEPENDENCY",
    "FILTER",
    "INGRESS",
    "INJECTION",
    "JETSTREAM_BROKER",
    "JOB_SINK",
    "MT_BROKER",
    "TRIGGER",
]

MT_BROKER: Final = "MTChannelBasedBroker"
JETSTREAM_BROKER: Final = "JetStreamBroker"
"""Our own class: ingress and filter use a stream of NATS, without a channel between them."""
BROKER_CLASSES: Final = frozenset([MT_BROKER, JETSTREAM_BROKER])
"""The classes that are looked after here; Brokers of another class are somebody else's."""

BROKER: Final = "eventing.knative.dev/broker"
BROKER_EVERYTHING: Final = "eventing.knative.dev/brokerEverything"
TRIGGER: Final = "eventing.knative.dev/trigger"
DEPENDENCY: Final = "knative.dev/dependency"
"""On a Trigger: an object, as JSON, that has to be ready first."""
INJECTION: Final = "eventing.knative.dev/injection"
MESSAGING_PREFIX: Final = "messaging.knative.dev"
"""Annotations of a Broker that begin so are its channel's, too."""
JETSTREAM_PREFIX: Final = "jetstream.eventing.knuv.dev/"
"""Annotations of a Trigger that begin so are its Subscription's, too."""

CHANNEL_API_VERSION: Final = "knative.dev/channelAPIVersion"
CHANNEL_KIND: Final = "knative.dev/channelKind"
CHANNEL_NAME: Final = "knative.dev/channelName"

INGRESS: Final = "broker-ingress"
INGRESS_ACCOUNT: Final = "mt-broker-ingress-oidc"
"""The service account, in the system namespace, whose token the ingress shows to channels."""
FILTER: Final = "broker-filter"
FILTER_AUDIENCE: Final = "mt-broker-filter"
IMC_DISPATCHER: Final = "imc-dispatcher"
JETSTREAM_DISPATCHER: Final = "jetstream-ch-dispatcher"
JOB_SINK: Final = "job-sink"
