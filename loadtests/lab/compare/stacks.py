"""Runs of a whole local stack, with components swapped: cold starts one by one, many at once, and a burst."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from kube.client import Client
from kube.config import ApiConfig
from kube.models.core import ConfigMap
from loadtests.lab.cold_start import NAMESPACE, SHORTENED, Result, at_zero, cycle, manifest, ready_host
from loadtests.lab.compare.memory import resident_by_program
from loadtests.lab.compare.model import Gate, Metric, Run, Scale, Scenario
from loadtests.lab.compare.sides import Side
from loadtests.lab.compare.statistics import quantile
from loadtests.load import Load, fetch
from loadtests.scenario import RunningStack, StackState, until
from local_cluster.manifests import Kinds, apply
from local_cluster.system import SYSTEM_NAMESPACE

__all__ = ["SCENARIOS"]

_SAMPLE_S: Final = 0.25
_TELLING: Final = frozenset(["queue-proxy", "activator", "autoscaler", "controller"])
"""Components whose logs tell the phases of a cold start; others write none that we know."""


@asynccontextmanager
async def _stack(side: Side, scratch: Path, settings: dict[str, str]) -> AsyncIterator[tuple[RunningStack, Client]]:
    """A stack with the side's components, its autoscaler told `settings`."""
    swapped = [word for component, command in side.commands.items() for word in ("--replace", f"{component}={command}")]
    stack = RunningStack(scratch / "stack", *swapped)
    try:
        await stack.start(60)
        async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig), user_agent="knuv-lab") as client:
            await client.patch(ConfigMap, "config-autoscaler", SYSTEM_NAMESPACE, {"data": settings})
            yield stack, client
    finally:
        await stack.stop()


