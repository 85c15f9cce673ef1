"""What is measured, how, and against which budget."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadtests.lab.activator.world import nginx_of
from loadtests.lab.broker import jetstream as on_jetstream
from loadtests.lab.broker import neighbours as with_neighbours
from loadtests.lab.broker.traffic import Accepting, Load, events, open_loop, sending, subscriber
from loadtests.lab.broker.world import DISPATCHER, FILTER, INGRESS, NAMESPACE, PORT, World, running_world
from loadtests.lab.queue_proxy.machine import Cores, Meter, Process
from loadtests.lab.queue_proxy.subjects import HOST, LabError, Setting, running
from loadtests.lab.queue_proxy.subjects import PORT as NGINX_PORT
from loadtests.reporting import Figure, quantile

__all__ = ["FULL", "QUICK", "SCENARIOS", "Scale", "Scenario"]

_CONNECTIONS: Final = 50
_WARM_S: Final = 0.5
_KIND: Final = "lab.event"
_OTHER: Final = "lab.other"
_TTL: Final = "Ce-Knativebrokerttl: 255"
_RATE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much and how long."""

    rounds: int = 5
    seconds: float = 2.0
    triggers: int = 1000
    latency_s: float = 10.0
    windows: int = 3
    window_s: float = 2.0
    """Of neighbours: a p99 wants a thousand events, however short the other rounds are."""


FULL: Final = Scale()
QUICK: Final = Scale(rounds=1, seconds=0.3, triggers=10, latency_s=0.5, windows=1, window_s=0.3)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question; `measure` is given a directory for files."""

    name: str
    question: str
    measure: Callable[[Path, Cores, Scale], Awaitable[list[Figure]]]


async def ingress(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """A Broker whose channel accepts at once."""
    async with subscriber() as url, running_world(scratch) as world:
        await world.broker("lab", url)
        async with world.process("ingress", INGRESS, cores.proxy) as process:
            made = events(f"/{NAMESPACE}/lab", INGRESS)
            ours, theirs = await _in_turn(scratch, cores, scale, process, url, INGRESS, made)
            memory = process.rss_bytes() / 1e6
    return [
        *_costs("ingress", "accepting channel", ours, theirs, 55.0),
        Figure("ingress", "after load, RSS", "MB", (memory,), 60.0),
    ]


async def filter_(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """A Trigger by type; half of the rounds send another type."""
    figures = []
    async with subscriber() as url, running_world(scratch) as world:
        await world.broker("lab", url)
        target = "/" + (await world.trigger("lab", "lab", _KIND, url)).split("/", 3)[3]
        async with world.process("filter", FILTER, cores.proxy) as process:
            for kind, name, budget in ((_KIND, "match", 50.0), (_OTHER, "no match", 20.0)):
                made = events(target, FILTER, _TTL, kind=kind)
                ours, theirs = await _in_turn(scratch, cores, scale, process, url, FILTER, made)
                figures += _costs("filter", name, ours, theirs, budget)
            memory = process.rss_bytes() / 1e6
    return [*figures, Figure("filter", "after load, RSS", "MB", (memory,), 60.0)]


async def dispatcher(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """A channel in memory with one subscriber; and the same on a journal."""
    figures = []
    async with subscriber() as url, running_world(scratch) as world:
        target = "/" + (await world.channel("lab", [url], retry=3)).split("/", 3)[3]
        made = events(target, DISPATCHER)
        for name, budget, environ in (("in memory", 50.0, {}), ("journal", None, _journal(scratch))):
            async with world.process("dispatcher", DISPATCHER, cores.proxy, environ) as process:
                ours, theirs = await _in_turn(scratch, cores, scale, process, url, DISPATCHER, made)
                figures += _costs("dispatch", name, ours, theirs, budget)
                figures.append(Figure("dispatch", f"{name}, after load, RSS", "MB", (process.rss_bytes() / 1e6,), 60.0))
    return figures


async def path(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """Sender, ingress, channel in memory, filter, subscriber: one Trigger, everything on all cores."""
    figures = []
    async with _whole(scratch, {_KIND: 1}) as world:
        async with _processes(world):
            figures.append(_rate("path", "one event (167 us are 6,000/s)", await _rates(scale), 1e6 / 6000))
        async with _processes(world, **_journal(scratch)):
            figures.append(_rate("path", "one event, on a journal", await _rates(scale), None))
    return figures


async def triggers(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """The same with 1,000 Triggers, one of which wants the events; the others' filters are asked in the dispatcher."""
    world_of_triggers = _whole(scratch, {_KIND: 1, _OTHER: scale.triggers - 1})
    async with world_of_triggers as world, _processes(world, KNUV_EARLY_FILTERS="1"):
        rates = await _rates(scale)
    name = f"one event, {scale.triggers} triggers (667 us are 1,500/s)"
    return [_rate("triggers", name, rates, 1e6 / 1500)]


