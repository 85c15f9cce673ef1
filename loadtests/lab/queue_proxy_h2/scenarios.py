"""What is measured, how, and against which budget: the table at the end says it all, the functions above do it.

A scenario's function is one round with one proxy: it starts the proxy, puts load on it, and returns figures by the
names of `figures.KINDS`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Final

from loadtests.lab.queue_proxy import apps
from loadtests.lab.queue_proxy.figures import Budget, quantile
from loadtests.lab.queue_proxy.machine import Meter
from loadtests.lab.queue_proxy.scenarios import Bench, Round, Scenario
from loadtests.lab.queue_proxy.subjects import LabError, Setting, Subject, running
from loadtests.lab.queue_proxy_h2 import calls, handshakes, programs, wire

__all__ = ["SCENARIOS"]

_RIVAL: Final = "nghttpx"
_SETTLE_S: Final = 0.5
_OVERTIME_S: Final = 30.0
_CONNECTIONS: Final = 50
_TLS_S: Final = 1.0
"""At least: 50 handshakes take a while on a busy machine."""
_HANDSHAKES_PER_S: Final = 150
"""Of the scale's seconds: few enough for any proxy, so that the figures of all are of the same number."""
_ROOMY: Final = Setting(concurrency=1000)


Load = Callable[[Bench, float], Awaitable[programs.Loaded]]
"""So many seconds of a closed loop."""


def _loaded(load: Load, *app: str) -> Round:
    """h2load to nghttpd with the flags `app`."""

    async def round_(bench: Bench, subject: Subject) -> dict[str, float]:
        async with (
            programs.nghttpd(bench.scratch, *app) as app_port,
            running(subject, bench.cores, bench.scratch, app_port, _ROOMY) as proxy,
        ):
            await load(bench, bench.scale.warm_s)
            meter = Meter(proxy, bench.cores)
            loaded = await load(bench, bench.scale.seconds)
            return {
                "cpu_us": meter.cpu_us() / _some(loaded.succeeded),
                "rate": loaded.rate,
                **meter.cores(),
                "mean_ms": loaded.mean_ms,
                "rss_mb": proxy.rss_bytes() / 1e6,
            }

    return round_


def _echoes(
    app: Callable[[], AbstractAsyncContextManager[int]],
    load: Callable[[], AbstractAsyncContextManager[wire.Echoes]],
    figure: str,
    messages: int,
) -> Round:
    """Messages that go to the app and come back. `messages`: how many of what `figure` counts are in a round trip."""

    async def round_(bench: Bench, subject: Subject) -> dict[str, float]:
        async with (
            app() as app_port,
            running(subject, bench.cores, bench.scratch, app_port, _ROOMY) as proxy,
            load() as echoes,
        ):
            await asyncio.sleep(bench.scale.warm_s)
            first = len(echoes.latencies_s)
            meter = Meter(proxy, bench.cores)
            await asyncio.sleep(bench.scale.seconds)
            await _until_more(echoes, first)
            _no_problems(echoes)
            count = _some(messages * (len(echoes.latencies_s) - first))
            figures = {figure: meter.cpu_us() / count, "rate": count / meter.elapsed_s} | meter.cores()
            ordered = sorted(latency_s * 1000 for latency_s in echoes.latencies_s[first:])
            return figures | {"p50_ms": quantile(ordered, 0.5), "p99_ms": quantile(ordered, 0.99)}

    return round_


async def _idle(bench: Bench, subject: Subject) -> dict[str, float]:
    count = bench.scale.idle_connections
    async with (
        programs.nghttpd(bench.scratch) as app_port,
        running(subject, bench.cores, bench.scratch, app_port, _ROOMY) as proxy,
    ):
        # What is there once for all connections does not count.
        async with wire.idle(1):
            before = proxy.rss_bytes()
        async with wire.idle(count) as echoes:
            await asyncio.sleep(_SETTLE_S)
            _no_problems(echoes)
            return {"kib_each": (proxy.rss_bytes() - before) / 1024 / count, "rss_mb": proxy.rss_bytes() / 1e6}


async def _tls(bench: Bench, subject: Subject) -> dict[str, float]:
    """The same load in plaintext and in TLS, on the same process."""
    async with (
        apps.serving(apps.OkApp) as app_port,
        running(subject, bench.cores, bench.scratch, app_port, _secured(bench)) as proxy,
    ):
        figures: dict[str, float] = {}
        for name, is_tls in (("plain_cpu_us", False), ("tls_cpu_us", True)):
            await programs.h1load(_CONNECTIONS, max(_TLS_S, bench.scale.warm_s), is_tls=is_tls)
            meter = Meter(proxy, bench.cores)
            loaded = await programs.h1load(_CONNECTIONS, max(_TLS_S, bench.scale.seconds), is_tls=is_tls)
            figures |= {name: meter.cpu_us() / _some(loaded.succeeded), "rate": loaded.rate, **meter.cores()}
        return {"tls_ratio": figures["tls_cpu_us"] / figures["plain_cpu_us"], **figures}


