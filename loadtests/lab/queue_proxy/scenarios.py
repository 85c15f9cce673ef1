"""What is measured, how, and against which budget: the table at the end says it all, the functions above do it.

A scenario's function is one round with one proxy: it starts the proxy, puts load on it, and returns figures by the
names of `figures.KINDS`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Final

from loadtests.lab.queue_proxy import apps, clients, streams
from loadtests.lab.queue_proxy.figures import Budget, quantile
from loadtests.lab.queue_proxy.machine import Cores, Meter, Process
from loadtests.lab.queue_proxy.subjects import HOST, PORT, LabError, Setting, Subject, accepts, process, running, said

__all__ = ["FULL", "QUICK", "SCENARIOS", "Bench", "Scale", "Scenario"]

GIB: Final = 1024**3
MIB: Final = 1024**2
_SETTLE_S: Final = 0.5
_START_S: Final = 10.0
_POLL_S: Final = 0.0005


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything."""

    rounds: int = 5
    seconds: float = 2.0
    """Of one round of load."""
    warm_s: float = 0.4
    starts: int = 21
    idle_s: float = 20.0
    gate_s: float = 60.0
    """Of the open loop. `--duration`."""
    gate_rate: int = 1000
    streams: int = 200
    idle_connections: int = 1000
    burst_connections: int = 5000
    body_bytes: int = GIB


FULL: Final = Scale()
QUICK: Final = Scale(
    rounds=1,
    seconds=0.3,
    warm_s=0.1,
    starts=2,
    idle_s=0.5,
    gate_s=1.0,
    gate_rate=100,
    streams=10,
    idle_connections=50,
    burst_connections=200,
    body_bytes=8 * MIB,
)
"""Only proves that everything runs; the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every round needs to know."""

    cores: Cores
    scratch: Path
    scale: Scale


