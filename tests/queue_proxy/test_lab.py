"""The benchmark of queue-proxy: its arithmetic, and that every scenario runs, so that it cannot rot.

The figures of these runs mean nothing.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtests.lab import queue_proxy
from loadtests.lab.queue_proxy import clients, imports, report
from loadtests.lab.queue_proxy.figures import (
    KINDS,
    OURS,
    Budget,
    Spread,
    Verdict,
    judge,
    quantile,
    spreads,
)
from loadtests.lab.queue_proxy.machine import Process
from loadtests.lab.queue_proxy.scenarios import SCENARIOS

COMMAND = [sys.executable, "-m", "loadtests.lab", "queue-proxy"]
HAS_NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def of(value: float) -> Spread:
    return Spread(value, value, value)


class TestFigures:
    def test_a_spread_is_the_median_with_both_ends(self) -> None:
        assert spreads([{"rate": 3.0}, {"rate": 1.0}, {"rate": 7.0}]) == {"rate": Spread(3.0, 1.0, 7.0)}

    @pytest.mark.parametrize(
        ("share", "value"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (0.991, 100), (1.0, 100)]
    )
    def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(self, share: float, value: int) -> None:
        assert quantile(range(1, 101), share) == value

    def test_a_quantile_of_one_value_is_that_value(self) -> None:
        assert quantile([7.0], 0.99) == 7.0

    def test_every_budget_is_about_a_figure_with_a_name(self) -> None:
        assert {budget.figure for scenario in SCENARIOS for budget in scenario.budgets} <= set(KINDS)


class TestVerdicts:
    @pytest.mark.parametrize(("value", "verdict"), [(80.0, Verdict.MET), (80.1, Verdict.MISSED)])
    def test_a_budget_is_met_up_to_its_limit(self, value: float, verdict: Verdict) -> None:
        assert judge(Budget("start_ms", 80.0), {OURS: {"start_ms": of(value)}}).verdict is verdict

    def test_a_ratio_is_of_the_medians(self) -> None:
        measured = {OURS: {"cpu_us": Spread(18.0, 1.0, 99.0)}, "nginx": {"cpu_us": Spread(12.0, 1.0, 99.0)}}
        check = judge(Budget("cpu_us", 1.5, rival="nginx"), measured)
        assert (check.value, check.verdict) == (1.5, Verdict.MET)

    def test_a_ratio_without_its_rival_is_not_known(self) -> None:
        check = judge(Budget("cpu_us", 1.5, rival="nginx"), {OURS: {"cpu_us": of(1.0)}})
        assert (check.value, check.verdict) == (None, Verdict.UNKNOWN)

    def test_without_a_limit_a_figure_is_only_reported(self) -> None:
        check = judge(Budget("cpu_us", None), {OURS: {"cpu_us": of(20.0)}})
        assert check.is_met
        assert report.verdict(check) == "-        CPU per request: 20.0 us"

    @pytest.mark.parametrize(("load_core", "verdict"), [(0.95, Verdict.MET), (0.96, Verdict.INVALID)])
    def test_a_latency_is_worthless_when_the_load_was_the_bottleneck(self, load_core: float, verdict: Verdict) -> None:
        measured = {OURS: {"p95_ms": of(1.0), "load_core_ratio": of(load_core)}}
        assert judge(Budget("p95_ms", 110.0), measured).verdict is verdict

    def test_cpu_time_is_not(self) -> None:
        measured = {OURS: {"event_cpu_us": of(1.0), "load_core_ratio": of(1.0)}}
        assert judge(Budget("event_cpu_us", 15.0), measured).verdict is Verdict.MET


class TestReport:
    def test_a_row_tells_the_figure_its_spread_and_what_is_wrong_with_it(self) -> None:
        measured = {OURS: {"p99_ms": Spread(1.5, 1.0, 2.0), "load_core_ratio": of(0.97), "noise_ratio": of(0.2)}}
        _, row = report.text(SCENARIOS[0], measured, []).splitlines()
        assert "p99 1.50 ms (1.00-2.00) [invalid]" in row
        assert "load's core 97%" in row
        assert "NOISY: others used 20% of the proxy's core" in row

    def test_a_verdict_tells_value_budget_and_goal(self) -> None:
        check = judge(Budget("start_ms", 80.0, goal=50.0), {OURS: {"start_ms": of(61.26)}})
        assert report.verdict(check) == "met      exec to accepting port: 61.3 ms (budget 80, goal 50)"


IMPORTTIME = """\
import time: self [us] | cumulative | imported package
import time:       200 |        200 |       _ssl
import time:      1800 |       2000 |     ssl
import time:       400 |       2400 |   asyncio.base_events
import time:       100 |       2500 | asyncio
import time:       300 |        300 | proxies.http1
required key CONTAINER_CONCURRENCY missing value
"""


class TestImports:
    def test_each_module_counts_with_its_own_time_only(self) -> None:
        assert imports.parse(IMPORTTIME) == {
            "_ssl": 0.2,
            "ssl": 1.8,
            "asyncio.base_events": 0.4,
            "asyncio": 0.1,
            "proxies.http1": 0.3,
        }

    def test_packages_are_summed_and_a_module_that_another_one_needs_counts_with_that(self) -> None:
        (ssl, asyncio, _) = imports.groups([imports.parse(IMPORTTIME)] * 3)
        assert ssl == imports.Group("ssl", 2, pytest.approx(2.0))
        assert asyncio == imports.Group("asyncio", 2, pytest.approx(0.5))

    def test_what_is_cheap_shares_a_row_and_what_is_dear_without_a_reason_is_marked(self) -> None:
        rows = imports.table([imports.Group("mystery", 1, 9.0), imports.Group("ssl", 2, 0.1)]).splitlines()
        assert rows[2:4] == ["| `mystery` | 1 | 9.0 | ? |", "| others | 2 | 0.1 | each below 0.5 ms |"]

    def test_the_documentation_has_a_table_and_a_reason_for_every_row(self) -> None:
        document = imports.DOCUMENT.read_text()
        _, begin, rest = document.partition(imports.BEGIN)
        inside, end, _ = rest.partition(imports.END)
        assert begin
        assert end
        assert "| `uvloop` |" in inside
        assert "| ? |" not in inside
        assert imports.rewritten(document, inside.strip()) == document

    def test_ours_are_listed_one_by_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert queue_proxy.main(["--imports"]) == 0
        out = capsys.readouterr().out
        assert " ms  proxies.http1\n" in out
        assert "| `asyncio` |" in out


def test_no_two_unique_requests_are_equal_and_all_are_equally_long() -> None:
    requests = clients.unique_requests()
    some = [next(requests) for _ in range(1000)]
    assert len(set(some)) == 1000
    assert len({len(each) for each in some}) == 1


def test_cpu_time_and_memory_of_descendants_count_with_their_parent() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    busy = "x = b'x' * 50_000_000; sum(range(5_000_000)); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script, busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        process = Process(parent.pid)
        assert process.cpu_ns() > 50_000_000
        assert process.rss_bytes() > 50_000_000
        assert not process.has_ended()
        parent.communicate(b"\n")


@pytest.mark.parametrize("name", [scenario.name for scenario in SCENARIOS])
def test_every_scenario_runs_and_prints_its_budgets(name: str) -> None:
    rivals = ["--against", "nginx"] if HAS_NGINX else []
    done = subprocess.run([*COMMAND, "--quick", "--json", "--only", name, *rivals], check=True, stdout=subprocess.PIPE)
    result = json.loads(done.stdout)
    scenario = next(each for each in SCENARIOS if each.name == name)
    (measured,) = result["scenarios"]
    assert set(measured["proxies"]) == ({OURS, "nginx"} if HAS_NGINX else {OURS})
    assert [each["budget"] for each in measured["budgets"]] == [each.limit for each in scenario.budgets]
    assert all(value["median"] >= 0 for value in measured["proxies"][OURS].values())
    if HAS_NGINX:
        assert all(each["value"] is not None for each in measured["budgets"])


def test_another_command_is_started_with_queue_proxys_environment_in_an_empty_folder(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.write_text(
        f"#!/bin/sh\nenv > {tmp_path}/environment; ls > {tmp_path}/files\nexec {sys.executable} -m queue_proxy\n"
    )
    build.chmod(0o755)
    done = subprocess.run(
        [*COMMAND, "--quick", "--json", "--only", "get", "--against", str(build)], check=True, stdout=subprocess.PIPE
    )
    (measured,) = json.loads(done.stdout)["scenarios"]
    assert measured["proxies"][str(build)]["rate"]["median"] > 0
    assert (tmp_path / "files").read_text().split() == ["stderr"]
    told = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert {"CONTAINER_CONCURRENCY", "USER_PORT", "SERVING_POD", "OBSERVABILITY_CONFIG"} <= told.keys()


_SHORT_LIVED = """
import os, socket, subprocess, sys, time

