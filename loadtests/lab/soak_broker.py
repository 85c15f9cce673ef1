"""Half an hour of events through ingress, dispatcher and filter: does any of them grow?

    python -m loadtests.lab soak-broker [--duration 1800] [--rate 200] [--json]

A channel in memory, one Trigger, events at equal distances whatever becomes of them: most of 1 KiB, each fiftieth of
256 KiB. Verdict: every event is accepted, and the memory of each process is flat within 1 MB after the first third.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import uvloop

from loadtests.lab.broker.traffic import Load, events, open_loop, subscriber
from loadtests.lab.broker.world import DISPATCHER, FILTER, INGRESS, NAMESPACE, PORT, running_world
from loadtests.lab.queue_proxy.machine import Process, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.subjects import LabError
from loadtests.lab.soak_queue_proxy.tally import FLAT_MB, Sample, growth_mb, is_flat
from loadtests.reporting import quantile

__all__ = ["main", "verdict"]

_HOSTS: Final = {"filter": FILTER, "dispatcher": DISPATCHER, "ingress": INGRESS}
_KIND: Final = "lab.event"
_LARGE_EVERY: Final = 50
_LARGE_BYTES: Final = 256 << 10
_LINE_S: Final = 30.0
_RSS_MAX_MB: Final = 60.0
_SHOWN: Final = 10


def main(arguments: list[str]) -> int:
    """Soak; 0 when every event was accepted and memory stayed flat, 1 when not, 2 when a process does not start."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.lab soak-broker",
        description="Events through ingress, dispatcher and filter: memory has to stay flat.",
    )
    parser.add_argument("--duration", type=float, default=1800.0, help="seconds (default 1800)")
    parser.add_argument("--rate", type=int, default=200, help="events a second (default 200)")
    parser.add_argument("--json", action="store_true", help="print JSON; the lines go to stderr")
    options = parser.parse_args(arguments)
    machine = describe()
    print("; ".join(machine.values()), file=sys.stderr)
    raise_open_files_limit()
    try:
        with tempfile.TemporaryDirectory(prefix="knuv-soak-") as scratch:
            result = uvloop.run(stoppable(_soak(options.duration, options.rate, Path(scratch))))
    except LabError as error:
        print(f"soak-broker: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({**machine, **result}, indent=2))
    return 0 if result["met"] else 1


async def _soak(duration_s: float, rate: int, scratch: Path) -> dict[str, Any]:
    async with subscriber() as url, running_world(scratch) as world, AsyncExitStack() as stack:
        trigger = await world.trigger("lab", "lab", _KIND, url)
        await world.broker("lab", await world.channel("lab", [trigger], retry=3))
        processes = {
            name: await stack.enter_async_context(world.process(name, host, None)) for name, host in _HOSTS.items()
        }
        watching = asyncio.create_task(_watch(processes))
        try:
            load = await open_loop(rate, duration_s, INGRESS, PORT, _mixed())
        finally:
            watching.cancel()
        samples = await watching
    return verdict(duration_s, load, samples)


def _mixed() -> Callable[[int], bytes]:
    target = f"/{NAMESPACE}/lab"
    small = events(target, INGRESS, kind=_KIND)
    large = events(target, INGRESS, kind=_KIND, data_bytes=_LARGE_BYTES)
    return lambda number: small(number) if number % _LARGE_EVERY else large(number)


async def _watch(processes: dict[str, Process]) -> dict[str, list[Sample]]:
    """Sample memory each second until cancelled; then return what was seen."""
    samples: dict[str, list[Sample]] = {name: [] for name in processes}
    began_s, line_s = perf_counter(), 0.0
    try:
        while True:
            elapsed_s = perf_counter() - began_s
            for name, process in processes.items():
                samples[name].append(Sample(elapsed_s, process.rss_bytes() / 1e6))
            if elapsed_s >= line_s:
                line_s += _LINE_S
                memory = "  ".join(f"{name} {its[-1].rss_mb:.1f} MB" for name, its in samples.items())
                print(f"{elapsed_s:5.0f} s  {memory}", file=sys.stderr, flush=True)
            await asyncio.sleep(1.0)
    except asyncio.CancelledError:
        return samples


def verdict(duration_s: float, load: Load, samples: dict[str, list[Sample]]) -> dict[str, Any]:
    """Judge what was sent and what the processes took; says so on stderr, and returns it as data."""
    warm_s = duration_s / 3
    growth = {name: growth_mb(its, warm_s) for name, its in samples.items()}
    largest = {name: max(sample.rss_mb for sample in its) for name, its in samples.items()}
    latencies_ms = sorted(each * 1000 for each in load.latencies_s)
    checks = {
        f"every event accepted: {len(load.problems)} of {load.sent} not": not load.problems,
        f"memory flat within {FLAT_MB:g} MB after {warm_s:.0f} s: "
        + ", ".join(f"{name} {each:+.2f} MB" for name, each in growth.items()): all(
            is_flat(its, warm_s) for its in samples.values()
        ),
        f"ingress at most {_RSS_MAX_MB:g} MB: {largest['ingress']:.1f} MB": largest["ingress"] <= _RSS_MAX_MB,
    }
    for text in load.problems[:_SHOWN]:
        print(f"  failed  {text}", file=sys.stderr)
    for what, is_met in checks.items():
        print(f"{'met' if is_met else 'MISSED':8} {what}", file=sys.stderr)
    return {
        "seconds": duration_s,
        "events": load.sent,
        "problems": load.problems[:_SHOWN],
        "latency_p99_ms": quantile(latencies_ms, 0.99) if latencies_ms else None,
        "rss_growth_mb": growth,
        "rss_max_mb": largest,
        "met": all(checks.values()),
    }
