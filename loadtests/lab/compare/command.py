"""The command line: runs in turns, with a bar, and the report at the end."""

import argparse
import asyncio
import os
import shlex
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import aiohttp
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kube.errors import ApiError, ApiUnreachable
from loadtests.lab.compare.model import STEPS_MAX, Run, Scale, Scenario
from loadtests.lab.compare.page import write
from loadtests.lab.compare.references import REFERENCES
from loadtests.lab.compare.results import Comparison, Outcome, caveats, judged, rows
from loadtests.lab.compare.scenarios import SCENARIOS
from loadtests.lab.compare.sides import Side, SideError, parse_side
from loadtests.lab.compare.statistics import Verdict
from loadtests.lab.queue_proxy.machine import Cores, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.subjects import LabError

__all__ = ["main"]

_TERMINATED: Final = 143
_INVALID: Final = 3
_SECONDS_MAX: Final = 3600
_FAILURES: Final = (LabError, OSError, TimeoutError, ApiError, ApiUnreachable, aiohttp.ClientError)
_QUICK: Final = Scale(runs=1, seconds=0.3, cycles=2, services=2, users=5)
_QUICK_RATE: Final = 100


def main(arguments: list[str]) -> int:
    """Compare.

    0 when the report is written and every gate of A is passed, 1 when one is not, 2 when it cannot be measured, 3 when
    a gate cannot be judged because the load was the bottleneck.
    """
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    scenario = SCENARIOS[options.scenario]
    before = os.sched_getaffinity(0)
    machine = describe() | {"load average before the runs": "{:.1f}, {:.1f}, {:.1f}".format(*os.getloadavg())}
    try:
        sides = _sides(options, scenario)
        raise_open_files_limit()
        if "proxy" in scenario.takes:
            os.sched_setaffinity(0, {Cores.of_this_machine().load})
        runs = uvloop.run(stoppable(_alternate(scenario, sides, _scale(options, scenario), console)))
    except (SideError, LabError, OSError, TimeoutError) as error:
        console.print(f"compare: {error}", markup=False)
        return 2
    except asyncio.CancelledError:
        return _TERMINATED
    finally:
        os.sched_setaffinity(0, before)
    for side in sides:
        if side.version:
            machine[side.label] = side.version
    machine["one run"] = _scale(options, scenario).in_words(scenario.uses)
    if "components" in scenario.takes:
        machine["network of the stack"] = sides[0].network
    command = shlex.join(["knuv", "lab", "compare", *arguments])
    comparison = Comparison(scenario, (sides[0].label, sides[1].label), runs, machine, command)
    page = write(comparison, options.out)
    _summary(comparison, console)
    print(page)
    outcomes = {gate.outcome for gate in judged(comparison) if gate.side == 0}
    if Outcome.MISSED in outcomes:
        return 1
    return _INVALID if Outcome.INVALID in outcomes else 0


def _sides(options: argparse.Namespace, scenario: Scenario) -> tuple[Side, Side]:
    """A and B. Programs that are not ours find names of Services only in networks of their own: then both have one."""
    a, b = (parse_side(text, scenario.takes) for text in (options.a, options.b))
    network = options.network or ("netns" if (a.commands or b.commands) and os.geteuid() == 0 else "loopback")
    return replace(a, network=network), replace(b, network=network)


async def _alternate(
    scenario: Scenario, sides: tuple[Side, Side], scale: Scale, console: Console
) -> tuple[list[Run], list[Run]]:
    runs: tuple[list[Run], list[Run]] = ([], [])
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        *(TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False)),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(scenario.name, total=2 * scale.runs)
        for number in range(scale.runs):
            # A B, B A, A B: what slowly becomes better or worse meanwhile meets both alike.
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                side, its_runs, letter = sides[which], runs[which], "AB"[which]
                progress.update(task, description=f"{scenario.name}  run {number + 1} of {letter}")
                began_s = time.monotonic()
                its_runs.append(await _one(scenario, side, scale, is_first=not number))
                if not console.is_terminal:  # a log has no bar
                    took_s = time.monotonic() - began_s
                    console.print(f"{scenario.name}  run {number + 1} of {letter}  {took_s:.0f} s", markup=False)
                for note in its_runs[-1].notes:
                    console.print(f"  {letter}, run {number + 1}: {note}", markup=False)
                progress.advance(task)
    return runs


