"""`local_cluster/node/probe_state.py`: a probe's attempts on a stepped clock."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from kube.models.core import Probe
from local_cluster.node.probe_state import ProbeKind, ProbeState, ProbeTiming, Verdict


def run(probe: ProbeState, until_s: float, answer: Callable[[float], bool]) -> list[float]:
    """Carry out attempts as they become due, each taking no time; returns when they began."""
    times = []
    while probe.due_s is not None and probe.due_s <= until_s:
        now_s = probe.due_s
        times.append(now_s)
        probe.begin(now_s)
        assert probe.due_s is None
        probe.result(answer(now_s), now_s)
    return times


def test_defaults_are_kubernetes() -> None:
    assert ProbeTiming.of(Probe()) == ProbeTiming(
        initial_delay_s=0, period_s=10, timeout_s=1, success_threshold=1, failure_threshold=3
    )
    assert ProbeTiming.of(None) is None


def test_readiness_is_tried_at_once_and_quickly_until_it_first_succeeds() -> None:
    probe = ProbeState(ProbeKind.READINESS, ProbeTiming(), 100.0)
    times = run(probe, 130.0, lambda now_s: now_s >= 100.3)
    ready = [time for time in times if time >= 100.3]
    assert times[0] == 100.0
    assert len(times) - len(ready) >= 5
    assert ready[0] < 100.4
    assert ready[1:] == [110.0, 120.0, 130.0]
    assert probe.verdict is Verdict.SUCCESS


def test_eager_attempts_slow_down_to_one_a_second() -> None:
    times = run(ProbeState(ProbeKind.READINESS, ProbeTiming(), 0.0), 60.0, lambda _now_s: False)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) <= 1.0
    assert len(times) < 90


def test_failures_between_the_regular_attempts_do_not_count() -> None:
    probe = ProbeState(ProbeKind.STARTUP, ProbeTiming(period_s=10, failure_threshold=3), 0.0)
    run(probe, 19.9, lambda _now_s: False)
    assert probe.verdict is Verdict.UNKNOWN
    run(probe, 20.0, lambda _now_s: False)
    assert probe.verdict is Verdict.FAILURE


@pytest.mark.parametrize(("kind", "first"), [(ProbeKind.LIVENESS, 5.0), (ProbeKind.READINESS, 5.0)])
def test_the_initial_delay_holds(kind: ProbeKind, first: float) -> None:
    assert ProbeState(kind, ProbeTiming(initial_delay_s=5), 0.0).due_s == first


def test_liveness_is_tried_once_a_period_and_needs_its_threshold() -> None:
    probe = ProbeState(ProbeKind.LIVENESS, ProbeTiming(period_s=2, failure_threshold=2), 0.0)
    fails = {4.0, 8.0, 10.0}
    assert run(probe, 9.0, lambda now_s: now_s not in fails) == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert probe.verdict is Verdict.SUCCESS
    run(probe, 10.0, lambda now_s: now_s not in fails)
    assert probe.verdict is Verdict.FAILURE


def test_a_readiness_that_was_lost_comes_back_after_the_success_threshold() -> None:
    probe = ProbeState(ProbeKind.READINESS, ProbeTiming(period_s=1, success_threshold=2, failure_threshold=1), 0.0)
    run(probe, 0.9, lambda _now_s: True)
    assert probe.verdict is Verdict.UNKNOWN
    run(probe, 1.0, lambda _now_s: True)
    assert probe.verdict is Verdict.SUCCESS
    run(probe, 2.0, lambda _now_s: False)
    assert probe.verdict is Verdict.FAILURE
    run(probe, 3.0, lambda _now_s: True)
    assert probe.verdict is Verdict.FAILURE
    run(probe, 4.0, lambda _now_s: True)
    assert probe.verdict is Verdict.SUCCESS


def test_an_attempt_that_outlasts_its_period_is_followed_by_the_next_at_once() -> None:
    probe = ProbeState(ProbeKind.LIVENESS, ProbeTiming(period_s=1), 0.0)
    probe.begin(0.0)
    probe.result(True, 3.5)
    assert probe.due_s == 3.5
