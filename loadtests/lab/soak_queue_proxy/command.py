"""The command line."""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import uvloop

from loadtests.lab.queue_proxy.machine import Cores, Process, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.subjects import HOST, LabError, Setting, queue_proxy, running
from loadtests.lab.soak_queue_proxy.app import App
from loadtests.lab.soak_queue_proxy.tally import FLAT_MB, Sample, Tally, growth_mb, is_flat
from loadtests.lab.soak_queue_proxy.visitors import (
    IDLE_S,
    KINDS,
    MAX_DURATION_S,
    RESPONSE_START_S,
    World,
    visit_until,
)

__all__ = ["main"]

_LINE_S: Final = 10.0
_WARM_S: Final = 60.0
_EMPTY_S: Final = 10.0
_SHOWN: Final = 10
_TERMINATED: Final = 143
_NARROW_HOST: Final = HOST.replace("127.93.", "127.94.", 1)


def main(arguments: list[str]) -> int:
    """Soak; 0 when nothing was dropped and memory stayed flat, 1 when not, 2 when a proxy does not start."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.lab soak-queue-proxy",
        description="Mixed load through queue-proxy: no request may be dropped, memory has to stay flat.",
    )
    parser.add_argument("--duration", type=float, default=600.0, help="seconds (default 600)")
    parser.add_argument("--seed", type=int, default=None, help="of the visitors' choices (default: a random one)")
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
        print(f"soak-queue-proxy: {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return _TERMINATED
    finally:
        os.sched_setaffinity(0, before)
    if options.json:
        print(json.dumps({**machine, "seed": seed, **result}, indent=2))
    return 0 if result["met"] else 1


async def soak(duration_s: float, seed: int, cores: Cores, scratch: Path) -> dict[str, Any]:
    """Let everybody in for `duration_s` and return the verdict as data; prints it too, and a line every ten seconds."""
    app = App()
    tally = Tally()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.serving())
        proxies = []
        for name, host, concurrency in (("roomy", HOST, 1000), ("narrow", _NARROW_HOST, 1)):
            folder = scratch / name
            folder.mkdir()
            setting = Setting(
                concurrency=concurrency,
                max_duration_s=MAX_DURATION_S,
                response_start_s=RESPONSE_START_S,
                idle_s=IDLE_S,
                host=host,
            )
            started = running(queue_proxy(), cores, folder, app.port, setting)
            proxies.append(await stack.enter_async_context(started))
        world = World(HOST, _NARROW_HOST, tally, random.Random(seed))
        async with asyncio.TaskGroup() as visitors:
            for kind in KINDS:
                for _ in range(kind.count):
                    visitors.create_task(visit_until(world, kind))
            samples = await _watch(duration_s, tally, proxies)
            world.is_over = True
        left_inside = await _emptied(app)
    return _verdict(duration_s, tally, samples, left_inside)


async def _emptied(app: App) -> int:
    """Wait until the app has no request inside, and return how many there are if that does not come to pass."""
    end_s = perf_counter() + _EMPTY_S
    while app.busy and perf_counter() < end_s:  # noqa: ASYNC110 - it is not worth an event
        await asyncio.sleep(0.1)
    return app.busy


async def _watch(duration_s: float, tally: Tally, proxies: list[Process]) -> list[list[Sample]]:
    """Sample the proxies' memory each second and tell how things are every ten."""
    samples: list[list[Sample]] = [[] for _ in proxies]
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
            _tell(elapsed_s, rate, tally, samples)
        if is_over:
            return samples
        await asyncio.sleep(min(1.0, max(0.0, duration_s - elapsed_s)))


def _tell(elapsed_s: float, rate: float, tally: Tally, samples: list[list[Sample]]) -> None:
    memory = " + ".join(f"{its[-1].rss_mb:.1f}" for its in samples)
    counts = tally.requests
    print(
        f"{elapsed_s:5.0f} s  {rate:6.0f}/s  good {counts['good']}  refused {counts['refused']}"
        f"  timed out {counts['timed_out']}  left {counts['left']}  DROPPED {counts['dropped']}  RSS {memory} MB",
        file=sys.stderr,
        flush=True,
    )


def _verdict(duration_s: float, tally: Tally, samples: list[list[Sample]], left_inside: int) -> dict[str, Any]:
    warm_s = min(_WARM_S, duration_s / 2)
    growth = [growth_mb(its, warm_s) for its in samples]
    missing = [kind.name for kind in KINDS if not tally.visits[kind.name]]
    checks = {
        f"no request dropped: {tally.requests['dropped']} of {tally.requests.total()}": not tally.requests["dropped"],
        f"every kind of visitor was served: {', '.join(missing) or 'none'} missing": not missing,
        f"no request left inside the app: {left_inside}": not left_inside,
        f"memory flat within {FLAT_MB:g} MB after {warm_s:.0f} s: "
        + " and ".join(f"{each:+.2f} MB" for each in growth): all(is_flat(its, warm_s) for its in samples),
    }
    for text in tally.drops[:_SHOWN]:
        print(f"  dropped  {text}", file=sys.stderr)
    for what, is_met in checks.items():
        print(f"{'met' if is_met else 'MISSED':8} {what}", file=sys.stderr)
    return {
        "seconds": duration_s,
        "requests": dict(tally.requests),
        "visits": dict(tally.visits),
        "drops": tally.drops[:_SHOWN],
        "left_inside": left_inside,
        "rss_growth_mb": growth,
        "met": all(checks.values()),
    }
