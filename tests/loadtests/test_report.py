"""`make report`: records become pages, whatever the figures are; what is missing, failed or stale is told."""

import re
from pathlib import Path
from typing import Any

import pytest

from loadtests.report import pages, performance, running, sizing
from loadtests.report.__main__ import main
from loadtests.report.labs import LABS, Lab
from loadtests.report.records import Record, read, write
from loadtests.report.selected import SELECTED

ROOT = Path(__file__).parents[2]


def _spread(value: float) -> dict[str, float]:
    return {"median": value, "min": value - 1, "max": value + 1}


def _scenario(name: str, key: str, label: str, ours: float, rival: str, check: dict[str, Any]) -> dict[str, Any]:
    proxies = {
        "queue-proxy": {key: _spread(ours), "load_core_ratio": _spread(0.5), "noise_ratio": _spread(0.3)},
        rival: {key: _spread(ours / 2)},
    }
    budget = {"figure": label, "unit": "", "value": 2.0, "budget": 1.5, "goal": 1.2, "met": False, "verdict": "MISSED"}
    return {"scenario": name, "what": "", "method": "", "proxies": proxies, "budgets": [budget | check]}


def _figure(scenario: str, name: str, value: float, budget: float | None = None, *, unit: str = "us") -> dict[str, Any]:
    is_met = budget is None or value <= budget
    figure = {"scenario": scenario, "figure": name, "unit": unit, "value": value}
    return figure | {"values": [value, value + 1], "budget": budget, "met": is_met}


FOUND: dict[str, dict[str, Any]] = {
    "queue-proxy": {
        "scenarios": [
            _scenario("get", "cpu_us", "CPU per request, multiple of nginx", 24.0, "nginx", {}),
            _scenario("get-unique", "cpu_us", "CPU per request, multiple of nginx", 25.0, "nginx", {"budget": None}),
            _scenario("memory", "rss_mb", "RSS", 20.0, "nginx", {"budget": 30.0, "goal": None, "verdict": "met"}),
            _scenario("idle", "rss_mb", "RSS", 29.0, "nginx", {"budget": 34.0, "goal": None, "verdict": "met"}),
        ],
    },
    "cold-start": {
        "requests": 30,
        "failed": 0,
        "total": {"p50": 58.0, "p95": 82.0, "max": 90.0},
        "our share": {"p50": 19.0, "p95": 61.0, "max": 70.0},
        "budgets": {"our share": {"p50": 30.0, "p95": 50.0}, "failed": {"requests": 0}},
    },
    "activator": {
        "figures": [
            _figure("warm", "CPU per request", 20.0),
            _figure("warm", "CPU per request, nginx", 10.0),
            _figure("warm", "CPU per request, multiple of nginx", 2.0, 1.5, unit="x"),
            _figure("held", "9700 held, CC=100, RSS", 67.9, unit="MB"),
        ]
    },
    "autoscaler": {
        "figures": [
            _figure("tick", "10000 revisions, cores", 0.3, unit="core"),
            _figure("scrapes", "5000 scrapes/s, cores", 0.15, unit="core"),
        ]
    },
    "gateway": {
        "met": True,
        "figures": [
            {"name": "ready after apply among 2000: median", "value": 0.1, "unit": "s", "budget": None},
            {"name": "gateway's memory with 2000", "value": 60.0, "unit": "MB", "budget": None},
            {"name": "gateway's memory with 7500", "value": 115.0, "unit": "MB", "budget": None},
        ],
    },
}


def _record(lab: str, **changes: Any) -> Record:
    values: dict[str, Any] = {
        "arguments": ("--rounds", "3"),
        "is_short": False,
        "date": "2026-01-01",
        "commit": "abc",
        "machine": "x86_64, 2 cores",
        "versions": "Python 3.11, nginx/1.22" if lab == "queue-proxy" else "Python 3.11",
        "limits": "somaxconn 4096",
        "seconds": 60.0,
        "exit_code": 0,
        "problem": "",
        "found": FOUND.get(lab, {}),
    }
    return Record(lab=lab, **(values | changes))


@pytest.fixture
def records(tmp_path: Path) -> dict[str, Record]:
    """As they come back from files."""
    for lab in FOUND:
        write(tmp_path / "records", _record(lab))
    return read(tmp_path / "records")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(f"# knuv\n\n{pages.BEGIN}\nof before\n{pages.END}\n\nbehind\n")
    return tmp_path


