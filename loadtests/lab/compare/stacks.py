"""A whole local stack with components swapped, and what is seen of it: pods, concurrency, memory, CPU time."""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from kube.client import Client
from kube.config import ApiConfig
from kube.errors import ApiError, ApiUnreachable
from kube.models.core import ConfigMap, Pod
from loadtests.lab.cold_start import NAMESPACE, manifest, ready_host
from loadtests.lab.compare.model import Metric, Run
from loadtests.lab.compare.sides import Side
from loadtests.lab.compare.statistics import quantile
from loadtests.lab.compare.usage import Usage, program_of, usage
from loadtests.scenario import RunningStack
from local_cluster.manifests import Kinds, apply
from local_cluster.system import SYSTEM_NAMESPACE
from local_cluster.why import findings, lines, take

__all__ = ["CPU", "ERRORS", "LATENCY", "RSS", "Stack", "Watch", "add_latencies", "busy_manifest", "stack", "timed"]

_SAMPLE_S: Final = 0.5
_ANSWER_S: Final = 5.0
_APP: Final = Path(__file__).with_name("app.py")
_AT_ZERO: Final = {"allow-zero-initial-scale": "true", "initial-scale": "0"}
"""Services begin without pods, so that nothing has to be waited for until they have none."""
_COMPONENTS: Final = ("queue_proxy", "activator", "autoscaler", "controller", "gateway", "envoy", "local_cluster")


@dataclass(frozen=True, slots=True)
class Stack:
    """One that runs."""

    running: RunningStack
    client: Client
    kinds: Kinds
    side: Side

    async def apply(self, resource: dict[str, Any]) -> None:
        """Create or change something."""
        await apply(self.client, self.kinds, resource, NAMESPACE)

    async def ready_host(self, service: str) -> tuple[str, str]:
        """(host, revision) of a Service, once it is Ready. Raises `TimeoutError` that says what keeps it."""
        try:
            return await ready_host(self.client, service)
        except TimeoutError as error:
            raise TimeoutError("\n".join([str(error), *await self.why(service)])) from error

    async def why(self, service: str) -> list[str]:
        """What keeps a Service from being ready, in lines."""
        return lines(findings(await take(self.client, service, NAMESPACE), time.time()))

    def usage(self) -> Usage:
        """What its processes use; other programs go by the names of the components whose place they take."""
        programs = {
            program_of(shlex.split(command)): component.replace("-", "_")
            for component, command in self.side.commands.items()
        }
        return usage(self.running.pid, programs | {_APP.stem: "app", "hello": "app"})


@asynccontextmanager
async def stack(
    side: Side, scratch: Path, *, from_zero: bool = True, apart_from_load: bool = False
) -> AsyncIterator[Stack]:
    """A stack with the side's components.

    `from_zero`: Services have no pods until somebody asks for them. `apart_from_load`: this process has the last core
    for itself, the stack the others.
    """
    swapped = [word for component, command in side.commands.items() for word in ("--replace", f"{component}={command}")]
    running = RunningStack(scratch / "stack", "--network", side.network, *swapped)
    before = sorted(os.sched_getaffinity(0))
    try:
        if apart_from_load and len(before) > 1:
            os.sched_setaffinity(0, before[:-1])
        await running.start(60)
        if apart_from_load:
            os.sched_setaffinity(0, before[-1:])
        async with Client(ApiConfig.from_kubeconfig(running.kubeconfig), user_agent="knuv-lab") as client:
            if from_zero:
                await client.patch(ConfigMap, "config-autoscaler", SYSTEM_NAMESPACE, {"data": _AT_ZERO})
            yield Stack(running, client, await Kinds.discover(client), side)
    finally:
        os.sched_setaffinity(0, before)
        await running.stop()


def busy_manifest(name: str, *, revision: int = 1, **annotations: str) -> dict[str, Any]:
    """A Service of the app that takes 100 ms. `annotations` of autoscaling, with `_` for `-`."""
    service = manifest(name)
    template = service["spec"]["template"]
    template["metadata"]["annotations"] = {
        f"autoscaling.knative.dev/{key.replace('_', '-')}": value for key, value in annotations.items()
    }
    container = template["spec"]["containers"][0]
    container["command"] = [sys.executable, "-E", str(_APP)]
    container["env"] = [{"name": "REVISION", "value": str(revision)}]
    return service


