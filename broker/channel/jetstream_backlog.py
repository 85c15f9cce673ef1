"""How much streams owe to subscriptions, for the metrics: what the server has said last.

Whoever reads the metrics hears that, and has it asked anew, for the next reading: one request for each stream, and
nothing while nobody reads. What it does not say is not told.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from broker.channel.backend import Owed
from broker.channel.deliveries import Deliveries
from broker.channel.jetstream_subscriber import Subscriber
from eventing.jetstream.streams import JetStreamError, Streams
from proxies.logs import Logger

__all__ = ["Backlogs"]

_ALL_S: Final = 30.0
"""For a look at all streams, after which it is given up."""


class Backlogs:
    """Those of one process's subscriptions. Replicas tell the same of theirs."""

    def __init__(
        self, streams: Streams, deliveries: Deliveries, subscribers: Callable[[], Iterable[Subscriber]], log: Logger
    ) -> None:
        self._streams = streams
        self._subscribers = subscribers
        self._log = log
        self._told: dict[tuple[str, str], int] = {}
        """By stream and consumer."""
        self._looking: asyncio.Task[None] | None = None
        self._problem = ""
        self._is_stopped = False
        deliveries.watch(self._owed)

    async def stop(self) -> None:
        """Look no more; metrics may be read after that."""
        self._is_stopped = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def _owed(self) -> Iterator[Owed]:
        if not self._is_stopped and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._look())
        for each in self._subscribers():
            owed = self._told.get((each.stream, each.place.consumer))
            if owed is not None:
                yield Owed(each.whose, owed, None)

    async def _look(self) -> None:
        told: dict[tuple[str, str], int] = {}
        problem = ""
        try:
            async with asyncio.timeout(_ALL_S):
                for stream in {each.stream for each in self._subscribers()}:
                    for found in await self._streams.consumers(stream):
                        told[stream, found.name] = found.owed
        except (JetStreamError, TimeoutError) as error:
            problem = str(error) or f"not told within {_ALL_S:g} s"
        if problem and problem != self._problem:
            self._log.warning("backlog_unknown", problem=problem)
        self._told, self._problem = told, problem
