"""How long does a request wait that meets no pods, and which part of it is ours?

Each cycle takes a revision from zero pods to one and back: wait for zero, send one request through the gateway, put
its phases together from the components' events, wait for zero again. With several services their cycles overlap in the
waiting, never in the measured request, unless `--storm` lets them start at once.

`--quick` runs one cycle to show that the benchmark still works; its figures mean nothing.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from kube.client import Client
from kube.config import ApiConfig
from kube.models.apps import Deployment
from kube.models.core import ConfigMap
from kube.models.serving import Service
from loadtests.load import fetch
from loadtests.scenario import RunningStack, until
from local_cluster.manifests import Kinds, apply
from local_cluster.system import SYSTEM_NAMESPACE
from local_cluster.timeline import ColdStart, assemble, read_events

__all__ = ["main"]

QUIET_S = 0.5
"""Between two measured requests, so that the pod of one does not boot on the processor time of the next."""
APP = Path(__file__).parent.parent.parent / "examples" / "hello.py"
SHORTENED = {"stable-window": "6s", "scale-to-zero-grace-period": "1s"}
"""The shortest windows that validation admits; what is measured lies before them."""
NAMESPACE = "default"
BUDGETS = {"our share": {"p50": 30.0, "p95": 50.0}, "failed": {"requests": 0.0}}
"""The most that may be, by phase: milliseconds, and failed requests."""


@dataclass(slots=True)
class Result:
    """What all cycles together gave."""

    cold_starts: list[ColdStart] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    requests: int = 0


def manifest(name: str) -> dict[str, Any]:
    """A Service whose pods start from zero, with the interpreter that runs this."""
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "metadata": {"annotations": {"autoscaling.knative.dev/target": "10"}},
                "spec": {
                    # The shortest grace that lets a pod end in order: its queue-proxy drains for 30 s, the next cycle
                    # needs its processor time.
                    "timeoutSeconds": 10,
                    "containers": [{"image": "dev.local/hello", "command": [sys.executable, "-S", "-E", str(APP)]}],
                },
            }
        },
    }


async def at_zero(client: Client, name: str) -> bool | None:
    """True when the service's Deployment asks for no pod and none is ready."""
    selector = f"serving.knative.dev/service={name}"
    deployments = (await client.list(Deployment, NAMESPACE, label_selector=selector)).items
    is_zero = deployments and all(d.spec.replicas == 0 and not d.status.ready_replicas for d in deployments)
    return True if is_zero else None


async def ready_host(client: Client, name: str) -> tuple[str, str]:
    """(host, revision) of a Service, once it is Ready."""

    async def ready() -> Service | None:
        service = await client.get(Service, name, NAMESPACE)
        return service if any(c.type == "Ready" and c.status == "True" for c in service.status.conditions) else None

    service = await until(ready, 60, f"Service {name} to be Ready")
    return service.status.url.removeprefix("http://"), service.status.latest_ready_revision_name


async def cycle(
    stack: RunningStack, client: Client, name: str, turn: asyncio.Lock | None, result: Result, *, phases: bool
) -> None:
    """Wait for zero, then one request, measured."""
    host, revision = await ready_host(client, name)
    await until(lambda: at_zero(client, name), 90, f"Service {name} to be at zero", every_s=0.1)
    if turn is not None:
        await turn.acquire()
    try:
        if turn is not None:
            await asyncio.sleep(QUIET_S)
        sent = time.time()
        answer = await fetch(stack.http_port, host, "/")
    finally:
        if turn is not None:
            turn.release()
    result.requests += 1
    if answer.status != 200:
        text = answer.problem or f"status {answer.status}: {answer.body[:200]!r}"
        result.failures.append(f"{name} after {answer.total_s:.2f} s: {text}")
        return
    if not phases:
        result.cold_starts.append(ColdStart(answer.first_byte_s))
        return

    async def told() -> list[dict[str, Any]] | None:
        events = read_events(stack.state_dir, since=sent - 0.001)
        seen = {event["message"] for event in events if str(event.get("revision", revision)) == revision}
        return events if {"request", "cold_start_released", "app_ready"} <= seen else None

    events = await until(told, 20, f"the events of {name}'s cold start", every_s=0.2)
    result.cold_starts.append(assemble(events, revision=revision, sent=sent, first_byte=sent + answer.first_byte_s))