async def _one(scenario: Scenario, side: Side, scale: Scale, *, is_first: bool) -> Run:
    """One run. A side whose first run fails cannot be measured; a later failure is a result."""
    try:
        with tempfile.TemporaryDirectory(prefix="knuv-lab-") as scratch:
            return await scenario.run(side, scale, Path(scratch))
    except (*_FAILURES, ExceptionGroup) as error:
        why = _reason(error)
        if is_first:
            raise LabError(f"{side.label}: {why}") from error
        return Run(is_failed=True, notes=[f"failed: {why}"])


def _reason(error: Exception) -> str:
    """What has failed, in words. Raises what is no failure of a run but a mistake of ours."""
    if isinstance(error, ExceptionGroup):
        return "; ".join(_reason(each) for each in error.exceptions)
    if isinstance(error, _FAILURES):
        return str(error) or type(error).__name__
    raise error


def _summary(comparison: Comparison, console: Console) -> None:
    for letter, label in zip("AB", comparison.labels, strict=True):
        console.print(f"{letter}: {label}", markup=False)
    for row in rows(comparison):
        a, b = (f"{each.median:,.{row.metric.digits}f}" if each else "-" for each in row.estimates)
        verdict = f"invalid: {row.why_invalid}" if row.why_invalid else row.verdict.value
        style = "bold" if row.verdict in (Verdict.A_BETTER, Verdict.B_BETTER) else ""
        text = f"{row.metric.label:44} A {a:>10}  B {b:>10}  {row.metric.unit:12} {verdict}"
        console.print(text, style=style, markup=False)
    for caveat in caveats(comparison):
        console.print(f"mind: {caveat}", markup=False)
    for gate in judged(comparison):
        console.print(f"{gate.outcome.value:10}  {'AB'[gate.side]}: {gate.text}", markup=False)


def _scale(options: argparse.Namespace, scenario: Scenario) -> Scale:
    names = ("runs", "seconds", "cycles", "services", "users", "rates")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.quick:
        return replace(_QUICK, rates=(_QUICK_RATE,) * len(scenario.scale.rates))
    if len(given.get("rates", ())) > 1 and len(scenario.scale.rates) == 1:
        raise SideError(f"--rate: {scenario.name} takes one")
    return replace(scenario.scale, **given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="knuv lab compare",
        description="Run a scenario with two sides in turns and write one report about the difference.",
        epilog="scenarios:\n" + "\n".join(f"  {each.name:18} {each.what}" for each in SCENARIOS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scenario", required=True, choices=SCENARIOS, metavar="NAME", help=", ".join(SCENARIOS))
    sides = f"ours, {', '.join(REFERENCES)}, or COMPONENT=COMMAND[,COMPONENT=COMMAND...]"
    parser.add_argument("--a", default="ours", metavar="SIDE", help=f"{sides} (default ours)")
    parser.add_argument("--b", required=True, metavar="SIDE", help=sides)
    parser.add_argument("--runs", type=_positive, help="of each side (default: so many that it takes a few minutes)")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder of the report (default report)")
    parser.add_argument("--seconds", type=_seconds, help="of load in one run, or in one step of it")
    parser.add_argument("--cycles", type=_positive, help="cold starts of one run")
    parser.add_argument("--services", type=_positive, help="that start from zero together")
    parser.add_argument("--users", type=_positive, help="of the burst")
    parser.add_argument(
        "--rate", type=_rates, dest="rates", help="arrivals a second; of the ramp: up to four, 1000,2000"
    )
    parser.add_argument(
        "--network",
        choices=("loopback", "netns"),
        help="of a stack (default: netns where a side has other programs and we are root, so that they find names)",
    )
    parser.add_argument("--quick", action="store_true", help="one tiny run of each, to see that it works")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number <= _SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most {_SECONDS_MAX}, got {text}")
    return number


def _rates(text: str) -> tuple[int, ...]:
    steps = text.split(",")
    if len(steps) > STEPS_MAX:
        raise argparse.ArgumentTypeError(f"expected at most {STEPS_MAX}, got {len(steps)}")
    return tuple(_positive(each) for each in steps)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
