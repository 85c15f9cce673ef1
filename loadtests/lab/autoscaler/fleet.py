"""Revisions as the autoscaler finds them in the API: settled, so that it has nothing to write, only to watch.

Pure: descriptions in, objects out. Whatever controllers would have made of a revision is made here at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from kube.models.apps import Deployment, DeploymentSpec
from kube.models.autoscaling import (
    Metric,
    MetricSpec,
    MetricStatus,
    PodAutoscaler,
    PodAutoscalerSpec,
    PodAutoscalerStatus,
)
from kube.models.core import ObjectReference, Pod, PodStatus
from kube.models.meta import Condition, LabelSelector, ObjectMeta, Resource
from kube.models.networking import ServerlessService, ServerlessServiceSpec, ServerlessServiceStatus
from kube.timestamps import format_time

__all__ = ["NAMESPACE", "Group", "RevisionOf", "autoscaler_of", "children_of"]

NAMESPACE = "default"
TARGET = 70.0
"""Concurrency that a pod aims at, where nothing else is said."""
_LONG_AGO = format_time(1_700_000_000.0)
_WINDOW_NS = 60_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """So many revisions alike."""

    name: str
    revisions: int
    pods: int = 1
    """Ready pods of each; 0: scaled to zero."""
    is_scraped: bool = True
    """False: burst capacity is unlimited, so activators see everything and no pod is asked."""

    def names(self) -> list[str]:
        """The revisions' names."""
        return [f"{self.name}-{number:05}" for number in range(self.revisions)]


@dataclass(frozen=True, slots=True)
class RevisionOf:
    """One revision of a group."""

    group: Group
    number: int
    labels: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        service = f"{self.group.name}-svc-{self.number:05}"
        labels = {
            "serving.knative.dev/revision": self.name,
            "serving.knative.dev/configuration": service,
            "serving.knative.dev/service": service,
        }
        object.__setattr__(self, "labels", labels)

    @property
    def name(self) -> str:
        """Also of its PodAutoscaler, Metric and ServerlessService."""
        return f"{self.group.name}-{self.number:05}"

    def meta(self, name: str = "") -> ObjectMeta:
        """Metadata of an object that belongs to it."""
        annotations = {
            "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
            "autoscaling.knative.dev/metric": "concurrency",
            "autoscaling.knative.dev/target-burst-capacity": "0" if self.group.is_scraped else "-1",
        }
        return ObjectMeta(
            name=name or self.name, namespace=NAMESPACE, labels=dict(self.labels), annotations=annotations
        )


def autoscaler_of(revision: RevisionOf) -> PodAutoscaler:
    """Its PodAutoscaler."""
    is_active = revision.group.pods > 0
    return PodAutoscaler(
        metadata=revision.meta(),
        spec=PodAutoscalerSpec(
            scale_target_ref=ObjectReference(
                api_version="apps/v1", kind="Deployment", name=f"{revision.name}-deployment"
            ),
            reachability="Reachable",
            protocol_type="http1",
        ),
        status=PodAutoscalerStatus(
            observed_generation=1,
            service_name=revision.name,
            metrics_service_name=f"{revision.name}-private",
            desired_scale=revision.group.pods,
            actual_scale=revision.group.pods,
            conditions=[
                _true("Active") if is_active else _false("Active"),
                _true("Ready") if is_active else _false("Ready"),
                _true("SKSReady"),
                _true("ScaleTargetInitialized"),
            ],
        ),
    )


def children_of(revision: RevisionOf, owner: PodAutoscaler, addresses: Iterator[str]) -> Iterator[Resource]:
    """Everything else about it. `owner`: its PodAutoscaler as the API has it; `addresses`: for its pods."""
    group = revision.group
    serves = group.is_scraped and group.pods > 0
    metric = Metric(
        metadata=revision.meta(),
        spec=MetricSpec(
            stable_window=_WINDOW_NS,
            panic_window=_WINDOW_NS // 10,
            scrape_target=f"{revision.name}-private" if group.is_scraped else "",
        ),
        status=MetricStatus(observed_generation=1, conditions=[_true("Ready")]),
    )
    service = ServerlessService(
        metadata=revision.meta(),
        spec=ServerlessServiceSpec(
            mode="Serve" if serves else "Proxy",
            object_ref=owner.spec.scale_target_ref,
            protocol_type="http1",
            num_activators=2,
        ),
        status=ServerlessServiceStatus(
            observed_generation=1,
            service_name=revision.name,
            private_service_name=f"{revision.name}-private",
            conditions=[_true("ActivatorEndpointsPopulated"), _true("EndpointsPopulated"), _true("Ready")],
        ),
    )
    for owned in (metric, service):
        owned.metadata.owner_references = [owner.owner_reference()]
        yield owned
    template = {
        "metadata": {"labels": revision.labels},
        "spec": {"containers": [{"name": "user-container", "image": "dev.local/hello"}]},
    }
    yield Deployment(
        metadata=revision.meta(f"{revision.name}-deployment"),
        spec=DeploymentSpec(
            replicas=group.pods, selector=LabelSelector(match_labels=revision.labels), template=template
        ),
    )
    for pod in range(group.pods):
        yield Pod(
            metadata=revision.meta(f"{revision.name}-deployment-{pod}"),
            status=PodStatus(
                phase="Running",
                pod_ip=next(addresses),
                start_time=_LONG_AGO,
                conditions=[_true("Ready")],
            ),
        )


def _true(type_: str) -> Condition:
    return Condition(type=type_, status="True", last_transition_time=_LONG_AGO)


def _false(type_: str) -> Condition:
    return Condition(
        type=type_,
        status="False",
        reason="NoTraffic",
        message="The target is not receiving traffic.",
        last_transition_time=_LONG_AGO,
    )
