"""Load that lasts: users at once, a rollout under constant arrivals, and arrivals in steps, from zero."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from kube.models.serving import Service
from loadtests.lab.cold_start import NAMESPACE
from loadtests.lab.compare.model import STEPS_MAX, Gate, Metric, Run, Scale, Scenario
from loadtests.lab.compare.sides import Side
from loadtests.lab.compare.stacks import (
    CPU,
    ERRORS,
    LATENCY,
    RSS,
    Stack,
    Watch,
    add_latencies,
    busy_manifest,
    stack,
    timed,
)
from loadtests.lab.compare.statistics import quantile
from loadtests.lab.queue_proxy import clients
from loadtests.lab.queue_proxy.subjects import LabError
from loadtests.load import Load
from loadtests.scenario import until

__all__ = ["SCENARIOS"]

_BUCKET_S: Final = 0.5
"""Of the curves over time."""
_ROLLOUT_S: Final = 60.0
"""After so long a new revision that takes no traffic is given up."""


async def _burst(side: Side, scale: Scale, scratch: Path) -> Run:
    """Users that come all at once to a service that has no pod, and stay for a while."""
    run = Run()
    async with stack(side, scratch, apart_from_load=True) as up:
        await up.apply(busy_manifest("busy", target="10", max_scale="10"))
        host, _ = await up.ready_host("busy")
        load = Load(up.running.http_port, host, "/", users=scale.users)
        latencies_ms: list[float] = []
        async with _watching(up, run, "busy") as watch:
            load.start()
            while watch.elapsed_s < scale.seconds:
                await asyncio.sleep(_BUCKET_S)
                second = load.take()
                latencies_ms += second.latencies_ms
                watch.note("answers, /s", second.count / _BUCKET_S)
            elapsed_s = watch.elapsed_s
            await load.stop()
            run.limit_busy("", watch.end(load.total))
    run.figures["errors"] = float(len(load.problems))
    run.notes += load.problems[:3]
    run.figures["rate"] = len(latencies_ms) / elapsed_s
    add_latencies(run, "latency", "", latencies_ms)
    return run


async def _rollout(side: Side, scale: Scale, scratch: Path) -> Run:
    """Constant arrivals while a Service's next revision takes the place of the last."""
    run, is_over = Run(), asyncio.Event()
    (rate,) = scale.rates
    async with stack(side, scratch, from_zero=False, apart_from_load=True) as up:
        await up.apply(_steady(1))
        host, old = await up.ready_host("steady")
        load = _load(host)

        async def roll_out(watch: Watch) -> None:
            try:
                await asyncio.sleep(scale.seconds / 4)
                began_s = watch.elapsed_s
                await up.apply(_steady(2))
                try:
                    await until(lambda: _has_replaced(up, "steady", old), _ROLLOUT_S, "the new revision to be ready")
                except TimeoutError as error:
                    told = "\n".join(["", *await up.why("steady")])
                    raise LabError(f"{error}; {load.waiting:,} requests waited.{told}") from error
                run.figures["rollout_s"] = watch.elapsed_s - began_s
                run.moments += [("new revision applied", began_s), ("it has all traffic", watch.elapsed_s)]
            finally:
                is_over.set()

        async with _watching(up, run, "steady") as watch:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(roll_out(watch))
                due_s = _until(rate, scale.seconds, is_over)
                tasks.create_task(clients.arrivals(load, due_s, host="127.0.0.1", port=up.running.http_port))
            _take(run, load, watch)
    add_latencies(run, "latency", "", load.ordered_ms())
    return run


def _steady(revision: int) -> dict[str, Any]:
    # Without a bound a stack that is short of processor time starts pods until it has none left for requests.
    return busy_manifest("steady", revision=revision, min_scale="2", max_scale="4")


async def _ramp(side: Side, scale: Scale, scratch: Path) -> Run:
    """Constant arrivals in steps, beginning with a service that has no pod."""
    run = Run()
    rates = scale.rates
    async with stack(side, scratch, apart_from_load=True) as up:
        await up.apply(busy_manifest("ramp"))
        host, _ = await up.ready_host("ramp")
        load = _load(host)
        async with _watching(up, run, "ramp") as watch:
            due_s = _steps(rates, scale.seconds)
            await clients.arrivals(load, due_s, host="127.0.0.1", port=up.running.http_port)
            _take(run, load, watch)
    steps = _by_time(load, scale.seconds)
    for number, rate in enumerate(rates, 1):
        latencies_ms = steps.get(number - 1, [])
        add_latencies(run, f"step{number}: latency at {rate:,} arrivals a second", f"step{number}.", latencies_ms)
    return run


@asynccontextmanager
async def _watching(up: Stack, run: Run, service: str) -> AsyncIterator[Watch]:
    watch = Watch(up, run, service)
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(watch.look())
        try:
            yield watch
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking


def _load(host: str) -> clients.Load:
    text = f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab/1\r\n\r\n".encode()
    return clients.Load(repeat(text).__next__)


def _until(rate: int, seconds: float, is_over: asyncio.Event) -> Iterator[float]:
    number = 0
    while number < rate * seconds or not is_over.is_set():
        yield number / rate
        number += 1


