"""`autoscaler.windows`, by the numbered statements of spec autoscaler.md and against a plain model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.windows import AverageWindow, MaxWindow, WeightedWindow, round6, smoothing_coefficient

T0 = 1_785_542_400


def written(window: AverageWindow, *values: float) -> AverageWindow:
    for second, value in enumerate(values):
        window.record(T0 + second, value)
    return window


def test_2_values_of_one_second_add_up() -> None:
    window = AverageWindow(5)
    window.record(T0 + 0.1, 3)
    window.record(T0 + 0.9, 4)
    assert window.average(T0) == 7


def test_3_one_write_of_1_averages_1() -> None:
    assert written(AverageWindow(5), 1).average(T0) == 1.0


def test_4_trailing_seconds_that_are_missing_do_not_count() -> None:
    assert written(AverageWindow(5), 1, 2, 3, 4, 5).average(T0 + 6) == 4.0


def test_5_a_whole_window_later_the_average_is_0() -> None:
    window = written(AverageWindow(5), 9)
    assert window.average(T0 + 5) == 0
    assert not window.is_empty(T0 + 5)
    assert window.is_empty(T0 + 6)


def test_6_a_write_one_window_old_is_ignored() -> None:
    window = written(AverageWindow(5), 0, 0, 0, 0, 0, 6)
    window.record(T0, 1000)
    assert window.average(T0 + 5) == 1.2


def test_7_after_an_idle_window_history_is_forgotten() -> None:
    window = written(AverageWindow(5), 1, 2, 3, 4, 5)
    window.record(T0 + 64, 1984)
    assert window.average(T0 + 64) == 1984
    window.record(T0 + 61, 4)
    assert window.average(T0 + 64) == 497


def test_8_averages_have_six_digits() -> None:
    assert round6(3.6e-17) == 0
    assert round6(0.0000005) == 0.000001
    assert round6(-0.0000005) == -0.000001


@pytest.mark.parametrize(("count", "expected"), [(5, 0.841511), (12, 0.535841), (41, 0.201198), (42, 0.2), (60, 0.2)])
def test_9_the_weighted_coefficient(count: int, expected: float) -> None:
    assert smoothing_coefficient(count) == pytest.approx(expected, abs=1e-6)


def test_10_weighted_average_of_2_to_6() -> None:
    assert written(WeightedWindow(5), 2, 3, 4, 5, 6).average(T0 + 4) == pytest.approx(5.812, abs=5e-4)


def test_11_growing_and_shrinking_keep_the_newest_seconds() -> None:
    window = written(AverageWindow(5), 2, 3, 4, 5, 6)
    window.resize(T0 + 4, 10)
    assert window.average(T0 + 4) == 4.0
    window.record(T0 + 5, 7)
    window.resize(T0 + 5, 4)
    assert window.average(T0 + 5) == (4 + 5 + 6 + 7) / 4


def test_13_the_delay_window_holds_the_largest_of_its_ticks() -> None:
    window = MaxWindow(window_s=5, granularity_s=2)
    seen = []
    for second, value in [(0, 9), (1, 3), (2, 4), (4, 5), (6, 1), (8, 1), (10, 1)]:
        window.record(T0 + second, value)
        seen.append(window.current())
    assert seen == [9, 9, 9, 9, 5, 5, 1]


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 40), st.floats(0, 1000, allow_nan=False)), max_size=60),
    st.integers(0, 15),
)
def test_the_average_is_that_of_the_seconds_from_first_to_last_write(
    window_s: int, writes: list[tuple[int, float]], later_s: int
) -> None:
    """Against a dictionary of seconds; writes come in order here, as late ones have golden vectors of their own."""
    window = AverageWindow(window_s)
    seconds: dict[int, float] = {}
    for second, value in sorted(writes):
        window.record(T0 + second, value)
        if seconds and second - max(seconds) >= window_s:
            seconds.clear()
        seconds[second] = seconds.get(second, 0) + value
    now = max(seconds, default=0) + later_s
    kept = range(max(min(seconds, default=0), now - window_s + 1), max(seconds, default=-1) + 1)
    expected = sum(seconds.get(second, 0) for second in kept) / len(kept) if kept else 0
    assert window.average(T0 + now) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("kind", [AverageWindow, WeightedWindow])
def test_unseen_seconds_do_not_pull_a_steady_load_down(kind: type[AverageWindow]) -> None:
    whole = written(kind(10), *[8] * 30)
    gappy = kind(10)
    gaps = [T0 + second for second in (21, 24, 28)]
    for second in range(30):
        if T0 + second not in gaps:
            gappy.record(T0 + second, 8)
    assert gappy.average(T0 + 29) < 8 * 0.95
    assert gappy.average(T0 + 29, gaps) == pytest.approx(whole.average(T0 + 29))


@pytest.mark.parametrize("kind", [AverageWindow, WeightedWindow])
def test_what_was_seen_in_an_unseen_second_still_counts(kind: type[AverageWindow]) -> None:
    window = written(kind(5), 1, 1, 100, 1, 1)
    assert window.average(T0 + 4, [T0 + 2]) == window.average(T0 + 4) > 2


@pytest.mark.parametrize("kind", [AverageWindow, WeightedWindow])
def test_unseen_seconds_outside_the_window_and_windows_that_saw_nothing_change_nothing(
    kind: type[AverageWindow],
) -> None:
    window = written(kind(5), 2, 3, 4, 5, 6, 7)
    unseen = [T0 - 60, T0, T0 + 6, T0 + 60]
    assert window.average(T0 + 5, unseen) == window.average(T0 + 5)
    assert window.average(T0 + 5, range(T0, T0 + 6)) == window.average(T0 + 5)


def test_trailing_seconds_are_left_out_once() -> None:
    window = written(AverageWindow(10), *[8] * 10)
    window.record(T0 + 12, 1)  # an activator, while nobody saw the pods
    assert window.average(T0 + 12, [T0 + 10, T0 + 11, T0 + 12]) == 8
    assert window.average(T0 + 14, [T0 + 10, T0 + 11, T0 + 12, T0 + 13]) == 8
