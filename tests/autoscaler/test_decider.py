"""`autoscaler.decider`: worked examples (spec autoscaler.md 5.4) and laws that hold for any load."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.decider import Decider, DeciderSpec

T0 = 1_785_542_400.0
SPEC = DeciderSpec(
    scaling_metric="concurrency",
    target_value=70,
    total_value=100,
    target_burst_capacity=211,
    activator_capacity=100,
    panic_threshold=2,
    stable_window_s=60,
    scale_down_delay_s=0,
    max_scale_up_rate=1000,
    max_scale_down_rate=2,
    initial_scale=1,
    reachable=True,
    activation_scale=0,
)
SMALL = replace(SPEC, target_value=10, total_value=10 / 0.75, max_scale_up_rate=10, max_scale_down_rate=10)


@pytest.mark.parametrize(
    ("ready", "stable", "panic", "panics", "desired", "excess"),
    [
        (4, 250, 250, False, 4, -61),
        (5, 250, 250, False, 4, 39),
        (1, 70, 70, False, 1, -181),
        (1, 71, 71, True, 2, -182),
        (0, 71, 71, True, 2, -282),
        (10, 1, 1, False, 5, 788),
        (3, 0, 0, False, 1, 89),
        (1, 0, 0, False, 0, -111),
    ],
)
def test_worked_examples(ready: int, stable: float, panic: float, panics: bool, desired: int, excess: int) -> None:
    decision = Decider(SPEC, now_s=T0, ready_pods=1).decide(T0 + 2, ready, stable, panic)
    assert (decision.panicking, decision.desired, decision.excess_burst_capacity) == (panics, desired, excess)


@given(
    st.integers(0, 1000),
    st.floats(0, allow_nan=False),
    st.floats(0, allow_nan=False),
    st.floats(-1, allow_nan=False, exclude_min=False),
)
def test_any_load_gives_a_scale_that_the_api_can_hold(ready: int, stable: float, panic: float, burst: float) -> None:
    """Infinite and absurd figures included: the answer is a 32 bit count and never negative."""
    decision = Decider(replace(SPEC, target_burst_capacity=burst), now_s=T0, ready_pods=1).decide(
        T0, ready, stable, panic
    )
    assert 0 <= decision.desired < 1 << 31
    assert -(1 << 31) < decision.excess_burst_capacity < 1 << 31


@given(st.lists(st.floats(0, 5000), min_size=2, max_size=30))
def test_in_panic_the_scale_never_falls(loads: list[float]) -> None:
    decider = Decider(SMALL, now_s=T0, ready_pods=1)
    before = 0
    for tick, load in enumerate(loads):
        decision = decider.decide(T0 + 2 * tick, 3, load, load)
        if decision.panicking:
            assert decision.desired >= before
        before = decision.desired if decision.panicking else 0
    assert not math.isnan(before)


def test_a_revision_of_which_too_little_was_seen_does_not_shrink() -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=1)
    assert decider.decide(T0, 5, 350, 350).desired == 5
    held = decider.decide(T0 + 200, 5, 70, 70, 0.49)
    assert (held.desired, held.is_held, held.coverage) == (5, True, 0.49)
    # Pods that are not ready while nobody can see them are still wanted.
    assert decider.decide(T0 + 202, 1, 0, 0, 0.0).desired == 5
    freed = decider.decide(T0 + 204, 5, 70, 70, 0.5)
    assert (freed.desired, freed.is_held) == (2, False)


def test_a_revision_of_which_too_little_was_seen_may_grow() -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=1)
    decider.decide(T0, 2, 140, 140)
    decision = decider.decide(T0 + 2, 2, 350, 350, 0.1)
    assert (decision.desired, decision.is_held) == (5, False)


def test_a_decider_that_has_seen_nothing_yet_keeps_the_pods_that_it_found() -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=1)
    assert decider.decide(T0 + 2, 1, 0, 0, 0.0).desired == 1
    assert decider.decide(T0 + 4, 1, 0, 0, 1.0).desired == 0


def test_an_unreachable_revision_shrinks_though_nothing_was_seen() -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=1)
    decider.decide(T0, 5, 350, 350)
    decider.spec = replace(SPEC, reachable=False)
    assert decider.decide(T0 + 200, 5, 70, 70, 0.0).desired == 1


def test_what_was_held_counts_as_wanted_for_the_delay() -> None:
    decider = Decider(replace(SPEC, scale_down_delay_s=10), now_s=T0, ready_pods=1)
    decider.decide(T0, 5, 350, 350)
    decider.decide(T0 + 20, 5, 70, 70, 0.0)
    assert decider.decide(T0 + 28, 5, 70, 70).desired == 5
    assert decider.decide(T0 + 30, 5, 70, 70).desired == 2


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4), st.integers(0, 60), st.floats(0, 0.499)), min_size=1),
    st.integers(0, 60),
)
def test_unseen_the_scale_never_falls(decisions: list[tuple[float, float, int, float]], found: int) -> None:
    decider = Decider(SPEC, now_s=T0, ready_pods=found)
    scales = [
        decider.decide(T0 + 100 * index, ready, stable, panic, coverage).desired
        for index, (stable, panic, ready, coverage) in enumerate(decisions)
    ]
    assert [found, *scales] == sorted([found, *scales])
