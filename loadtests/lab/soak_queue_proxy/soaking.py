"""What soaks of queue-proxy share: the command line, a look each second and a line every ten, the verdict."""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import uvloop

from loadtests.lab.queue_proxy.machine import Cores, Process, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.subjects import LabError
from loadtests.lab.soak_queue_proxy.tally import FLAT_MB, Sample, Tally, growth_mb, is_flat

__all__ = ["Memory", "Soak", "judge", "run", "watch"]

Memory = list[list[Sample]]
"""Of each proxy."""
Soak = Callable[[float, int, Cores, Path], Coroutine[None, None, dict[str, Any]]]
"""For so many seconds, with a seed, on these processors, with a folder: the verdict as data, `met` among it."""

_LINE_S: Final = 10.0
_WARM_S: Final = 60.0
_SHOWN: Final = 10
_TERMINATED: Final = 143


def run(name: str, description: str, soak: Soak, arguments: list[str]) -> int:
    """Soak as the command line says; 0 when all was as it has to be, 1 when not, 2 when something does not start."""
    parser = argparse.ArgumentParser(prog=f"python -m loadtests.lab {name}", description=description)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds (default 600)")
    parser.add_argument("--seed", type=int, default=None, help="of the clients' choices (default: a random one)")
    parser.add_argument("--json", action="store_true", help="print JSON; the lines go to stderr")
    options = parser.parse_args(arguments)
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    cores = Cores.of_this_machine()
    before = os.sched_getaffinity(0)
    raise_open_files_limit()
    machine = describe()
    print(f"{'; '.join(machine.values())}; seed {seed}", file=sys.stderr)
    try:
        os.sched_setaffinity(0, {cores.load})
        with tempfile.TemporaryDirectory(prefix="knuv-soak-") as scratch:
            result = uvloop.run(stoppable(soak(options.duration, seed, cores, Path(scratch))))
    except LabError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return _TERMINATED
    finally:
        os.sched_setaffinity(0, before)
    if options.json:
        print(json.dumps({**machine, "seed": seed, **result}, indent=2))
    return 0 if result["met"] else 1


async def watch(duration_s: float, tally: Tally, proxies: Sequence[Process], counts: Callable[[], str]) -> Memory:
    """Sample the proxies' memory each second, and every ten tell how things are: `counts` says what is counted."""
    samples: Memory = [[] for _ in proxies]
    began_s = perf_counter()
    line_s, requests = 0.0, 0
    while True:
        elapsed_s = perf_counter() - began_s
        for proxy, its in zip(proxies, samples, strict=True):
            its.append(Sample(elapsed_s, proxy.rss_bytes() / 1e6))
        is_over = elapsed_s >= duration_s
        if is_over or elapsed_s >= line_s + _LINE_S:
            rate = (tally.requests.total() - requests) / (elapsed_s - line_s)
            line_s, requests = elapsed_s, tally.requests.total()
            memory = " + ".join(f"{its[-1].rss_mb:.1f}" for its in samples)
            print(f"{elapsed_s:5.0f} s  {rate:6.0f}/s  {counts()}  RSS {memory} MB", file=sys.stderr, flush=True)
        if is_over:
            return samples
        await asyncio.sleep(min(1.0, max(0.0, duration_s - elapsed_s)))


def judge(
    duration_s: float, tally: Tally, samples: Memory, checks: Mapping[str, bool], *, bad: str
) -> tuple[bool, list[float], list[str]]:
    """Whether all of `checks` hold and memory is flat, by how many MB it grew, and the first of what was `bad`.

    Prints them.
    """
    warm_s = min(_WARM_S, duration_s / 2)
    growth = [growth_mb(its, warm_s) for its in samples]
    told = " and ".join(f"{each:+.2f} MB" for each in growth)
    is_all_flat = all(is_flat(its, warm_s) for its in samples)
    checks = {**checks, f"memory flat within {FLAT_MB:g} MB after {warm_s:.0f} s: {told}": is_all_flat}
    shown = tally.drops[:_SHOWN]
    for text in shown:
        print(f"  {bad}  {text}", file=sys.stderr)
    for what, is_met in checks.items():
        print(f"{'met' if is_met else 'MISSED':8} {what}", file=sys.stderr)
    return all(checks.values()), growth, shown
