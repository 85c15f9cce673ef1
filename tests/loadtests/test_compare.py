"""`loadtests/lab/compare`: sides, statistics, verdicts, and the report."""

import asyncio
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from loadtests.lab.compare import app, charts
from loadtests.lab.compare.command import _alternate, main
from loadtests.lab.compare.loads import _by_time, _steps, _until
from loadtests.lab.compare.model import PHASE, Gate, Metric, Run, Scale, Scenario
from loadtests.lab.compare.page import write
from loadtests.lab.compare.references import REFERENCES, reference
from loadtests.lab.compare.results import Comparison, Outcome, caveats, judged, rows
from loadtests.lab.compare.scenarios import SCENARIOS
from loadtests.lab.compare.sides import Side, SideError, parse_side
from loadtests.lab.compare.statistics import Estimate, Verdict, compare, estimate, quantile
from loadtests.lab.compare.usage import program_of, usage
from loadtests.lab.queue_proxy import apps, clients
from loadtests.lab.queue_proxy.machine import Cores
from loadtests.lab.queue_proxy.subjects import HOST, PORT, Setting, running
from loadtests.lab.queue_proxy_h2 import programs

VALUES = st.lists(st.floats(0.1, 1e6), min_size=1, max_size=12)
BOUNDED = settings(deadline=None, max_examples=6)
"""Each example draws thousands of samples."""
MACHINE = {"machine": "a <machine>", "date": "2026-01-02", "one run": "5 <users>"}


@BOUNDED
@given(VALUES, VALUES)
def test_intervals_hold_their_medians_and_verdicts_follow_the_sides(a: list[float], b: list[float]) -> None:
    found = [estimate(values) for values in (a, b)]
    for values, each in zip((a, b), found, strict=True):
        assert min(values) <= each.low <= each.median <= each.high <= max(values)
        assert estimate(values) == each
    there, back = compare(*found, is_low_good=True), compare(*reversed(found), is_low_good=True)
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


def test_a_scale_is_told_in_words_as_far_as_it_counts() -> None:
    scale = Scale(seconds=2.5, rates=(1000, 2000), services=7)
    assert scale.in_words(("rates", "seconds")) == "1,000, 2,000 arrivals a second; 2.5 s of load in each step"
    assert scale.in_words(("services",)) == "7 services"


def test_every_scenario_has_the_metrics_that_its_gates_name() -> None:
    for scenario in SCENARIOS.values():
        assert {gate.figure for gate in scenario.gates} <= set(scenario.metrics)
        assert scenario.scale.runs >= 4
    assert {"queue-proxy-h2", "gate-1000", "from-zero", "from-zero-100", "rollout", "ramp"} <= set(SCENARIOS)


async def _never(side: Side, scale: Scale, scratch: Path) -> Run:
    raise AssertionError


SCENARIO = Scenario(
    name="made-up",
    what="Which <one>?",
    method="None & nothing.",
    metrics={
        "cpu.a": Metric(label="CPU of a", unit="us", picture="CPU", row="a"),
        "cpu.b": Metric(label="CPU of b", unit="us", picture="CPU", row="b"),
        "load.p95": Metric(label="p95", unit="ms", is_timed=True),
        "errors": Metric(label="errors", unit="requests", digits=0),
        "unseen": Metric(label="unseen", unit="x"),
    },
    run=_never,
    takes=("proxy",),
    uses=("rates", "seconds"),
    gates=(Gate("load.p95", 110.0), Gate("errors", 0.0, is_each=True)),
)


