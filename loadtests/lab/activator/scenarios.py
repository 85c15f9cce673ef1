"""What is measured, how, and against which budget."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from activator.throttler import assign
from loadtests.lab.activator.pods import Pod, serving_pods
from loadtests.lab.activator.world import Address, nginx_of, request_to, running_world
from loadtests.lab.queue_proxy import apps, clients
from loadtests.lab.queue_proxy.clients import ClosedLoopClient, Load, OneRequestClient
from loadtests.lab.queue_proxy.machine import Cores, Meter, Process, raise_open_files_limit
from loadtests.lab.queue_proxy.subjects import HOST, PORT, LabError, Setting, queue_proxy, running
from loadtests.reporting import Figure, quantile

__all__ = ["FULL", "QUICK", "SCENARIOS", "Scale", "Scenario"]

_NAME: Final = "lab"
_SETTLE_S: Final = 1.0
_WARM_S: Final = 0.4
_ANSWER_S: Final = 30.0
_SPARE_FILES: Final = 300
_DIALS_AT_ONCE: Final = 500
_LOAD_SHARE: Final = 0.7
"""Of all places, so that there is a choice."""
_BALANCE_RATE: Final = 1000.0
_BALANCE_SAMPLE: Final = 200
"""Requests for each pod; with fewer, chance is most of what is seen."""
_EVENNESS: Final = 1.2
"""How much more than it must a pod may have."""
_THIRD: Final = HOST.rpartition(".")[0]
HOSTS: Final = (HOST, f"{_THIRD}.252", f"{_THIRD}.253")
"""Of up to three activators, in the order of their texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much and how long."""

    share: float = 1.0
    """Of the revisions and requests that the budgets speak of."""
    rounds: int = 5
    seconds: float = 2.0
    gate_s: float = 20.0
    probing_s: float = 5.0
    pods: tuple[int, ...] = (2, 10, 50)
    activators: tuple[int, ...] = (1, 2, 3)


FULL: Final = Scale()
QUICK: Final = Scale(share=0.01, rounds=1, seconds=0.3, gate_s=1.0, probing_s=0.5, pods=(2,), activators=(1,))


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question; `measure` is given a directory for files."""

    name: str
    question: str
    measure: Callable[[Path, Cores, Scale], Awaitable[list[Figure]]]


