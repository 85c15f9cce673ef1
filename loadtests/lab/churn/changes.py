"""What happens to Services, and who asks them meanwhile."""

import asyncio
import json
import random
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from kube.client import Client
from kube.errors import ApiError
from kube.models import serving
from loadtests.load import fetch
from loadtests.scenario import RunningStack, until

__all__ = ["NAMESPACE", "Changes"]

NAMESPACE = "default"
_WITHIN_S = 120.0
_FILLING = 16
"""Services that are created at once before the churn."""
_CLIENTS = 4
_PAUSE_S = 0.1
"""Between requests of one client: light traffic."""
_VISIT_S = 2.0
"""How long a client asks one Service: pods of all 200 would not be a light load for two cores."""
_EVENTS_KEPT_S = 60.0
"""Events are kept for an hour, so memory would grow for an hour, and hide what grows for ever."""
_STEPS = ("update", "update", "split", "whole", "delete")


@dataclass(slots=True, eq=False)
class _Known:
    """What is known of one Service."""

    name: str
    is_usable: bool = False
    """It was Ready, and nobody deletes it."""
    updates: int = 0
    asking: int = 0


class Changes:
    """`fill`, `run`, `clear`; then `done`, `requests`, `failed_requests`, `problems` tell."""

    def __init__(self, stack: RunningStack, client: Client, services: int) -> None:
        self.done: Counter[str] = Counter()
        self.requests = 0
        self.failed_requests: list[str] = []
        self.problems: list[str] = []
        """Changes that were refused, Services that did not become Ready."""
        self.count_min = services
        """The fewest Services that there were at once."""
        self._stack = stack
        self._client = client
        self._known = [_Known(f"churn-{number}") for number in range(services)]
        self._absent: deque[_Known] = deque()
        self._changed: deque[_Known] = deque(maxlen=_CLIENTS * 4)
        """Who was changed last, and is asked next: that is where something may go wrong."""
        self._chance = random.Random(1)
        self._following: set[asyncio.Task[None]] = set()
        self._is_over = False

    async def fill(self) -> None:
        """Create all Services, and wait until they are Ready."""
        slots = asyncio.Semaphore(_FILLING)

        async def create(known: _Known) -> None:
            async with slots:
                await self._create(known)
                await self._become_ready(known)

        await asyncio.gather(*(create(known) for known in self._known))

    async def run(self, seconds: float, rate: float) -> None:
        """Change one Service after the other, `rate` times a second, under traffic."""
        loop = asyncio.get_running_loop()
        clients = [loop.create_task(self._ask()) for _ in range(_CLIENTS)]
        sweeping = loop.create_task(self._sweep_events())
        began_s = time.monotonic()
        count = 0
        while time.monotonic() - began_s < seconds:
            await self._change()
            count += 1
            await asyncio.sleep(max(0.0, began_s + count / rate - time.monotonic()))
        self._is_over = True
        sweeping.cancel()
        await asyncio.gather(*clients, *self._following)

    async def clear(self) -> None:
        """Delete every Service."""
        for found in (await self._client.list(serving.Service, NAMESPACE)).items:
            await self._client.delete(serving.Service, found.name, NAMESPACE)

    async def _sweep_events(self) -> None:
        while True:
            await asyncio.sleep(_EVENTS_KEPT_S)
            await self._client.raw("DELETE", f"/api/v1/namespaces/{NAMESPACE}/events")

    async def _change(self) -> None:
        """What was deleted comes again at once, so that there are always as many."""
        if self._absent:
            step, known = "create", self._absent.popleft()
        elif usable := [known for known in self._known if known.is_usable]:
            step, known = self._chance.choice(_STEPS), self._chance.choice(usable)
        else:
            return
        try:
            await getattr(self, f"_{step}")(known)
        except (ApiError, TimeoutError) as error:
            self.problems.append(f"{step} {known.name}: {error}")
            return
        self.done[step] += 1
        self.count_min = min(self.count_min, len(self._known) - len(self._absent))
        if step == "create":
            task = asyncio.get_running_loop().create_task(self._become_ready(known))
            self._following.add(task)
            task.add_done_callback(self._following.discard)
        elif step != "delete":
            self._changed.append(known)

    async def _create(self, known: _Known) -> None:
        known.updates = 0
        body = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": known.name},
            "spec": _spec(0),
        }
        await self._client.raw("POST", serving.Service.RESOURCE.path(NAMESPACE), body=json.dumps(body).encode())

    async def _update(self, known: _Known) -> None:
        known.updates += 1
        await self._patch(known, _spec(known.updates))

    async def _split(self, known: _Known) -> None:
        """Half to the Revision that is ready, pinned and tagged; half to whatever comes."""
        found = await self._client.get(serving.Service, known.name, NAMESPACE)
        pinned = {"revisionName": found.status.latest_ready_revision_name, "percent": 50, "tag": "old"}
        await self._patch(known, {"traffic": [pinned, {"latestRevision": True, "percent": 50}]})

    async def _whole(self, known: _Known) -> None:
        await self._patch(known, {"traffic": [{"latestRevision": True, "percent": 100}]})

    async def _patch(self, known: _Known, spec: dict[str, Any]) -> None:
        await self._client.patch(serving.Service, known.name, NAMESPACE, {"spec": spec})

    async def _delete(self, known: _Known) -> None:
        known.is_usable = False

        async def nobody_asks() -> bool | None:
            return True if not known.asking else None  # whoever is being answered is answered

        await until(nobody_asks, _WITHIN_S, "its requests to end")
        await self._client.delete(serving.Service, known.name, NAMESPACE)
        self._absent.append(known)

    async def _become_ready(self, known: _Known) -> None:
        async def check() -> bool | None:
            found = await self._client.get(serving.Service, known.name, NAMESPACE)
            is_ready = any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)
            return True if is_ready else None

        try:
            await until(check, _WITHIN_S, "it to be Ready", every_s=0.2)
        except (TimeoutError, ApiError) as error:
            self.problems.append(f"{known.name}: {error}")
            return
        known.is_usable = True
        self._changed.append(known)

    async def _ask(self) -> None:
        """One client: visits those that were changed last, and anybody when nobody was."""
        async with aiohttp.ClientSession() as session:
            while not self._is_over:
                known = self._changed.popleft() if self._changed else self._chance.choice(self._known)
                ends_s = time.monotonic() + _VISIT_S
                while known.is_usable and time.monotonic() < ends_s and not self._is_over:
                    await self._request(known, session)
                    await asyncio.sleep(_PAUSE_S)
                await asyncio.sleep(0)

    async def _request(self, known: _Known, session: aiohttp.ClientSession) -> None:
        known.asking += 1
        began_s = time.time()
        answer = await fetch(self._stack.http_port, f"{known.name}.{NAMESPACE}.127.0.0.1.sslip.io", "/", session)
        known.asking -= 1
        self.requests += 1
        if answer.status != 200:
            when = time.strftime("%H:%M:%S", time.gmtime(began_s))
            told = answer.problem or repr(answer.body[:80])
            self.failed_requests.append(f"{when} {known.name}: {answer.status} {told} after {answer.total_s:.2f} s")


def _spec(change: int) -> dict[str, Any]:
    """A template that makes a new Revision with each change, and no pod before somebody asks."""
    container = {
        "image": "dev.local/hello",
        "command": [sys.executable, str(Path(__file__).parents[3] / "examples" / "hello.py")],
        "env": [{"name": "TARGET", "value": str(change)}],
    }
    meta = {"annotations": {"autoscaling.knative.dev/initial-scale": "0"}}
    return {"template": {"metadata": meta, "spec": {"containers": [container]}}}