def comparison() -> Comparison:
    def runs(base: float) -> list[Run]:
        return [
            Run(
                figures={
                    "cpu.a": base + number,
                    "cpu.b": base * 2,
                    "load.p95": 100 + base / 10 + number,
                    "errors": 0.0,
                },
                samples={
                    "latency": [base * factor for factor in (1.0, 2.0, 100.0)],
                    "nothing": [0.0],
                    f"{PHASE}one": [base, base + 1],
                },
                series={"ready pods, pods": [(0.0, 0.0), (1.0, 3.0)]},
                moments=[("it <began>", 0.5 + number)],
                noise=[0.5],
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
    # CPU of both in one, p95; phases, one distribution that has values, one series.
    assert checked.counts["svg"] == checked.counts["figure"] == 5
    for said in (
        *(
            "Which &lt;one&gt;?",
            "a&amp;b",
            "&lt;b&gt;noise&lt;/b&gt;",
            "a &lt;machine&gt;",
            "5 &lt;users&gt;",
            "None &amp; nothing.",
        ),
        *("it &lt;began&gt;", "others used 50% of the side's cores".replace("'", "&#x27;")),
    ):
        assert said in text
    assert "unseen" not in text


def test_verdicts_and_gates_are_in_the_report() -> None:
    compared = comparison()
    assert {row.name: row.verdict for row in rows(compared)} == {
        "cpu.a": Verdict.A_BETTER,
        "cpu.b": Verdict.A_BETTER,
        "load.p95": Verdict.A_BETTER,
        "errors": Verdict.OPEN,
    }
    outcomes = [(gate.side, gate.outcome) for gate in judged(compared)]
    assert outcomes == [(0, Outcome.PASSED), (0, Outcome.PASSED), (1, Outcome.INVALID), (1, Outcome.PASSED)]


def test_a_time_that_is_missed_while_others_use_the_machine_is_nobodys_fault() -> None:
    compared = comparison()
    assert [gate.outcome for gate in judged(compared)][2] is Outcome.INVALID
    for run in compared.runs[1]:
        run.noise = [0.1]
    assert [gate.outcome for gate in judged(compared)][2] is Outcome.MISSED


def test_sides_that_did_not_meet_the_same_noise_are_told_apart() -> None:
    compared = comparison()
    assert [each for each in caveats(compared) if "did not meet the same" in each] == []
    for run in compared.runs[1]:
        run.noise = [0.1]
    (caveat,) = [each for each in caveats(compared) if "did not meet the same" in each]
    assert "50% of the cores in the runs of A, 10% in those of B" in caveat


def test_one_error_in_one_run_misses_a_gate_that_holds_for_each() -> None:
    compared = comparison()
    compared.runs[0][3].figures["errors"] = 1.0
    assert [gate.outcome for gate in judged(compared)][:2] == [Outcome.PASSED, Outcome.MISSED]


def test_a_failed_run_misses_every_gate() -> None:
    compared = comparison()
    compared.runs[0][3] = Run(is_failed=True, notes=["failed: it did"])
    assert [gate.outcome for gate in judged(compared)][:2] == [Outcome.MISSED, Outcome.MISSED]


def test_what_a_load_without_time_has_timed_has_no_verdict_and_passes_no_gate() -> None:
    compared = comparison()
    for run in compared.runs[0]:
        run.limit_late("load", 5.1)
        run.limit_late("other", 4.9)
    found = {row.name: row for row in rows(compared)}
    p95 = found["load.p95"]
    assert (p95.why_invalid, p95.verdict) == ("the load sent 5 ms too late (95th percentile)", Verdict.UNKNOWN)
    assert p95.estimates == (None, None)
    assert (found["cpu.a"].why_invalid, found["cpu.a"].verdict) == ("", Verdict.A_BETTER)
    assert [gate.outcome for gate in judged(compared)][:2] == [Outcome.INVALID, Outcome.PASSED]
    assert list(compared.runs[0][0].limited) == ["load"]


def test_a_busy_core_limits_a_closed_loop() -> None:
    run = Run()
    run.limit_busy("get", 0.95)
    assert run.limited == {}
    run.limit_busy("get", 0.96)
    assert run.limited == {"get": "the load's core was 96% busy"}


def test_all_that_was_measured_lies_beside_the_page(tmp_path: Path) -> None:
    write(comparison(), tmp_path)
    data = json.loads((tmp_path / "data.json").read_text())
    assert data["sides"][1]["runs"][4]["figures"] == {"cpu.a": 204, "cpu.b": 400, "load.p95": 124, "errors": 0}
    with (tmp_path / "runs.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2 * 5 * 4
    assert table[0] == {"side": "A", "label": "ours", "run": "1", "figure": "cpu.a", "unit": "us", "value": "20"}


def test_values_that_differ_by_much_are_drawn_on_a_logarithmic_axis() -> None:
    assert "logarithmic" in charts.cumulative("x", "ms", [[1, 40], []])
    assert "logarithmic" not in charts.cumulative("x", "ms", [[1, 20], []])
    assert charts.cumulative("x", "ms", [[0.0], []]) == ""


def test_memory_and_cpu_time_are_told_by_program() -> None:
    child = subprocess.Popen([sys.executable, "-c", "sum(range(3_000_000)); input()"], stdin=subprocess.PIPE)
    try:
        name = Path(sys.executable).name
        before, found = usage(os.getpid(), {}), usage(os.getpid(), {name: "renamed"})
        assert found.resident_mb["renamed"][-1] > 1
        assert child.pid in found.cpu_s
        assert found.all_cpu_s >= before.all_cpu_s > 0
        assert before.cpu_since(before)[name] == 0
        assert 0 <= found.others_since(before) <= 1
    finally:
        child.communicate(b"\n")


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("/usr/bin/python3 -X dev -m gateway ", "gateway"),
        ("python -X frozen_modules=on -P /x/warm_child.py queue_proxy", "queue_proxy"),
        ("python3.11 -S -E /x/hello.py", "hello"),
        ("/usr/sbin/envoy -c x", "envoy"),
        ("python3 -c x", "python3"),
        ("", "unknown"),
    ],
)
def test_a_program_is_a_module_a_script_or_a_binary(command: str, program: str) -> None:
    assert program_of(command.split(" ")) == program


def test_steps_follow_each_other_and_steady_arrivals_last_until_the_end() -> None:
    assert list(_steps((2, 4), 1.0)) == [0.0, 0.5, 1.0, 1.25, 1.5, 1.75]

    def ends() -> Iterator[float]:
        is_over = asyncio.Event()
        for at_s in _until(2, 1.0, is_over):
            yield at_s
            if at_s == 2.0:
                is_over.set()

    assert list(ends()) == [0.0, 0.5, 1.0, 1.5, 2.0]


async def test_the_app_answers_after_its_delay_what_the_load_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "DELAY_S", 0.02)
    async with apps.serving(app.App) as port:
        text = clients.request()
        load = await clients.open_loop(50, 0.1, lambda: text, host="127.0.0.1", port=port)
    assert load.problems == []
    assert len(load.latencies_s) == len(load.intended_s) == len(load.late_s) == 5
    assert min(load.latencies_s) > 0.019


