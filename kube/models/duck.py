"""Shapes that many kinds of eventing share: destinations, addresses, delivery, subscribers (Knative's "duck types").

Names of fields are those of `knative.dev/pkg/apis/duck/v1` and of `duck.knative.dev/v1`. None stands for absence where
that means something else than the empty value: a Subscription without `delivery` takes its channel's, one with an empty
`delivery` has its own (spec eventing-channels.md 7). Source: spec eventing-channels.md 1, 6, eventing-sources.md 1.1.
"""

from typing import Any, TypeAlias

from msgspec import field

from kube.models.meta import Condition, LabelSelector, Model

__all__ = [
    "Addressable",
    "AddressableStatus",
    "AppliedPolicy",
    "Auth",
    "ChannelableStatus",
    "DeliverableStatus",
    "DeliverySpec",
    "Destination",
    "KReference",
    "PlainStatus",
    "SubjectReference",
    "SubscribableSpec",
    "SubscriberSpec",
    "SubscriberStatus",
    "TemplateSpec",
]

TemplateSpec: TypeAlias = dict[str, Any]
"""What a channel is made from: `apiVersion`, `kind`, and a raw `spec`; nothing of it may be lost."""


class KReference(Model):
    """An object by name. `namespace` is empty for the referring object's own; `address` names one of its addresses."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    api_version: str = ""
    group: str = ""
    address: str = ""


class Destination(Model):
    """Where events go: a URI, an object that has an address, or a URI relative to that address."""

    ref: KReference | None = None
    uri: str | None = None
    ca_certs: str | None = field(default=None, name="CACerts")
    audience: str | None = None


class DeliverySpec(Model):
    """How a delivery is tried again and where it ends. Durations are ISO 8601 text, checked at admission."""

    dead_letter_sink: Destination | None = None
    retry: int | None = None
    timeout: str | None = None
    backoff_policy: str | None = None
    backoff_delay: str | None = None
    retry_after_max: str | None = None
    format: str | None = None


class Addressable(Model):
    """One address: `name` is `http` or `https`, or None for the only one."""

    name: str | None = None
    url: str = ""
    ca_certs: str | None = field(default=None, name="CACerts")
    audience: str | None = None


class AppliedPolicy(Model):
    """An EventPolicy that holds for an object of the same namespace."""

    name: str = ""
    api_version: str = ""


class Auth(Model):
    """The identity that an object sends with; empty while OIDC is off."""

    service_account_name: str | None = None


class PlainStatus(Model):
    """What every status has."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    annotations: dict[str, str] = {}

    def is_ready(self) -> bool:
        """Whether the condition Ready is True."""
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.conditions)


class AddressableStatus(PlainStatus):
    """A status with addresses; `address` is the one to use, `addresses` are all of them, the preferred one first."""

    address: Addressable | None = None
    addresses: list[Addressable] = []
    policies: list[AppliedPolicy] = []


class DeliverableStatus(AddressableStatus):
    """A status with addresses that also says where undeliverable events go, resolved."""

    dead_letter_sink_uri: str | None = None
    dead_letter_sink_ca_certs: str | None = field(default=None, name="deadLetterSinkCACerts")
    dead_letter_sink_audience: str | None = None


class SubscriberSpec(Model):
    """One entry of a channel's `spec.subscribers`: a Subscription by uid and generation, all addresses resolved."""

    uid: str = ""
    name: str | None = None
    generation: int = 0
    subscriber_uri: str | None = None
    subscriber_ca_certs: str | None = field(default=None, name="subscriberCACerts")
    subscriber_audience: str | None = None
    reply_uri: str | None = None
    reply_ca_certs: str | None = field(default=None, name="replyCACerts")
    reply_audience: str | None = None
    delivery: DeliverySpec | None = None
    auth: Auth | None = None


class SubscriberStatus(Model):
    """What a dispatcher says of an entry: `ready` is a condition's status."""

    uid: str = ""
    observed_generation: int = 0
    ready: str = ""
    message: str = ""
    auth: Auth | None = None


class SubscribableSpec(Model):
    """What every channel's spec has."""

    subscribers: list[SubscriberSpec] = []
    delivery: DeliverySpec | None = None


class ChannelableStatus(DeliverableStatus):
    """What every channel's status has."""

    subscribers: list[SubscriberStatus] = []


class SubjectReference(Model):
    """Objects of one kind: one by its name, or all that a selector matches."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    selector: LabelSelector | None = None
