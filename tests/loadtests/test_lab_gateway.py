"""`loadtests/lab/gateway` still runs; figures come from real runs only."""

import json

import pytest

from loadtests.lab.gateway import main


def test_it_gives_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [figure["budget"] for figure in told["figures"] if figure["budget"]] == [5.0, 5.0, 15.0, 15.0]
    assert all(figure["value"] > 0 for figure in told["figures"])