def test_what_is_seen_of_one_side_alone_is_drawn() -> None:
    curve = [(0.0, 1.0), (1.0, 2.0)]
    both, one = (charts.lines("concurrency", "requests", [[curve], runs]) for runs in ([curve], []))
    assert (both.count("<polyline"), one.count("<polyline")) == (4, 2)


async def test_neither_side_always_comes_first() -> None:
    order = []

    async def run(side: Side, scale: Scale, scratch: Path) -> Run:
        order.append(side.label)
        return Run(figures={"errors": float(len(order))})

    sides = Side("a"), Side("b")
    a, b = await _alternate(replace(SCENARIO, run=run), sides, Scale(runs=3), Console(quiet=True))
    assert "".join(order) == "abbaab"
    assert [[run.figures["errors"] for run in runs] for runs in (a, b)] == [[1.0, 4.0, 5.0], [2.0, 3.0, 6.0]]


async def test_arrivals_without_answers_are_bounded_and_none_goes_uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[asyncio.StreamWriter] = []

    async def be_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)

    monkeypatch.setattr(clients, "ANSWER_S", 0.5)
    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    async with server:
        load, port = clients.Load(clients.request), server.sockets[0].getsockname()[1]
        due_s = [number / 1000 for number in range(10)]
        await clients.arrivals(load, due_s, host="127.0.0.1", port=port, waiting_max=3)
        for writer in connected:
            writer.close()
    assert len(connected) == 3
    assert sorted(load.problems) == ["no answer within 10 s"] * 3 + ["not sent: 3 requests wait for their answers"] * 7


def test_parts_of_a_load_begin_with_its_first_arrival_whatever_became_of_it() -> None:
    load = clients.Load(clients.request)
    load.began_s = 100.1
    for due_s, latency_s in ((2.5, 0.5), (3.0, 0.1), (3.9, 0.2)):  # nothing that was due before was answered well
        load.intended_s.append(load.began_s + due_s)
        load.latencies_s.append(latency_s)
    assert _by_time(load, 1.0) == {2: [500.0], 3: [100.0, 200.0]}


