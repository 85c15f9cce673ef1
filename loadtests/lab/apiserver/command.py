"""The command line."""

import argparse
import json
import sys
from dataclasses import replace

import uvloop

from loadtests.lab.apiserver.scenarios import FULL, QUICK, SCENARIOS, LabError, Scale, Scenario, measure
from loadtests.lab.apiserver.stacks import STACKS, StackScenario, measure_stack
from loadtests.lab.autoscaler.report import Figure, as_json, table
from loadtests.lab.queue_proxy.machine import describe, raise_open_files_limit, stoppable

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Measure; 0 when every budget is met, 1 when one is not, 2 when it cannot be told."""
    options = _parser().parse_args(arguments)
    scale = QUICK if options.quick else FULL
    given = {"rounds": options.rounds, "seconds": options.seconds}
    scale = replace(scale, **{key: value for key, value in given.items() if value is not None})
    every: list[Scenario | StackScenario] = [*SCENARIOS, *STACKS]
    chosen = [each for each in every if not options.only or each.name in options.only]
    raise_open_files_limit()
    machine = describe()
    print("; ".join(machine.values()), file=sys.stderr)
    try:
        figures = uvloop.run(stoppable(_measure(chosen, scale, quick=options.quick)))
    except (LabError, TimeoutError) as error:
        print(f"apiserver: {error}", file=sys.stderr)
        return 2
    are_met = all(figure.is_met for figure in figures)
    if options.json:
        print(json.dumps({**machine, "command": arguments, "figures": as_json(figures), "met": are_met}, indent=2))
    else:
        print(table(figures))
    return 0 if options.quick or are_met else 1


async def _measure(chosen: list[Scenario | StackScenario], scale: Scale, *, quick: bool) -> list[Figure]:
    figures: list[Figure] = []
    for scenario in chosen:
        print(scenario.question, file=sys.stderr)
        if isinstance(scenario, StackScenario):
            figures += await measure_stack(scenario, scale.rounds, quick=quick)
        else:
            figures += await measure(scenario, scale)
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.lab apiserver", description="Budgets of the local API server."
    )
    names = [each.name for each in (*SCENARIOS, *STACKS)]
    parser.add_argument("--only", action="append", choices=names, help="measure only this")
    parser.add_argument("--rounds", type=int, help=f"measurements of each scenario ({FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"seconds of each measurement ({FULL.seconds:g})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it works; the figures mean nothing")
    return parser
