"""Runs of one proxy between a load and an app, by the rounds that the benchmark of queue-proxy has."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from loadtests.lab.compare.model import Gate, Metric, Run, RunOnce, Scale, Scenario
from loadtests.lab.compare.sides import Side
from loadtests.lab.queue_proxy.figures import KINDS
from loadtests.lab.queue_proxy.machine import Cores
from loadtests.lab.queue_proxy.scenarios import SCENARIOS as ROUNDS
from loadtests.lab.queue_proxy.scenarios import Bench
from loadtests.lab.queue_proxy.scenarios import Scale as RoundScale
from loadtests.lab.queue_proxy.scenarios import Scenario as Round
from loadtests.lab.queue_proxy.subjects import Subject, command_subject, nginx, queue_proxy

__all__ = ["SCENARIOS"]

_HIGH_IS_GOOD: Final = frozenset(["rate", "upload_rate", "download_rate"])
_SATURATION: Final = frozenset(["load_core_ratio", "noise_ratio"])
_BY_NAME: Final = {each.name: each for each in ROUNDS}


def _subject(side: Side) -> Subject:
    if side.proxy == "nginx":
        return nginx()
    if side.commands:
        return command_subject(side.commands["queue-proxy"])
    return queue_proxy()


def _of_rounds(rounds: Sequence[Round], scale_of: Callable[[Scale], RoundScale]) -> RunOnce:
    """One run: each round once, its figures under its name."""

    async def run(side: Side, scale: Scale, scratch: Path) -> Run:
        bench = Bench(Cores.of_this_machine(), scratch, scale_of(scale))
        result = Run()
        for each in rounds:
            figures = await each.round(bench, _subject(side))
            result.load_core_ratio = max(result.load_core_ratio, figures.get("load_core_ratio", 0.0))
            noise = figures.get("noise_ratio", 0.0)
            if noise > 0.2:
                result.notes.append(f"{each.name}: others used {noise:.0%} of the proxy's core")
            for key, value in figures.items():
                if key not in _SATURATION:
                    result.figures[f"{each.name}.{key}"] = value
        return result

    return run


def _metrics(rounds: Sequence[tuple[str, Sequence[str]]]) -> dict[str, Metric]:
    return {
        f"{name}.{key}": Metric(
            label=f"{name}: {KINDS[key].label}",
            unit=KINDS[key].unit,
            is_low_good=key not in _HIGH_IS_GOOD,
            digits=KINDS[key].digits,
            is_timed=KINDS[key].is_latency or key in _HIGH_IS_GOOD,
        )
        for name, keys in rounds
        for key in keys
    }


_LOADED: Final = ("cpu_us", "rate", "p50_ms", "p99_ms", "rss_mb")
_HTTP1: Final = (("get", _LOADED), ("get-unique", _LOADED), ("post", _LOADED), ("start", ("start_ms",)))

SCENARIOS: Final = (
    Scenario(
        name="queue-proxy-http1",
        what="What does queue-proxy cost per request on HTTP/1.1?",
        method=(
            "The proxy has one core to itself; load and app share the other. 50 keep-alive connections send small GETs,"
            " the same with a request id of their own, and POSTs of 16 KiB, each connection the next one when it has"
            " the last answer. CPU per request is what the kernel charged to the proxy's threads over the answers that"
            " came. Throughput and latency are shown only for runs in which the load's core was not the bottleneck. The"
            " start is timed from before the fork until a connection is accepted."
        ),
        metrics=_metrics(_HTTP1),
        run=_of_rounds(
            [_BY_NAME[name] for name, _ in _HTTP1], lambda scale: RoundScale(rounds=1, seconds=scale.seconds, starts=1)
        ),
        takes=("proxy",),
    ),
    Scenario(
        name="gate-1000",
        what="Upstream's gate: 1,000 requests a second to an app that takes 100 ms",
        method=(
            "Constant arrivals, whatever the answers do; latency counts from the moment at which a request should have"
            " been sent. The gate is passed with a 95th percentile of at most 110 ms and no error."
        ),
        metrics=_metrics((("gate", ("p50_ms", "p95_ms", "p99_ms", "max_ms", "errors")),)),
        run=_of_rounds(
            [_BY_NAME["gate"]], lambda scale: RoundScale(rounds=1, gate_s=scale.seconds, gate_rate=scale.rate)
        ),
        takes=("proxy",),
        gates=(Gate("gate.p95_ms", 110.0), Gate("gate.errors", 0.0)),
    ),
)