def _steps(rates: Sequence[int], seconds: float) -> Iterator[float]:
    for step, rate in enumerate(rates):
        for number in range(int(rate * seconds)):
            yield step * seconds + number / rate


async def _has_replaced(up: Stack, name: str, old: str) -> bool | None:
    service = await up.client.get(Service, name, NAMESPACE)
    is_ready = any(each.type == "Ready" and each.status == "True" for each in service.status.conditions)
    return True if is_ready and service.status.latest_ready_revision_name not in ("", old) else None


def _take(run: Run, load: clients.Load, watch: Watch) -> None:
    """Figures of constant arrivals: errors, throughput, curves, and whether the load kept its pace."""
    elapsed_s = watch.elapsed_s
    late_ms = 1000 * quantile(load.late_s, 0.95)
    watch.end(len(load.latencies_s))
    run.limit_late("", late_ms)
    run.figures |= {
        "errors": float(len(load.problems)),
        "rate": len(load.latencies_s) / elapsed_s,
        "late_p95_ms": late_ms,
    }
    run.notes += load.problems[:3]
    buckets = _by_time(load, _BUCKET_S)
    ordered = sorted(buckets.items())
    run.series["good answers, by the time at which their requests were due, /s"] = [
        (_BUCKET_S * (number + 0.5), len(buckets.get(number, ())) / _BUCKET_S)
        for number in range(max(buckets, default=-1) + 1)
    ]
    run.series["95th percentile of latency, by the time at which requests were due, ms"] = [
        (_BUCKET_S * (number + 0.5), quantile(values, 0.95)) for number, values in ordered
    ]


def _by_time(load: clients.Load, width_s: float) -> dict[int, list[float]]:
    """Latencies in milliseconds, by the part of the load's time in which their requests were due.

    From the first arrival on, also where it failed: parts of both sides begin at the same time.
    """
    parts: dict[int, list[float]] = {}
    for intended_s, latency_s in zip(load.intended_s, load.latencies_s, strict=True):
        # What was due a hair before a part's beginning, by rounding alone, belongs to it.
        parts.setdefault(int((intended_s - load.began_s) / width_s + 1e-9), []).append(latency_s * 1000)
    return parts


_RATE: Final = {"rate": Metric(label="answers", unit="/s", is_low_good=False, digits=0, is_timed=True)}
_LATE: Final = {"late_p95_ms": Metric(label="delay of the load itself, p95", unit="ms", digits=2, is_compared=False)}
_NO_ERROR: Final = Gate("errors", 0.0, is_each=True)
_PINNED: Final = (
    " The load has the last core to itself, the stack and its pods share the others. CPU per answer is what the kernel"
    " charged to the processes while the load ran, the start of pods included; by component it counts only processes"
    " that still ran at the end."
)

SCENARIOS: Final = (
    Scenario(
        name="burst",
        what="Users who come all at once to a service at zero",
        method=(
            "A local stack with one service whose app takes 100 ms, at most ten pods with a target of ten requests"
            " each. Users send their next request when they have the last answer: a slow side gets fewer."
            " Pods and concurrency are what API and autoscaler say twice a second." + _PINNED
        ),
        metrics={**_RATE, **LATENCY, **ERRORS, **CPU, **RSS},
        run=_burst,
        takes=("components",),
        uses=("users", "seconds"),
        gates=(_NO_ERROR,),
        scale=Scale(runs=6, seconds=10.0),
    ),
    Scenario(
        name="rollout",
        what="Upstream's rollout probe: a new revision under steady requests",
        method=(
            "A local stack with one service whose app takes 100 ms and that has two to four pods. Requests arrive at"
            " equal distances (500 a second, or --rate), whatever the answers do, and their latency counts from the"
            " moment at which each was due. After a quarter of the time a new revision is applied; the load goes on"
            " until it has all traffic, or longer. Passed when no request fails in any run." + _PINNED
        ),
        metrics={
            "rollout_s": Metric(label="from apply until the new revision has all traffic", unit="s"),
            **_RATE,
            **LATENCY,
            **ERRORS,
            **_LATE,
            **CPU,
            **RSS,
        },
        run=_rollout,
        takes=("components",),
        uses=("rates", "seconds"),
        gates=(_NO_ERROR,),
        scale=Scale(runs=6, seconds=12.0, rates=(500,)),
    ),
    Scenario(
        name="ramp",
        what="Upstream's ramp: more and more requests a second, from zero",
        method=(
            "A local stack with one service without pods whose app takes 100 ms. Requests arrive at equal distances, at"
            " the rates 1,000, 2,000 and 3,000 a second (or --rate, several with commas), each for --seconds, whatever"
            " the answers do; latency counts from the moment at which each was due. Passed when no request fails in any"
            " run." + _PINNED
        ),
        metrics={
            **_RATE,
            **{
                f"step{step}.{key}_ms": timed(f"step {step}: latency, {key}", f"step {step}: latency", key)
                for step in range(1, STEPS_MAX + 1)
                for key in ("p50", "p95", "p99", "max")
            },
            **ERRORS,
            **_LATE,
            **CPU,
            **RSS,
        },
        run=_ramp,
        takes=("components",),
        uses=("rates", "seconds"),
        gates=(_NO_ERROR,),
        scale=Scale(runs=4, seconds=8.0, rates=(1000, 2000, 3000)),
    ),
)
