"""Statements 28 to 45: one decision from load, ready pods and settings; and the settings from annotations."""

import math
from dataclasses import replace

import pytest

from autoscaler.decider import Decider, DeciderSpec, Decision
from autoscaler.multiscaler import MultiScaler
from autoscaler.pods import count_pods
from autoscaler.settings import RevisionSettings, resolve
from kube.autoscaling.config import AutoscalerConfig
from kube.models.core import Pod, PodStatus
from kube.models.meta import Condition
from proxies.wire.stat import Stat

T0 = 1_785_542_400.0
SPEC = DeciderSpec(
    scaling_metric="concurrency",
    target_value=10,
    total_value=10 / 0.75,
    target_burst_capacity=211,
    activator_capacity=150,
    panic_threshold=2,
    stable_window_s=60,
    scale_down_delay_s=0,
    max_scale_up_rate=10,
    max_scale_down_rate=10,
    initial_scale=1,
    reachable=True,
    activation_scale=0,
)
CALM = replace(SPEC, panic_threshold=math.inf)
"""Panic would hold the scale as well, and is kept out of what is asked."""


def decide(spec: DeciderSpec, ready: int, stable: float, panic: float | None = None) -> Decision:
    """The first decision of a decider that was made with one pod."""
    decider = Decider(spec, now_s=T0, ready_pods=1)
    return decider.decide(T0, ready, stable, stable if panic is None else panic)


def settings(config: dict[str, str] | None = None, concurrency: int = 0, **annotations: str) -> RevisionSettings:
    return resolve(
        {f"autoscaling.knative.dev/{key.replace('_', '-')}": text for key, text in annotations.items()},
        container_concurrency=concurrency,
        reachability="Reachable",
        metrics_service="rev-private",
        config=AutoscalerConfig.from_data(config or {}),
    )


@pytest.mark.parametrize(("stable", "panic", "desired"), [(50, 50, 5), (100, 10, 10), (1, 0, 1), (0, 0, 0)])
def test_28_load_by_target(stable: float, panic: float, desired: int) -> None:
    assert decide(SPEC, 1, stable, panic).desired == desired


def test_29_a_small_rate_still_lets_the_revision_grow_by_one() -> None:
    assert decide(replace(SPEC, target_value=1, max_scale_up_rate=1.1), 2, 3, 3.1).desired == 3


def test_30_the_rate_of_shrinking_holds_while_the_revision_is_reachable() -> None:
    spec = replace(SPEC, target_value=1, max_scale_down_rate=1.1)
    assert decide(spec, 100, 1).desired == 90
    assert decide(replace(spec, reachable=False), 100, 1).desired == 1


def test_31_no_ready_pod_counts_as_one_for_the_rates() -> None:
    assert decide(SPEC, 1, 1000, 1001).desired == 10
    assert decide(SPEC, 0, 1000, 1001).desired == 10


def test_32_pods_are_always_counted() -> None:
    """Counting asks the local copy of the pods, which cannot fail; a revision without pods has none."""
    ready = Condition(type="Ready", status="True")
    running = Pod(status=PodStatus(phase="Running", conditions=[ready]))
    assert count_pods([]).ready == 0
    assert count_pods([running, Pod(status=PodStatus(phase="Pending"))]).ready == 1
    assert not Decider(SPEC, now_s=T0, ready_pods=None).is_panicking


def test_33_an_unknown_load_leaves_everything_as_it_was() -> None:
    scalers = MultiScaler(lambda key: 1)
    wanted = settings(target="10", target_utilization_percentage="100", window="6s")
    revision = scalers.put(("default", "rev"), wanted.decider, wanted.metric, T0, 0)
    scalers.record(revision.key, Stat("activator", average_concurrent_requests=35), T0)
    (outcome,) = [each for phase in range(20) for each in scalers.decide_phase(phase, T0 + 2)]
    before = revision.desired, revision.excess_burst_capacity, revision.last
    assert outcome.decision.desired == 4
    # More than a window later nothing is known any more.
    assert [each for phase in range(20) for each in scalers.decide_phase(phase, T0 + 7)] == []
    assert (revision.desired, revision.excess_burst_capacity, revision.last) == before


def test_34_panic_begins_at_the_threshold_and_is_renewed_by_each_excess() -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=1)
    assert not decider.decide(T0, 10, 100, 190).panicking
    assert decider.decide(T0 + 2, 10, 100, 191).panicking
    assert decider.decide(T0 + 40, 10, 100, 191).panicking
    # From the second excess on it takes a stable window, not from the first.
    assert decider.decide(T0 + 100, 10, 100, 100).panicking
    assert not decider.decide(T0 + 102, 10, 100, 100).panicking


