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

import uvloop

from loadtests.lab.queue_proxy import imports, report
from loadtests.lab.queue_proxy.figures import Check, Spread, judge, spreads
from loadtests.lab.queue_proxy.machine import Cores, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.scenarios import FULL, QUICK, SCENARIOS, Bench, Scenario
from loadtests.lab.queue_proxy.subjects import LabError, Subject, command_subject, nginx, nginx_version, queue_proxy

__all__ = ["main"]

_IMPORT_STARTS: Final = 11
_TERMINATED: Final = 143


def main(arguments: list[str]) -> int:
    """Measure; 0 when every budget is met, 1 when one is not, 2 when it cannot be told."""
    options = _parser().parse_args(arguments)
    if options.imports:
        return show_imports(is_to_be_written=options.write)
    scale = QUICK if options.quick else FULL
    given = {"rounds": options.rounds, "seconds": options.seconds, "gate_s": options.duration}
    scale = replace(scale, **{key: value for key, value in given.items() if value is not None})
    chosen = [each for each in SCENARIOS if not options.only or each.name in options.only]
    before = os.sched_getaffinity(0)
    try:
        subjects = [queue_proxy()]
        subjects += [nginx() if text == "nginx" else command_subject(text) for text in options.against]
        raise_open_files_limit()
        result = describe()
        if "nginx" in options.against:
            result["versions"] += f", {nginx_version()}"
        print("; ".join(result.values()), file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="knuv-lab-") as scratch:
            bench = Bench(Cores.of_this_machine(), Path(scratch), scale)
            os.sched_setaffinity(0, {bench.cores.load})
            measured, failed = uvloop.run(stoppable(measure_all(bench, chosen, subjects)))
    except (LabError, OSError) as error:
        print(f"queue-proxy: {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return _TERMINATED
    finally:
        os.sched_setaffinity(0, before)
    checks = [check for _, _, checks in measured for check in checks]
    are_met = all(check.is_met for check in checks)
    if options.json:
        scenarios = [report.as_json(*each) for each in measured]
        found = {"command": arguments, "scenarios": scenarios, "failed": failed, "met": are_met and not failed}
        print(json.dumps({**result, **found}, indent=2))
    else:
        print("\nbudgets")
        for scenario, _, its_checks in measured:
            for check in its_checks:
                print(f"  {scenario.name:15}{report.verdict(check)}")
    if failed:
        return 2
    return 0 if options.quick or are_met else 1


def show_imports(*, is_to_be_written: bool) -> int:
    """Print what is imported before queue-proxy listens, and renew the table in the documentation if told to."""
    starts = imports.measure(_IMPORT_STARTS)
    table = imports.table(imports.groups(starts))
    if is_to_be_written:
        document = imports.DOCUMENT
        document.write_text(imports.rewritten(document.read_text(), table))
        print(f"{document.name} is renewed", file=sys.stderr)
    print(table)
    print("\nOur own modules:")
    for module in imports.ours(starts):
        print(f"  {module.ms:5.2f} ms  {module.name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.lab queue-proxy",
        description="Measure queue-proxy on HTTP/1.1 and hold it against its budgets.",
        epilog="A command given with --against runs in an empty folder with queue-proxy's environment.",
    )
    parser.add_argument("--against", action="append", default=[], metavar="nginx|CMD", help="a rival; may be repeated")
    names = [each.name for each in SCENARIOS]
    parser.add_argument("--only", action="append", choices=names, metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--rounds", type=int, help=f"of scenarios with load (default {FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"of load per round (default {FULL.seconds:g})")
    parser.add_argument("--duration", type=float, help=f"of the gate's open loop, seconds (default {FULL.gate_s:g})")
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    parser.add_argument("--imports", action="store_true", help="only list what is imported before it listens, and why")
    parser.add_argument("--write", action="store_true", help="with --imports: renew the table in decision 0006")
    parser.add_argument("--json", action="store_true", help="print JSON; the table goes to stderr")
    return parser


Measured = list[tuple[Scenario, dict[str, dict[str, Spread]], list[Check]]]


async def measure_all(bench: Bench, chosen: list[Scenario], subjects: list[Subject]) -> tuple[Measured, dict[str, str]]:
    """Each scenario with all proxies in turn, round after round; prints as it goes. Then those that failed, and why."""
    results: Measured = []
    failed: dict[str, str] = {}
    for scenario in chosen:
        rounds: dict[str, list[dict[str, float]]] = {subject.name: [] for subject in subjects}
        try:
            for _ in range(scenario.rounds(bench.scale)):
                for subject in subjects:
                    rounds[subject.name].append(await scenario.round(bench, subject))
        except (LabError, OSError, TimeoutError) as error:
            failed[scenario.name] = str(error) or "it took too long"
            print(f"{scenario.name}: {failed[scenario.name]}", file=sys.stderr, flush=True)
            continue
        measured = {name: spreads(each) for name, each in rounds.items()}
        checks = [judge(budget, measured) for budget in scenario.budgets]
        print(report.text(scenario, measured, checks), file=sys.stderr, flush=True)
        results.append((scenario, measured, checks))
    return results, failed