def test_figures_stand_beside_rival_ratio_budget_and_verdict(records: dict[str, Record]) -> None:
    page = performance.page(records)

    assert "`python -m loadtests.lab queue-proxy --rounds 3`, 60 s." in page
    row = "| `get` | CPU per request | 24 us (23 to 25) | 12 us | 2.00 | 1.5 x nginx, goal 1.2 | **MISSED** |"
    assert row in page
    assert "| `memory` | RSS | 20 MB (19 to 21) | 10 MB | 2.00 | 30 MB | met |" in page
    assert "| our share | 19 ms | 61 ms | 70 ms | p50 30 ms, p95 50 ms | met, **MISSED** |" in page
    assert "| `warm` | CPU per request, multiple of nginx | 2 x (2 to 3) | 1.5 x | **MISSED** |" in page
    assert "4 of 7 budgets are met. Not met:" in page
    assert "* cold-start, `our share`: p95 61 ms, budget 50 ms (MISSED)" in page
    assert "2026-01-01, commit abc; 5 minutes." in page
    assert "Python 3.11, nginx/1.22." in page


def test_what_others_used_is_told(records: dict[str, Record]) -> None:
    page = performance.page(records)

    assert "Others used up to 30% of the proxy's core: `get`, `get-unique`, `memory`, `idle`." in page
    assert "> **Disturbed**: `queue-proxy`; what it was stands below the tables." in page


def test_a_rival_that_is_a_figure_of_its_own_stands_in_the_summary(records: dict[str, Record]) -> None:
    row = "| activator, CPU per warm request, 10 pods | 20 us | nginx 10 us, ratio 2.00 | 1.5 x: **MISSED** |"
    assert row in performance.page(records)


def test_labs_without_a_record_and_labs_that_failed_are_named(records: dict[str, Record]) -> None:
    page = performance.page({**records, "broker": _record("broker", problem="ended with 2: no `nats` here", found={})})

    top = page.partition("## At a glance")[0]
    assert "**Not measured**: queue-proxy-h2, broker, apiserver" in top
    assert "**This lab failed**: `ended with 2: no 'nats' here`. Repeat it with `make report ONLY=broker`." in page
    assert "Not measured in this run; `make report ONLY=apiserver` does it." in page


def test_scenarios_that_failed_are_named_beside_those_that_did_not(records: dict[str, Record]) -> None:
    found = FOUND["activator"] | {"failed": {"held": "2 requests were not released"}}
    page = performance.page({**records, "activator": _record("activator", found=found)})

    assert "`held` of activator; the reason stands in the section of each." in page
    assert "**Failed**: `held`, `2 requests were not released`." in page
    assert "| `warm` | CPU per request | 20 us" in page


def test_a_trial_says_so(records: dict[str, Record]) -> None:
    trial = {**records, "activator": _record("activator", is_short=True)}

    assert "**A trial**" not in performance.page(records)
    for page in (performance.page(trial), sizing.page(trial)):
        assert "> **A trial**" in page.partition("## ")[0]


def test_nothing_measured_is_a_page_too() -> None:
    assert "**Nothing has been measured yet**" in performance.page({})
    assert "not measured" in sizing.page({})


def test_figures_of_another_shape_are_named_and_hurt_nobody_else(records: dict[str, Record], tmp_path: Path) -> None:
    write(tmp_path / "records", _record("activator", found={"figures": [{"x": 1}]}))

    page = performance.page(read(tmp_path / "records"))
    assert "**This lab failed**: `not the figures of 'python -m loadtests.lab activator --json'" in page
    assert "| `get` | CPU per request |" in page


def test_the_arithmetic_of_sizes_is_shown(records: dict[str, Record]) -> None:
    page = sizing.page(records)

    assert "| queue-proxy, HTTP/1.1 | 0.6 x 1,000,000 us / 25 us | 24,000 requests/s |" in page
    assert "| gateway, an Ingress with four names | (115 MB - 60 MB) / 5,500 | 9.8 KiB |" in page
    assert "| queue-proxy, an open connection of HTTP/1.1 | (29 MB - 20 MB) / 900 | 9.8 KiB |" in page
    assert "| activator, a request that is held | 67.9 MB / 9,700, the process itself included | 7 KB at most |" in page
    assert "| autoscaler, load pushed by activators | 0.6 / 0.3 core x 10,000 | 20,000 revisions a core |" in page
    assert "| autoscaler, pods asked each second | 0.6 / 0.15 core x 5,000 | 20,000 pods a core |" in page
    assert "| broker ingress |  | not measured |" in page
    assert "Not all figures for it were measured." in page


def test_an_installation_is_calculated_through(records: dict[str, Record]) -> None:
    costs = [
        _figure("ingress", "accepting channel, CPU per event", 30.0),
        _figure("dispatch", "in memory, CPU per event", 45.0),
        _figure("filter", "match, CPU per event", 300.0),
    ]
    page = sizing.page({**records, "broker": _record("broker", found={"figures": costs})})

    assert "| activator | 1,000 requests/s x 20 us / 0.6 | 0.03 | 1 |" in page
    assert "| all queue-proxies | 4,000 requests/s x 25 us / 0.6 | 0.17 | one in each pod |" in page
    assert "| autoscaler | 1,000 pods x 30 us/s / 0.6 | 0.05 | 1 |" in page
    assert "| broker ingress | 2,000 events/s x 30 us / 0.6 | 0.10 | 1 |" in page
    assert "| dispatcher | 4,000 deliveries/s x 45 us / 0.6 | 0.30 | 1 |" in page
    assert "| broker filter | 4,000 deliveries/s x 300 us / 0.6 | 2.00 | 2 |" in page


