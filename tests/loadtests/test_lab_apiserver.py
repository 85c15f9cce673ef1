"""`loadtests/lab/apiserver` still runs; figures come from real runs only."""

import json

import pytest

from loadtests.lab.apiserver import main


@pytest.mark.parametrize("scenario", ["all", "shares"])
def test_every_scenario_gives_its_figures(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json", "--only", scenario]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {figure["scenario"] for figure in told["figures"]} == {scenario}
    assert all(figure["value"] >= 0 for figure in told["figures"])
    assert len([figure for figure in told["figures"] if figure["budget"] is not None]) == 3
