"""Runs of one proxy between a load and an app: the rounds of queue-proxy's benchmarks, and steady arrivals."""

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Final

from loadtests.lab.compare.model import Gate, Metric, Run, RunOnce, Scale, Scenario
from loadtests.lab.compare.references import reference
from loadtests.lab.compare.sides import Side
from loadtests.lab.queue_proxy import apps, clients
from loadtests.lab.queue_proxy.figures import KINDS, quantile
from loadtests.lab.queue_proxy.machine import Cores, Meter
from loadtests.lab.queue_proxy.scenarios import SCENARIOS as HTTP1_ROUNDS
from loadtests.lab.queue_proxy.scenarios import Bench
from loadtests.lab.queue_proxy.scenarios import Scale as RoundScale
from loadtests.lab.queue_proxy.scenarios import Scenario as Round
from loadtests.lab.queue_proxy.subjects import HOST, PORT, LabError, Setting, Subject, command_subject, queue_proxy
from loadtests.lab.queue_proxy.subjects import running as running_proxy
from loadtests.lab.queue_proxy_h2 import programs
from loadtests.lab.queue_proxy_h2.scenarios import SCENARIOS as HTTP2_ROUNDS

__all__ = ["SCENARIOS"]

_HIGH_IS_GOOD: Final = frozenset(["rate"])
_ABOUT_THE_RUN: Final = frozenset(["load_core_ratio", "noise_ratio"])
_LATENCIES: Final = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
_GATE_LIMIT_MS: Final = 110.0
_WARM_S: Final = 0.3


def _subject(side: Side, *, is_http2: bool) -> Subject:
    if side.proxy:
        return reference(side.proxy, is_http2=is_http2)
    if side.commands:
        return command_subject(side.commands["queue-proxy"])
    return queue_proxy()


def _of_rounds(rounds: Sequence[Round], paced: RunOnce | None, *, is_http2: bool = False) -> RunOnce:
    """One run: each round once, its figures under its name; then `paced`."""

    async def run(side: Side, scale: Scale, scratch: Path) -> Run:
        result = Run() if paced is None else await paced(side, scale, scratch)
        bench = Bench(Cores.of_this_machine(), scratch, RoundScale(rounds=1, seconds=scale.seconds, warm_s=_WARM_S))
        for each in rounds:
            figures = await each.round(bench, _subject(side, is_http2=is_http2))
            result.limit_busy(each.name, figures.get("load_core_ratio", 0.0))
            if "noise_ratio" in figures:
                result.noise.append(figures["noise_ratio"])
            for key, value in figures.items():
                if key not in _ABOUT_THE_RUN:
                    result.figures[f"{each.name}.{key}"] = value
        return result

    return run


def _paced(name: str, app: type[apps.OkApp]) -> RunOnce:
    """Constant arrivals on HTTP/1.1, their figures under `name`."""

    async def run(side: Side, scale: Scale, scratch: Path) -> Run:
        cores, result = Cores.of_this_machine(), Run()
        (rate,) = scale.rates
        next_request = repeat(clients.request()).__next__
        async with (
            apps.serving(app) as app_port,
            running_proxy(_subject(side, is_http2=False), cores, scratch, app_port, Setting(concurrency=1000)) as proxy,
        ):
            await clients.open_loop(rate, _WARM_S, next_request, host=HOST, port=PORT)
            meter = Meter(proxy, cores)
            load = await clients.open_loop(rate, scale.seconds, next_request, host=HOST, port=PORT)
            result.figures[f"{name}.cpu_us"] = meter.cpu_us() / max(1, len(load.latencies_s))
            result.figures[f"{name}.rss_mb"] = proxy.rss_bytes() / 1e6
            busy = meter.cores()
        late_ms = 1000 * quantile(load.late_s, 0.95)
        result.limit_late(name, late_ms)
        result.figures[f"{name}.late_p95_ms"] = late_ms
        result.noise.append(busy["noise_ratio"])
        result.figures[f"{name}.errors"] = float(len(load.problems))
        result.notes += load.problems[:3]
        _add_latencies(result, name, load.ordered_ms())
        return result

    return run


async def _paced_http2(side: Side, scale: Scale, scratch: Path) -> Run:
    """The same on HTTP/2, over four connections."""
    cores, result = Cores.of_this_machine(), Run()
    (rate,) = scale.rates
    async with (
        programs.nghttpd(scratch) as app_port,
        running_proxy(_subject(side, is_http2=True), cores, scratch, app_port, Setting(concurrency=1000)) as proxy,
    ):
        await programs.h2paced(scratch, 4, rate, _WARM_S)
        meter = Meter(proxy, cores)
        ordered_ms = await programs.h2paced(scratch, 4, rate, scale.seconds)
        if not ordered_ms:
            raise LabError("nothing came through the proxy")
        result.figures["paced.cpu_us"] = meter.cpu_us() / len(ordered_ms)
        result.figures["paced.rss_mb"] = proxy.rss_bytes() / 1e6
        busy = meter.cores()
    result.limit_busy("paced", busy["load_core_ratio"])
    result.noise.append(busy["noise_ratio"])
    _add_latencies(result, "paced", ordered_ms)
    return result


