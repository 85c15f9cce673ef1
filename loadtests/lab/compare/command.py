"""The command line: runs in turns, with a bar, and the report at the end."""

import argparse
import asyncio
import os
import shlex
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtests.lab.compare.model import Run, Scale, Scenario
from loadtests.lab.compare.page import Comparison, judged, rows, write
from loadtests.lab.compare.scenarios import SCENARIOS
from loadtests.lab.compare.sides import Side, SideError, parse_side
from loadtests.lab.compare.statistics import Verdict
from loadtests.lab.queue_proxy.machine import Cores, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.subjects import LabError

__all__ = ["main"]

_TERMINATED: Final = 143
_QUICK: Final = Scale(seconds=0.4, cycles=2, services=2, users=5, rate=100)


def main(arguments: list[str]) -> int:
    """Compare; 0 when the report is written and every gate of A is passed, 1 when one is not, 2 when it cannot be."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    scenario = SCENARIOS[options.scenario]
    before = os.sched_getaffinity(0)
    try:
        sides = (parse_side(options.a, scenario.takes), parse_side(options.b, scenario.takes))
        raise_open_files_limit()
        scale = _QUICK if options.quick else _scale(options)
        if "proxy" in scenario.takes:
            os.sched_setaffinity(0, {Cores.of_this_machine().load})
        runs = uvloop.run(stoppable(_alternate(scenario, sides, 1 if options.quick else options.runs, scale, console)))
    except (SideError, LabError, OSError, TimeoutError) as error:
        console.print(f"compare: {error}", markup=False)
        return 2
    except asyncio.CancelledError:
        return _TERMINATED
    finally:
        os.sched_setaffinity(0, before)
    command = shlex.join(["knuv", "lab", "compare", *arguments])
    comparison = Comparison(scenario, (sides[0].label, sides[1].label), runs, describe(), command)
    page = write(comparison, options.out)
    _summary(comparison, console)
    print(page)
    return 0 if all(passed for label, _, passed in judged(comparison) if label == sides[0].label) else 1


async def _alternate(
    scenario: Scenario, sides: tuple[Side, Side], count: int, scale: Scale, console: Console
) -> tuple[list[Run], list[Run]]:
    runs: tuple[list[Run], list[Run]] = ([], [])
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(scenario.name, total=2 * count)
        for number in range(count):
            for side, its_runs in zip(sides, runs, strict=True):
                progress.update(task, description=f"{scenario.name}  run {number + 1}  {side.label}")
                with tempfile.TemporaryDirectory(prefix="knuv-lab-") as scratch:
                    its_runs.append(await scenario.run(side, scale, Path(scratch)))
                progress.advance(task)
    return runs


def _summary(comparison: Comparison, console: Console) -> None:
    for row in rows(comparison):
        a, b = (f"{each.median:,.{row.metric.digits}f}" if each else "-" for each in row.estimates)
        verdict = "invalid: the load was the bottleneck" if row.is_invalid else row.verdict.value
        style = "bold" if row.verdict in (Verdict.A_BETTER, Verdict.B_BETTER) else ""
        text = f"{row.metric.label:44} A {a:>10}  B {b:>10}  {row.metric.unit:12} {verdict}"
        console.print(text, style=style, markup=False)
    for label, text, passed in judged(comparison):
        console.print(f"{'passed' if passed else 'NOT PASSED':10}  {label}: {text}", markup=False)


def _scale(options: argparse.Namespace) -> Scale:
    given = {name: getattr(options, name) for name in ("seconds", "cycles", "services", "users", "rate")}
    return replace(Scale(), **{name: value for name, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="knuv lab compare",
        description="Run a scenario with two sides in turns and write one report about the difference.",
        epilog="scenarios: " + "; ".join(f"{each.name}: {each.what}" for each in SCENARIOS.values()),
    )
    parser.add_argument("--scenario", required=True, choices=SCENARIOS, metavar="NAME", help=", ".join(SCENARIOS))
    sides = "ours, nginx, or COMPONENT=COMMAND[,COMPONENT=COMMAND...]"
    parser.add_argument("--a", default="ours", metavar="SIDE", help=f"{sides} (default ours)")
    parser.add_argument("--b", required=True, metavar="SIDE", help=sides)
    parser.add_argument("--runs", type=_positive, default=10, help="of each side (default 10)")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder of the report (default report)")
    parser.add_argument("--seconds", type=float, help="of load in one run")
    parser.add_argument("--cycles", type=_positive, help="cold starts of one run")
    parser.add_argument("--services", type=_positive, help="that start from zero together")
    parser.add_argument("--users", type=_positive, help="of the burst")
    parser.add_argument("--rate", type=_positive, help="requests a second of the gate")
    parser.add_argument("--quick", action="store_true", help="one tiny run of each, to see that it works")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
