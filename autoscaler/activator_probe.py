"""Asking whether an activator answers at a revision's public address, before its last pod is taken away.

One question is asked within a reconcile; when the answer is no, it is repeated in the background (`watch`), one task
per address. Every question has a connection of its own: a kept one could still lead to a pod. Source: knative/serving
`pkg/reconciler/autoscaling/kpa/scaler.go` (activatorProbe), `knative.dev/networking/pkg/prober`; spec autoscaler.md
7.4.1.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from kube.errors import ApiError, ApiUnreachable
from kube.http_connection import BrokenConnection, HttpConnection, render_request
from kube.resolve import Resolver

__all__ = ["ActivatorProber", "ProbeTarget"]

_FIELDS = {"User-Agent": "Knative-Autoscaling-Probe", "K-Network-Probe": "activator", "Connection": "close"}
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
    """Probes; needs a running loop."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._watching: dict[ProbeTarget, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """End what is under way."""
        tasks = list(self._watching.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def probe(self, target: ProbeTarget) -> bool:
        """Whether an activator answers; any failure means no."""
        host = target.host if target.port == 80 else f"{target.host}:{target.port}"
        try:
            request = render_request("GET", "/healthz", {"Host": host, **_FIELDS})
            async with asyncio.timeout(_TIMEOUT_S):
                addresses = await self._resolver.resolve(target.host, target.port)
                return bool(addresses) and await _is_activator(addresses[0], request)
        except (BrokenConnection, ApiError, ApiUnreachable, OSError, ValueError):
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


async def _is_activator(address: tuple[str, int], request: bytes) -> bool:
    """Whether the answer is an activator's. Raises `BrokenConnection` and `OSError`."""
    connection = await HttpConnection.open(*address)
    try:
        head = await connection.ask(request)
        body = b""
        # One byte more than expected is enough to know that it is something else.
        while len(body) <= len(EXPECTED_BODY) and (piece := await connection.read()):
            body += piece
    finally:
        connection.abort()
    return head.status == 200 and body == EXPECTED_BODY
