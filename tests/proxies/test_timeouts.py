"""`proxies/timeouts.py`: what the recorded vectors do not show, first of all the time before the hand-over."""

import math

import pytest

from proxies.timeouts import TimeoutLimits, Timer

LIMITS = TimeoutLimits(max_duration_s=10, response_start_s=2, idle_s=3)


@pytest.mark.parametrize(
    ("handed_s", "wrote_s", "due_s", "timer"),
    [
        (0, 0, 110, Timer.MAX_DURATION),
        (105, 0, 107, Timer.RESPONSE_START),
        (109, 0, 110, Timer.MAX_DURATION),
        (100, 101, 104, Timer.IDLE),
        (100, 103, 106, Timer.IDLE),
        (100, 109, 110, Timer.MAX_DURATION),
    ],
)
def test_the_earliest_timer_that_runs(handed_s: float, wrote_s: float, due_s: float, timer: Timer) -> None:
    assert LIMITS.next(100, handed_s, wrote_s) == (due_s, timer)


def test_a_limit_of_0_is_none_but_for_max_duration() -> None:
    limits = TimeoutLimits(max_duration_s=0)
    assert limits.next(100, 100, 0) == limits.next(100, 100, 105) == (100, Timer.MAX_DURATION)
    assert limits.peer_s == math.inf


@pytest.mark.parametrize("timer", list(Timer))
def test_the_answer_names_the_timer(timer: Timer) -> None:
    answer = LIMITS.answer(timer)
    assert (answer.status, answer.body) == (504, b"request timeout")
    assert (b"x-knuv-timeout", timer.value.encode()) in answer.fields
