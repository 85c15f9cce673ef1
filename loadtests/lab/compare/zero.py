"""Requests that meet no pod: one by one, and many at once."""

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Final

from loadtests.lab.cold_start import Result, at_zero, cycle, manifest
from loadtests.lab.compare.model import PHASE, Gate, Run, Scale, Scenario
from loadtests.lab.compare.sides import Side
from loadtests.lab.compare.stacks import ERRORS, RSS, add_latencies, stack, take_memory, timed
from loadtests.lab.compare.statistics import quantile
from loadtests.load import fetch
from loadtests.scenario import until

__all__ = ["SCENARIOS"]

_TELLING: Final = frozenset(["queue-proxy", "activator", "autoscaler", "controller"])
"""Components whose logs tell the phases of a cold start; others write none that we know."""
_TIMEOUT_S: Final = 60
"""As long as `fetch` waits: so many pods at once may take long on few cores, and that is to be timed."""


async def _cold_start(side: Side, scale: Scale, scratch: Path) -> Run:
    run, result = Run(), Result()
    has_phases = _TELLING.isdisjoint(side.commands)
    async with stack(side, scratch) as up:
        names = [f"cold-{number}" for number in range(scale.cycles)]
        for name in names:
            await up.apply(manifest(name))
        for name in names:
            await up.ready_host(name)
        before = up.usage()
        # One request at a time; what the components log of it may come ten seconds later, and is waited for together.
        turn = asyncio.Lock()
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(cycle(up.running, up.client, name, turn, result, phases=has_phases))
        after = up.usage()
        run.noise.append(after.others_since(before))
        take_memory(run, after)
    run.figures["errors"] = float(len(result.failures))
    run.notes += result.failures[:3]
    total_ms = [each.total_s * 1000 for each in result.cold_starts]
    add_latencies(run, "cold start", "", total_ms)
    if has_phases and total_ms:
        run.figures["ours_p50_ms"] = quantile([each.ours_s * 1000 for each in result.cold_starts], 0.5)
        phases: dict[str, list[float]] = defaultdict(list)
        for each in result.cold_starts:
            for phase in each.phases:
                phases[phase.name].append(phase.seconds * 1000)
        run.samples |= {f"{PHASE}{name}": values for name, values in phases.items()}
    return run


async def _from_zero(side: Side, scale: Scale, scratch: Path) -> Run:
    """One request to each of many services that have no pod, all at once."""
    run = Run()
    async with stack(side, scratch) as up:
        names = [f"zero-{number}" for number in range(scale.services)]
        for name in names:
            service = manifest(name)
            service["spec"]["template"]["spec"]["timeoutSeconds"] = _TIMEOUT_S
            await up.apply(service)
        hosts = [(await up.ready_host(name))[0] for name in names]
        for name in names:
            await until(lambda name=name: at_zero(up.client, name), 60, f"{name} to be at zero")  # type: ignore[misc]
        before = up.usage()
        answers = await asyncio.gather(*(fetch(up.running.http_port, host, "/") for host in hosts))
        after = up.usage()
        run.noise.append(after.others_since(before))
        take_memory(run, after)
    run.figures["errors"] = float(sum(each.status != 200 for each in answers))
    run.notes += [each.problem or f"status {each.status}" for each in answers if each.status != 200][:3]
    add_latencies(run, "first answer", "", [each.total_s * 1000 for each in answers if each.status == 200])
    return run


_FIRST: Final = {
    "p50_ms": timed("first answer, median", "first answer", "median"),
    "p95_ms": timed("first answer, p95", "first answer", "p95"),
    "max_ms": timed("last answer", "first answer", "last"),
}
_FROM_ZERO_METHOD: Final = (
    "A local stack with {count} services of examples/hello.py, all without pods. One request to each is sent at the"
    " same moment and timed until its answer is whole; pods are processes of this machine, so their programs start in"
    " competition for its cores. Passed when none fails in any run."
)

SCENARIOS: Final = (
    Scenario(
        name="cold-start",
        what="How long does a request wait that meets no pods?",
        method=(
            "A local stack with services of examples/hello.py that have no pods. In turns, half a second apart, one"
            " request to each is sent through the gateway and timed to its first byte. Phases are put together from"
            " what the components log, where all of them are ours. The app's own boot and the spawning of its process"
            " are in the total, not in our share."
        ),
        metrics={
            "p50_ms": timed("cold start, median", "cold start", "median"),
            "p95_ms": timed("cold start, p95", "cold start", "p95"),
            "max_ms": timed("cold start, slowest", "cold start", "slowest"),
            "ours_p50_ms": timed("our share, median", "cold start", "our share, median"),
            **ERRORS,
            **RSS,
        },
        run=_cold_start,
        takes=("components",),
        uses=("cycles",),
        gates=(Gate("errors", 0.0, is_each=True),),
        scale=Scale(runs=6),
    ),
    Scenario(
        name="from-zero",
        what="25 services from zero at once: one request to each",
        method=_FROM_ZERO_METHOD.format(count="25 (or --services)"),
        metrics={**_FIRST, **ERRORS, **RSS},
        run=_from_zero,
        takes=("components",),
        uses=("services",),
        gates=(Gate("errors", 0.0, is_each=True),),
        scale=Scale(runs=6, services=25),
    ),
    Scenario(
        name="from-zero-100",
        what="100 services from zero at once: one request to each",
        method=_FROM_ZERO_METHOD.format(count="100 (or --services)"),
        metrics={**_FIRST, **ERRORS, **RSS},
        run=_from_zero,
        takes=("components",),
        uses=("services",),
        gates=(Gate("errors", 0.0, is_each=True),),
        scale=Scale(runs=4, services=100),
    ),
)