async def run(cycles: int, services: int, *, storm: bool, phases: bool, state_dir: Path, console: Console) -> Result:
    """`cycles` cold starts in all, shared by `services` Services."""
    result = Result()
    stack = RunningStack(state_dir)
    try:
        await stack.start()
        async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig), user_agent="knuv-lab") as client:
            await client.patch(ConfigMap, "config-autoscaler", SYSTEM_NAMESPACE, {"data": SHORTENED})
            kinds = await Kinds.discover(client)
            names = [f"cold-{index}" for index in range(services)]
            for name in names:
                await apply(client, kinds, manifest(name), NAMESPACE)
            turn = None if storm else asyncio.Lock()

            async def one_service(index: int) -> None:
                for _ in range(cycles // services + (index < cycles % services)):
                    await cycle(stack, client, names[index], turn, result, phases=phases)
                    console.print(
                        f"{result.requests:4}/{cycles}  failed {len(result.failures)}  {names[index]}  "
                        + (f"{result.cold_starts[-1].total_s * 1000:.0f} ms" if result.cold_starts else "")
                    )

            await asyncio.gather(*(one_service(index) for index in range(services)))
    finally:
        await stack.stop()
    return result


def report(result: Result, console: Console) -> dict[str, Any]:
    """Print the figures; the same as data."""
    figures: dict[str, Any] = {"requests": result.requests, "failed": len(result.failures)}
    table = Table(title="cold start, milliseconds", box=None, title_justify="left")
    for column in ("phase", "p50", "p95", "max"):
        table.add_column(column, justify="left" if column == "phase" else "right")
    by_phase: dict[str, list[float]] = defaultdict(list)
    for cold in result.cold_starts:
        for phase in cold.phases:
            by_phase[phase.name + ("" if phase.ours else " (the app's)")].append(phase.seconds)
    by_phase["total"] = [cold.total_s for cold in result.cold_starts]
    if any(cold.phases for cold in result.cold_starts):
        by_phase["our share"] = [cold.ours_s for cold in result.cold_starts]
    for name, seconds in by_phase.items():
        row = (
            {"p50": statistics.median(seconds), "p95": _quantile(seconds, 0.95), "max": max(seconds)} if seconds else {}
        )
        figures[name] = {key: round(value * 1000, 1) for key, value in row.items()}
        table.add_row(name, *(f"{value * 1000:.1f}" for value in row.values()))
    console.print(table)
    console.print(f"{result.requests} requests, {len(result.failures)} failed")
    for failure in result.failures[:10]:
        console.print(f"  {failure}", markup=False)
    return figures


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main(arguments: list[str]) -> int:
    """Command line; exit code 1 when a request failed."""
    parser = argparse.ArgumentParser(
        prog="cold-start", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--services", type=int, default=4)
    parser.add_argument("--storm", action="store_true", help="measure cold starts of several services at once")
    parser.add_argument("--no-phases", action="store_true", help="only count and time, do not read the events")
    parser.add_argument("--json", action="store_true", help="print JSON; the table goes to stderr")
    parser.add_argument("--quick", action="store_true", help="one cycle of one service")
    options = parser.parse_args(arguments)
    if options.quick:
        options.cycles = options.services = 1
    console = Console(highlight=False, soft_wrap=True, emoji=False, stderr=options.json)
    with tempfile.TemporaryDirectory(prefix="knuv-lab-") as folder:
        result = uvloop.run(
            run(
                options.cycles,
                min(options.services, options.cycles),
                storm=options.storm,
                phases=not options.no_phases,
                state_dir=Path(folder),
                console=console,
            )
        )
        figures = report(result, console)
    if options.json:
        print(json.dumps({**figures, "budgets": BUDGETS}))
    return 1 if result.failures or result.requests < options.cycles else 0
