"""`proxies/timeouts.py`: what the recorded vectors do not show, first of all the time before the hand-over."""

import pytest

from proxies.timeouts import TimeoutLimits, Timeouts, Timer

LIMITS = TimeoutLimits(max_duration_s=10, response_start_s=2, idle_s=3)


def test_only_max_duration_runs_while_a_request_waits() -> None:
    timeouts = Timeouts(LIMITS, 100.0)
    assert timeouts.due_s == 110.0
    assert timeouts.fired(109.9) is None
    assert timeouts.fired(110.0) is Timer.MAX_DURATION


def test_response_start_counts_from_the_hand_over() -> None:
    timeouts = Timeouts(LIMITS, 100.0)
    timeouts.hand_over(105.0)
    assert timeouts.due_s == 107.0
    assert timeouts.fired(107.0) is Timer.RESPONSE_START


def test_a_write_satisfies_response_start_and_restarts_idle() -> None:
    timeouts = Timeouts(LIMITS, 100.0)
    timeouts.hand_over(100.0)
    timeouts.wrote(101.0)
    assert timeouts.due_s == 104.0
    timeouts.wrote(103.0)
    assert timeouts.fired(105.9) is None
    assert timeouts.fired(106.0) is Timer.IDLE


def test_max_duration_ends_what_never_falls_idle() -> None:
    timeouts = Timeouts(LIMITS, 100.0)
    timeouts.hand_over(100.0)
    timeouts.wrote(109.0)
    assert timeouts.fired(110.0) is Timer.MAX_DURATION


def test_a_limit_of_0_is_none_but_for_max_duration() -> None:
    timeouts = Timeouts(TimeoutLimits(max_duration_s=0), 100.0)
    timeouts.hand_over(100.0)
    assert timeouts.fired(100.0) is Timer.MAX_DURATION


@pytest.mark.parametrize("timer", list(Timer))
def test_the_answer_names_the_timer(timer: Timer) -> None:
    answer = LIMITS.answer(timer)
    assert (answer.status, answer.body) == (504, b"request timeout")
    assert (b"x-knuv-timeout", timer.value.encode()) in answer.fields
