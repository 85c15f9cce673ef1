"""The command line."""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import uvloop

from loadtests.lab.autoscaler.report import Figure, as_json, table
from loadtests.lab.broker.scenarios import FULL, QUICK, SCENARIOS, Scale, Scenario
from loadtests.lab.queue_proxy.machine import Cores, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.subjects import LabError

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Measure; 0 when every budget is met, 1 when one is not, 2 when it cannot be told."""
    options = _parser().parse_args(arguments)
    scale = QUICK if options.quick else FULL
    given = {"rounds": options.rounds, "seconds": options.seconds}
    scale = replace(scale, **{key: value for key, value in given.items() if value is not None})
    chosen = [each for each in SCENARIOS if not options.only or each.name in options.only]
    before = os.sched_getaffinity(0)
    machine = describe()
    print("; ".join(machine.values()), file=sys.stderr)
    try:
        raise_open_files_limit()
        cores = Cores.of_this_machine()
        os.sched_setaffinity(0, {cores.load})
        figures = uvloop.run(stoppable(measure(chosen, cores, scale)))
    except (LabError, OSError, TimeoutError) as error:
        print(f"broker: {error}", file=sys.stderr)
        return 2
    finally:
        os.sched_setaffinity(0, before)
    are_met = all(figure.is_met for figure in figures)
    if options.json:
        print(json.dumps({**machine, "command": arguments, "figures": as_json(figures), "met": are_met}, indent=2))
    else:
        print(table(figures))
    return 0 if options.quick or are_met else 1


async def measure(chosen: list[Scenario], cores: Cores, scale: Scale) -> list[Figure]:
    """The figures of the chosen scenarios, one after the other; each is told when it is there."""
    figures: list[Figure] = []
    for scenario in chosen:
        print(scenario.question, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="knuv-lab-") as scratch:
            found = await scenario.measure(Path(scratch), cores, scale)
        print(table(found), file=sys.stderr, flush=True)
        figures += found
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.lab broker", description="Budgets of the broker and its channels."
    )
    parser.add_argument("--only", action="append", choices=[each.name for each in SCENARIOS], help="measure only this")
    parser.add_argument("--rounds", type=int, help=f"measurements of each scenario with load ({FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"seconds of each measurement ({FULL.seconds:g})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it works; the figures mean nothing")
    return parser