def test_everything_is_written_and_readme_between_its_marks_only(records: dict[str, Record], root: Path) -> None:
    assert {path.name for path in pages.write(root, records)} == {"performance.md", "sizing.md", "README.md"}

    readme = (root / "README.md").read_text()
    assert readme.startswith(f"# knuv\n\n{pages.BEGIN}\n2026-01-01, commit abc")
    assert readme.endswith(f"|\n{pages.END}\n\nbehind\n")
    assert "of before" not in readme
    assert pages.renewed(readme, "x") == f"# knuv\n\n{pages.BEGIN}\nx\n{pages.END}\n\nbehind\n"


def test_a_trial_leaves_readme_alone(records: dict[str, Record], root: Path) -> None:
    pages.write(root, {lab: _record(lab, is_short=True) for lab in records})

    assert "of before" in (root / "README.md").read_text()
    assert (root / "docs" / "performance.md").exists()


_MANGLED = (
    "",
    pages.BEGIN,
    f"{pages.END}{pages.BEGIN}",
    f"{pages.BEGIN}{pages.BEGIN}{pages.END}",
    f"{pages.BEGIN}{pages.END}{pages.END}",
)


@pytest.mark.parametrize("text", _MANGLED)
def test_marks_that_are_missing_or_double_are_refused_before_anything_is_written(
    text: str, records: dict[str, Record], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "README.md").write_text(text)

    assert main(["--folder", str(root / "records")], root) == 2, "and nothing is measured before"
    assert "report: README.md: expected '<!-- figures: begin" in capsys.readouterr().err
    assert (root / "README.md").read_text() == text
    assert not (root / "docs" / "performance.md").exists()


def test_the_committed_pages_have_their_marks_and_the_text_of_the_generator() -> None:
    pages.renewed((ROOT / "README.md").read_text(), "")
    for name, page in (("performance", performance.page({})), ("sizing", sizing.page({}))):
        committed = (ROOT / "docs" / f"{name}.md").read_text()
        headings = re.findall(r"^#+ .*", page, re.MULTILINE)
        assert re.findall(r"^#+ .*", committed, re.MULTILINE) == headings, f"docs/{name}.md: `make report` writes it"
        assert committed.startswith(page.partition("\n> ")[0])


def test_files_that_hold_no_record_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "records").mkdir(exist_ok=True)
    (root / "records" / "broker.json").write_text('{"lab": "broker"}')

    assert main(["--pages", "--folder", str(root / "records")], root) == 2
    assert "broker.json: no record of a lab" in capsys.readouterr().err


def test_every_selected_figure_is_of_a_lab_of_the_report() -> None:
    assert {each.lab for each in SELECTED} == {lab.name for lab in LABS}


_ABOUT = {"date": "2026-01-01", "commit": "abc", "machine": "x86_64", "versions": "Python 3.11", "limits": ""}


def _lab(name: str, *arguments: str) -> Lab:
    return Lab(name=name, title="", arguments=arguments, trial=arguments, words="")


def test_a_lab_is_run_and_kept_for_the_same_commit_and_arguments(tmp_path: Path) -> None:
    lab = _lab("autoscaler", "--quick", "--only", "decisions")

    record = running.measure(lab, tmp_path, is_short=False, about=_ABOUT)

    assert record.problem == ""
    assert record.find("decisions", "decider call, median")
    assert record.exit_code == 0
    write(tmp_path, record)
    kept = read(tmp_path)["autoscaler"]
    assert kept == record
    assert running.can_be_kept(kept, lab, is_short=False, commit="abc-dirty")
    assert not running.can_be_kept(kept, lab, is_short=False, commit="abd")
    assert not running.can_be_kept(kept, lab, is_short=True, commit="abc")
    assert not running.can_be_kept(kept, _lab("autoscaler"), is_short=False, commit="abc")
    assert not running.can_be_kept(
        _record("autoscaler", arguments=lab.arguments, problem="x"), lab, is_short=False, commit="abc"
    )
    assert not running.can_be_kept(None, lab, is_short=False, commit="abc")


def test_a_lab_that_fails_leaves_a_record_with_its_last_words(tmp_path: Path) -> None:
    record = running.measure(_lab("http2-core", "--no-such-option"), tmp_path, is_short=False, about=_ABOUT)

    assert record.problem.startswith("ended with 2: ")
    assert "--no-such-option" in record.problem
    assert not running.can_be_kept(record, _lab("http2-core", "--no-such-option"), is_short=False, commit="abc")


def test_a_lab_that_is_stuck_is_ended(tmp_path: Path) -> None:
    record = running.measure(_lab("http2-core"), tmp_path, is_short=False, about=_ABOUT, within_s=0.2)

    assert record.problem.startswith("not done within 0.2 s")