async def latency(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """200 events a second, from sending to the answer, which comes when the subscriber has answered."""
    async with _whole(scratch, {_KIND: 1}) as world, _processes(world):
        load = await open_loop(_RATE, scale.latency_s, INGRESS, PORT, events(f"/{NAMESPACE}/lab", INGRESS))
    _no_problems(load)
    ordered = sorted(latency_s * 1000 for latency_s in load.latencies_s)
    return [
        Figure("latency", f"{_RATE}/s end to end, median", "ms", (quantile(ordered, 0.5),)),
        Figure("latency", f"{_RATE}/s end to end, p99", "ms", (quantile(ordered, 0.99),), 20.0),
    ]


async def jetstream(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """NATS with a file store: a channel, and a Broker of class JetStreamBroker."""
    return await on_jetstream.measure(scratch, cores, scale.rounds, scale.seconds)


async def neighbours(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """Events of one Trigger beside another one whose subscriber misbehaves, with a journal."""
    return await with_neighbours.measure(scratch, scale.windows, scale.window_s)


async def _in_turn(
    scratch: Path,
    cores: Cores,
    scale: Scale,
    process: Process,
    url: str,
    host: str,
    made: Callable[[int], bytes],
) -> tuple[list[float], list[float]]:
    """Return CPU per event of a process and of nginx, which posts the same on to the same subscriber, in turn."""
    ours: list[float] = []
    theirs: list[float] = []
    rival = nginx_of([("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))])
    async with running(rival, cores, scratch, 0, Setting()) as other:
        for _ in range(scale.rounds):
            ours.append(await _cpu_us(process, cores, scale, host, PORT, made))
            theirs.append(await _cpu_us(other, cores, scale, HOST, NGINX_PORT, made))
    return ours, theirs


async def _cpu_us(
    process: Process, cores: Cores, scale: Scale, host: str, port: int, made: Callable[[int], bytes]
) -> float:
    async with sending(_CONNECTIONS, host, port, made) as load:
        await asyncio.sleep(_WARM_S)
        first, meter = len(load.latencies_s), Meter(process, cores)
        await asyncio.sleep(scale.seconds)
        spent_us, count = meter.cpu_us(), len(load.latencies_s) - first
    _no_problems(load)
    if not count:
        raise LabError("no event was accepted")
    return spent_us / count


@asynccontextmanager
async def _whole(scratch: Path, kinds: dict[str, int]) -> AsyncIterator[World]:
    """A Broker with so many Triggers for events of each type."""
    async with subscriber() as url, running_world(scratch) as world:
        names = [(f"{kind}-{number}", kind) for kind, count in kinds.items() for number in range(count)]
        urls = [await world.trigger(name, "lab", kind, url) for name, kind in names]
        await world.broker("lab", await world.channel("lab", urls, retry=3))
        yield world


@asynccontextmanager
async def _processes(world: World, **environ: str) -> AsyncIterator[None]:
    """All three, and this one, on all cores."""
    before = os.sched_getaffinity(0)
    async with AsyncExitStack() as stack:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        stack.callback(os.sched_setaffinity, 0, before)
        for name, host in (("filter", FILTER), ("dispatcher", DISPATCHER), ("ingress", INGRESS)):
            given = environ if name == "dispatcher" else {}
            await stack.enter_async_context(world.process(name, host, None, given))
        yield


async def _rates(scale: Scale, *, connections: int = _CONNECTIONS) -> list[float]:
    """Return the microseconds between two events at the subscriber, in several rounds."""
    found = []
    async with sending(connections, INGRESS, PORT, events(f"/{NAMESPACE}/lab", INGRESS)) as load:
        await asyncio.sleep(_WARM_S)
        for _ in range(scale.rounds):
            Accepting.count = 0
            began_s = time.perf_counter()
            await asyncio.sleep(scale.seconds)
            if not Accepting.count:
                raise LabError("no event arrived")
            found.append((time.perf_counter() - began_s) * 1e6 / Accepting.count)
    _no_problems(load)
    return found


def _rate(scenario: str, name: str, found: list[float], budget: float | None) -> Figure:
    return Figure(scenario, name, "us", tuple(found), budget)


def _costs(scenario: str, name: str, ours: list[float], theirs: list[float], budget: float | None) -> list[Figure]:
    ratios = tuple(one / other for one, other in zip(ours, theirs, strict=True))
    return [
        Figure(scenario, f"{name}, CPU per event", "us", tuple(ours), budget),
        Figure(scenario, "the same through nginx", "us", tuple(theirs)),
        Figure(scenario, f"{name}, multiple of nginx", "x", ratios, digits=2),
    ]


def _journal(scratch: Path) -> dict[str, str]:
    return {"KNUV_CHANNELS": "journal", "KNUV_JOURNAL_DIR": str(scratch / "journal")}


def _no_problems(load: Load) -> None:
    if load.problems:
        raise LabError(f"{len(load.problems)} events failed, the first: {load.problems[0]}")


SCENARIOS: Final = (
    Scenario("ingress", "What does the ingress cost before a channel that accepts?", ingress),
    Scenario("filter", "What does the filter cost, with and without a match?", filter_),
    Scenario("dispatcher", "What does the dispatcher cost, in memory and with a journal?", dispatcher),
    Scenario("path", "How many events go the whole way?", path),
    Scenario("triggers", "What do 1,000 Triggers cost of which one matches?", triggers),
    Scenario("jetstream", "How many events a second does JetStream acknowledge?", jetstream),
    Scenario("latency", "How long does the whole way take?", latency),
    Scenario("neighbours", "Do subscribers that misbehave delay others, or cost memory?", neighbours),
)
