"""`loadtests/lab/apiserver` still runs; figures come from real runs only."""

import json
import os

import pytest

from loadtests.lab.apiserver import main

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.mark.parametrize("scenario", ["all", "shares"])
def test_every_scenario_gives_its_figures(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json", "--only", scenario]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {figure["scenario"] for figure in told["figures"]} == {scenario}
    assert all(figure["value"] >= 0 for figure in told["figures"])
    assert len([figure for figure in told["figures"] if figure["budget"] is not None]) == 3


@pytest.mark.system
@pytest.mark.parametrize("scenario", ["stack", pytest.param("stack-netns", marks=ROOT)])
def test_a_whole_stack_gives_its_figures(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json", "--only", scenario]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {figure["figure"] for figure in told["figures"] if figure["budget"] is not None} == {
        "knuv up to ready",
        "pod start, p95",
        "Python processes, shared pages once",
    }
    assert all(figure["value"] > 0 for figure in told["figures"])