def test_35_panic_ends_strictly_after_a_stable_window() -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=1)
    assert decider.decide(T0, 1, 10, 100).panicking
    assert decider.decide(T0 + 60, 10, 10, 10).panicking
    assert not decider.decide(T0 + 60.001, 10, 10, 10).panicking
    busy = Decider(SPEC, now_s=T0, ready_pods=1)
    busy.decide(T0, 1, 10, 100)
    assert busy.decide(T0 + 61, 1, 10, 100).panicking


def test_36_in_panic_the_scale_never_falls() -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=1)
    assert decider.decide(T0, 10, 10, 1000).desired == 100
    assert decider.decide(T0 + 30, 100, 1, 1).desired == 100
    last = decider.decide(T0 + 61, 100, 1, 1)
    assert (last.panicking, last.desired) == (False, 10)
    # What an earlier panic asked for is forgotten.
    assert decider.decide(T0 + 63, 1, 5, 30).desired == 3


def test_37_in_panic_the_larger_demand_counts() -> None:
    spec = replace(SPEC, target_value=1)
    decider = Decider(spec, now_s=T0, ready_pods=5)
    assert decider.decide(T0, 5, 50, 30).desired == 50
    decider = Decider(spec, now_s=T0, ready_pods=5)
    assert decider.decide(T0, 5, 30, 50).desired == 50


@pytest.mark.parametrize(("ready", "panics"), [(None, False), (0, False), (1, False), (2, True), (100, True)])
def test_38_only_a_revision_of_several_ready_pods_starts_in_panic(ready: int | None, panics: bool) -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=ready)
    assert decider.is_panicking is panics
    assert decider.decide(T0, ready or 0, 0, 0).desired == (ready if panics else 0)


def test_39_activation_scale_raises_any_demand_but_none() -> None:
    spec = replace(SPEC, activation_scale=5)
    assert decide(spec, 0, 0).desired == 0
    assert decide(spec, 0, 1).desired == 5
    assert decide(spec, 0, 60).desired == 6
    # Above what the rate of growth allows, too.
    assert decide(replace(spec, activation_scale=50), 1, 1).desired == 50
    assert decide(replace(spec, activation_scale=1), 0, 1).desired == 1


def test_40_a_drop_takes_effect_after_the_delay_and_one_tick() -> None:
    decider = Decider(replace(CALM, scale_down_delay_s=300), now_s=T0, ready_pods=0)
    assert decider.decide(T0 + 2, 1, 40, 40).desired == 4
    assert decider.decide(T0 + 300, 1, 0, 0).desired == 4
    assert decider.decide(T0 + 302, 1, 0, 0).desired == 0


def test_41_the_delay_ends_when_the_revision_becomes_unreachable() -> None:
    decider = Decider(replace(CALM, scale_down_delay_s=300), now_s=T0, ready_pods=0)
    assert decider.decide(T0 + 2, 1, 40, 40).desired == 4
    decider.spec = replace(decider.spec, reachable=False)
    assert decider.decide(T0 + 4, 1, 0, 0).desired == 0


@pytest.mark.parametrize(
    ("burst", "ready", "panic", "excess"),
    [(-1, 5, 50, -1), (0, 5, 50, 0), (211, 4, 250, -61), (211, 5, 250, 39), (211, 5, 250.5, 38), (211, 1, 0.5, -112)],
)
def test_42_excess_burst_capacity(burst: float, ready: int, panic: float, excess: int) -> None:
    spec = replace(SPEC, target_burst_capacity=burst, total_value=100)
    assert decide(spec, ready, panic).excess_burst_capacity == excess
    # The real number of ready pods counts here, also none.
    assert decide(spec, 0, 0).excess_burst_capacity == (-burst if burst > 0 else burst)


def test_43_container_concurrency_is_the_total() -> None:
    decider = settings(concurrency=10).decider
    assert [decider.target_value, decider.total_value] == pytest.approx([7, 10])


def test_44_requests_per_second_have_a_total_of_their_own() -> None:
    decider = settings(metric="rps", concurrency=10).decider
    assert [decider.target_value, decider.total_value] == pytest.approx([140, 200])
    # The percentage of concurrency does not concern them.
    decider = settings({"container-concurrency-target-percentage": "50"}, metric="rps").decider
    assert decider.target_value == pytest.approx(140)


@pytest.mark.parametrize(
    ("metric", "concurrency", "target", "total"),
    [("concurrency", 1, "10", 1), ("concurrency", 10, "1", 1), ("concurrency", 0, "500", 500), ("rps", 1, "300", 300)],
)
def test_45_the_target_is_capped_by_container_concurrency(
    metric: str, concurrency: int, target: str, total: float
) -> None:
    decider = settings(metric=metric, concurrency=concurrency, target=target).decider
    assert [decider.target_value, decider.total_value] == pytest.approx([0.7 * total, total])
