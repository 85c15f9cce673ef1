"""What a whole stack costs: until it is ready, until a pod's program runs, and in memory.

Pod start is from the Deployment's patch, as its writer sees it leave, to the process: in the machine's network the
moment at which the node has it, in a network of its own the one at which the program in the container tells the time.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kube.client import Client
from kube.config import ApiConfig
from kube.models.apps import Deployment
from kube.models.core import Pod
from loadtests.lab.broker.world import all_cores
from loadtests.reporting import Figure, quantile
from loadtests.scenario import RunningStack, until

__all__ = ["STACKS", "StackScenario", "measure_stack"]

STARTS, STARTS_QUICK = 30, 2
MEMORY_MB = 200.0
"""Of all Python processes of an idle stack, memory that several share counted once."""
_PAUSE_S = 0.3
"""Between two starts: what waits for pods is made anew meanwhile."""
_NAME = "started"
_LABEL = f"app={_NAME}"


@dataclass(frozen=True, slots=True)
class StackScenario:
    """One kind of network and its budgets."""

    name: str
    network: str
    ready_s: float
    start_ms: float

    @property
    def question(self) -> str:
        """What is measured."""
        return f"knuv up --network {self.network}: until ready, until a pod runs, memory"


STACKS = (
    StackScenario("stack", "loopback", ready_s=2.0, start_ms=15.0),
    StackScenario("stack-netns", "netns", ready_s=4.0, start_ms=60.0),
)


@dataclass(frozen=True, slots=True)
class _Round:
    ready_s: float
    spawned_ms: list[float]
    told_ms: list[float]
    resident_mb: float
    shared_once_mb: float


async def measure_stack(scenario: StackScenario, rounds: int, *, quick: bool) -> list[Figure]:
    """The figures of one kind of stack; none, and why on standard error, where it cannot run."""
    if scenario.network == "netns" and os.geteuid() != 0:
        print("not measured: network namespaces need root", file=sys.stderr)
        return []
    with all_cores():  # as a user's stack has them, and not only the load's
        measured = [await _round(scenario, STARTS_QUICK if quick else STARTS) for _ in range(rounds)]

    def figure(name: str, unit: str, values: list[float], budget: float | None = None, digits: int = 1) -> Figure:
        return Figure(scenario.name, name, unit, tuple(values), budget, digits)

    is_loopback = scenario.network == "loopback"
    starts = [each.spawned_ms if is_loopback else each.told_ms for each in measured]
    return [
        figure("knuv up to ready", "s", [each.ready_s for each in measured], scenario.ready_s, 2),
        figure("pod start, median", "ms", [quantile(values, 0.5) for values in starts]),
        figure("pod start, p95", "ms", [quantile(values, 0.95) for values in starts], scenario.start_ms),
        figure("pod start until its program speaks, p95", "ms", [quantile(each.told_ms, 0.95) for each in measured]),
        figure("Python processes, shared pages once", "MB", [each.shared_once_mb for each in measured], MEMORY_MB),
        figure("Python processes, resident, sum", "MB", [each.resident_mb for each in measured]),
    ]


async def _round(scenario: StackScenario, starts: int) -> _Round:
    with tempfile.TemporaryDirectory(prefix="knuv-lab-") as directory:
        stack = RunningStack(Path(directory), "--network", scenario.network)
        began_s = time.monotonic()
        try:
            await stack.start(60)
            ready_s = time.monotonic() - began_s
            async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig)) as client:
                await client.raw("POST", Deployment.RESOURCE.path("default"), body=json.dumps(_deployment()).encode())
                times = [await _start(client, stack.state_dir) for _ in range(starts)]
            # Only now, when all that waits for pods is there, too.
            resident, shared_once = _memory(stack.pid)
        finally:
            await stack.stop()
    return _Round(ready_s, [t[0] for t in times], [t[1] for t in times], resident / 1e6, shared_once / 1e6)


async def _start(client: Client, state_dir: Path) -> tuple[float, float]:
    """Milliseconds until the node has the process, and until its program has told the time."""
    await asyncio.sleep(_PAUSE_S)
    began_s = time.time()
    await client.patch(Deployment, _NAME, "default", {"spec": {"replicas": 1}})

    async def pod() -> Pod | None:
        found = (await client.list(Pod, "default", label_selector=_LABEL)).items
        return found[0] if found and found[0].status.phase == "Running" else None

    name = (await until(pod, 20, "the pod to run")).name

    async def told() -> bytes | None:
        return await client.raw("GET", Pod.RESOURCE.path("default", name, "log")) or None

    told_s = float(await until(told, 20, "the program to speak"))
    events = (json.loads(line) for line in (state_dir / "logs" / "knuv.log").read_text().splitlines() if name in line)
    spawned_s = next(event["spawned"] for event in events if event["message"] == "container_started")
    await client.patch(Deployment, _NAME, "default", {"spec": {"replicas": 0}})

    async def gone() -> bool | None:
        return not (await client.list(Pod, "default", label_selector=_LABEL)).items or None

    await until(gone, 20, "the pod to be gone")
    return (spawned_s - began_s) * 1e3, (told_s - began_s) * 1e3


def _deployment() -> dict[str, object]:
    container = {"name": "c", "image": "x", "command": ["sh", "-c", "date +%s.%N; exec sleep 600"]}
    labels = {"app": _NAME}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME, "namespace": "default"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _memory(root: int) -> tuple[int, int]:
    """Bytes of the Python processes below and with `root`: resident in sum, and with what they share counted once."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    resident = shared_once = 0
    pending = [root]
    while pending:
        pid = pending.pop()
        pending += children.get(pid, [])
        try:
            # Not the whole path: Envoy's binary lies in a folder of Python's.
            is_python = Path(os.readlink(f"/proc/{pid}/exe")).name.startswith("python")
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if is_python else []
        except OSError:
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
        resident += sizes.get("Rss", 0)
        shared_once += sizes.get("Pss", 0)
    return resident, shared_once
