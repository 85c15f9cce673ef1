"""autoscaling.internal.knative.dev/v1alpha1: PodAutoscaler and Metric (spec autoscaler.md 4, 7)."""

from typing import ClassVar

from msgspec import field

from kube.models.core import ObjectReference
from kube.models.meta import Condition, Model, Resource, ResourceInfo

__all__ = ["Metric", "MetricSpec", "MetricStatus", "PodAutoscaler", "PodAutoscalerSpec", "PodAutoscalerStatus"]

GROUP = "autoscaling.internal.knative.dev"


class PodAutoscalerSpec(Model, omit_defaults=False):
    """What is scaled, and what it can take."""

    container_concurrency: int = 0
    scale_target_ref: ObjectReference = field(default_factory=ObjectReference)
    reachability: str = ""
    protocol_type: str = ""


class PodAutoscalerStatus(Model):
    """The decision and its surroundings. Scales are None until known."""

    observed_generation: int = 0
    conditions: list[Condition] = []
    annotations: dict[str, str] = {}
    service_name: str = ""
    metrics_service_name: str = ""
    desired_scale: int | None = None
    actual_scale: int | None = None


class PodAutoscaler(Resource):
    """The wish that a revision be scaled; same name as the Revision."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "podautoscalers", "PodAutoscaler")
    spec: PodAutoscalerSpec = field(default_factory=PodAutoscalerSpec)
    status: PodAutoscalerStatus = field(default_factory=PodAutoscalerStatus)


class MetricSpec(Model, omit_defaults=False):
    """What is collected. Windows in nanoseconds."""

    stable_window: int = 0
    panic_window: int = 0
    scrape_target: str = ""


class MetricStatus(Model):
    """Whether collecting works."""

    observed_generation: int = 0
    conditions: list[Condition] = []


class Metric(Resource):
    """The wish that load figures of a revision be collected."""

    RESOURCE: ClassVar = ResourceInfo(GROUP, "v1alpha1", "metrics", "Metric")
    spec: MetricSpec = field(default_factory=MetricSpec)
    status: MetricStatus = field(default_factory=MetricStatus)
