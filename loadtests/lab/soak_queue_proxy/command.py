"""The soak of queue-proxy on HTTP/1.1, and its command line."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from loadtests.lab.queue_proxy.machine import Cores
from loadtests.lab.queue_proxy.subjects import HOST, Setting, queue_proxy, running
from loadtests.lab.soak_queue_proxy.app import App
from loadtests.lab.soak_queue_proxy.soaking import Memory, judge, run, watch
from loadtests.lab.soak_queue_proxy.tally import Tally
from loadtests.lab.soak_queue_proxy.visitors import (
    IDLE_S,
    KINDS,
    MAX_DURATION_S,
    RESPONSE_START_S,
    World,
    visit_until,
)

__all__ = ["main"]

_EMPTY_S: Final = 10.0
_NARROW_HOST: Final = HOST.replace("127.93.", "127.94.", 1)


def main(arguments: list[str]) -> int:
    """Soak; 0 when nothing was dropped and memory stayed flat, 1 when not, 2 when a proxy does not start."""
    description = "Mixed load through queue-proxy: no request may be dropped, memory has to stay flat."
    return run("soak-queue-proxy", description, soak, arguments)


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
            samples = await watch(duration_s, tally, proxies, lambda: _counts(tally))
            world.is_over = True
        left_inside = await _emptied(app)
    return _verdict(duration_s, tally, samples, left_inside)


async def _emptied(app: App) -> int:
    """Wait until the app has no request inside, and return how many there are if that does not come to pass."""
    end_s = perf_counter() + _EMPTY_S
    while app.busy and perf_counter() < end_s:  # noqa: ASYNC110 - it is not worth an event
        await asyncio.sleep(0.1)
    return app.busy


def _counts(tally: Tally) -> str:
    counts = tally.requests
    return (
        f"good {counts['good']}  refused {counts['refused']}  timed out {counts['timed_out']}"
        f"  left {counts['left']}  DROPPED {counts['dropped']}"
    )


def _verdict(duration_s: float, tally: Tally, samples: Memory, left_inside: int) -> dict[str, Any]:
    missing = [kind.name for kind in KINDS if not tally.visits[kind.name]]
    checks = {
        f"no request dropped: {tally.requests['dropped']} of {tally.requests.total()}": not tally.requests["dropped"],
        f"every kind of visitor was served: {', '.join(missing) or 'none'} missing": not missing,
        f"no request left inside the app: {left_inside}": not left_inside,
    }
    is_met, growth, drops = judge(duration_s, tally, samples, checks, bad="dropped")
    return {
        "seconds": duration_s,
        "requests": dict(tally.requests),
        "visits": dict(tally.visits),
        "drops": drops,
        "left_inside": left_inside,
        "rss_growth_mb": growth,
        "met": is_met,
    }