async def _cold_start(side: Side, scale: Scale, scratch: Path) -> Run:
    run = Run()
    has_phases = _TELLING.isdisjoint(side.commands)
    async with _stack(side, scratch, SHORTENED) as (stack, client):
        kinds = await Kinds.discover(client)
        names = [f"cold-{number}" for number in range(min(4, scale.cycles))]
        for name in names:
            await apply(client, kinds, manifest(name), NAMESPACE)
        turn, result = asyncio.Lock(), Result()

        async def one(index: int) -> None:
            for _ in range(scale.cycles // len(names) + (index < scale.cycles % len(names))):
                await cycle(stack, client, names[index], turn, result, phases=has_phases)

        await asyncio.gather(*(one(index) for index in range(len(names))))
        _take_memory(run, stack)
    total_ms = [each.total_s * 1000 for each in result.cold_starts]
    run.figures["errors"] = float(len(result.failures))
    run.notes += result.failures[:3]
    if total_ms:
        run.samples["cold start"] = total_ms
        run.figures["total_p50_ms"] = quantile(total_ms, 0.5)
        run.figures["total_p95_ms"] = quantile(total_ms, 0.95)
    if has_phases and total_ms:
        run.figures["ours_p50_ms"] = quantile([each.ours_s * 1000 for each in result.cold_starts], 0.5)
        phases: dict[str, list[float]] = defaultdict(list)
        for each in result.cold_starts:
            for phase in each.phases:
                phases[phase.name].append(phase.seconds * 1000)
        run.samples |= {f"phase: {name}": values for name, values in phases.items()}
    return run


async def _from_zero(side: Side, scale: Scale, scratch: Path) -> Run:
    """One request to each of many services that have no pod, all at once."""
    run = Run()
    async with _stack(side, scratch, SHORTENED) as (stack, client):
        kinds = await Kinds.discover(client)
        names = [f"zero-{number}" for number in range(scale.services)]
        for name in names:
            await apply(client, kinds, manifest(name), NAMESPACE)
        hosts = [(await ready_host(client, name))[0] for name in names]
        for name in names:
            await until(lambda name=name: at_zero(client, name), 120, f"{name} to be at zero", every_s=0.1)  # type: ignore[misc]
        answers = await asyncio.gather(*(fetch(stack.http_port, host, "/") for host in hosts))
        _take_memory(run, stack)
    good_ms = [each.total_s * 1000 for each in answers if each.status == 200]
    run.figures["errors"] = float(len(answers) - len(good_ms))
    run.notes += [each.problem or f"status {each.status}" for each in answers if each.status != 200][:3]
    if good_ms:
        run.samples["first answer"] = good_ms
        run.figures |= {"p50_ms": quantile(good_ms, 0.5), "p95_ms": quantile(good_ms, 0.95), "max_ms": max(good_ms)}
    return run


async def _burst(side: Side, scale: Scale, scratch: Path) -> Run:
    """Users that come all at once to a service that has no pod, and stay for a while."""
    run = Run()
    async with _stack(side, scratch, {"stable-window": "6s", "panic-window-percentage": "50"}) as (stack, client):
        await apply(client, await Kinds.discover(client), _busy(), NAMESPACE)
        host, revision = await ready_host(client, "busy")
        await until(lambda: at_zero(client, "busy"), 90, "busy to be at zero", every_s=0.1)
        state = StackState(client, stack, NAMESPACE, revision)
        load = Load(stack.http_port, host, "/?sleep=100", users=scale.users)
        cpu_s, began_s = time.process_time(), time.monotonic()
        load.start()
        latencies_ms: list[float] = []
        for name in ("pods", "concurrency", "answers per second"):
            run.series[name] = []
        while (at_s := time.monotonic() - began_s) < scale.seconds:
            await asyncio.sleep(_SAMPLE_S)
            second = load.take()
            latencies_ms += second.latencies_ms
            run.series["answers per second"].append((at_s, second.count / _SAMPLE_S))
            if "autoscaler" not in side.commands:
                seen = await state.read()
                run.series["pods"].append((at_s, float(seen.ready_pods)))
                run.series["concurrency"].append((at_s, seen.stable))
        _take_memory(run, stack)
        await load.stop()
        run.load_core_ratio = (time.process_time() - cpu_s) / (time.monotonic() - began_s)
        run.figures["errors"] = float(len(load.problems))
        run.notes += load.problems[:3]
    if latencies_ms:
        run.samples["latency"] = latencies_ms
        run.figures |= {
            "rate": len(latencies_ms) / scale.seconds,
            "p50_ms": quantile(latencies_ms, 0.5),
            "p95_ms": quantile(latencies_ms, 0.95),
            "p99_ms": quantile(latencies_ms, 0.99),
            "max_ms": max(latencies_ms),
        }
    run.series = {name: points for name, points in run.series.items() if points}
    return run


def _busy() -> dict[str, Any]:
    busy = manifest("busy")
    busy["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"] = "10"
    return busy


def _take_memory(run: Run, stack: RunningStack) -> None:
    for program, mb in resident_by_program(stack.pid).items():
        run.figures[f"rss.{program}"] = mb


_RSS: Final = {
    f"rss.{program}": Metric(label=f"RSS of {program}", unit="MB")
    for program in ("queue_proxy", "activator", "autoscaler", "controller", "gateway", "envoy", "local_cluster")
}
_ERRORS: Final = {"errors": Metric(label="errors", unit="requests", digits=0)}


def _timed(label: str) -> Metric:
    return Metric(label=label, unit="ms", digits=0, is_timed=True)


SCENARIOS: Final = (
    Scenario(
        name="cold-start",
        what="How long does a request wait that meets no pods?",
        method=(
            "A local stack with four services of examples/hello.py. In turns each is left until it has no pod; then one"
            " request is sent through the gateway and timed to its first byte. Phases are put together from what the"
            " components log, where all of them are ours. The app's own boot and the spawning of its process are in the"
            " total, not in our share."
        ),
        metrics={
            "total_p50_ms": _timed("cold start, median"),
            "total_p95_ms": _timed("cold start, p95"),
            "ours_p50_ms": _timed("our share, median"),
            **_ERRORS,
            **_RSS,
        },
        run=_cold_start,
        takes=("components",),
        gates=(Gate("errors", 0.0),),
    ),
    Scenario(
        name="from-zero",
        what="Many services from zero at once: one request to each",
        method=(
            "A local stack with as many services as asked for (25; --services 100 for upstream's larger gate), all"
            " without pods. One request to each is sent at the same moment. Passed when none fails."
        ),
        metrics={
            "p50_ms": _timed("first answer, median"),
            "p95_ms": _timed("first answer, p95"),
            "max_ms": _timed("last answer"),
            **_ERRORS,
            **_RSS,
        },
        run=_from_zero,
        takes=("components",),
        gates=(Gate("errors", 0.0),),
    ),
    Scenario(
        name="burst",
        what="Users who come all at once to a service at zero",
        method=(
            "A local stack with one service, at most ten pods with a target of ten requests each. Users send their next"
            " request when they have the last answer (a closed loop: a slow side gets fewer requests). Pods and"
            " concurrency are what API and autoscaler say every quarter of a second."
        ),
        metrics={
            "rate": Metric(label="answers", unit="/s", is_low_good=False, digits=0, is_timed=True),
            "p50_ms": _timed("latency, median"),
            "p95_ms": _timed("latency, p95"),
            "p99_ms": _timed("latency, p99"),
            "max_ms": _timed("latency, max"),
            **_ERRORS,
            **_RSS,
        },
        run=_burst,
        takes=("components",),
        gates=(Gate("errors", 0.0),),
    ),
)
