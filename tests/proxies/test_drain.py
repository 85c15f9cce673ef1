"""`proxies/drain.py`: what prolongs a drain, and what does not."""

from proxies.drain import Drain


def test_a_drain_is_over_after_a_quiet_period() -> None:
    drain = Drain(30.0)
    assert not drain.is_draining
    drain.begin(100.0)
    assert drain.is_draining
    assert drain.left_s(120.0) == 10.0
    assert drain.left_s(131.0) == 0.0


def test_an_arrival_starts_the_period_anew_and_a_second_begin_does_not() -> None:
    drain = Drain(30.0)
    drain.begin(100.0)
    drain.begin(110.0)
    assert drain.left_s(110.0) == 20.0
    drain.request_arrived(120.0)
    assert drain.left_s(120.0) == 30.0


def test_an_arrival_after_the_end_changes_nothing() -> None:
    drain = Drain(30.0)
    drain.begin(100.0)
    drain.request_arrived(130.0)
    assert drain.left_s(130.0) == 0.0
    assert drain.is_draining


def test_a_drain_that_was_taken_back_can_begin_again() -> None:
    drain = Drain(30.0)
    drain.begin(100.0)
    drain.reset()
    assert not drain.is_draining
    drain.begin(200.0)
    assert drain.left_s(200.0) == 30.0
