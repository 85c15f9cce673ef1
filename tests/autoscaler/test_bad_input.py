"""Annotations that no admission would let pass, and such that contradict each other: nothing breaks, and no scale is
ever beyond the bounds that can be read."""

import math

import hypothesis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autoscaler.activators import ACTIVATORS_MIN, activator_count
from autoscaler.collector import Collection
from autoscaler.decider import Decider
from autoscaler.hpa import horizontal_spec
from autoscaler.scale import ActivatorProbe, Plan, Situation, bounds, plan_scale
from autoscaler.settings import RevisionSettings, resolve
from kube.autoscaling.config import AutoscalerConfig
from kube.models.autoscaling import PodAutoscaler
from kube.models.meta import ObjectMeta
from proxies.wire.stat import Stat

T0 = 1_785_542_400.0
DEFAULTS = AutoscalerConfig()
KEYS = (
    "min-scale",
    "minScale",
    "max-scale",
    "initial-scale",
    "activation-scale",
    "scale-down-delay",
    "scale-to-zero-pod-retention-period",
    "target",
    "target-burst-capacity",
    "target-utilization-percentage",
    "window",
    "panic-window-percentage",
    "panic-threshold-percentage",
    "metric",
    "metric-aggregation-algorithm",
)
TEXTS = (
    *("", " ", "x", "NaN", "Inf", "-Inf", "1e400", "-1e-320", "0", "-0", "-1", "1", "2", "5", "1_000", "0x10", "٣"),
    *(
        "2147483647",
        "2147483648",
        "-2147483649",
        "9" * 400,
        "0s",
        "-5s",
        "1ns",
        "6s",
        "1h",
        "2h",
        "24h",
        "2562047h",
        "5",
    ),
)


def resolved(annotations: dict[str, str], config: AutoscalerConfig = DEFAULTS) -> RevisionSettings:
    return resolve(
        {f"autoscaling.knative.dev/{key}": text for key, text in annotations.items()},
        container_concurrency=0,
        reachability="Reachable",
        metrics_service="rev-private",
        config=config,
    )


def planned(settings: RevisionSettings, desired: int) -> Plan:
    situation = Situation(
        desired=desired,
        active="True",
        active_status_for_s=5.0,
        is_initialized=True,
        is_proxied=False,
        proxied_for_s=0.0,
        activator=ActivatorProbe.ANSWERED,
    )
    return plan_scale(situation, settings, 600.0)


# In a fresh checkout the first text waits for Hypothesis to build its table of characters.
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.too_slow])
@example({"target": "-Inf"}, 0.0)
@example({"target": "Inf", "target-utilization-percentage": "0"}, 1.0)
@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(TEXTS) | st.text(max_size=12)), st.floats(0, 1e9))
def test_any_annotations_give_a_scale_within_their_bounds(annotations: dict[str, str], load: float) -> None:
    settings = resolved(annotations)
    collection = Collection(settings.metric)
    decider = Decider(settings.decider, now_s=T0, ready_pods=3)
    for second in range(5):
        collection.record(T0 + second, Stat("activator", average_concurrent_requests=load, request_count=load))
    seen = collection.load(settings.decider.scaling_metric, T0 + 4)
    assert seen is not None
    decision = decider.decide(T0 + 4, 3, *seen)
    assert 0 <= decision.desired < 1 << 31
    assert abs(decision.excess_burst_capacity) < 1 << 31
    assert 2 <= activator_count(3, settings.decider) < 1 << 31
    plan = planned(settings, decision.desired)
    smallest, largest = bounds(settings, is_initialized=True)
    if plan.applies and decision.desired > 0:
        assert smallest <= plan.scale or plan.scale == largest
        assert largest == 0 or plan.scale <= largest or plan.scale == smallest
    horizontal_spec(PodAutoscaler(metadata=ObjectMeta(annotations=annotations)), settings)


@pytest.mark.parametrize("text", ["", "x", "NaN", "0s", "-5s", "2562047h", "25h", "60"])
def test_a_window_that_cannot_be_one_is_the_clusters(text: str) -> None:
    assert resolved({"window": text}).metric.stable_window_s == DEFAULTS.stable_window_s


@pytest.mark.parametrize(("text", "panic_s"), [("Inf", 86_400), ("1e9", 86_400), ("-Inf", 6), ("-10", 1), ("NaN", 6)])
def test_a_panic_window_has_a_length_that_can_be_held(text: str, panic_s: float) -> None:
    assert resolved({"panic-window-percentage": text}).metric.panic_window_s == panic_s


@pytest.mark.parametrize(("desired", "scale"), [(0, 5), (1, 5), (4, 5), (5, 2), (1000, 2)])
def test_bounds_that_contradict_each_other_are_both_kept_to_as_in_the_original(desired: int, scale: int) -> None:
    """Below the smallest the smallest, above the largest the largest: never anything else, whatever the load is."""
    assert planned(resolved({"min-scale": "5", "max-scale": "2"}), desired).scale == scale


def test_an_activation_scale_beyond_the_largest_scale_is_bounded_by_it() -> None:
    settings = resolved({"activation-scale": "50", "max-scale": "3"})
    decision = Decider(settings.decider, now_s=T0, ready_pods=0).decide(T0, 0, 1.0, 1.0)
    assert decision.desired == 50
    assert planned(settings, decision.desired).scale == 3


@pytest.mark.parametrize("key", ["min-scale", "max-scale", "initial-scale", "activation-scale"])
@pytest.mark.parametrize("text", ["many", "1.5", "", "2147483648", "NaN", " 3"])
def test_a_scale_that_is_no_number_counts_as_absent(key: str, text: str) -> None:
    assert resolved({key: text}) == resolved({})


def test_a_largest_scale_below_zero_is_none() -> None:
    assert resolved({"max-scale": "-1"}, AutoscalerConfig(max_scale=7)).max_scale == 7


@pytest.mark.parametrize("target", ["NaN", "-5", "0", "1e-300"])
def test_a_target_of_nothing_is_the_smallest_target(target: str) -> None:
    decider = resolved({"target": target}).decider
    assert decider.target_value == (70 if target == "NaN" else 0.01)
    assert not math.isnan(decider.total_value)


@pytest.mark.parametrize("target", ["-Inf", "Inf"])
@pytest.mark.parametrize("ready", [0, 1])
def test_an_infinite_target_leaves_a_number_of_activators(target: str, ready: int) -> None:
    spec = resolve(
        {"autoscaling.knative.dev/target": target},
        container_concurrency=0,
        reachability="",
        metrics_service="",
        config=AutoscalerConfig(),
    ).decider
    assert ACTIVATORS_MIN <= activator_count(ready, spec) < 1 << 31
