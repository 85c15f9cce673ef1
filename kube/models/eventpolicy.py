"""eventing.knative.dev/v1alpha1: EventPolicy, who may send what to whom (spec eventing-sources.md 8)."""

from typing import Any, ClassVar

from msgspec import field

from kube.models.duck import KReference, PlainStatus
from kube.models.meta import LabelSelector, Model, Resource, ResourceInfo

__all__ = ["EventPolicy", "EventPolicySpec", "EventPolicyStatus", "PolicySelector", "PolicySource", "PolicyTarget"]


class PolicySelector(LabelSelector):
    """Objects of a kind with these labels."""

    api_version: str = ""
    kind: str = ""


class PolicyTarget(Model):
    """Who is protected: one object, or those that a selector matches."""

    ref: KReference | None = None
    selector: PolicySelector | None = None


class PolicySource(Model):
    """Who may send: an object with an identity, or a subject; `*` at its end stands for any rest."""

    ref: KReference | None = None
    sub: str | None = None


class EventPolicySpec(Model):
    """Without `to` everything of the namespace is meant. `filters` are raw, of the dialects of Triggers."""

    to: list[PolicyTarget] = []
    from_: list[PolicySource] = field(default_factory=list, name="from")
    filters: list[dict[str, Any]] = []


class EventPolicyStatus(PlainStatus):
    """`from_` holds the subjects that may send."""

    from_: list[str] = field(default_factory=list, name="from")


class EventPolicy(Resource):
    """Allows some senders; once any policy holds for an object, nobody else may send to it."""

    RESOURCE: ClassVar = ResourceInfo("eventing.knative.dev", "v1alpha1", "eventpolicies", "EventPolicy")
    spec: EventPolicySpec = field(default_factory=EventPolicySpec)
    status: EventPolicyStatus = field(default_factory=EventPolicyStatus)
