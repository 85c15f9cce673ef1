"""The app's process, and when it was away."""

import asyncio
import math
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from time import perf_counter

from loadtests.lab.queue_proxy.subjects import ROOT, LabError

__all__ = ["RestartedApp", "restart_until"]


class RestartedApp:
    """A gRPC app on one port that ends and comes back as it is told."""

    def __init__(self) -> None:
        self.port = 0
        self.away: list[tuple[float, float]] = []
        """From when until when it was restarted, by `perf_counter`; the last may still be under way."""
        self._process: subprocess.Popen[bytes] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start it on a free port."""
        try:
            await self._start()
            yield
        finally:
            await self._end(signal.SIGKILL)

    async def restart(self, by: signal.Signals) -> None:
        """End it by a signal and start it again on the same port."""
        began_s = perf_counter()
        self.away.append((began_s, math.inf))
        await self._end(by)
        await self._start()
        self.away[-1] = (began_s, perf_counter())

    def was_away(self, since_s: float) -> bool:
        """Whether it was restarted, or is being so, since then."""
        return bool(self.away) and self.away[-1][1] >= since_s

    async def _start(self) -> None:
        # Not asyncio's: uvloop forks, and grpcio says on each fork that it does not care.
        process = self._process = subprocess.Popen(  # noqa: ASYNC220 - a millisecond
            [sys.executable, "-m", "loadtests.lab.soak_queue_proxy_h2.app", str(self.port)],
            env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        if not line:
            raise LabError("the app has ended instead of serving")
        self.port = int(line)

    async def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            await asyncio.to_thread(self._process.wait)
            assert self._process.stdout is not None
            self._process.stdout.close()


async def restart_until(app: RestartedApp, chance: random.Random, is_over: asyncio.Event) -> None:
    """Restart the app every five to ten seconds, by turns with a word and without."""
    by = signal.SIGTERM
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(5.0, 10.0)):
                await is_over.wait()
        if is_over.is_set():
            return
        await app.restart(by)
        by = signal.SIGKILL if by == signal.SIGTERM else signal.SIGTERM
