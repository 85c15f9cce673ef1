"""autoscaling/v2: HorizontalPodAutoscaler, as far as revisions of class hpa need it (spec autoscaler.md 11)."""

from typing import ClassVar

from msgspec import field

from kube.models.meta import Model, Resource, ResourceInfo

__all__ = [
    "CrossVersionObjectReference",
    "HorizontalPodAutoscaler",
    "HorizontalPodAutoscalerBehavior",
    "HorizontalPodAutoscalerSpec",
    "HorizontalPodAutoscalerStatus",
    "MetricIdentifier",
    "MetricSource",
    "MetricTarget",
    "PodsMetricSource",
    "ResourceMetricSource",
    "ScalingRules",
]


class CrossVersionObjectReference(Model):
    """What is scaled, in the same namespace."""

    api_version: str = ""
    kind: str = ""
    name: str = ""


class MetricTarget(Model):
    """The value aimed at: `Utilization` in percent of what the pods request, or `AverageValue` per pod."""

    type: str = ""
    average_utilization: int | None = None
    average_value: str | None = None
    """A quantity, such as `100Mi`."""


class ResourceMetricSource(Model):
    """Use of `cpu` or `memory`, averaged over the pods."""

    name: str = ""
    target: MetricTarget = field(default_factory=MetricTarget)


class MetricIdentifier(Model):
    """Which metric."""

    name: str = ""


class PodsMetricSource(Model):
    """A metric that describes each pod."""

    metric: MetricIdentifier = field(default_factory=MetricIdentifier)
    target: MetricTarget = field(default_factory=MetricTarget)


class MetricSource(Model):
    """What to scale by: `Resource` or `Pods`, and the field of that name."""

    type: str = ""
    resource: ResourceMetricSource | None = None
    pods: PodsMetricSource | None = None


class ScalingRules(Model):
    """How fast, in one direction."""

    stabilization_window_seconds: int | None = None


class HorizontalPodAutoscalerBehavior(Model):
    """How fast, in both directions."""

    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


class HorizontalPodAutoscalerSpec(Model):
    """What is scaled, within which bounds, by what."""

    scale_target_ref: CrossVersionObjectReference = field(default_factory=CrossVersionObjectReference)
    min_replicas: int | None = None
    max_replicas: int = 0
    metrics: list[MetricSource] = []
    behavior: HorizontalPodAutoscalerBehavior | None = None


class HorizontalPodAutoscalerStatus(Model):
    """Where the cluster's own autoscaler is, and where it wants to be."""

    current_replicas: int = 0
    desired_replicas: int = 0


class HorizontalPodAutoscaler(Resource):
    """The wish that the cluster's own autoscaler scale something."""

    RESOURCE: ClassVar = ResourceInfo("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
    spec: HorizontalPodAutoscalerSpec = field(default_factory=HorizontalPodAutoscalerSpec)
    status: HorizontalPodAutoscalerStatus = field(default_factory=HorizontalPodAutoscalerStatus)
