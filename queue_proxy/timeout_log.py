"""Tells which timers end requests: the first at once, then at most one line a second however many follow.

An app that hangs times out every request that it gets. An operator wants to know that, and which timer it was, and not
read it ten thousand times.
"""

import asyncio
from collections import Counter
from typing import Final

from proxies.exchange import Exchange
from proxies.logs import Logger
from proxies.timeouts import Timer

__all__ = ["TimeoutLog"]

_EVERY_S: Final = 1.0
_METHOD_BYTES_MAX: Final = 32
"""It is a client's word, and a head may have 1 MiB."""


class TimeoutLog:
    """Gathers the timed-out exchanges of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, logger: Logger) -> None:
        self._loop = loop
        self._logger = logger
        self._counts: Counter[Timer] = Counter()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, exchange: Exchange, timer: Timer) -> None:
        """`timer` ended `exchange`."""
        if self._handle is None:
            self._logger.warning(
                "request_timed_out",
                timer=timer.value,
                count=1,
                method=exchange.request.method[:_METHOD_BYTES_MAX].decode("latin-1"),
                waited_s=round(exchange.clock() - exchange.arrived_s, 3),
                was_queued=exchange.forwarded_s == 0.0,
            )
            self._handle = self._loop.call_later(_EVERY_S, self._flush)
        else:
            self._counts[timer] += 1

    def close(self) -> None:
        """Write what was gathered."""
        if self._handle is not None:
            self._handle.cancel()
            self._flush()

    def _flush(self) -> None:
        self._handle = self._loop.call_later(_EVERY_S, self._flush) if self._counts else None
        for timer, count in self._counts.items():
            self._logger.warning("request_timed_out", timer=timer.value, count=count)
        self._counts.clear()
