"""The command line."""

from collections.abc import Sequence
from pathlib import Path

from loadtests.benchmark import Benchmark
from loadtests.lab.apiserver.scenarios import FULL, QUICK, SCENARIOS, Scale, Scenario, measure
from loadtests.lab.apiserver.stacks import STACKS, StackScenario, measure_stack
from loadtests.lab.queue_proxy.machine import Cores
from loadtests.reporting import Figure

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Measure; the exit code is `Benchmark.run`'s."""
    scenarios: Sequence[Scenario | StackScenario] = (*SCENARIOS, *STACKS)
    return Benchmark(
        name="apiserver",
        what="Budgets of the local API server.",
        scenarios=scenarios,
        measure=_measure,
        full=FULL,
        quick=QUICK,
    ).run(arguments)


async def _measure(scenario: Scenario | StackScenario, _scratch: Path, _cores: Cores, scale: Scale) -> list[Figure]:
    if isinstance(scenario, StackScenario):
        return await measure_stack(scenario, scale.rounds, quick=scale == QUICK)
    return await measure(scenario, scale)
