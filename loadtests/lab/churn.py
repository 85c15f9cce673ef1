"""Services that come, change, split and go on a whole local stack: what fails, what is left, what grows.

Changes come at a fixed rate, under light traffic; clients ask those Services only that were Ready and are not being
deleted. In the end all Services are deleted, and nothing of theirs may be left. Memory of controller, gateway and Envoy
is compared between the end of the first third and the end.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from kube.client import Client
from kube.config import ApiConfig
from kube.errors import ApiError
from kube.models import core, serving
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.meta import Resource
from kube.models.networking import Ingress, ServerlessService
from loadtests.load import fetch
from loadtests.scenario import RunningStack, until

__all__ = ["main"]

_NAMESPACE = "default"
_WITHIN_S = 120.0
_PAUSE_S = 0.1
"""Between requests of one client: light traffic."""
_CLIENTS = 4
_GROWTH_MAX = 1.2
_WATCHED = ("controller", "gateway", "envoy")
_KINDS: tuple[type[Resource], ...] = (
    serving.Configuration,
    serving.Revision,
    serving.Route,
    PodAutoscaler,
    ServerlessService,
    Ingress,
    Deployment,
    core.Pod,
)


def main(arguments: list[str]) -> int:
    """Churn; 0 when nothing failed, leaked or grew."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.lab churn", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long (1800)")
    parser.add_argument("--services", type=int, default=200, help="at most so many at once (200)")
    parser.add_argument("--rate", type=float, default=2.0, help="changes a second (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    found = uvloop.run(_measure(options.seconds, options.services, options.rate))
    text = json.dumps(found, indent=1) if options.json else "\n".join(f"{k:28}{v}" for k, v in found.items())
    sys.stdout.write(text + "\n")
    return 0 if found["met"] else 1


async def _measure(seconds: float, services: int, rate: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="knuv-churn-") as directory:
        stack = RunningStack(Path(directory) / "state")
        try:
            await stack.start()
            async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig)) as client:
                data = {"stable-window": "6s", "scale-to-zero-grace-period": "1s", "allow-zero-initial-scale": "true"}
                await client.patch(core.ConfigMap, "config-autoscaler", "knative-serving", {"data": data})
                return await _Churn(stack, client, services, rate).run(seconds)
        finally:
            await stack.stop()


@dataclass(slots=True)
class _Known:
    """What is known of one Service."""

    is_usable: bool = False
    """It was Ready, and nobody deletes it."""
    changes: int = 0
    asking: int = 0
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)