Round = Callable[[Bench, Subject], Awaitable[dict[str, float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One question about the proxies, and its budgets."""

    name: str
    what: str
    method: str
    round: Round
    rounds: Callable[[Scale], int] = field(default=lambda scale: scale.rounds)
    budgets: tuple[Budget, ...]


def _closed(next_request: Callable[[], Callable[[], bytes]], app: type[asyncio.Protocol]) -> Round:
    """50 keep-alive connections, each with one request under way."""

    async def round_(bench: Bench, subject: Subject) -> dict[str, float]:
        async with (
            apps.serving(app) as app_port,
            running(subject, bench.cores, bench.scratch, app_port, Setting()) as proxy,
            clients.closed_loop(50, next_request()) as load,
        ):
            await asyncio.sleep(bench.scale.warm_s)
            first = len(load.latencies_s)
            meter = Meter(proxy, bench.cores)
            await asyncio.sleep(bench.scale.seconds)
            count = _count(load, first)
            figures = {"cpu_us": meter.cpu_us() / count, "rate": count / meter.elapsed_s} | meter.cores()
            ordered = load.ordered_ms(first)
            return figures | {
                "p50_ms": quantile(ordered, 0.5),
                "p95_ms": quantile(ordered, 0.95),
                "p99_ms": quantile(ordered, 0.99),
                "max_ms": ordered[-1],
                "rss_mb": proxy.rss_bytes() / 1e6,
            }

    return round_


def _events(*, is_spread: bool) -> Round:
    """Event streams, opened at once or evenly over the time between two events of a stream."""

    async def round_(bench: Bench, subject: Subject) -> dict[str, float]:
        scale = bench.scale
        every_s = apps.EventsApp.every_s
        setting = Setting(concurrency=1000, is_streaming=True)
        async with (
            apps.serving(apps.EventsApp) as app_port,
            running(subject, bench.cores, bench.scratch, app_port, setting) as proxy,
            streams.event_streams(scale.streams, every_s if is_spread else 0.0) as load,
        ):
            await asyncio.sleep(scale.warm_s)
            first = len(load.latencies_s)
            meter = Meter(proxy, bench.cores)
            await asyncio.sleep(scale.seconds)
            count = _count(load, first)
            figures = {"event_cpu_us": meter.cpu_us() / count, "rate": count / meter.elapsed_s} | meter.cores()
            ordered = load.ordered_ms(first)
            return figures | {"p50_ms": quantile(ordered, 0.5), "p99_ms": quantile(ordered, 0.99)}

    return round_


async def _memory(bench: Bench, subject: Subject) -> dict[str, float]:
    async with (
        apps.serving(apps.OkApp) as app_port,
        running(subject, bench.cores, bench.scratch, app_port, Setting()) as proxy,
        clients.closed_loop(100, _same(clients.request())) as load,
    ):
        await asyncio.sleep(bench.scale.seconds)
        _no_problems(load)
        return {"rss_mb": proxy.rss_bytes() / 1e6}


async def _idle(bench: Bench, subject: Subject) -> dict[str, float]:
    async with (
        apps.serving(apps.OkApp) as app_port,
        running(subject, bench.cores, bench.scratch, app_port, Setting(concurrency=1000)) as proxy,
        clients.connected(bench.scale.idle_connections, _same(clients.request())) as load,
    ):
        await asyncio.sleep(_SETTLE_S)
        meter = Meter(proxy, bench.cores)
        await asyncio.sleep(bench.scale.idle_s)
        _no_problems(load)
        return {
            "rss_mb": proxy.rss_bytes() / 1e6,
            "idle_core_percent": meter.cpu_us() / 1e4 / meter.elapsed_s,
            "wakeups": meter.wakeups() / meter.elapsed_s,
        }


async def _start(bench: Bench, subject: Subject) -> dict[str, float]:
    if accepts():
        raise LabError(f"something listens on {HOST}:{PORT} already; end it first")
    began_s = time.perf_counter()
    with process(subject, bench.cores, bench.scratch, 1, Setting()) as started:
        # Nothing else runs in this loop meanwhile; its timers would be too coarse.
        while not accepts():
            if started.has_ended() or time.perf_counter() - began_s > _START_S:
                raise LabError(f"{subject.name} does not listen on {HOST}:{PORT}; it said: {said(bench.scratch)}")
            time.sleep(_POLL_S)  # noqa: ASYNC251
        return {"start_ms": (time.perf_counter() - began_s) * 1000}


async def _gate(bench: Bench, subject: Subject) -> dict[str, float]:
    scale = bench.scale
    next_request = _same(clients.request())
    async with (
        apps.serving(apps.SlowApp) as app_port,
        running(subject, bench.cores, bench.scratch, app_port, Setting(concurrency=1000)) as proxy,
    ):
        direct = await clients.open_loop(
            scale.gate_rate, min(5.0, scale.gate_s), next_request, host="127.0.0.1", port=app_port
        )
        meter = Meter(proxy, bench.cores)
        load = await clients.open_loop(scale.gate_rate, scale.gate_s, next_request, host=HOST, port=PORT)
        figures = {"cpu_us": meter.cpu_us() / max(1, len(load.latencies_s))} | meter.cores()
        ordered = load.ordered_ms() or [clients.ANSWER_S * 1000]
        return figures | {
            "direct_p95_ms": quantile(direct.ordered_ms(), 0.95),
            "p50_ms": quantile(ordered, 0.5),
            "p95_ms": quantile(ordered, 0.95),
            "p99_ms": quantile(ordered, 0.99),
            "max_ms": ordered[-1],
            "errors": len(load.problems),
        }


async def _burst(bench: Bench, subject: Subject) -> dict[str, float]:
    async with (
        apps.serving(apps.OkApp) as app_port,
        running(subject, bench.cores, bench.scratch, app_port, Setting(concurrency=1000)) as proxy,
    ):
        load, open_s = await clients.burst(bench.scale.burst_connections, _same(clients.request()))
        return {
            "refused": len(load.problems),
            "connect_ms": open_s * 1000,
            "answered_ms": max(load.latencies_s, default=0.0) * 1000,
            "rss_mb": proxy.rss_bytes() / 1e6,
        }


async def _bodies(bench: Bench, subject: Subject) -> dict[str, float]:
    size = bench.scale.body_bytes
    setting = Setting(is_streaming=True)
    figures: dict[str, float] = {}
    for name, app, transfer in (
        ("upload", apps.UploadApp, streams.upload),
        ("download", apps.DownloadApp, streams.download),
    ):
        async with (
            apps.serving(app) as app_port,
            running(subject, bench.cores, bench.scratch, app_port, setting) as proxy,
        ):
            await asyncio.sleep(_SETTLE_S)
            growth, rate = await _growth(proxy, transfer(size))
            figures |= {f"{name}_growth_mib": growth / MIB, f"{name}_rate": rate / 1e6}
    return figures


async def _growth(proxy: Process, work: Awaitable[float]) -> tuple[int, float]:
    """Return by how many bytes the proxy's memory was higher during `work` than before, and the result of `work`."""
    proxy.reset_peak()
    before = proxy.rss_bytes()
    result = await work
    return proxy.peak_bytes() - before, result


def _same(request: bytes) -> Callable[[], bytes]:
    return repeat(request).__next__


def _count(load: clients.Load, first: int) -> int:
    """How many answers, or events, have come since there were `first`. Raises `LabError` when something went wrong."""
    _no_problems(load)
    count = len(load.latencies_s) - first
    if not count:
        raise LabError("nothing came through the proxy")
    return count


def _no_problems(load: clients.Load) -> None:
    if load.problems:
        raise LabError(f"{len(load.problems)} requests failed, the first: {load.problems[0]}")


SCENARIOS: Final = (
    Scenario(
        name="get",
        what="small GET, 50 keep-alive connections, every feature on",
        method="closed loop; CPU time of the proxy over answers",
        round=_closed(lambda: _same(clients.request()), apps.OkApp),
        budgets=(Budget("cpu_us", 1.5, rival="nginx", goal=1.2),),
    ),
    Scenario(
        name="get-unique",
        what="the same, each request with an X-Request-Id of its own, as Envoy sends it",
        method="closed loop; CPU time of the proxy over answers",
        round=_closed(lambda: clients.unique_requests().__next__, apps.OkApp),
        budgets=(Budget("cpu_us", None, rival="nginx"),),
    ),
    Scenario(
        name="post",
        what="POST of 16 KiB, 50 keep-alive connections",
        method="closed loop; CPU time of the proxy over answers",
        round=_closed(lambda: _same(clients.request("POST", body=bytes(16 * 1024))), apps.UploadApp),
        budgets=(Budget("cpu_us", 1.6, rival="nginx"),),
    ),
    Scenario(
        name="events",
        what="server-sent events: 200 streams opened at once, 10 events of 100 bytes a second each",
        method="CPU time of the proxy over events that came; latency from the app's write",
        round=_events(is_spread=False),
        budgets=(Budget("event_cpu_us", 15.0), Budget("event_cpu_us", None, rival="nginx")),
    ),
    Scenario(
        name="events-spread",
        what="the same, opened evenly over 0.1 s, so that the proxy is woken for every single event",
        method="CPU time of the proxy over events that came; latency from the app's write",
        round=_events(is_spread=True),
        budgets=(Budget("event_cpu_us", 15.0), Budget("event_cpu_us", None, rival="nginx")),
    ),
    Scenario(
        name="memory",
        what="resident memory at 100 busy connections",
        method="VmRSS under a closed loop of small GETs",
        round=_memory,
        rounds=lambda _scale: 1,
        budgets=(Budget("rss_mb", 30.0),),
    ),
    Scenario(
        name="idle",
        what="1,000 connections that have had one answer each and keep still",
        method="VmRSS and CPU time over 20 s",
        round=_idle,
        rounds=lambda _scale: 1,
        budgets=(Budget("rss_mb", 34.0), Budget("idle_core_percent", 0.1)),
    ),
    Scenario(
        name="start",
        what="exec to accepting port",
        method="from before the fork until a connection is accepted, tried every 0.5 ms from the other core",
        round=_start,
        rounds=lambda scale: scale.starts,
        budgets=(Budget("start_ms", 80.0, goal=50.0),),
    ),
    Scenario(
        name="gate",
        what="upstream's gate: 1,000 requests a second in an open loop to an app that takes 100 ms",
        method="constant arrivals; latency counts from the intended time of sending",
        round=_gate,
        rounds=lambda _scale: 1,
        budgets=(Budget("p95_ms", 110.0), Budget("errors", 0)),
    ),
    Scenario(
        name="burst",
        what="5,000 connections at once, then a request on each",
        method="all connects are started before any is waited for",
        round=_burst,
        rounds=lambda _scale: 1,
        budgets=(Budget("refused", 0),),
    ),
    Scenario(
        name="bodies",
        what="a body of 1 GiB up, then one down",
        method="peak of resident memory (VmHWM) less VmRSS before",
        round=_bodies,
        rounds=lambda _scale: 1,
        budgets=(Budget("upload_growth_mib", 4.0), Budget("download_growth_mib", 4.0)),
    ),
)
