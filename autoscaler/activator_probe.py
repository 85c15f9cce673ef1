"""Asking whether an activator answers at a revision's public address, before its last pod is taken away.

One question is asked within a reconcile; when the answer is no, it is repeated in the background (`watch`), one task
per address. Every question has a connection of its own: a kept one could still lead to a pod. Source: knative/serving
`pkg/reconciler/autoscaling/kpa/scaler.go` (activatorProbe), `knative.dev/networking/pkg/prober`; spec autoscaler.md
7.4.1.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from kube.errors import ApiError, ApiUnreachable
from kube.resolve import Resolver

__all__ = ["ActivatorProber", "ProbeTarget"]

HEADERS = {"User-Agent": "Knative-Autoscaling-Probe", "K-Network-Probe": "activator"}
EXPECTED_BODY = b"activator"
_TIMEOUT_S = 3.0
_AGAIN_S = 1.0
_TRIES = 45


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """A revision's public Service and its first port."""

    host: str
    port: int


class ActivatorProber:
    """Probes; `open` needs a running loop."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._watching: dict[ProbeTarget, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Make the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)
        )

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._watching.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def probe(self, target: ProbeTarget) -> bool:
        """Whether an activator answers; any failure means no."""
        if self._session is None:
            return False
        try:
            addresses = await self._resolver.resolve(target.host, target.port)
            if not addresses:
                return False
            address, port = addresses[0]
            dialled = f"[{address}]" if ":" in address else address
            url = f"http://{dialled}:{port}/healthz"
            headers = {**HEADERS, "Host": f"{target.host}:{target.port}" if target.port != 80 else target.host}
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                # One byte more than expected is enough to know that it is something else.
                body = await response.content.read(len(EXPECTED_BODY) + 1)
                return response.status == 200 and body == EXPECTED_BODY
        except (aiohttp.ClientError, ApiError, ApiUnreachable, TimeoutError, OSError):
            return False

    def watch(self, target: ProbeTarget, done: Callable[[], None]) -> None:
        """Repeat the probe each second until it succeeds, 45 s at most, then call `done`; once per target at a time."""
        if target in self._watching:
            return
        task = asyncio.get_running_loop().create_task(self._repeat(target, done), name=f"activator probe {target.host}")
        self._watching[target] = task

    async def _repeat(self, target: ProbeTarget, done: Callable[[], None]) -> None:
        try:
            for _ in range(_TRIES):
                if await self.probe(target):
                    break
                await asyncio.sleep(_AGAIN_S)
        finally:
            del self._watching[target]
        # Also when no activator ever answered: whoever waits looks again and decides.
        done()