async def warm(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """10 pods, 50 connections, activator and nginx in turn."""
    ours: list[float] = []
    theirs: list[float] = []
    async with serving_pods(10) as pods, running_world(scratch, cores) as world:
        await world.revision(_NAME, concurrency=100, ready=_addresses(pods))
        rival = nginx_of(_addresses(pods))
        for _ in range(scale.rounds):
            async with world.activator() as process:
                ours.append(await _cpu_us(process, cores, scale))
            async with running(rival, cores, scratch, 0, Setting()) as process:
                theirs.append(await _cpu_us(process, cores, scale))
    ratios = tuple(one / other for one, other in zip(ours, theirs, strict=True))
    return [
        Figure("warm", "CPU per request", "us", tuple(ours)),
        Figure("warm", "CPU per request, nginx", "us", tuple(theirs)),
        Figure("warm", "CPU per request, multiple of nginx", "x", ratios, 1.5, digits=2),
    ]


async def memory(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """1,000 revisions, each with a pod."""
    count = max(1, round(1000 * scale.share))
    async with serving_pods(10) as pods, running_world(scratch, cores) as world:
        for number in range(count):
            await world.revision(f"{_NAME}-{number}", ready=_addresses(pods)[number % 10 : number % 10 + 1])
        async with world.activator() as process:
            await asyncio.sleep(_SETTLE_S)
            idle = process.rss_bytes() / 1e6
            requests = [request_to(f"{_NAME}-{number}") for number in range(count)]
            async with _closed_loop(HOST, 50, lambda: random.choice(requests)) as load:
                await asyncio.sleep(scale.seconds)
            _no_problems(load)
            loaded = process.rss_bytes() / 1e6
    return [
        Figure("memory", f"{count} revisions known, RSS", "MB", (idle,), 60.0),
        Figure("memory", f"{count} revisions, after load, RSS", "MB", (loaded,)),
    ]


async def probing(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """23 listed addresses where nobody listens."""
    async with running_world(scratch, cores) as world:
        await world.revision(_NAME, not_ready=[(f"127.0.0.{10 + number}", 1) for number in range(23)])
        async with world.activator() as process:
            # The first second has the quick attempts of a back-off.
            await asyncio.sleep(2 * _SETTLE_S)
            meter = Meter(process, cores)
            await asyncio.sleep(scale.probing_s)
            spent = meter.cpu_us() / 1000 / meter.elapsed_s
    return [Figure("probing", "23 dead addresses, CPU", "ms/s", (spent,), 5.0, digits=2)]


async def held(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """10,000 requests that wait for the first pods, which take 100 each, or any number."""
    return [figure for concurrency in (100, 0) for figure in await _held(scratch, cores, scale, concurrency)]


async def _held(scratch: Path, cores: Cores, scale: Scale, concurrency: int) -> list[Figure]:
    # The engine keeps half of its descriptors for upstreams.
    count = min(max(10, round(10_000 * scale.share)), raise_open_files_limit() // 2 - _SPARE_FILES)
    megabytes, rates = [], []
    for _ in range(min(3, scale.rounds)):
        async with serving_pods(10) as pods, running_world(scratch, cores) as world:
            await world.revision(_NAME, concurrency=concurrency)
            async with world.activator() as process, _waiting(count) as load:
                await asyncio.sleep(_SETTLE_S)
                megabytes.append(process.rss_bytes() / 1e6)
                await world.pods(_NAME, ready=_addresses(pods))
                began_s = time.perf_counter()
                while len(load.latencies_s) + len(load.problems) < count:
                    if time.perf_counter() - began_s > _ANSWER_S:
                        raise LabError(f"{count - len(load.latencies_s)} held requests were not released")
                    await asyncio.sleep(0.002)
                rates.append(count / (time.perf_counter() - began_s))
                _no_problems(load)
    slowness = tuple(1e6 / rate for rate in rates)
    return [
        Figure("held", f"{count} held, CC={concurrency}, RSS", "MB", tuple(megabytes), 120.0),
        Figure("held", f"release of one, CC={concurrency} (200 us are 5,000/s)", "us", slowness, 200.0),
    ]


async def latency(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """1,000 rps in an open loop through activator and queue-proxy to an app that takes 100 ms."""
    host, rate = HOSTS[1], 1000 if scale.share == 1 else 100
    setting = Setting(concurrency=1000, host=host)
    async with (
        apps.serving(apps.SlowApp) as app_port,
        running_world(scratch, cores) as world,
        running(queue_proxy(), cores, scratch, app_port, setting),
    ):
        await world.revision(_NAME, concurrency=1000, ready=[(host, PORT)])
        async with world.activator():
            await asyncio.sleep(_SETTLE_S)
            load = await clients.open_loop(rate, scale.gate_s, lambda: request_to(_NAME), host=HOST, port=PORT)
    ordered = load.ordered_ms() or [_ANSWER_S * 1000]
    return [
        Figure("latency", f"{rate}/s on a 100 ms app, median", "ms", (quantile(ordered, 0.5),)),
        Figure("latency", f"{rate}/s on a 100 ms app, p95", "ms", (quantile(ordered, 0.95),), 110.0),
        Figure("latency", f"{rate}/s on a 100 ms app, p99", "ms", (quantile(ordered, 0.99),)),
        Figure("latency", "errors", "requests", (float(len(load.problems)),), 0.0, digits=0),
    ]


async def balance(scratch: Path, cores: Cores, scale: Scale) -> list[Figure]:
    """In-flight requests of pods, averaged over time: the largest against the mean of all."""
    figures = []
    for concurrency in (1, 10):
        for activators in scale.activators:
            for count in scale.pods:
                ratio = await _unevenness(scratch, cores, scale, concurrency, count, HOSTS[:activators])
                name = f"CC={concurrency}, {count} pods, {activators} activators"
                budget = _EVENNESS * least_unevenness(count, activators)
                figures.append(Figure("balance", name, "max/mean", (ratio,), budget, digits=2))
    return figures


def least_unevenness(pods: int, activators: int) -> float:
    """The largest share of a pod against the mean, when activators with the same load each treat their pods alike.

    More than 1 where pods cannot be shared out evenly. Which activator uses which pods is the original's rule, so that
    both kinds can serve a revision together (spec activator.md 8.6).
    """
    numbers = [str(number) for number in range(pods)]
    shares = dict.fromkeys(numbers, 0.0)
    for index in range(activators):
        assigned = assign(numbers, index, activators)
        for number in assigned:
            shares[number] += 1 / len(assigned)
    return max(shares.values()) * pods / activators


async def _unevenness(
    scratch: Path, cores: Cores, scale: Scale, concurrency: int, count: int, hosts: Sequence[str]
) -> float:
    each = max(1, round(_LOAD_SHARE * concurrency * count / len(hosts)))
    delay_s = max(0.02, each * len(hosts) / _BALANCE_RATE)
    async with AsyncExitStack() as stack:
        pods = await stack.enter_async_context(serving_pods(count, delay_s))
        world = await stack.enter_async_context(running_world(scratch, cores))
        await world.revision(_NAME, concurrency=concurrency, ready=_addresses(pods), activators=hosts)
        for host in hosts:
            await stack.enter_async_context(world.activator(host))
        await asyncio.sleep(_SETTLE_S / 2)
        loads = [await stack.enter_async_context(_closed_loop(host, each, lambda: request_to(_NAME))) for host in hosts]
        await asyncio.sleep(_WARM_S)
        for pod in pods:
            pod.begin()
        rate = each * len(hosts) / delay_s
        await asyncio.sleep(max(scale.seconds, _BALANCE_SAMPLE * scale.share * count / rate))
        averages = [pod.average() for pod in pods]
        for load in loads:
            _no_problems(load)
        return max(averages) / (sum(averages) / count)


async def _cpu_us(process: Process, cores: Cores, scale: Scale) -> float:
    await asyncio.sleep(_WARM_S)
    async with clients.closed_loop(50, lambda: _REQUEST) as load:
        await asyncio.sleep(_WARM_S)
        first, meter = len(load.latencies_s), Meter(process, cores)
        await asyncio.sleep(scale.seconds)
        spent_us, count = meter.cpu_us(), len(load.latencies_s) - first
        _no_problems(load)
    if not count:
        raise LabError("no request was answered")
    return spent_us / count


_REQUEST: Final = request_to(_NAME)


@asynccontextmanager
async def _closed_loop(host: str, connections: int, next_request: Callable[[], bytes]) -> AsyncIterator[Load]:
    load = Load(next_request)
    loop = asyncio.get_running_loop()
    opened: list[ClosedLoopClient] = []
    try:
        for _ in range(connections):
            _, client = await loop.create_connection(lambda: ClosedLoopClient(load), host, PORT)
            opened.append(client)
        yield load
    finally:
        for client in opened:
            client.close()


@asynccontextmanager
async def _waiting(count: int) -> AsyncIterator[Load]:
    """So many connections with a request under way on each."""
    load = Load(lambda: _REQUEST)
    loop = asyncio.get_running_loop()
    opened: list[OneRequestClient] = []
    try:
        for begin in range(0, count, _DIALS_AT_ONCE):
            size = min(_DIALS_AT_ONCE, count - begin)
            dials = (loop.create_connection(lambda: OneRequestClient(load), HOST, PORT) for _ in range(size))
            fresh = [client for _, client in await asyncio.gather(*dials)]
            opened += fresh
            for client in fresh:
                client.send()
        yield load
    finally:
        for client in opened:
            client.close()


def _addresses(pods: Sequence[Pod]) -> list[Address]:
    return [("127.0.0.1", pod.port) for pod in pods]


def _no_problems(load: Load) -> None:
    if load.problems:
        raise LabError(f"{len(load.problems)} requests failed, the first: {load.problems[0]}")


SCENARIOS: Final = (
    Scenario("warm", "What does a request cost when pods are there?", warm),
    Scenario("memory", "What do 1,000 revisions cost?", memory),
    Scenario("probing", "What does probing 23 dead addresses cost?", probing),
    Scenario("held", "What do 10,000 held requests cost, and how fast do they go?", held),
    Scenario("latency", "What do activator and queue-proxy add?", latency),
    Scenario("balance", "How evenly do pods get requests?", balance),
)
