"""`proxies/metrics/instruments.py`: sums that are right however they are gathered, and bounds that hold."""

from bisect import bisect_left
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.metrics.instruments import BATCH_MAX, Distribution, Number, Registry

BOUNDS = (0.0, 1.0, 5.0, 10.0)
VALUES = st.floats(min_value=-20, max_value=20, allow_nan=False) | st.sampled_from(BOUNDS)


def naive(values: list[float]) -> list[int]:
    """Every value by itself: bucket i takes what is above bound i - 1 and not above bound i."""
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[bisect_left(BOUNDS, value)] += 1
    return counts


@given(st.lists(st.lists(VALUES, max_size=20), max_size=8))
def test_batches_count_as_values_one_by_one_do(batches: list[list[float]]) -> None:
    series = Distribution({}, BOUNDS)
    for batch in batches:
        series.record_all(batch)
    values = [value for batch in batches for value in batch]
    assert series.counts == naive(values)
    assert series.count == len(values)
    assert series.total == pytest.approx(sum(values), abs=1e-9)
    if values:
        assert (series.least, series.most) == (min(values), max(values))


@given(st.lists(VALUES, max_size=3 * BATCH_MAX))
def test_recording_one_by_one_is_the_same_once_it_is_settled(values: list[float]) -> None:
    series = Distribution({}, BOUNDS)
    for value in values:
        series.record(value)
    series.settle()
    assert series.counts == naive(values)


def test_what_is_recorded_is_counted_before_it_is_many() -> None:
    series = Distribution({}, BOUNDS)
    for _ in range(BATCH_MAX - 1):
        series.record(2)
    assert series.count == 0
    series.record(2)
    assert series.count == BATCH_MAX


def test_equal_attributes_are_one_series_in_whatever_order() -> None:
    counter = Registry().scope("s").counter("c")
    counter.series({"a": 1, "b": 2}).add()
    counter.series({"b": 2, "a": 1}).add(2)
    assert [(series.attributes, series.value) for series in counter.all_series()] == [({"a": 1, "b": 2}, 3)]


def test_beyond_its_bound_an_instrument_counts_into_one_series_for_all() -> None:
    counter = Registry().scope("s").counter("c", series_max=3)
    for number in range(10):
        counter.series({"n": number}).add()
    assert {tuple(series.attributes.items()): series.value for series in counter.all_series()} == {
        (("n", 0),): 1,
        (("n", 1),): 1,
        (("otel.metric.overflow", True),): 8,
    }


def test_observed_series_are_looked_up_at_each_collection_and_vanish_with_what_they_tell_of() -> None:
    pods = {"a": 1.0, "b": 2.0}
    registry = Registry()
    gauge = registry.scope("s").gauge("pods")
    gauge.observe(lambda: [({"revision": name}, count) for name, count in pods.items()])
    registry.collect()
    assert [series.value for series in gauge.all_series()] == [1, 2]
    del pods["a"]
    pods["b"] = 5
    registry.collect()
    assert [(series.attributes, series.value) for series in gauge.all_series()] == [({"revision": "b"}, 5)]


def test_observed_series_beyond_the_bound_are_added_up() -> None:
    registry = Registry()
    gauge = registry.scope("s").gauge("pods", series_max=2)
    gauge.observe(lambda: [({"n": number}, number) for number in range(1, 5)])
    for _ in range(2):
        registry.collect()
        assert [series.value for series in gauge.all_series()] == [1, 2 + 3 + 4]


def test_whoever_keeps_measurements_back_is_asked_before_a_collection() -> None:
    registry = Registry()
    series = registry.scope("s").histogram("h", BOUNDS).series()
    kept = [1.0, 2.0]
    registry.before_collection(lambda: series.record_all(kept))
    registry.collect()
    assert series.count == 2


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0)])
def test_bounds_have_to_ascend(bounds: tuple[float, ...]) -> None:
    with pytest.raises(AssertionError, match="ascend"):
        Registry().scope("s").histogram("h", bounds)


def test_a_stream_lends_its_series_one_after_the_other() -> None:
    """Two gauges of the same things share one series for each."""
    registry = Registry()
    scope = registry.scope("scope")
    things = {"a": (1, 10), "b": (2, 20)}
    series = {name: Number({"thing": name}) for name in things}

    def told(index: int) -> Iterator[Number]:
        for name, values in things.items():
            series[name].value = values[index]
            yield series[name]

    small, large = scope.gauge("small"), scope.gauge("large")
    small.stream(lambda: told(0))
    large.stream(lambda: told(1))
    registry.collect()
    assert [(each.attributes["thing"], each.value) for each in small.all_series()] == [("a", 1), ("b", 2)]
    assert [(each.attributes["thing"], each.value) for each in large.all_series()] == [("a", 10), ("b", 20)]
    del things["a"]
    assert [each.value for each in small.all_series()] == [2]


def test_series_of_what_is_gone_are_forgotten_and_begin_anew() -> None:
    counter = Registry().scope("s").counter("requests", series_max=3)
    one, other = counter.series({"name": "one"}), counter.series({"name": "other"})
    one.add(5)
    other.add(7)
    counter.keep_only({other})
    assert list(counter.all_series()) == [other]
    assert counter.series({"name": "one"}).value == 0
    assert counter.series({"name": "other"}) is other