async def _handshakes(bench: Bench, subject: Subject) -> dict[str, float]:
    """Connections behind each other, with a request each: first without a session to go on with, then with one."""
    count = round(bench.scale.seconds * _HANDSHAKES_PER_S)
    async with (
        apps.serving(apps.OkApp) as app_port,
        running(subject, bench.cores, bench.scratch, app_port, _secured(bench)) as proxy,
    ):
        figures: dict[str, float] = {}
        for name, is_resuming in (("full_cpu_us", False), ("resumed_cpu_us", True)):
            meter = Meter(proxy, bench.cores)
            resumed = await asyncio.to_thread(handshakes.connect, count, is_resuming=is_resuming)
            figures[name] = meter.cpu_us() / count
        # The first one has no session yet.
        return {**figures, "not_resumed": count - 1 - resumed}


def _secured(bench: Bench) -> Setting:
    return Setting(concurrency=1000, certificates=handshakes.certificates(bench.scratch))


async def _until_more(echoes: wire.Echoes, count: int) -> None:
    """A short round on a busy machine may be over before anything came."""
    end_s = perf_counter() + _OVERTIME_S
    while len(echoes.latencies_s) <= count and perf_counter() < end_s:  # noqa: ASYNC110 - it is not worth an event
        await asyncio.sleep(0.1)


def _some(count: int) -> int:
    if not count:
        raise LabError("nothing came through the proxy")
    return count


def _no_problems(load: wire.Echoes) -> None:
    if load.problems:
        raise LabError(f"{len(load.problems)} streams or connections failed, the first: {load.problems[0]}")


def _echo_app() -> AbstractAsyncContextManager[int]:
    return apps.serving(wire.EchoApp)


SCENARIOS: Final = (
    Scenario(
        name="streams",
        what="small GET, 4 connections with 25 streams each, every feature on",
        method="h2load in a closed loop to nghttpd; CPU time of the proxy over answers",
        round=_loaded(lambda _, seconds: programs.h2load(4, 25, seconds)),
        budgets=(Budget("cpu_us", 30.0, goal=15.0), Budget("cpu_us", None, rival=_RIVAL)),
    ),
    Scenario(
        name="connections",
        what="the same, 50 connections with one stream each",
        method="h2load in a closed loop to nghttpd; CPU time of the proxy over answers",
        round=_loaded(lambda _, seconds: programs.h2load(50, 1, seconds)),
        budgets=(Budget("cpu_us", 35.0), Budget("cpu_us", None, rival=_RIVAL)),
    ),
    Scenario(
        name="grpc-unary",
        what="gRPC unary calls of 100 bytes, 4 connections with 25 callers each",
        method="grpcio as client and as app, closed loop; CPU time of the proxy over answers",
        round=_echoes(calls.app, calls.unary, "cpu_us", 1),
        budgets=(Budget("cpu_us", 35.0), Budget("cpu_us", None, rival=_RIVAL)),
    ),
    Scenario(
        name="unary",
        what="the same calls from a client and to an app that cost less than grpcio",
        method="h2load in a closed loop to nghttpd, which echoes and adds a trailer; CPU time over answers",
        round=_loaded(lambda bench, seconds: programs.grpcload(bench.scratch, 4, 25, seconds), *programs.GRPC_APP),
        budgets=(Budget("cpu_us", None), Budget("cpu_us", None, rival=_RIVAL)),
    ),
    Scenario(
        name="bidi",
        what="messages of 100 bytes to and fro on 100 open streams of 4 connections",
        method="frames made beforehand; each echo is two messages; CPU time of the proxy over messages",
        round=_echoes(_echo_app, lambda: wire.echoing(4, 25), "message_cpu_us", 2),
        budgets=(Budget("message_cpu_us", 12.0), Budget("message_cpu_us", None, rival=_RIVAL)),
    ),
    Scenario(
        name="bidi-alone",
        what="the same on a single stream, so that the proxy is woken for every single message",
        method="frames made beforehand; each echo is two messages; CPU time of the proxy over messages",
        round=_echoes(_echo_app, lambda: wire.echoing(1, 1), "message_cpu_us", 2),
        budgets=(Budget("message_cpu_us", None), Budget("message_cpu_us", None, rival=_RIVAL)),
    ),
    Scenario(
        name="grpc-bidi",
        what="the same as bidi through grpcio, with the PINGs and window updates that it sends",
        method="grpcio as client and as app; each echo is two messages; CPU time of the proxy over messages",
        round=_echoes(calls.app, calls.chatting, "message_cpu_us", 2),
        budgets=(Budget("message_cpu_us", 12.0), Budget("message_cpu_us", None, rival=_RIVAL)),
    ),
    Scenario(
        name="idle",
        what="1,000 connections that have had one answer each and keep still",
        method="VmRSS less that before they were opened",
        round=_idle,
        rounds=lambda _scale: 1,
        budgets=(Budget("kib_each", 20.0),),
    ),
    Scenario(
        name="tls",
        what="small GET over HTTP/1.1, 50 keep-alive connections, in plaintext and in TLS 1.3",
        method="h2load in a closed loop to an app of HTTP/1.1; CPU time of the proxy over answers",
        round=_tls,
        budgets=(Budget("tls_ratio", 2.0), Budget("tls_cpu_us", None, rival=_RIVAL)),
    ),
    Scenario(
        name="tls-handshakes",
        what="connections in TLS 1.3 with one request each, without and with a session to resume",
        method="OpenSSL as the client, one connection behind the other; CPU time of the proxy over connections",
        round=_handshakes,
        budgets=(Budget("not_resumed", 0.0), Budget("full_cpu_us", None), Budget("resumed_cpu_us", None)),
    ),
)