def _cpu(whose: str) -> Metric:
    return Metric(label=f"CPU per answer: {whose}", unit="us", digits=0, picture="CPU per answer", row=whose)


class Watch:
    """Pods, concurrency and answers over time, twice a second; CPU time and memory of the stack's processes."""

    def __init__(self, stack: Stack, run: Run, service: str) -> None:
        self._stack = stack
        self._run = run
        self._selector = f"serving.knative.dev/service={service}"
        self._before = stack.usage()
        self._began_s = time.monotonic()
        self._cpu_s = time.process_time()

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began_s

    async def look(self) -> None:
        """Sample until cancelled. Where a stack is too busy to answer, a point is missing."""
        missing = 0
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_ANSWER_S)) as session:
                while True:
                    try:
                        await self._sample(session)
                    except (ApiError, ApiUnreachable, aiohttp.ClientError, TimeoutError):
                        missing += 1
                    await asyncio.sleep(_SAMPLE_S)
        finally:
            if missing:
                self._run.notes.append(f"{missing} times the API or the autoscaler did not tell their state")

    def note(self, what: str, value: float) -> None:
        """One point of a series."""
        self._run.series.setdefault(what, []).append((round(self.elapsed_s, 3), value))

    def end(self, answers: int) -> float:
        """Put CPU time and memory among the figures; return how much of its core the load used."""
        load_core_ratio = (time.process_time() - self._cpu_s) / self.elapsed_s
        after = self._stack.usage()
        self._run.noise.append(after.others_since(self._before))
        take_memory(self._run, after)
        if answers:
            self._run.figures["cpu.all"] = (after.all_cpu_s - self._before.all_cpu_s) * 1e6 / answers
            for program, seconds in after.cpu_since(self._before).items():
                self._run.figures[f"cpu.{program}"] = seconds * 1e6 / answers
        return load_core_ratio

    async def _sample(self, session: aiohttp.ClientSession) -> None:
        pods = (await self._stack.client.list(Pod, NAMESPACE, label_selector=self._selector)).items
        self.note("ready pods, pods", float(sum(pod.is_ready() for pod in pods)))
        if "autoscaler" in self._stack.side.commands:
            return
        async with session.get(f"http://{self._stack.running.autoscaler_debug}/debug/state") as response:
            revisions = (await response.json())["revisions"]
        stable = sum(float(each.get("stable") or 0) for each in revisions)
        self.note("concurrency that the autoscaler sees (average of its stable window), requests", stable)


def take_memory(run: Run, seen: Usage) -> None:
    """Put the memory of each component's processes, on average, among the figures."""
    for program, each_mb in seen.resident_mb.items():
        run.figures[f"rss.{program}"] = sum(each_mb) / len(each_mb)


def add_latencies(run: Run, name: str, prefix: str, latencies_ms: list[float]) -> None:
    """Put their distribution and its quantiles among what the run gave."""
    if not latencies_ms:
        return
    ordered = sorted(latencies_ms)
    run.samples[name] = ordered
    for key, share in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99), ("max_ms", 1.0)):
        run.figures[f"{prefix}{key}"] = quantile(ordered, share)


def timed(label: str, picture: str, row: str) -> Metric:
    """A latency; `picture` and `row` are where it is drawn."""
    return Metric(label=label, unit="ms", digits=0, is_timed=True, picture=picture, row=row)


ERRORS: Final = {"errors": Metric(label="errors", unit="requests", digits=0)}
LATENCY: Final = {f"{key}_ms": timed(f"latency, {key}", "latency", key) for key in ("p50", "p95", "p99", "max")}
RSS: Final = {
    f"rss.{program}": Metric(
        label=f"memory of a process (RSS): {program}", unit="MB", picture="memory of a process (RSS)", row=program
    )
    for program in _COMPONENTS
}
CPU: Final = {
    "cpu.all": _cpu("stack and app"),
    **{f"cpu.{program}": _cpu(program) for program in _COMPONENTS if program != "local_cluster"},
}
