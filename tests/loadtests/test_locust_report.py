"""What is made of a run by locust: figures from single requests, the picture, and whether locust had time left."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadtests.locust.busy import Busy, Lateness
from loadtests.locust.page import Story, page
from loadtests.locust.samples import Sample, Writer, read_samples, rows, write_tables


def sampled(use_per_second: list[float]) -> Busy:
    busy, used_s = Busy(100.0, 7.0), 7.0
    for second, used in enumerate(use_per_second, start=1):
        used_s += used
        busy.sample(100.0 + second, used_s)
    return busy


def test_a_run_whose_end_alone_had_no_time_left_is_saturated() -> None:
    busy = sampled([0.1] * 50 + [0.95] * 5)
    assert busy.ratio == pytest.approx(9.75 / 55)
    assert busy.peak_ratio == pytest.approx(0.95)
    assert busy.is_saturated


def test_one_busy_second_saturates_no_run() -> None:
    busy = sampled([0.1] * 20 + [1.0] + [0.1] * 20)
    assert busy.peak_ratio == pytest.approx(0.28)
    assert not busy.is_saturated


def test_a_short_run_is_judged_as_a_whole() -> None:
    assert sampled([0.95, 0.95]).is_saturated
    assert not sampled([0.5, 0.5]).is_saturated
    assert not Busy(1.0, 1.0).is_saturated


@pytest.mark.parametrize(
    ("late_s", "p95_ms"),
    [([], 0), ([0.0124], 12), ([-0.001] * 95 + [0.5] * 5, 0), ([0.0] * 94 + [0.5] * 6, 500), ([7.0], 1000)],
)
def test_a_load_that_is_kept_from_the_processor_wakes_late(late_s: list[float], p95_ms: int) -> None:
    lateness = Lateness()
    for each_s in late_s:
        lateness.woke(each_s)
    assert lateness.p95_ms == p95_ms


def test_requests_are_read_as_they_were_written_by_several(tmp_path: Path) -> None:
    file = tmp_path / "samples.csv"
    one, other = Writer(file), Writer(file)
    first = Sample(1.5, 'GET /?a="b",c', 12.5, "")
    second = Sample(2.0, "GET /ä", 1.0, "OSError: line one\nline two")
    other.add(second)
    one.add(first)
    assert read_samples(file) == []
    one.flush()
    other.flush()
    assert read_samples(file) == [first, Sample(2.0, "GET /ä", 1.0, "OSError: line one line two")]


def test_there_are_no_requests_where_nothing_was_written(tmp_path: Path) -> None:
    assert read_samples(tmp_path / "none.csv") == []


def test_times_are_those_of_good_answers() -> None:
    samples = [Sample(0.0, "a", float(ms), "") for ms in range(1, 102)]
    samples += [Sample(0.0, "a", 60_000.0, "TimeoutError"), Sample(0.0, "b", 7.0, ""), Sample(0.0, "c", 9.0, "no")]
    a, b, c = rows(samples)
    assert (a.name, a.count, a.failed) == ("a", 102, 1)
    assert (a.p50_ms, a.p95_ms, a.p99_ms, a.max_ms) == (51.0, 96.0, 100.0, 101.0)
    assert (b.count, b.p50_ms, b.max_ms) == (1, 7.0, 7.0)
    assert (c.failed, c.max_ms) == (1, 0.0)


def test_what_was_measured_is_written_for_spreadsheets(tmp_path: Path) -> None:
    samples = [Sample(100.0, "GET /", 12.5, ""), Sample(100.25, "GET /", 1.0, "status 503: no, thank you")]
    assert write_tables(tmp_path, "burst", samples, rows(samples)) == ["burst.csv", "burst-requests.csv"]
    assert (tmp_path / "burst.csv").read_text().splitlines() == [
        "what,requests,failed,p50_ms,p95_ms,p99_ms,max_ms",
        "GET /,2,1,12.500,12.500,12.500,12.500",
    ]
    assert (tmp_path / "burst-requests.csv").read_text().splitlines() == [
        "due_s,what,ms,problem",
        "0.000000,GET /,12.500,",
        '0.250000,GET /,1.000,"status 503: no, thank you"',
    ]


class _Counted(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def shown(samples: list[Sample], pods: list[tuple[float, int]]) -> str:
    return page(
        Story(
            name="burst",
            about="All at once.",
            verdict="FAILED: 1 of 3",
            is_good=False,
            command="make loadtest SCENARIO=burst",
            busy="locust used 7% of a core",
            date="2000-01-01",
            samples=samples,
            rows=rows(samples),
            pods=pods,
            beside=["burst_stats.csv"],
        )
    )


def test_the_page_shows_each_of_a_few_requests_and_the_pods() -> None:
    samples = [
        Sample(10.0, "GET /<x>", 1200.0, ""),
        Sample(11.0, "GET /<x>", 0.4, ""),
        Sample(12.0, "GET /<x>", 50.0, "x<y"),
    ]
    text = shown(samples, [(9.0, 0), (10.5, 3)])
    parsed = _Counted()
    parsed.feed(text)
    assert text.count("class='request'") == 3
    assert text.count("stroke-dasharray") == 1
    assert parsed.tags.count("svg") == 3
    assert "x&lt;y" in text
    assert "<x>" not in text
    assert "FAILED: 1 of 3" in text
    assert "src=" not in text
    assert "http" not in text


def test_failed_ones_among_many_are_crosses() -> None:
    samples = [Sample(number / 10, "GET /", 5.0, "no" if number in (7, 9) else "") for number in range(100)]
    text = shown(samples, [(0.0, 1)])
    parsed = _Counted()
    parsed.feed(text)
    assert parsed.tags.count("circle") == 98
    assert len(re.findall(r"stroke='#d55e00'", text)) == 2


def test_a_page_without_pods_or_of_very_many_requests_stays_small() -> None:
    samples = [Sample(number / 1000, "GET /", 5.0 + number % 7, "") for number in range(50_000)]
    samples[777] = Sample(0.777, "GET /", 9_999.0, "")
    text = shown(samples, [])
    parsed = _Counted()
    parsed.feed(text)
    assert parsed.tags.count("svg") == 2
    assert parsed.tags.count("circle") <= 6000
    assert "10 s" in text
