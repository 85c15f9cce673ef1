"""The command line of a benchmark of budgets: options, pinning, table or JSON, exit code.

A benchmark is a list of scenarios with names and questions, two scales, and a function that measures one of them.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import uvloop

from loadtests.lab.queue_proxy.machine import Cores, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.subjects import LabError
from loadtests.reporting import Figure, as_json, table

__all__ = ["Benchmark", "Question"]


class Question(Protocol):
    """What a scenario has at least."""

    @property
    def name(self) -> str:
        """For `--only`."""

    @property
    def question(self) -> str:
        """What is asked, for people."""


S = TypeVar("S", bound=Question)
Measure = Callable[[S, Path, Cores, Any], Awaitable[list[Figure]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark(Generic[S]):
    """One benchmark. `full` and `quick` are scales: dataclasses with `rounds`, and perhaps `seconds`."""

    name: str
    what: str
    scenarios: Sequence[S]
    measure: Measure[S]
    full: Any
    quick: Any
    pins_load: bool = False
    """This process stays on the core for the load."""

    def run(self, arguments: list[str]) -> int:
        """Measure; 0 when every budget is met, 1 when one is not, 2 when some scenario could not be measured."""
        options = self._parser().parse_args(arguments)
        scale = self.quick if options.quick else self.full
        given = {key: getattr(options, key, None) for key in ("rounds", "seconds")}
        scale = replace(scale, **{key: value for key, value in given.items() if value is not None})
        chosen = [each for each in self.scenarios if not options.only or each.name in options.only]
        before = os.sched_getaffinity(0)
        machine = describe()
        print("; ".join(machine.values()), file=sys.stderr)
        try:
            raise_open_files_limit()
            cores = Cores.of_this_machine()
            if self.pins_load:
                os.sched_setaffinity(0, {cores.load})
            figures, failed = uvloop.run(stoppable(self._measure_all(chosen, cores, scale)))
        except (LabError, OSError) as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            return 2
        finally:
            os.sched_setaffinity(0, before)
        are_met = all(figure.is_met for figure in figures)
        if options.json:
            found = {"command": arguments, "figures": as_json(figures), "failed": failed, "met": are_met and not failed}
            print(json.dumps({**machine, **found}, indent=2))
        else:
            print(table(figures))
        if failed:
            return 2
        return 0 if options.quick or are_met else 1

    async def _measure_all(self, chosen: Sequence[S], cores: Cores, scale: Any) -> tuple[list[Figure], dict[str, str]]:
        """Figures of the scenarios, one after the other, each told when it is there; and which failed, and why."""
        figures: list[Figure] = []
        failed: dict[str, str] = {}
        for scenario in chosen:
            print(scenario.question, file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="knuv-lab-") as scratch:
                try:
                    found = await self.measure(scenario, Path(scratch), cores, scale)
                except (LabError, OSError, TimeoutError) as error:
                    failed[scenario.name] = str(error) or "it took too long"
                    print(f"{self.name}: {scenario.name}: {failed[scenario.name]}", file=sys.stderr, flush=True)
                    continue
            print(table(found), file=sys.stderr, flush=True)
            figures += found
        return figures, failed

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"python -m loadtests.lab {self.name}", description=self.what)
        names = [each.name for each in self.scenarios]
        parser.add_argument("--only", action="append", choices=names, help="measure only this")
        parser.add_argument("--rounds", type=int, help=f"measurements of each scenario ({self.full.rounds})")
        if hasattr(self.full, "seconds"):
            parser.add_argument("--seconds", type=float, help=f"of each measurement ({self.full.seconds:g})")
        parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
        parser.add_argument("--quick", action="store_true", help="tiny, to see that it works; the figures mean nothing")
        return parser
