"""Statements 1 to 13: averages over the last seconds, and the window of the scale-down delay."""

import pytest

from autoscaler.collector import Collection, MetricSpec
from autoscaler.windows import AverageWindow, MaxWindow, WeightedWindow, round6, smoothing_coefficient
from proxies.wire.stat import Stat

T0 = 1_785_542_400


def written(window: AverageWindow, *values: float) -> AverageWindow:
    """The window with a value in each of its first seconds."""
    for second, value in enumerate(values):
        window.record(T0 + second, value)
    return window


def test_01_a_window_has_as_many_buckets_as_it_takes() -> None:
    minute = written(AverageWindow(60), *range(61))
    assert minute.average(T0 + 60) == sum(range(1, 61)) / 60
    coarse = AverageWindow(5, granularity_s=3)
    for at_s, value in ((0, 1), (3, 2), (6, 4)):
        coarse.record(T0 + at_s, value)
    assert coarse.average(T0 + 6) == (2 + 4) / 2


def test_02_values_of_one_second_add_up() -> None:
    window = AverageWindow(5)
    window.record(T0 + 0.1, 3)
    window.record(T0 + 0.9, 4)
    assert window.average(T0) == 7


def test_03_one_write_of_1_averages_1() -> None:
    assert written(AverageWindow(5), 1).average(T0) == 1.0


def test_04_trailing_seconds_that_are_missing_do_not_count() -> None:
    assert written(AverageWindow(5), 1, 2, 3, 4, 5).average(T0 + 6) == 4.0


def test_05_a_whole_window_later_the_average_is_0() -> None:
    window = written(AverageWindow(5), 9)
    assert window.average(T0 + 4) == 9
    assert window.average(T0 + 5) == 0
    # Empty it is a second later: the end of the window is strict there.
    assert not window.is_empty(T0 + 5)
    assert window.is_empty(T0 + 6)


def test_06_a_write_one_window_old_is_ignored() -> None:
    window = written(AverageWindow(5), 0, 0, 0, 0, 0, 6)
    window.record(T0, 1000)
    assert window.average(T0 + 5) == 1.2
    window.record(T0 + 1, 1000)
    assert window.average(T0 + 5) == 201.2


def test_07_after_an_idle_window_history_is_forgotten() -> None:
    window = written(AverageWindow(5), 1, 2, 3, 4, 5)
    window.record(T0 + 64, 1984)
    assert window.average(T0 + 64) == 1984
    window.record(T0 + 61, 4)
    assert window.average(T0 + 64) == 497
    exactly = written(AverageWindow(5), 1)
    exactly.record(T0 + 5, 10)
    assert exactly.average(T0 + 5) == 10


def test_08_averages_have_six_digits_and_halves_go_away_from_zero() -> None:
    assert round6(3.6e-17) == 0
    assert round6(0.0000005) == 0.000001
    assert round6(-0.0000005) == -0.000001
    assert written(AverageWindow(5), 1, 0, 0).average(T0 + 2) == 0.333333


@pytest.mark.parametrize(
    ("buckets", "coefficient"),
    [
        (5, 0.841511),
        (6, 0.784557),
        (10, 0.601893),
        (12, 0.535841),
        (30, 0.264358),
        (41, 0.201198),
        (42, 0.2),
        (60, 0.2),
    ],
)
def test_09_the_weighted_coefficient(buckets: int, coefficient: float) -> None:
    assert smoothing_coefficient(buckets) == pytest.approx(coefficient, abs=5e-7)


def test_10_weighted_average_of_2_to_6() -> None:
    assert round(written(WeightedWindow(5), 2, 3, 4, 5, 6).average(T0 + 4), 3) == 5.812


def test_11_growing_and_shrinking_keep_the_newest_seconds() -> None:
    window = written(AverageWindow(5), 2, 3, 4, 5, 6)
    window.resize(T0 + 4, 10)
    assert window.average(T0 + 4) == 4.0
    window.record(T0 + 5, 7)
    window.resize(T0 + 5, 4)
    assert window.average(T0 + 5) == (4 + 5 + 6 + 7) / 4


@pytest.mark.parametrize(
    ("algorithm", "is_weighted"),
    [
        ("weighted-exponential", True),
        ("weightedExponential", True),
        ("", False),
        ("linear", False),
        ("Weighted-Exponential", False),
        ("weighted", False),
        ("no such thing", False),
    ],
)
def test_12_any_text_but_the_two_weighted_ones_is_linear(algorithm: str, is_weighted: bool) -> None:
    spec = MetricSpec(stable_window_s=60, panic_window_s=6, scrape_target="", aggregation_algorithm=algorithm)
    collection = Collection(spec)
    collection.record(T0, Stat("activator", average_concurrent_requests=10))
    load = collection.load("concurrency", T0)
    assert load is not None
    # One sample of ten weighs 0.2 among sixty, and all of it in a plain average.
    assert load.stable == pytest.approx(2.0 if is_weighted else 10.0)


def test_13_the_delay_window_holds_the_largest_of_its_ticks() -> None:
    window = MaxWindow(window_s=5, granularity_s=2)
    seen = []
    for second, value in [(0, 9), (1, 3), (2, 4), (4, 5), (6, 1), (8, 1), (10, 1)]:
        window.record(T0 + second, value)
        seen.append(window.current())
    assert seen == [9, 9, 9, 9, 5, 5, 1]
