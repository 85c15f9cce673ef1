"""The command line."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

import grpc
import uvloop

from loadtests.lab.queue_proxy import report
from loadtests.lab.queue_proxy.command import measure_all
from loadtests.lab.queue_proxy.machine import Cores, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.scenarios import FULL, QUICK, Bench, Scenario
from loadtests.lab.queue_proxy.subjects import LabError, Subject, command_subject, queue_proxy
from loadtests.lab.queue_proxy_h2.programs import nghttpx, version
from loadtests.lab.queue_proxy_h2.scenarios import SCENARIOS

__all__ = ["main"]

_TERMINATED: Final = 143


def main(arguments: list[str]) -> int:
    """Measure; 0 when every budget is met, 1 when one is not, 2 when it cannot be told."""
    options = _parser().parse_args(arguments)
    given = {"rounds": options.rounds, "seconds": options.seconds}
    scale = replace(
        QUICK if options.quick else FULL, **{key: value for key, value in given.items() if value is not None}
    )
    before = os.sched_getaffinity(0)
    try:
        subjects = [nghttpx() if text == "nghttpx" else command_subject(text) for text in options.against]
        chosen = [_against(each, subjects) for each in SCENARIOS if not options.only or each.name in options.only]
        raise_open_files_limit()
        result = describe()
        result["versions"] += f", grpcio {grpc.__version__}"
        if subjects:
            result["versions"] += f", {asyncio.run(version())}"
        print("; ".join(result.values()), file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="knuv-lab-") as scratch:
            bench = Bench(Cores.of_this_machine(), Path(scratch), scale)
            os.sched_setaffinity(0, {bench.cores.load})
            measured, failed = uvloop.run(stoppable(measure_all(bench, chosen, [queue_proxy(), *subjects])))
    except (LabError, OSError) as error:
        print(f"queue-proxy-h2: {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return _TERMINATED
    finally:
        os.sched_setaffinity(0, before)
    are_met = all(check.is_met for _, _, checks in measured for check in checks)
    if options.json:
        scenarios = [report.as_json(*each) for each in measured]
        found = {"command": arguments, "scenarios": scenarios, "failed": failed, "met": are_met and not failed}
        print(json.dumps({**result, **found}, indent=2))
    else:
        print("\nbudgets")
        for scenario, _, checks in measured:
            for check in checks:
                print(f"  {scenario.name:15}{report.verdict(check)}")
    if failed:
        return 2
    return 0 if options.quick or are_met else 1


def _against(scenario: Scenario, subjects: list[Subject]) -> Scenario:
    """The scenario without what compares with somebody who is not there."""
    names = {"", *(subject.name for subject in subjects)}
    return replace(scenario, budgets=tuple(budget for budget in scenario.budgets if budget.rival in names))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.lab queue-proxy-h2",
        description="Measure queue-proxy on HTTP/2 and gRPC and hold it against its budgets.",
        epilog="A command given with --against runs in an empty folder with queue-proxy's environment.",
    )
    parser.add_argument(
        "--against", action="append", default=[], metavar="nghttpx|CMD", help="a rival; may be repeated"
    )
    names = [each.name for each in SCENARIOS]
    parser.add_argument("--only", action="append", choices=names, metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--rounds", type=int, help=f"of scenarios with load (default {FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"of load per round (default {FULL.seconds:g})")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    parser.add_argument("--json", action="store_true", help="print JSON; the table goes to stderr")
    return parser
