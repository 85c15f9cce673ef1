"""`autoscaler.collector`: what is recorded, what is known, and what bad samples can do."""

from dataclasses import replace

import pytest

from autoscaler.collector import Collection, Load, MetricSpec
from proxies.wire.stat import Stat

T0 = 1_785_542_400
SPEC = MetricSpec(stable_window_s=60, panic_window_s=6, scrape_target="hello-private")


def stat(concurrency: float, proxied: float = 0.0, requests: float = 0.0) -> Stat:
    return Stat("pod", concurrency, proxied, requests, proxied)


def scraped(seconds: range, concurrency: float, until: Collection | None = None) -> Collection:
    collection = until or Collection(SPEC)
    for second in seconds:
        collection.scraped(T0 + second, stat(concurrency))
    return collection


def known(collection: Collection, now_s: float, metric: str = "concurrency") -> Load:
    load = collection.load(metric, now_s)
    assert load is not None
    return load


def test_26_what_came_through_a_proxy_is_subtracted() -> None:
    collection = Collection(SPEC)
    collection.scraped(T0, Stat("service-scraper", 10, 4, 100, 30))
    assert known(collection, T0) == Load(6, 6)
    assert known(collection, T0, "rps") == Load(70, 70)


def test_a_scraped_revision_without_samples_is_unknown_and_an_unscraped_one_is_idle() -> None:
    assert Collection(SPEC).load("concurrency", T0) is None
    assert Collection(replace(SPEC, scrape_target="")).load("concurrency", T0) == Load(0, 0)


def test_missing_scrapes_do_not_pull_the_load_down() -> None:
    collection = scraped(range(50, 60), 12, scraped(range(20), 12))
    assert known(collection, T0 + 59.2) == Load(12, 12, 0.5)


def test_scrapes_that_go_missing_leave_the_last_load_with_less_and_less_of_it_seen() -> None:
    collection = scraped(range(60), 12)
    loads = [known(collection, T0 + second) for second in (59.2, 65.2, 90.2, 110.2)]
    assert [load.stable for load in loads] == [12, 12, 12, 12]
    assert [round(load.coverage, 2) for load in loads] == [1.0, 0.92, 0.5, 0.17]


def test_activators_go_on_while_the_pods_are_not_seen() -> None:
    collection = scraped(range(60), 12)
    for second in range(60, 70):
        collection.record(T0 + second, stat(30))
    load = known(collection, T0 + 69.2)
    # Twelve were seen in the pods; thirty are surely there, since activators report them.
    assert (load.stable, load.panic) == (12 * 50 / 60 + 30 * 10 / 60, 30)
    assert load.coverage == pytest.approx(51 / 60)


def test_a_revision_without_pods_is_seen_whole() -> None:
    collection = Collection(SPEC)
    for second in range(60):
        collection.scraped(T0 + second, None)
        collection.record(T0 + second, stat(3))
    assert known(collection, T0 + 59.2) == Load(3, 3, 1.0)


def test_late_and_repeated_samples_change_nothing_but_their_own_second() -> None:
    collection = scraped(range(60), 10)
    for late_s in (60, 61, 100_000):
        collection.scraped(T0 + 59 - late_s, stat(1_000_000))
    assert known(collection, T0 + 59.2).stable == 10
    collection.record(T0 + 59, stat(6))
    assert known(collection, T0 + 59.2).stable == pytest.approx(10.1)


def test_an_update_keeps_what_was_seen_and_missed() -> None:
    collection = scraped(range(40, 60), 12, scraped(range(20), 12))
    collection.update(T0 + 59, replace(SPEC, stable_window_s=20))
    assert known(collection, T0 + 59.2) == Load(12, 12, 1.0)
    collection.update(T0 + 59, replace(SPEC, stable_window_s=30))
    assert known(collection, T0 + 59.2).stable == 12


def gauged(seconds: range, value: float, until: Collection | None = None, *, requests: float = 0.0) -> Collection:
    collection = until or Collection(SPEC)
    for second in seconds:
        collection.scraped(T0 + second, stat(requests))
        collection.gauge_scraped(T0 + second, value)
    return collection


def test_a_gauge_is_averaged_like_concurrency() -> None:
    collection = gauged(range(57, 60), 30, gauged(range(57), 10))
    assert known(collection, T0 + 59.2, "url") == Load(11, 20)
    assert known(collection, T0 + 59.2) == Load(0, 0)


def test_requests_are_a_trace_of_load_where_the_gauge_is_zero() -> None:
    load = known(gauged(range(60), 0, requests=12), T0 + 59.2, "url")
    assert 0 < load.stable == load.panic < 0.01
    assert known(gauged(range(60), 0), T0 + 59.2, "url") == Load(0, 0)


def test_a_first_request_is_a_trace_of_load_before_any_gauge_can_be_read() -> None:
    collection = Collection(SPEC)
    collection.scraped(T0, None)
    collection.gauge_scraped(T0, None)
    assert collection.load("url", T0) is None
    collection.record(T0, stat(1))
    assert 0 < known(collection, T0, "url").stable < 0.01


def test_a_gauge_that_cannot_be_read_is_unknown() -> None:
    collection = gauged(range(10), 10, requests=12)
    for second in range(10, 60):
        collection.gauge_is_due(T0 + second)
        collection.scraped(T0 + second, stat(12))
    assert known(collection, T0 + 59.2, "url") == Load(10, 0.000001, pytest.approx(10 / 59))
    never = Collection(SPEC)
    for second in range(60):
        never.gauge_is_due(T0 + second)
        never.scraped(T0 + second, stat(12))
    assert known(never, T0 + 59.2, "url").coverage == 0


def test_a_gauge_alone_does_not_tell_whether_there_are_requests() -> None:
    collection = Collection(SPEC)
    for second in range(60):
        collection.scrape_is_due(T0 + second)
        collection.gauge_scraped(T0 + second, 0)
    assert known(collection, T0 + 59.2, "url").coverage == 0


def test_a_gauge_keeps_its_samples_when_windows_change() -> None:
    collection = gauged(range(60), 10)
    collection.update(T0 + 59, replace(SPEC, stable_window_s=20, panic_window_s=2))
    assert known(collection, T0 + 59.2, "url") == Load(10, 10)
