"""Does a subscriber that misbehaves delay the events of another Trigger, or cost memory?

Processes with a journal, as `knuv up` has them, and a Broker for each way of misbehaving, and one without. Each Broker
has a Trigger whose events are timed, and a neighbour with events of another type at the same time. In turns with the
neighbour that misbehaves the one that behaves is measured, so that what else the machine does meets both; only what
hangs, and would still be there in the next turn, comes behind all of these. What is compared is the time from sending
an event to its arrival, since 202 comes before.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, cast

from loadtests.lab.broker import bad_subscribers
from loadtests.lab.broker.bad_subscribers import ANSWERS, BEHAVIOURS
from loadtests.lab.broker.traffic import events, open_loop
from loadtests.lab.broker.world import (
    DISPATCHER,
    FILTER,
    INGRESS,
    NAMESPACE,
    PORT,
    World,
    all_cores,
    running_world,
)
from loadtests.lab.queue_proxy.machine import Process
from loadtests.lab.queue_proxy.subjects import ROOT, LabError
from loadtests.reporting import Figure, quantile

__all__ = ["Arrivals", "measure"]

_KIND: Final = "lab.event"
_NEIGHBOURS: Final = "lab.other"
_RATE: Final = 200
"""Events a second to the one who behaves."""
_NEIGHBOURS_RATE: Final = 50
_HUGE_RATE: Final = 2
"""Each of these is megabytes: more of them would measure the machine."""
_DELIVERY: Final = {"retry": 3, "timeout": "PT1S", "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}
_RATIO_MAX: Final = 2.0
_GROWTH_MB_MAX: Final = 30.0
_LASTING: Final = ("hangs",)
_LASTING_S: Final = 5.0
"""Until the last attempts of these have ended, which would else be there when the next one is compared."""
_ARRIVAL_S: Final = 15.0
_WARM_S: Final = 0.5
_ACCEPTED: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


async def measure(scratch: Path, windows: int, window_s: float) -> list[Figure]:
    """Several windows without and several with each bad neighbour: the p99 of all of each, and what memory grew by."""
    figures: list[Figure] = []
    arrivals = Arrivals()
    async with AsyncExitStack() as stack:
        stack.enter_context(all_cores())
        good = await stack.enter_async_context(arrivals.listening())
        world = await stack.enter_async_context(running_world(scratch))
        for name in (ANSWERS, *BEHAVIOURS):
            await _broker(world, name, good, await stack.enter_async_context(_neighbour(name)))
        journal = {"KNUV_CHANNELS": "journal", "KNUV_JOURNAL_DIR": str(scratch / "journal")}
        processes = [
            await stack.enter_async_context(world.process(each, host, None, journal if each == "dispatcher" else {}))
            for each, host in (("filter", FILTER), ("dispatcher", DISPATCHER), ("ingress", INGRESS))
        ]
        await _latencies_ms(arrivals, ANSWERS, _NEIGHBOURS_RATE, _WARM_S)
        for name in BEHAVIOURS:
            figures += await _beside(name, arrivals, processes, windows, window_s)
            if name in _LASTING:
                await asyncio.sleep(_LASTING_S)
    return figures


async def _beside(
    name: str, arrivals: "Arrivals", processes: list[Process], windows: int, window_s: float
) -> list[Figure]:
    rate = _HUGE_RATE if name == "replies-hugely" else _NEIGHBOURS_RATE
    before = [each.rss_bytes() for each in processes]
    for each in processes:
        each.reset_peak()
    alone: list[float] = []
    beside: list[float] = []
    turns = [(alone, ANSWERS), (beside, name)] * windows
    if name in _LASTING:
        turns.sort(key=lambda turn: turn[1] == name)
    for latencies_ms, broker in turns:
        latencies_ms += await _latencies_ms(arrivals, broker, rate, window_s)
    grown = max((each.peak_bytes() - rss) / 1e6 for each, rss in zip(processes, before, strict=True))
    p99_ms, other_ms = quantile(sorted(beside), 0.99), quantile(sorted(alone), 0.99)
    return [
        Figure("beside", f"{name}: p99, multiple of without", "x", (p99_ms / other_ms,), _RATIO_MAX, 2),
        Figure("beside", f"without {name}: p99", "ms", (other_ms,)),
        Figure("beside", f"{name}: growth of RSS", "MB", (grown,), _GROWTH_MB_MAX),
    ]


async def _broker(world: World, name: str, good: str, neighbour: str) -> None:
    """A Broker with a Trigger for each of both types."""
    urls = [
        await world.trigger(f"{name}-good", name, _KIND, good),
        await world.trigger(f"{name}-neighbour", name, _NEIGHBOURS, neighbour),
    ]
    await world.broker(name, await world.channel(name, urls, **_DELIVERY))


async def _latencies_ms(arrivals: "Arrivals", broker: str, rate: int, seconds: float) -> list[float]:
    """Send for a while, to both; how long each event took to arrive. Raises `LabError` when some do not."""
    target = f"/{NAMESPACE}/{broker}"
    wanted = arrivals.expecting(events(target, INGRESS, kind=_KIND))
    others = arrivals.numbered(events(target, INGRESS, kind=_NEIGHBOURS))
    load, neighbours = await asyncio.gather(
        open_loop(_RATE, seconds, INGRESS, PORT, wanted), open_loop(rate, seconds, INGRESS, PORT, others)
    )
    if problems := [*load.problems, *neighbours.problems]:
        raise LabError(f"{len(problems)} events were not accepted, the first: {problems[0]}")
    end_s = time.perf_counter() + _ARRIVAL_S
    while arrivals.missing:
        if time.perf_counter() > end_s:
            raise LabError(f"{len(arrivals.missing)} events did not arrive within {_ARRIVAL_S:g} s")
        await asyncio.sleep(0.005)
    return arrivals.take()


class Arrivals:
    """Events on their way to the subscriber that behaves, by their numbers, and how long the others took."""

    def __init__(self) -> None:
        self.missing: dict[int, float] = {}
        """When each was sent."""
        self._took_ms: list[float] = []
        self._last = 0

    def numbered(self, made: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Return the same with numbers that nobody else has."""

        def make(_number: int) -> bytes:
            self._last += 1
            return made(self._last)

        return make

    def expecting(self, made: Callable[[int], bytes]) -> Callable[[int], bytes]:
        """Return the same, and expect each event that it makes from then on."""
        numbered = self.numbered(made)

        def make(number: int) -> bytes:
            event = numbered(number)
            self.missing[self._last] = time.perf_counter()
            return event

        return make

    def arrived(self, number: int) -> None:
        """It is here; again, perhaps."""
        sent_s = self.missing.pop(number, None)
        if sent_s is not None:
            self._took_ms.append((time.perf_counter() - sent_s) * 1000)

    def take(self) -> list[float]:
        """Return how long they took."""
        took, self._took_ms = self._took_ms, []
        return took

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The subscriber; its URL."""
        server = await asyncio.get_running_loop().create_server(lambda: _Taking(self), "127.0.0.1", 0, backlog=4096)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        finally:
            server.close()


class _Taking(asyncio.Protocol):
    """One connection of the subscriber that behaves."""

    def __init__(self, arrivals: "Arrivals") -> None:
        self._arrivals = arrivals
        self._transport: asyncio.Transport
        self._partial = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._partial + data
        head, end, body = data.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:]) if end else {}
        # Nobody pipelines.
        if not end or len(body) < int(lines[b"content-length"]):
            self._partial = data
            return
        self._partial = b""
        self._arrivals.arrived(int(lines[b"ce-id"].rpartition(b"-")[2], 16))
        self._transport.write(_ACCEPTED)


@asynccontextmanager
async def _neighbour(name: str) -> AsyncIterator[str]:
    """A subscriber in a process of its own, so that what it does delays nothing here; its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", f"from {bad_subscribers.__name__} import run; run({name!r})"),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise LabError(f"the subscriber that {name} did not start")
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
