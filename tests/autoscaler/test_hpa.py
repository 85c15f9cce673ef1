"""`autoscaler.hpa`: what a HorizontalPodAutoscaler is asked for (spec autoscaler.md 11)."""

import pytest

from autoscaler.hpa import horizontal_spec
from autoscaler.settings import resolve
from kube.autoscaling.config import HPA_CLASS, AutoscalerConfig
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerSpec
from kube.models.core import ObjectReference
from kube.models.horizontal_autoscaling import HorizontalPodAutoscalerSpec
from kube.models.meta import ObjectMeta


def spec(
    annotations: dict[str, str], *, config: dict[str, str] | None = None, reachability: str = ""
) -> HorizontalPodAutoscalerSpec:
    own = {f"autoscaling.knative.dev/{key}": text for key, text in annotations.items()}
    own["autoscaling.knative.dev/class"] = HPA_CLASS
    autoscaler = PodAutoscaler(
        metadata=ObjectMeta(name="hello-00001", namespace="default", annotations=own),
        spec=PodAutoscalerSpec(
            scale_target_ref=ObjectReference(api_version="apps/v1", kind="Deployment", name="hello-00001-deployment"),
            reachability=reachability,
        ),
    )
    settings = resolve(
        own,
        container_concurrency=0,
        reachability=reachability,
        metrics_service="",
        config=AutoscalerConfig.from_data(config or {}),
    )
    return horizontal_spec(autoscaler, settings)


def test_without_annotations_only_the_target_of_the_scale_is_said() -> None:
    made = spec({})
    ref = made.scale_target_ref
    assert (ref.api_version, ref.kind, ref.name) == ("apps/v1", "Deployment", "hello-00001-deployment")
    assert (made.min_replicas, made.max_replicas) == (None, 2147483647)
    assert (made.metrics, made.behavior) == ([], None)


@pytest.mark.parametrize(
    ("annotations", "config", "reachability", "bounds"),
    [
        ({"min-scale": "2", "max-scale": "8"}, {}, "", (2, 8)),
        ({"min-scale": "2"}, {}, "Unreachable", (None, 2147483647)),
        ({}, {"min-scale": "1", "max-scale": "3"}, "", (1, 3)),
        ({"min-scale": "0", "max-scale": "0"}, {"min-scale": "1", "max-scale": "3"}, "", (None, 2147483647)),
        ({"minScale": "4"}, {}, "", (4, 2147483647)),
    ],
)
def test_bounds(
    annotations: dict[str, str], config: dict[str, str], reachability: str, bounds: tuple[int | None, int]
) -> None:
    made = spec(annotations, config=config, reachability=reachability)
    assert (made.min_replicas, made.max_replicas) == bounds


@pytest.mark.parametrize(("target", "percent"), [("50", 50), ("50.1", 51), ("0.01", 1), ("Inf", 2147483647)])
def test_cpu_is_aimed_at_in_percent_rounded_up(target: str, percent: int) -> None:
    for metric in ({}, {"metric": "cpu"}):
        (source,) = spec({"target": target, **metric}).metrics
        assert (source.type, source.pods) == ("Resource", None)
        assert source.resource is not None
        assert source.resource.name == "cpu"
        aim = source.resource.target
        assert (aim.type, aim.average_utilization, aim.average_value) == ("Utilization", percent, None)


@pytest.mark.parametrize(("target", "value"), [("100", "100Mi"), ("100.9", "100Mi"), ("2048", "2Gi"), ("0.5", "0")])
def test_memory_is_aimed_at_in_whole_mebibytes(target: str, value: str) -> None:
    (source,) = spec({"metric": "memory", "target": target}).metrics
    assert source.resource is not None
    assert source.resource.name == "memory"
    aim = source.resource.target
    assert (aim.type, aim.average_utilization, aim.average_value) == ("AverageValue", None, value)


@pytest.mark.parametrize(("target", "value"), [("5", "5"), ("5.9", "5"), ("2000", "2k"), ("2500", "2500")])
def test_any_other_metric_is_one_of_the_pods(target: str, value: str) -> None:
    (source,) = spec({"metric": "queue_length", "target": target}).metrics
    assert (source.type, source.resource) == ("Pods", None)
    assert source.pods is not None
    assert source.pods.metric.name == "queue_length"
    assert (source.pods.target.type, source.pods.target.average_value) == ("AverageValue", value)


def test_the_window_steadies_both_directions() -> None:
    behavior = spec({"window": "1m30s"}).behavior
    assert behavior is not None
    for rules in (behavior.scale_up, behavior.scale_down):
        assert rules is not None
        assert rules.stabilization_window_seconds == 90
