"""`loadtests/lab/compare`: sides, statistics, verdicts, and the report."""

import csv
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.lab.compare.command import main
from loadtests.lab.compare.memory import program_of, resident_by_program
from loadtests.lab.compare.model import Gate, Metric, Run, Scale, Scenario
from loadtests.lab.compare.page import Comparison, judged, rows, write
from loadtests.lab.compare.sides import Side, SideError, parse_side
from loadtests.lab.compare.statistics import Estimate, Verdict, compare, estimate, quantile

VALUES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=30)
BOUNDED = settings(deadline=None, max_examples=20)
"""Each example draws thousands of samples."""
MACHINE = {"machine": "a <machine>", "date": "2026-01-02"}


@BOUNDED
@given(VALUES)
def test_an_interval_holds_its_median_and_lies_within_the_values(values: list[float]) -> None:
    found = estimate(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)


@BOUNDED
@given(VALUES)
def test_the_same_runs_give_the_same_interval(values: list[float]) -> None:
    assert estimate(values) == estimate(values)


@BOUNDED
@given(VALUES, VALUES)
def test_sides_that_change_places_change_the_verdict(a: list[float], b: list[float]) -> None:
    there, back = (compare(estimate(x), estimate(y), is_low_good=True) for x, y in ((a, b), (b, a)))
    swapped = {Verdict.A_BETTER: Verdict.B_BETTER, Verdict.B_BETTER: Verdict.A_BETTER}
    assert back is swapped.get(there, there)


@pytest.mark.parametrize(
    ("a", "b", "is_low_good", "verdict"),
    [
        (Estimate(1, 1, 2, 5), Estimate(4, 3, 5, 5), True, Verdict.A_BETTER),
        (Estimate(1, 1, 2, 5), Estimate(4, 3, 5, 5), False, Verdict.B_BETTER),
        (Estimate(1, 1, 3, 5), Estimate(4, 3, 5, 5), True, Verdict.OPEN),
        (Estimate(1, 1, 1, 3), Estimate(4, 4, 4, 3), True, Verdict.OPEN),
        (None, Estimate(4, 4, 4, 5), True, Verdict.UNKNOWN),
    ],
)
def test_a_side_is_better_only_where_intervals_are_apart_and_runs_are_enough(
    a: Estimate | None, b: Estimate, is_low_good: bool, verdict: Verdict
) -> None:
    assert compare(a, b, is_low_good=is_low_good) is verdict


def test_a_quantile_is_one_of_the_values() -> None:
    assert [quantile([3, 1, 2], share) for share in (0, 0.5, 0.95, 1)] == [1, 2, 3, 3]


def test_a_side_is_ours_a_proxy_or_components() -> None:
    assert parse_side("ours", ("proxy",)).is_ours
    assert parse_side(f"queue-proxy={sys.executable} -m x", ("proxy",)).commands == {
        "queue-proxy": f"{sys.executable} -m x"
    }
    both = parse_side(f"activator={sys.executable},gateway={sys.executable}", ("components",))
    assert list(both.commands) == ["activator", "gateway"]


@pytest.mark.parametrize(
    ("text", "takes", "says"),
    [
        ("theirs", "proxy", "expected ours"),
        ("scheduler=/bin/true", "components", "expected ours"),
        ("activator=", "components", "no such program"),
        ("activator=/no/such", "components", "no such program"),
        ("activator=/bin/true,activator=/bin/true", "components", "given twice"),
        ("activator=/bin/true", "proxy", "runs queue-proxy alone"),
        ("nginx", "components", "compares stacks"),
    ],
)
def test_a_side_that_cannot_be_run_says_why(text: str, takes: str, says: str) -> None:
    with pytest.raises(SideError, match=says):
        parse_side(text, (takes,))


def test_a_wrong_side_ends_with_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "gate-1000", "--b", "theirs"]) == 2
    assert capfd.readouterr().err.startswith("compare: 'theirs': expected ours")


async def _never(side: Side, scale: Scale, scratch: Path) -> Run:
    raise AssertionError


