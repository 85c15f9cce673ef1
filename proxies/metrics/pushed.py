"""Pushing: everything that a registry knows goes to a collector at an interval, and once more at the end.

Source: spec queue-proxy.md 17.1; OpenTelemetry "Metrics SDK", periodic exporting reader.
"""

import asyncio
import time

from proxies.logs import Logger
from proxies.metrics import export
from proxies.metrics.instruments import Registry
from proxies.metrics.slices import Steps, finish, run_in_slices
from proxies.otlp import Endpoint, Pusher

__all__ = ["PeriodicPush"]


class PeriodicPush:
    """`start` begins, `stop` pushes for the last time within a few seconds."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        registry: Registry,
        endpoint: Endpoint,
        *,
        interval_s: float,
        logger: Logger,
    ) -> None:
        self._loop = loop
        self._registry = registry
        self._interval_s = interval_s
        # Sums are cumulative: a newer body says all that an older one did.
        self._pusher = Pusher(loop, endpoint, logger, bodies_max=1)
        self._started_unix_ns = time.time_ns()
        self._timer: asyncio.TimerHandle | None = None

        self._is_encoding = False

    async def start(self) -> None:
        """Push from the end of the first interval on."""
        self._timer = self._loop.call_later(self._interval_s, self._push_again)

    async def stop(self) -> None:
        """Push what is known at the end."""
        if self._timer is not None:
            self._timer.cancel()
            self._pusher.push(finish(self._steps()))
        await self._pusher.close()

    def _push_again(self) -> None:
        self._timer = self._loop.call_later(self._interval_s, self._push_again)
        if not self._is_encoding:
            self._is_encoding = True
            run_in_slices(self._loop, self._steps(), done=self._push, failed=self._encoded)

    def _steps(self) -> Steps[bytes]:
        return export.steps(self._registry, started_unix_ns=self._started_unix_ns, now_unix_ns=time.time_ns())

    def _push(self, body: bytes) -> None:
        self._encoded()
        self._pusher.push(body)

    def _encoded(self) -> None:
        self._is_encoding = False