proxy = subprocess.Popen([sys.executable, "-m", "queue_proxy"])
while socket.socket().connect_ex((os.environ["KNUV_BIND_ADDRESS"], 8012)):
    time.sleep(0.01)
time.sleep(0.3)
proxy.kill()
proxy.wait()
"""


def test_a_proxy_that_dies_under_load_is_one_clear_line(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.write_text(f"#!{sys.executable}\n{_SHORT_LIVED}")
    build.chmod(0o755)
    done = subprocess.run(
        [*COMMAND, "--quick", "--seconds", "5", "--only", "get", "--against", str(build)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "the proxy closed the connection" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["queue-proxy", "soak-queue-proxy"])
def test_a_lab_that_is_terminated_ends_what_it_has_started(name: str) -> None:
    command = [sys.executable, "-m", "loadtests.lab", name]
    options = ["--only", "idle"] if name == "queue-proxy" else []
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as lab:
        assert lab.stderr is not None
        lab.stderr.readline()
        end_s = time.monotonic() + 60
        while not children(lab.pid):
            assert time.monotonic() < end_s
        started = children(lab.pid)
        lab.terminate()
        assert lab.wait(20) == 143
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_command_that_does_not_listen_is_one_clear_line_with_what_it_said(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.write_text("#!/bin/sh\necho no such luck >&2\n")
    build.chmod(0o755)
    done = subprocess.run(
        [*COMMAND, "--quick", "--only", "get", "--against", str(build)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("it said: no such luck")


@pytest.mark.parametrize(
    ("rival", "line"),
    [("nginx", "nginx is not installed"), ("/nonexistent/proxy --fast", "there is no such program")],
)
def test_a_missing_rival_is_one_clear_line(
    rival: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cores = os.sched_getaffinity(0)
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)
    assert queue_proxy.main(["--quick", "--against", rival]) == 2
    assert line in capsys.readouterr().err
    assert os.sched_getaffinity(0) == cores
