"""`autoscaler.windows` against a plain model, and what unseen seconds do; its numbered statements are conformance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.windows import AverageWindow, WeightedWindow

T0 = 1_785_542_400


def written(window: AverageWindow, *values: float) -> AverageWindow:
    for second, value in enumerate(values):
        window.record(T0 + second, value)
    return window


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
