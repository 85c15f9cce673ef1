"""`proxies/breaker.py`: its laws, for any sequence of what callers may do. The recorded scripts are in `golden`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.breaker import Admission, Breaker, BreakerMisuse, Gate

OPS = st.lists(st.tuples(st.sampled_from(["admit", "reserve", "release", "cancel", "update"]), st.integers(0, 8)))


@given(st.integers(1, 5), st.integers(1, 5), OPS)
def test_no_sequence_breaks_the_limits(depth: int, concurrency: int, ops: list[tuple[str, int]]) -> None:
    breaker = Breaker[int](queue_depth=depth, concurrency=concurrency)
    running, waiting, capacity, next_id = 0, list[int](), concurrency, 0
    for op, number in ops:
        if op == "admit":
            next_id += 1
            admission = breaker.admit(next_id)
            if running < capacity:
                assert admission is Admission.RUN
                running += 1
            elif running + len(waiting) < depth + concurrency:
                assert admission is Admission.WAIT
                waiting.append(next_id)
            else:
                assert admission is Admission.REFUSED
        elif op == "reserve":
            assert breaker.reserve() is (running < capacity)
            running += running < capacity
        elif op == "release" and running:
            if waiting and running <= capacity:
                assert breaker.release() == waiting.pop(0)
            else:
                assert breaker.release() is None
                running -= 1
        elif op == "cancel" and waiting:
            breaker.cancel(waiting.pop(number % len(waiting)))
        elif op == "update":
            capacity = min(number, concurrency)
            promoted = breaker.update(number)
            assert promoted == waiting[: max(0, capacity - running)]
            del waiting[: len(promoted)]
            running += len(promoted)
        assert (breaker.in_flight, breaker.waiting) == (running + len(waiting), len(waiting))
        assert running <= concurrency
        assert not waiting or running >= capacity


def test_request_12_is_refused_when_concurrency_is_1_and_11_are_inside() -> None:
    breaker = Breaker[int](queue_depth=10, concurrency=1)
    admissions = [breaker.admit(number) for number in range(12)]
    assert admissions == [Admission.RUN, *[Admission.WAIT] * 10, Admission.REFUSED]


def test_giving_back_what_nobody_holds_is_our_bug() -> None:
    breaker = Breaker[int](queue_depth=1, concurrency=1)
    with pytest.raises(BreakerMisuse):
        breaker.release()
    with pytest.raises(BreakerMisuse):
        breaker.cancel(7)


def test_a_gate_lets_everybody_through_when_it_opens() -> None:
    gate = Gate[int](is_open=False)
    assert [gate.admit(number) for number in range(3)] == [Admission.WAIT] * 3
    gate.cancel(1)
    assert gate.waiting == 2
    assert gate.update(5) == [0, 2]
    assert gate.admit(3) is Admission.RUN
    assert gate.release() is None
    with pytest.raises(BreakerMisuse):
        gate.cancel(9)
