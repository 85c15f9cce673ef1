"""`loadtests/lab/metrics.py` still runs; figures come from real runs only."""

import json

import pytest

from loadtests.lab.metrics import main


def test_it_prints_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {
        *("request_us", "request_through_activator_us", "request_with_old_names_us"),
        *("scrape_ms", "scrape_with_all_series_ms", "push_with_all_series_ms"),
    }
    assert all(figure > 0 for figure in figures.values())


def test_it_prints_them_as_text_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
