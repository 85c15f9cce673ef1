"""The command line."""

import argparse
import asyncio
import gc
import json
import os
import random
import sys
import tempfile
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import uvloop

from loadtests.lab.queue_proxy.machine import Cores, Process, describe, raise_open_files_limit, stoppable
from loadtests.lab.queue_proxy.subjects import HOST, TLS_PORT, LabError, Setting, queue_proxy, running
from loadtests.lab.queue_proxy_h2 import handshakes
from loadtests.lab.soak_queue_proxy.tally import FLAT_MB, Sample, Tally, growth_mb, is_flat
from loadtests.lab.soak_queue_proxy_h2.callers import KINDS, World, call_until, connected
from loadtests.lab.soak_queue_proxy_h2.restarts import RestartedApp, restart_until
from proxies.wire.stat import decode_stat

__all__ = ["main"]

_LINES: Final = 3
"""In plaintext; one more is in TLS."""
_LINE_S: Final = 10.0
_WARM_S: Final = 60.0
_EMPTY_S: Final = 15.0
_SHOWN: Final = 10
_STAT_PORT: Final = 9090
_TERMINATED: Final = 143


def main(arguments: list[str]) -> int:
    """Soak; 0 when all was as it has to be, 1 when not, 2 when the proxy or the app does not start."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.lab soak-queue-proxy-h2",
        description="Mixed gRPC through queue-proxy while its app comes and goes: no wrong answer, no stream left.",
    )
    parser.add_argument("--duration", type=float, default=600.0, help="seconds (default 600)")
    parser.add_argument("--seed", type=int, default=None, help="of the callers' choices (default: a random one)")
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
            result = uvloop.run(stoppable(_soak(options.duration, seed, cores, Path(scratch))))
    except LabError as error:
        print(f"soak-queue-proxy-h2: {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return _TERMINATED
    finally:
        os.sched_setaffinity(0, before)
    if options.json:
        print(json.dumps({**machine, "seed": seed, **result}, indent=2))
    return 0 if result["met"] else 1


async def _soak(duration_s: float, seed: int, cores: Cores, scratch: Path) -> dict[str, Any]:
    """Let everybody call for `duration_s` and return the verdict as data; prints it, and a line every ten seconds."""
    tally, chance, app = Tally(), random.Random(seed), RestartedApp()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.running())
        setting = Setting(concurrency=1000, certificates=handshakes.certificates(scratch))
        proxy = await stack.enter_async_context(running(queue_proxy(), cores, scratch, app.port, setting))
        sockets = proxy.sockets()
        async with AsyncExitStack() as lines:
            opened = [await lines.enter_async_context(connected()) for _ in range(_LINES)]
            secured = connected(port=TLS_PORT, authority=handshakes.authority(scratch))
            opened.append(await lines.enter_async_context(secured))
            world = World(opened, app, tally, chance)
            is_over = asyncio.Event()
            async with asyncio.TaskGroup() as tasks:
                restarting = tasks.create_task(restart_until(app, chance, is_over))
                for kind in KINDS:
                    for _ in range(kind.count):
                        tasks.create_task(call_until(world, kind))
                samples = await _watch(duration_s, tally, proxy, app)
                is_over.set()
                await restarting
                world.is_over = True
        left = await _left(app, proxy, sockets)
    return _verdict(duration_s, tally, samples, left, len(app.away))


async def _left(app: RestartedApp, proxy: Process, sockets: int) -> dict[str, int]:
    """Wait until nothing is left of all calls, and return what is left if that does not come to pass."""
    end_s = perf_counter() + _EMPTY_S
    async with connected("127.0.0.1", app.port) as direct:
        while True:
            left = {
                "calls in the app": int(await direct.busy(b"")),
                "requests in the proxy's stat": round(await asyncio.to_thread(_concurrency)),
                "connections of the proxy": proxy.sockets() - sockets,
            }
            # Calls and channels refer to each other, and keep a connection until they are collected.
            gc.collect()
            if not any(left.values()) or perf_counter() > end_s:
                return left
            await asyncio.sleep(0.5)


def _concurrency() -> float:
    """What the autoscaler would hear: the mean of the last second."""
    with urllib.request.urlopen(f"http://{HOST}:{_STAT_PORT}/metrics", timeout=5) as response:
        return decode_stat(response.read()).average_concurrent_requests


async def _watch(duration_s: float, tally: Tally, proxy: Process, app: RestartedApp) -> list[Sample]:
    """Sample the proxy's memory each second and tell how things are every ten."""
    samples: list[Sample] = []
    began_s = perf_counter()
    line_s, calls = 0.0, 0
    while True:
        elapsed_s = perf_counter() - began_s
        samples.append(Sample(elapsed_s, proxy.rss_bytes() / 1e6))
        is_over = elapsed_s >= duration_s
        if is_over or elapsed_s >= line_s + _LINE_S:
            counts = tally.requests
            rate = (counts.total() - calls) / (elapsed_s - line_s)
            line_s, calls = elapsed_s, counts.total()
            print(
                f"{elapsed_s:5.0f} s  {rate:6.0f}/s  good {counts['good']}  cancelled {counts['left']}"
                f"  out of time {counts['timed_out']}  restarted {counts['restarted']} in {len(app.away)} restarts"
                f"  WRONG {counts['dropped']}  RSS {samples[-1].rss_mb:.1f} MB",
                file=sys.stderr,
                flush=True,
            )
        if is_over:
            return samples
        await asyncio.sleep(min(1.0, max(0.0, duration_s - elapsed_s)))


def _verdict(
    duration_s: float, tally: Tally, samples: list[Sample], left: dict[str, int], restarts: int
) -> dict[str, Any]:
    warm_s = min(_WARM_S, duration_s / 2)
    growth = growth_mb(samples, warm_s)
    missing = [kind.name for kind in KINDS if not tally.visits[kind.name]]
    checks = {
        f"no wrong answer: {tally.requests['dropped']} of {tally.requests.total()}": not tally.requests["dropped"],
        f"every kind of caller was served: {', '.join(missing) or 'none'} missing": not missing,
        **{f"none left of {what}: {count}": not count for what, count in left.items()},
        f"memory flat within {FLAT_MB:g} MB after {warm_s:.0f} s: {growth:+.2f} MB": is_flat(samples, warm_s),
    }
    for text in tally.drops[:_SHOWN]:
        print(f"  wrong  {text}", file=sys.stderr)
    for what, is_met in checks.items():
        print(f"{'met' if is_met else 'MISSED':8} {what}", file=sys.stderr)
    return {
        "seconds": duration_s,
        "restarts": restarts,
        "calls": dict(tally.requests),
        "visits": dict(tally.visits),
        "wrong": tally.drops[:_SHOWN],
        "left": left,
        "rss_growth_mb": growth,
        "met": all(checks.values()),
    }
