"""`make report`: what the lab printed becomes the last section of docs/performance.md."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests import report

_MACHINE = {
    "machine": "x86_64, 2 cores",
    "versions": "Python 3.11",
    "limits": "",
    "commit": "abc",
    "date": "2026-01-01",
}


def _figures(value: float) -> dict[str, Any]:
    figure = {"scenario": "warm", "figure": "CPU", "unit": "us", "value": value, "values": [value], "budget": 20.0}
    told = {"scenario": "warm", "figure": "rate", "unit": "/s", "value": 12345.678, "values": [], "budget": None}
    command = ["--rounds", "5"]
    return {**_MACHINE, "command": command, "figures": [figure | {"met": value <= 20}, told | {"met": True}]}


def _budgets() -> dict[str, Any]:
    check = {"figure": "CPU over nginx", "unit": "", "value": 1.4567, "budget": 1.5, "goal": 1.2, "met": True}
    return {**_MACHINE, "command": [], "scenarios": [{"scenario": "get", "proxies": {}, "budgets": [check]}]}


def test_both_shapes_of_the_lab_become_tables_with_their_commands() -> None:
    text = report.section({"activator": _figures(19.04), "queue-proxy": _budgets()})

    assert "### activator\n\n2026-01-01; abc; x86_64, 2 cores" in text
    assert "`python -m loadtests.lab activator --rounds 5`" in text
    assert "| warm | CPU | 19 us | 20 us | met |" in text
    assert "| warm | rate | 12,346 /s |  |  |" in text
    assert "| get | CPU over nginx | 1.46 | 1.5 | met |" in text


def test_a_budget_that_is_missed_is_told() -> None:
    assert "| warm | CPU | 21 us | 20 us | **not met** |" in report.section({"activator": _figures(21)})


def test_the_section_is_added_once_and_then_replaced(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nWords.\n")
    folder = tmp_path / "report"
    folder.mkdir()
    for value in (19.0, 18.0):
        (folder / "activator.json").write_text(json.dumps(_figures(value)))
        assert report.main([str(folder)], page) == 0

    text = page.read_text()
    assert text.startswith("# Performance\n\nWords.\n\n## The last report\n")
    assert text.count("## The last report") == 1
    assert "18 us" in text
    assert "19 us" not in text


def test_what_is_no_report_leaves_the_page_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n")
    assert report.main([str(tmp_path)], page) == 2
    (tmp_path / "activator.json").write_text("Traceback")

    assert report.main([str(tmp_path)], page) == 2
    assert "activator.json: not what `python -m loadtests.lab activator --json` prints" in capsys.readouterr().err
    assert page.read_text() == "# Performance\n"
