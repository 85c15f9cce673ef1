"""flows.knative.dev: Sequence and Parallel, made of channels and Subscriptions (spec eventing-sources.md 7)."""

from typing import ClassVar

from msgspec import field

from kube.models.core import ObjectReference
from kube.models.duck import AddressableStatus, DeliverySpec, Destination, TemplateSpec
from kube.models.meta import Condition, Model, Resource, ResourceInfo

__all__ = [
    "FlowChannelStatus",
    "FlowSubscriptionStatus",
    "Parallel",
    "ParallelBranch",
    "ParallelBranchStatus",
    "ParallelSpec",
    "ParallelStatus",
    "Sequence",
    "SequenceSpec",
    "SequenceStatus",
    "SequenceStep",
]

GROUP = "flows.knative.dev"


class FlowChannelStatus(Model):
    """One channel of a flow and whether it is ready."""

    channel: ObjectReference = field(default_factory=ObjectReference)
    ready: Condition | None = None


class FlowSubscriptionStatus(Model):
    """One Subscription of a flow and whether it is ready."""

    subscription: ObjectReference = field(default_factory=ObjectReference)
    ready: Condition | None = None


class SequenceStep(Destination):
    """A destination, and how it is delivered to."""

    delivery: DeliverySpec | None = None


class SequenceSpec(Model):
    """Each step gets what the one before answered."""

    steps: list[SequenceStep] = []
    channel_template: TemplateSpec | None = None
    reply: Destination | None = None


class SequenceStatus(AddressableStatus):
    """The states of its parts, in order."""

    subscription_statuses: list[FlowSubscriptionStatus] = []
    channel_statuses: list[FlowChannelStatus] = []


class Sequence(Resource):
    """Steps, one after the other."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "sequences", "Sequence")
    spec: SequenceSpec = field(default_factory=SequenceSpec)
    status: SequenceStatus = field(default_factory=SequenceStatus)


class ParallelBranch(Model):
    """`filter` answers with the event that the subscriber shall see, or with nothing."""

    filter: Destination | None = None
    subscriber: Destination = field(default_factory=Destination)
    reply: Destination | None = None
    delivery: DeliverySpec | None = None


class ParallelSpec(Model):
    """Branches that are independent of each other; `reply` is for those that have none of their own."""

    branches: list[ParallelBranch] = []
    channel_template: TemplateSpec | None = None
    reply: Destination | None = None


class ParallelBranchStatus(Model):
    """The states of one branch's parts."""

    filter_subscription_status: FlowSubscriptionStatus = field(default_factory=FlowSubscriptionStatus)
    filter_channel_status: FlowChannelStatus = field(default_factory=FlowChannelStatus)
    subscriber_subscription_status: FlowSubscriptionStatus = field(default_factory=FlowSubscriptionStatus)


class ParallelStatus(AddressableStatus):
    """The states of its parts, in order."""

    ingress_channel_status: FlowChannelStatus = field(default_factory=FlowChannelStatus)
    branch_statuses: list[ParallelBranchStatus] = []


class Parallel(Resource):
    """Branches, all at once."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1", "parallels", "Parallel")
    spec: ParallelSpec = field(default_factory=ParallelSpec)
    status: ParallelStatus = field(default_factory=ParallelStatus)
