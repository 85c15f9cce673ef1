"""`loadtests.benchmark`: a scenario that fails is named and stops no other."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loadtests.benchmark import Benchmark
from loadtests.lab.queue_proxy.machine import Cores, describe
from loadtests.lab.queue_proxy.subjects import LabError
from loadtests.reporting import Figure


@dataclass(frozen=True)
class _Scale:
    rounds: int = 1


@dataclass(frozen=True)
class _Scenario:
    name: str
    question: str = "What does it cost?"
    error: Exception | None = None


async def _measure(scenario: _Scenario, _scratch: Path, _cores: Cores, scale: _Scale) -> list[Figure]:
    if scenario.error is not None:
        raise scenario.error
    return [Figure(scenario.name, "cost", "us", (10.0,) * scale.rounds, 15.0)]


def _run(capsys: pytest.CaptureFixture[str], *scenarios: _Scenario) -> tuple[int, dict[str, Any]]:
    bench = Benchmark(
        name="fake", what="", scenarios=scenarios, measure=_measure, full=_Scale(), quick=_Scale(rounds=2)
    )
    code = bench.run(["--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, found


def test_figures_and_failures_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = _run(
        capsys,
        _Scenario("first"),
        _Scenario("broken", error=LabError("3 requests failed")),
        _Scenario("slow", error=TimeoutError()),
        _Scenario("last"),
    )

    assert code == 2
    assert found["failed"] == {"broken": "3 requests failed", "slow": "it took too long"}
    assert [figure["scenario"] for figure in found["figures"]] == ["first", "last"]
    assert found["met"] is False


def test_all_is_well_without_failures(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = _run(capsys, _Scenario("first"))

    assert (code, found["failed"], found["met"]) == (0, {}, True)


def test_a_machine_without_git_is_described_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert describe()["commit"] == "unknown"
