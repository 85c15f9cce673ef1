"""The command line."""

from pathlib import Path

from loadtests.benchmark import Benchmark
from loadtests.lab.broker.scenarios import FULL, QUICK, SCENARIOS, Scale, Scenario
from loadtests.lab.queue_proxy.machine import Cores
from loadtests.reporting import Figure

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Measure; the exit code is `Benchmark.run`'s."""
    return Benchmark(
        name="broker",
        what="Budgets of the broker and its channels.",
        scenarios=SCENARIOS,
        measure=_measure,
        full=FULL,
        quick=QUICK,
        pins_load=True,
    ).run(arguments)


async def _measure(scenario: Scenario, scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    return await scenario.measure(scratch, cores, scale)
