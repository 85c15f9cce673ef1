"""`autoscaler.coverage`: how much of a load was seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.coverage import Coverage

T0 = 1_785_542_400.0
WINDOW_S = 60.0


def looked_at(seconds: range, *, share: float = 1.0, until: Coverage | None = None) -> Coverage:
    coverage = until or Coverage()
    for second in seconds:
        coverage.looked(T0 + second, share, WINDOW_S)
    return coverage


def test_where_no_look_was_ever_due_nothing_is_missing() -> None:
    coverage = Coverage()
    assert coverage.ratio(T0 + 1000, WINDOW_S) == 1.0
    assert list(coverage.unseen(T0 + 1000)) == []


def test_a_look_each_second_sees_all() -> None:
    coverage = looked_at(range(100))
    assert coverage.ratio(T0 + 99.2, WINDOW_S) == 1.0
    assert list(coverage.unseen(T0 + 99.2)) == []


def test_a_look_that_is_a_little_late_misses_nothing() -> None:
    coverage = Coverage()
    for at_s in (0.99, 2.01, 2.99, 4.4, 4.99):
        coverage.looked(T0 + at_s, 1.0, WINDOW_S)
    assert coverage.ratio(T0 + 5.2, WINDOW_S) == 1.0


def test_the_seconds_between_two_looks_are_unseen() -> None:
    coverage = looked_at(range(60, 65), until=looked_at(range(30)))
    assert list(coverage.unseen(T0 + 64)) == [T0 + second for second in range(30, 60)]
    # Of the 60 seconds before the 65th, these were seen: 5 to 29 and 60 to 64.
    assert coverage.ratio(T0 + 64, WINDOW_S) == 0.5


def test_silence_until_now_is_unseen_too() -> None:
    coverage = looked_at(range(60))
    assert list(coverage.unseen(T0 + 60.2)) == []
    assert list(coverage.unseen(T0 + 62.2)) == [T0 + 60, T0 + 61]
    assert coverage.ratio(T0 + 62.2, WINDOW_S) == 1 - 2 / 60
    assert coverage.ratio(T0 + 200, WINDOW_S) == 0.0


def test_a_first_look_that_fails_leaves_a_young_revision_unseen() -> None:
    coverage = Coverage()
    coverage.begin(T0)
    assert coverage.ratio(T0 + 0.2, WINDOW_S) == 1.0
    assert coverage.ratio(T0 + 1.2, WINDOW_S) == 0.0
    coverage.looked(T0 + 1, 1.0, WINDOW_S)
    assert coverage.ratio(T0 + 2.0, WINDOW_S) == 0.5


def test_a_part_of_the_sample_is_that_part_of_a_second() -> None:
    coverage = looked_at(range(60), share=0.75)
    assert coverage.ratio(T0 + 59.2, WINDOW_S) == 0.75
    assert list(coverage.unseen(T0 + 59.2)) == []


def test_what_lies_before_the_window_is_forgotten() -> None:
    coverage = looked_at(range(40, 140), until=looked_at(range(10)))
    assert coverage.ratio(T0 + 139, WINDOW_S) == 1.0
    assert list(coverage.unseen(T0 + 139)) == []


def test_a_long_standstill_keeps_no_more_than_a_window() -> None:
    coverage = looked_at(range(100_000, 100_001), until=looked_at(range(10)))
    assert len(list(coverage.unseen(T0 + 100_000))) <= WINDOW_S
    assert coverage.ratio(T0 + 100_000, WINDOW_S) == pytest.approx(1 / 60)


@given(looks=st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.5, 1.0)), max_size=60), later_s=st.floats(0.0, 100.0))
def test_the_ratio_is_always_one(looks: list[tuple[float, float]], later_s: float) -> None:
    coverage = Coverage()
    now_s = T0
    for after_s, share in looks:
        now_s += after_s
        coverage.looked(now_s, share, WINDOW_S)
    now_s += later_s
    assert 0.0 <= coverage.ratio(now_s, WINDOW_S) <= 1.0
    unseen = list(coverage.unseen(now_s))
    assert unseen == sorted(set(unseen))
    assert all(second <= now_s for second in unseen)