def _add_latencies(result: Run, name: str, ordered_ms: list[float]) -> None:
    if not ordered_ms:
        return
    result.samples[f"{name}: latency"] = ordered_ms
    for key, share in zip(_LATENCIES, (0.5, 0.95, 0.99, 1.0), strict=True):
        result.figures[f"{name}.{key}"] = quantile(ordered_ms, share)


def _metrics(rounds: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Metric]:
    return {
        f"{name}.{key}": Metric(
            label=f"{name}: {KINDS[key].label}",
            unit=KINDS[key].unit,
            is_low_good=key not in _HIGH_IS_GOOD,
            digits=KINDS[key].digits,
            is_timed=KINDS[key].is_latency or key in _HIGH_IS_GOOD,
            picture="latency" if key in _LATENCIES else KINDS[key].label,
            row=KINDS[key].label if key in _LATENCIES else name,
        )
        for name, keys in rounds
        for key in keys
    }


def _late(name: str) -> dict[str, Metric]:
    label = f"{name}: the load's own delay, p95"
    return {f"{name}.late_p95_ms": Metric(label=label, unit="ms", digits=2, is_compared=False)}


_LOADED: Final = ("cpu_us", "rate", "rss_mb")
_HTTP1: Final = (("get", _LOADED), ("get-unique", _LOADED), ("post", _LOADED), ("start", ("start_ms",)))
_HTTP2: Final = (
    ("streams", _LOADED),
    ("connections", _LOADED),
    ("unary", _LOADED),
    ("bidi", ("message_cpu_us", "rate")),
)
_PACED: Final = ("cpu_us", *_LATENCIES, "errors", "rss_mb")


def _chosen(rounds: Sequence[Round], named: Sequence[tuple[str, Sequence[str]]]) -> list[Round]:
    by_name = {each.name: each for each in rounds}
    return [by_name[name] for name, _ in named]


SCENARIOS: Final = (
    Scenario(
        name="queue-proxy-http1",
        what="What does queue-proxy cost per request on HTTP/1.1?",
        method=(
            "The proxy has one core to itself; load and app share the other. Paced: 2,000 small GETs a second at equal"
            " distances, whatever the answers do; latency counts from the moment at which each was due, and so holds"
            " the load's own delay. Get, get-unique, post: 50 keep-alive connections send small GETs, the same with a"
            " request id of their own, and POSTs of 16 KiB, each connection the next one when it has the last answer."
            " CPU per request is what the kernel charged to the proxy's threads over the answers that came. Figures"
            " that the load timed count only in runs in which its core was not the bottleneck. The start is timed from"
            " before the fork until a connection is accepted."
        ),
        metrics=_metrics((("paced", _PACED),)) | _late("paced") | _metrics(_HTTP1),
        run=_of_rounds(_chosen(HTTP1_ROUNDS, _HTTP1), _paced("paced", apps.OkApp)),
        takes=("proxy",),
        uses=("rates", "seconds"),
        scale=Scale(seconds=2.0, rates=(2000,)),
    ),
    Scenario(
        name="queue-proxy-h2",
        what="What does queue-proxy cost per request on HTTP/2 and gRPC?",
        method=(
            "The proxy has one core to itself; load and app share the other: h2load and nghttpd, in C, and for bidi"
            " frames that were made beforehand. HTTP/2 without TLS on both sides. Paced: 2,000 small GETs a second over"
            " 4 connections, latency from each sending. Streams: small GETs on 4 connections with 25 streams each."
            " Connections: 50 with one stream each. Unary: calls of gRPC with 100 bytes, 4 connections with 25 callers"
            " each. Bidi: messages of 100 bytes to and fro on 100 open streams. Each stream sends the next one when it"
            " has the last answer. CPU is what the kernel charged to the proxy's threads over answers or messages."
        ),
        metrics=_metrics((("paced", tuple(key for key in _PACED if key != "errors")), *_HTTP2)),
        run=_of_rounds(_chosen(HTTP2_ROUNDS, _HTTP2), _paced_http2, is_http2=True),
        takes=("proxy",),
        uses=("rates", "seconds"),
        scale=Scale(seconds=2.0, rates=(2000,)),
    ),
    Scenario(
        name="gate-1000",
        what="Upstream's gate: 1,000 requests a second to an app that takes 100 ms",
        method=(
            "Constant arrivals, whatever the answers do; latency counts from the moment at which a request should have"
            " been sent. The gate is passed with a 95th percentile of at most 110 ms, by the median of runs, and no"
            " error in any run."
        ),
        metrics=_metrics((("gate", _PACED),)) | _late("gate"),
        run=_paced("gate", apps.SlowApp),
        takes=("proxy",),
        uses=("rates", "seconds"),
        gates=(Gate("gate.p95_ms", _GATE_LIMIT_MS), Gate("gate.errors", 0.0, is_each=True)),
        scale=Scale(seconds=8.0),
    ),
)