@pytest.mark.parametrize("is_http2", [False, True])
@pytest.mark.parametrize("name", REFERENCES)
async def test_a_reference_passes_requests_on(name: str, is_http2: bool, tmp_path: Path) -> None:
    serving = programs.nghttpd(tmp_path) if is_http2 else apps.serving(apps.OkApp)
    subject = reference(name, is_http2=is_http2)
    async with (
        serving as app_port,
        running(subject, Cores.of_this_machine(), tmp_path, app_port, Setting()),
    ):
        if is_http2:
            # On a busy machine the time may be over before the first answer.
            while not await programs.h2paced(tmp_path, 1, 50, 0.1):
                pass
        else:
            text = clients.request()
            load = await clients.open_loop(50, 0.1, lambda: text, host=HOST, port=PORT)
            assert (len(load.latencies_s), load.problems) == (5, [])


def test_one_tiny_run_of_each_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--scenario", "gate-1000", "--quick", "--out", str(tmp_path), "--a", "nginx", "--b", "nghttpx"])
    captured = capsys.readouterr()
    assert code in (0, 1, 3), captured.err
    assert captured.out.strip() == str(tmp_path / "index.html")
    data = json.loads((tmp_path / "data.json").read_text())
    assert all(len(side["runs"]) == 1 and "gate.p95_ms" in side["runs"][0]["figures"] for side in data["sides"])
    assert data["nginx"].startswith("nginx version")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rate", "1,2"], "gate-1000 takes one"),
        (["--rate", "1,2,3,4,5"], "expected at most 4, got 5"),
        (["--seconds", "0"], "expected more than 0"),
        (["--runs", "0"], "expected 1 or more"),
    ],
)
def test_a_scale_that_makes_no_sense_is_refused(
    arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["--scenario", "gate-1000", "--b", "ours", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert says in capfd.readouterr().err


def test_a_side_whose_first_run_fails_ends_the_comparison(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def run(side: Side, scale: Scale, scratch: Path) -> Run:
        raise ExceptionGroup("tasks", [TimeoutError("it never came"), OSError("nor that")])

    monkeypatch.setitem(SCENARIOS, "gate-1000", replace(SCENARIO, name="gate-1000", run=run))
    assert main(["--scenario", "gate-1000", "--b", "ours", "--out", str(tmp_path)]) == 2
    assert "ours: it never came; nor that" in capfd.readouterr().err


def test_a_later_run_that_fails_is_a_result(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good = Run(figures={"errors": 0.0, "load.p95": 1.0})
    given = iter([good, good, None, good])  # the third is the second one of B

    async def run(side: Side, scale: Scale, scratch: Path) -> Run:
        if (result := next(given)) is None:
            raise TimeoutError("not again")
        return result

    monkeypatch.setitem(SCENARIOS, "gate-1000", replace(SCENARIO, name="gate-1000", run=run))
    assert main(["--scenario", "gate-1000", "--a", "nginx", "--b", "ours", "--runs", "2", "--out", str(tmp_path)]) == 0
    assert "1 of 4 runs failed" in (tmp_path / "index.html").read_text()
    assert "NOT PASSED" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("b", "is_root", "network"),
    [("ours", True, "loopback"), ("activator=/bin/true", True, "netns"), ("activator=/bin/true", False, "loopback")],
)
def test_both_sides_have_networks_of_their_own_where_one_has_other_programs(
    b: str, is_root: bool, network: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []

    async def run(side: Side, scale: Scale, scratch: Path) -> Run:
        seen.append(side.network)
        return Run(figures={"errors": 0.0, "load.p95": 1.0})

    monkeypatch.setattr(os, "geteuid", lambda: 0 if is_root else 1000)
    monkeypatch.setitem(SCENARIOS, "ramp", replace(SCENARIO, name="ramp", run=run, takes=("components",)))
    assert main(["--scenario", "ramp", "--b", b, "--runs", "1", "--out", str(tmp_path)]) == 0
    assert seen == [network, network]
    assert json.loads((tmp_path / "data.json").read_text())["network of the stack"] == network