class _Churn:
    def __init__(self, stack: RunningStack, client: Client, services: int, rate: float) -> None:
        self._stack = stack
        self._client = client
        self._names = [f"churn-{number}" for number in range(services)]
        self._rate = rate
        self._known: dict[str, _Known] = {}
        self._chance = random.Random(1)
        self._changes: Counter[str] = Counter()
        self._failures: list[str] = []
        self._requests = 0
        self._is_over = False

    async def run(self, seconds: float) -> dict[str, Any]:
        """Churn, clear up, look what is left."""
        began_s = time.monotonic()
        clients = [asyncio.get_running_loop().create_task(self._ask()) for _ in range(_CLIENTS)]
        first: dict[str, float] = {}
        count = 0
        while (elapsed_s := time.monotonic() - began_s) < seconds:
            if not first and elapsed_s > seconds / 3:
                first = _rss_mb(self._stack.state_dir)
            await self._change(self._chance.choice(self._names))
            count += 1
            await asyncio.sleep(max(0.0, began_s + count / self._rate - time.monotonic()))
        last = _rss_mb(self._stack.state_dir)
        self._is_over = True
        await asyncio.gather(*clients)
        left = await self._clear()
        growth = {name: round(last[name] / first[name], 2) for name in first.keys() & last.keys() if first[name]}
        is_met = not self._failures and not left and all(ratio <= _GROWTH_MAX for ratio in growth.values())
        return {
            "seconds": round(seconds),
            "changes": dict(self._changes),
            "requests": self._requests,
            "failed_requests": len(self._failures),
            "failures": self._failures[:10],
            "left": left[:20],
            "memory_mb": {name: round(value) for name, value in last.items()},
            "growth_since_first_third": growth,
            "met": is_met,
        }

    async def _change(self, name: str) -> None:
        known = self._known.get(name)
        steps = ["update", "update", "split", "whole", "delete"] if known is not None else ["create"]
        step = self._chance.choice(steps)
        if known is None:
            known = self._known[name] = _Known()
        elif not known.is_usable:
            return  # let it become ready once
        known.changes += 1
        with contextlib.suppress(ApiError):
            await getattr(self, f"_{step}")(name, known)
            self._changes[step] += 1
            if step == "create":
                known.task = asyncio.get_running_loop().create_task(self._follow(name, known))

    async def _create(self, name: str, _known: _Known) -> None:
        body = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name}, "spec": _spec(0)}
        path = serving.Service.RESOURCE.path(_NAMESPACE)
        await self._client.raw("POST", path, body=json.dumps(body).encode())

    async def _update(self, name: str, known: _Known) -> None:
        await self._client.patch(serving.Service, name, _NAMESPACE, {"spec": _spec(known.changes)})

    async def _split(self, name: str, _known: _Known) -> None:
        pinned = {"revisionName": f"{name}-00001", "percent": 50, "tag": "old"}
        traffic = [pinned, {"latestRevision": True, "percent": 50}]
        await self._client.patch(serving.Service, name, _NAMESPACE, {"spec": {"traffic": traffic}})

    async def _whole(self, name: str, _known: _Known) -> None:
        traffic = [{"latestRevision": True, "percent": 100}]
        await self._client.patch(serving.Service, name, _NAMESPACE, {"spec": {"traffic": traffic}})

    async def _delete(self, name: str, known: _Known) -> None:
        known.is_usable = False
        # Whoever is being answered is answered.
        await until(self._nobody_asks(known), _WITHIN_S, f"requests to {name} to end")
        await self._client.delete(serving.Service, name, _NAMESPACE)
        self._known.pop(name, None)

    def _nobody_asks(self, known: _Known) -> Any:
        async def check() -> bool | None:
            return True if not known.asking else None

        return check

    async def _follow(self, name: str, known: _Known) -> None:
        """Note when a new Service becomes ready."""

        async def check() -> bool | None:
            found = await self._client.get(serving.Service, name, _NAMESPACE)
            is_ready = any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)
            return True if is_ready else None

        try:
            await until(check, _WITHIN_S, f"{name} to be ready", every_s=0.2)
        except (TimeoutError, ApiError) as error:
            self._failures.append(f"{name}: {error}")
        known.is_usable = True

    async def _ask(self) -> None:
        """One client."""
        async with aiohttp.ClientSession() as session:
            while not self._is_over:
                await asyncio.sleep(_PAUSE_S)
                usable = [(name, known) for name, known in self._known.items() if known.is_usable]
                if not usable:
                    continue
                name, known = self._chance.choice(usable)
                known.asking += 1
                host = f"{name}.{_NAMESPACE}.127.0.0.1.sslip.io"
                answer = await fetch(self._stack.http_port, host, "/", session)
                known.asking -= 1
                self._requests += 1
                if answer.status != 200:
                    self._failures.append(f"{name}: {answer.status} {answer.body[:80]!r} {answer.problem}")

    async def _clear(self) -> list[str]:
        """Delete every Service; what is still there after a while."""
        for known in list(self._known.values()):
            if known.task is not None:
                known.task.cancel()
        for found in (await self._client.list(serving.Service, _NAMESPACE)).items:
            with contextlib.suppress(ApiError):
                await self._client.delete(serving.Service, found.name, _NAMESPACE)
        left: list[str] = []

        async def check() -> bool | None:
            left[:] = [
                f"{obj.kind} {obj.name}" for kind in _KINDS for obj in (await self._client.list(kind, _NAMESPACE)).items
            ]
            return True if not left else None

        with contextlib.suppress(TimeoutError):
            await until(check, _WITHIN_S, "nothing to be left", every_s=0.5)
        return left


def _spec(change: int) -> dict[str, Any]:
    """A template that makes a new Revision with each change, and no pod before somebody asks."""
    container = {
        "image": "dev.local/hello",
        "command": [sys.executable, str(Path(__file__).parents[2] / "examples" / "hello.py")],
        "env": [{"name": "TARGET", "value": str(change)}],
    }
    meta = {"annotations": {"autoscaling.knative.dev/initial-scale": "0"}}
    return {"template": {"metadata": meta, "spec": {"containers": [container]}}}


def _rss_mb(state_dir: Path) -> dict[str, float]:
    """Resident memory of the stack's own programs, by name."""
    found: dict[str, float] = {}
    for pid, command in _processes(state_dir):
        for name in _WATCHED:
            if re.search(rf"-m\0{name}\0|/{name}\0", command):
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    rss = re.search(r"VmRSS:\s+(\d+) kB", status)
                    found[name] = int(rss[1]) / 1024 if rss else 0.0
    return found


def _processes(state_dir: Path) -> Iterator[tuple[int, str]]:
    """Processes that have the stack's directory in their environment."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if str(state_dir).encode() in (entry / "environ").read_bytes():
                    yield int(entry.name), (entry / "cmdline").read_text()
