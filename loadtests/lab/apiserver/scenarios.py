"""What is measured, how, and against which budget."""

import asyncio
import itertools
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from loadtests.lab.apiserver.clients import Access, Watch, Writer, connected, object_name
from loadtests.lab.queue_proxy.machine import Cores, Meter, Process, pinned
from loadtests.lab.queue_proxy.subjects import LabError
from loadtests.reporting import Figure, quantile

__all__ = ["FULL", "QUICK", "SCENARIOS", "Scale", "Scenario", "measure"]

WRITERS = 16
WRITES_PER_S = 2000
"""What one core has to bear."""
PACED_WRITES_PER_S = 200.0
"""The rate at which latency is promised."""
LATENCY_MS, PEAK_MB = 10.0, 150.0
_LOST_S = 30.0
"""After this time an event that has not come is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything."""

    objects: int
    watches: int
    seconds: float
    rounds: int


FULL = Scale(objects=5000, watches=200, seconds=10.0, rounds=3)
QUICK = Scale(objects=50, watches=5, seconds=0.3, rounds=1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Watches of one sort."""

    name: str
    question: str
    sees_all: bool
    """Whether each watch follows all objects, or a share of its own."""


SCENARIOS = (
    Scenario("all", "every watch follows every object", sees_all=True),
    Scenario("shares", "every watch follows a share of the objects, by a label", sees_all=False),
)


@dataclass(frozen=True, slots=True)
class _Round:
    cpu_us_per_write: float
    writes_per_s: float
    peak_mb: float
    p50_ms: float
    p99_ms: float
    noise_ratio: float


async def measure(scenario: Scenario, scale: Scale) -> list[Figure]:
    """The figures of one scenario. Raises `LabError`."""
    rounds = [await _round(scenario, scale) for _ in range(scale.rounds)]

    def figure(name: str, unit: str, values: list[float], budget: float | None = None, digits: int = 1) -> Figure:
        return Figure(scenario.name, name, unit, tuple(values), budget, digits)

    share = [each.cpu_us_per_write * WRITES_PER_S / 10_000 for each in rounds]
    return [
        figure("processor time per write", "us", [each.cpu_us_per_write for each in rounds]),
        figure(f"of one core at {WRITES_PER_S} writes/s", "%", share, 100.0),
        figure("writes as fast as they are answered", "1/s", [each.writes_per_s for each in rounds], digits=0),
        figure("resident memory, highest", "MB", [each.peak_mb for each in rounds], PEAK_MB),
        figure("write to watch at 200 writes/s, median", "ms", [each.p50_ms for each in rounds]),
        figure("write to watch at 200 writes/s, p99", "ms", [each.p99_ms for each in rounds], LATENCY_MS),
        figure("of the server's core used by others meanwhile", "%", [each.noise_ratio * 100 for each in rounds]),
    ]


async def _round(scenario: Scenario, scale: Scale) -> _Round:
    async with _server(scale) as (process, access):
        context = access.context()
        watches = []
        try:
            for number in range(scale.watches):
                query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
                if not scenario.sees_all:
                    query += f"&labelSelector=group%3D{number}"
                watch = Watch(access, query, is_sampling=number % 20 == 0 or not scenario.sees_all)
                watches.append(await connected(access, context, watch))
            listed = scale.objects if scenario.sees_all else scale.objects // scale.watches
            await _until(lambda: min(watch.events for watch in watches) > listed, "the lists did not come")
            writers = [await connected(access, context, Writer(access)) for _ in range(WRITERS)]
            watchers_of_a_write = scale.watches if scenario.sees_all else 1
            began_ns, began_s = process.cpu_ns(), time.monotonic()
            written = await _write(writers, watches, scale, 0.0, watchers_of_a_write)
            cpu_us = (process.cpu_ns() - began_ns) / 1000 / written
            writes_per_s = written / (time.monotonic() - began_s)
            for watch in watches:
                watch.latencies_s.clear()
            meter = Meter(process, Cores.of_this_machine())
            await _write(writers, watches, scale, PACED_WRITES_PER_S, watchers_of_a_write)
            noise_ratio = meter.cores()["noise_ratio"]
            latencies_s = list(itertools.chain.from_iterable(watch.latencies_s for watch in watches))
            if any(watch.closed for watch in watches) or any(writer.refused for writer in writers):
                raise LabError("a watch was closed or a write refused")
            return _Round(
                cpu_us_per_write=cpu_us,
                writes_per_s=writes_per_s,
                peak_mb=process.peak_bytes() / 1e6,
                p50_ms=quantile(latencies_s, 0.5) * 1e3,
                p99_ms=quantile(latencies_s, 0.99) * 1e3,
                noise_ratio=noise_ratio,
            )
        finally:
            for watch in watches:
                watch.close()


async def _write(writers: list[Writer], watches: list[Watch], scale: Scale, rate: float, seen_by: int) -> int:
    """Write for a while, at `rate` per second or as fast as possible, until all is seen; how often."""
    before = sum(watch.events for watch in watches)
    counts = [writer.written for writer in writers]
    began_s = time.monotonic()

    async def run(writer: Writer, number: int) -> None:
        for turn in itertools.count():
            if rate:
                due_s = began_s + (turn * len(writers) + number) / rate - time.monotonic()
                await asyncio.sleep(max(due_s, 0.0))
            if time.monotonic() - began_s > scale.seconds:
                return
            await writer.write(object_name(random.randrange(scale.objects)))

    await asyncio.gather(*(run(writer, number) for number, writer in enumerate(writers)))
    written = sum(writer.written for writer in writers) - sum(counts)
    wanted = before + written * seen_by
    # Bookmarks count as well, when one is due.
    await _until(lambda: sum(watch.events for watch in watches) >= wanted, "events were lost")
    return written


async def _until(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline_s = time.monotonic() + _LOST_S
    while not is_so():
        if time.monotonic() > deadline_s:
            raise LabError(otherwise)
        await asyncio.sleep(0.005)


@asynccontextmanager
async def _server(scale: Scale) -> AsyncIterator[tuple[Process, Access]]:
    cores = Cores.of_this_machine()
    arguments = ("-m", "loadtests.lab.apiserver.served", str(scale.objects), str(scale.watches))
    with pinned(cores.proxy):
        server = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        line = await server.stdout.readline()
        if not line:
            raise LabError("the server did not start")
        with pinned(cores.load):
            yield Process(server.pid), Access.of_line(line)
    finally:
        server.stdin.close()
        await server.wait()
