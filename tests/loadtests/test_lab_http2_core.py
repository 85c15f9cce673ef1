"""`loadtests/lab/http2_core.py` still runs; figures come from real runs only."""

import json

import pytest

from loadtests.lab.http2_core import main


def test_it_prints_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {
        *("streams_1_us", "streams_25_us"),
        *("streams_25_each_traced_us", "streams_25_h2_library_us"),
    }
    assert all(figure > 0 for figure in figures.values())


def test_it_prints_them_as_text_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
