"""The soak of queue-proxy on HTTP/2, and its command line."""

import asyncio
import gc
import random
import sys
import urllib.request
from collections.abc import Collection
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from loadtests.lab.queue_proxy.machine import Cores, Process
from loadtests.lab.queue_proxy.subjects import HOST, TLS_PORT, Setting, queue_proxy, running
from loadtests.lab.queue_proxy_h2 import handshakes
from loadtests.lab.soak_queue_proxy.soaking import Memory, judge, run, watch
from loadtests.lab.soak_queue_proxy.tally import Tally
from loadtests.lab.soak_queue_proxy_h2.callers import KINDS, World, call_until, connected
from loadtests.lab.soak_queue_proxy_h2.restarts import RestartedApp, restart_until
from proxies.wire.stat import decode_stat

__all__ = ["main"]

_LINES: Final = 3
"""In plaintext; one more is in TLS."""
_EMPTY_S: Final = 15.0
_STAT_PORT: Final = 9090


def main(arguments: list[str]) -> int:
    """Soak; 0 when all was as it has to be, 1 when not, 2 when the proxy or the app does not start."""
    description = "Mixed gRPC through queue-proxy while its app comes and goes: no wrong answer, no stream left."
    return run("soak-queue-proxy-h2", description, _soak, arguments)


async def _soak(duration_s: float, seed: int, cores: Cores, scratch: Path) -> dict[str, Any]:
    """Let everybody call for `duration_s` and return the verdict as data; prints it, and a line every ten seconds."""
    tally, chance, app = Tally(), random.Random(seed), RestartedApp()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.running())
        setting = Setting(concurrency=1000, certificates=handshakes.certificates(scratch))
        proxy = await stack.enter_async_context(running(queue_proxy(), cores, scratch, app.port, setting))
        before = proxy.connections()
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
                samples = await watch(duration_s, tally, [proxy], lambda: _counts(tally, app))
                is_over.set()
                await restarting
                world.is_over = True
        left = await _left(app, proxy, before)
    return _verdict(duration_s, tally, samples, left, len(app.away))


async def _left(app: RestartedApp, proxy: Process, before: Collection[str]) -> dict[str, int]:
    """Wait until nothing is left of all calls, and return what is left if that does not come to pass.

    `before`: the connections that the proxy had before the first call.
    """
    end_s = perf_counter() + _EMPTY_S
    async with connected("127.0.0.1", app.port) as direct:
        while True:
            more = {number: told for number, told in proxy.connections().items() if number not in before}
            left = {
                "calls in the app": int(await direct.busy(b"")),
                "requests in the proxy's stat": round(await asyncio.to_thread(_concurrency)),
                "connections of the proxy": len(more),
            }
            # Calls and channels refer to each other, and keep a connection until they are collected.
            gc.collect()
            if not any(left.values()) or perf_counter() > end_s:
                for told in more.values():
                    print(f"  left  {told}", file=sys.stderr)
                return left
            await asyncio.sleep(0.5)


def _concurrency() -> float:
    """What the autoscaler would hear: the mean of the last second."""
    with urllib.request.urlopen(f"http://{HOST}:{_STAT_PORT}/metrics", timeout=5) as response:
        return decode_stat(response.read()).average_concurrent_requests


def _counts(tally: Tally, app: RestartedApp) -> str:
    counts = tally.requests
    return (
        f"good {counts['good']}  cancelled {counts['left']}  out of time {counts['timed_out']}"
        f"  restarted {counts['restarted']} in {len(app.away)} restarts  WRONG {counts['dropped']}"
    )


def _verdict(duration_s: float, tally: Tally, samples: Memory, left: dict[str, int], restarts: int) -> dict[str, Any]:
    missing = [kind.name for kind in KINDS if not tally.visits[kind.name]]
    checks = {
        f"no wrong answer: {tally.requests['dropped']} of {tally.requests.total()}": not tally.requests["dropped"],
        f"every kind of caller was served: {', '.join(missing) or 'none'} missing": not missing,
        **{f"none left of {what}: {count}": not count for what, count in left.items()},
    }
    is_met, growth, wrong = judge(duration_s, tally, samples, checks, bad="wrong")
    return {
        "seconds": duration_s,
        "restarts": restarts,
        "calls": dict(tally.requests),
        "visits": dict(tally.visits),
        "wrong": wrong,
        "left": left,
        "rss_growth_mb": growth[0],
        "met": is_met,
    }
