"""The command line."""

from pathlib import Path

from loadtests.benchmark import Benchmark
from loadtests.lab.autoscaler.scenarios import FULL, QUICK, SCENARIOS, Scale, Scenario
from loadtests.lab.queue_proxy.machine import Cores
from loadtests.reporting import Figure

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Measure; the exit code is `Benchmark.run`'s."""
    return Benchmark(
        name="autoscaler",
        what="Budgets of the autoscaler.",
        scenarios=SCENARIOS,
        measure=_measure,
        full=FULL,
        quick=QUICK,
    ).run(arguments)


async def _measure(scenario: Scenario, scratch: Path, _cores: Cores, scale: Scale) -> list[Figure]:
    return await scenario.measure(scratch, scale)