SCENARIO = Scenario(
    name="made-up",
    what="Which <one>?",
    method="None & nothing.",
    metrics={
        "cpu": Metric(label="CPU", unit="us"),
        "p95": Metric(label="p95", unit="ms", is_timed=True),
        "errors": Metric(label="errors", unit="requests", digits=0),
        "unseen": Metric(label="unseen", unit="x"),
    },
    run=_never,
    takes=("proxy",),
    gates=(Gate("p95", 110.0),),
)


def comparison(*, load: float = 0.3) -> Comparison:
    def runs(base: float) -> list[Run]:
        return [
            Run(
                figures={"cpu": base + number, "p95": 100 + base / 10 + number, "errors": 0.0},
                samples={"latency": [base * factor for factor in (1.0, 2.0, 100.0)], "nothing": [0.0]},
                series={"pods": [(0.0, 0.0), (1.0, 3.0)]},
                load_core_ratio=load,
                notes=["<b>noise</b>"] if not number else [],
            )
            for number in range(5)
        ]

    return Comparison(SCENARIO, ("ours", "a&b"), (runs(20), runs(200)), MACHINE, "knuv lab compare")


class Checked(HTMLParser):
    """Counts elements, and holds that those that have to be closed are."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        assert not any(value and value.startswith(("http:", "https:", "//")) for _, value in attrs)
        if tag in ("svg", "figure", "table", "h1", "h2", "div"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and tag in ("svg", "figure", "table", "h1", "h2", "div"):
            assert self.open.pop() == tag


def test_the_report_is_one_page_that_needs_nothing_else(tmp_path: Path) -> None:
    page = write(comparison(), tmp_path / "deep" / "report")
    text = page.read_text()
    checked = Checked()
    checked.feed(text)
    assert checked.open == []
    # Two metrics that are not all zero, one distribution that has values, one series.
    assert checked.counts["svg"] == checked.counts["figure"] == 4
    for said in (
        "Which &lt;one&gt;?",
        "a&amp;b",
        "&lt;b&gt;noise&lt;/b&gt;",
        "a &lt;machine&gt;",
        "None &amp; nothing.",
    ):
        assert said in text
    assert "unseen" not in text


def test_verdicts_and_gates_are_in_the_report() -> None:
    compared = comparison()
    assert {row.name: row.verdict for row in rows(compared)} == {
        "cpu": Verdict.A_BETTER,
        "p95": Verdict.A_BETTER,
        "errors": Verdict.OPEN,
    }
    assert [(label, passed) for label, _, passed in judged(compared)] == [("ours", True), ("a&b", False)]


def test_what_a_load_without_time_has_timed_has_no_verdict() -> None:
    found = {row.name: (row.is_invalid, row.verdict) for row in rows(comparison(load=0.99))}
    assert found["p95"] == (True, Verdict.UNKNOWN)
    assert found["cpu"] == (False, Verdict.A_BETTER)


def test_all_that_was_measured_lies_beside_the_page(tmp_path: Path) -> None:
    write(comparison(), tmp_path)
    data = json.loads((tmp_path / "data.json").read_text())
    assert data["sides"][1]["runs"][4]["figures"] == {"cpu": 204, "p95": 124, "errors": 0}
    with (tmp_path / "runs.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2 * 5 * 3
    assert table[0] == {"side": "A", "label": "ours", "run": "1", "figure": "cpu", "unit": "us", "value": "20"}


def test_memory_is_told_by_program() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        found = resident_by_program(os.getpid())
        assert found[Path(sys.executable).name] > 1
    finally:
        child.communicate(b"\n")
    assert program_of(["/usr/bin/python3", "-X", "dev", "-m", "gateway", ""]) == "gateway"
    assert program_of(["/usr/sbin/envoy", "-c", "x"]) == "envoy"


def test_one_tiny_run_of_each_side(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "loadtests.lab", "compare", "--scenario", "gate-1000", "--quick"),
            *("--out", str(tmp_path), "--b", f"queue-proxy={sys.executable} -m queue_proxy"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.strip() == str(tmp_path / "index.html")
    data = json.loads((tmp_path / "data.json").read_text())
    assert all(len(side["runs"]) == 1 and "gate.p95_ms" in side["runs"][0]["figures"] for side in data["sides"])
