"""How much streams owe to subscriptions, and for how long, for the metrics: what the server has said last.

Whoever reads the metrics hears that, and has it asked anew, for the next reading: one request for each stream, and one
for the oldest message of each consumer that has not settled all and has moved since. Those are bounded in number and
bytes; what there was no room for has its turn at the next reading. Nothing is asked while nobody reads, and what the
server does not say is not told.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, TypeAlias

from broker.channel.backend import Owed
from broker.channel.deliveries import Deliveries
from broker.channel.jetstream_subscriber import Subscriber
from eventing.jetstream.streams import Consumer, JetStreamError, Streams
from proxies.logs import Logger

__all__ = ["Ages", "Backlogs"]

_ALL_S: Final = 30.0
"""For a look at all streams, after which it is given up."""
_MESSAGES_MAX: Final = 64
_BYTES_MAX: Final = 16 << 20
"""Of messages in one look: the server gives them whole."""
_ANEW: Final = 8
"""After so many looks the same message is asked for again: it may have become too old for its stream."""

Key: TypeAlias = tuple[str, str]
"""A stream and a consumer."""


class Backlogs:
    """Those of one process's subscriptions. Replicas tell the same of theirs."""

    def __init__(
        self, streams: Streams, deliveries: Deliveries, subscribers: Callable[[], Iterable[Subscriber]], log: Logger
    ) -> None:
        self._streams = streams
        self._subscribers = subscribers
        self._log = log
        self._told: dict[Key, int] = {}
        self._ages = Ages(streams)
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
            key = (each.stream, each.place.consumer)
            owed = self._told.get(key)
            if owed is not None:
                yield Owed(each.whose, owed, self._ages.of.get(key))

    async def _look(self) -> None:
        found: dict[Key, Consumer] = {}
        problem = ""
        try:
            async with asyncio.timeout(_ALL_S):
                wanted = {(each.stream, each.place.consumer) for each in self._subscribers()}
                for stream in {stream for stream, _ in wanted}:
                    listed = await self._streams.consumers(stream)
                    found.update({(stream, each.name): each for each in listed if (stream, each.name) in wanted})
                await self._ages.look(found)
        except (JetStreamError, TimeoutError) as error:
            problem = str(error) or f"not told within {_ALL_S:g} s"
        if problem and problem != self._problem:
            self._log.warning("backlog_unknown", problem=problem)
        self._told, self._problem = {key: each.owed for key, each in found.items()}, problem


class _Oldest(NamedTuple):
    """The first message that a consumer has not settled, when it was asked for."""

    floor: int
    stored_s: float | None
    look: int


class Ages:
    """How long the oldest message has waited that a consumer has not settled, by the clock of NATS and by ours."""

    def __init__(
        self,
        streams: Streams,
        *,
        messages_max: int = _MESSAGES_MAX,
        bytes_max: int = _BYTES_MAX,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """`messages_max`, `bytes_max`: of what one look asks for."""
        self._streams = streams
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._unix_s = unix_s
        self._oldest: dict[Key, _Oldest] = {}
        self._looks = 0
        self.of: Mapping[Key, float] = {}
        """Seconds, as of the last look; 0 where nothing waits. Without those that are not known."""

    async def look(self, consumers: Mapping[Key, Consumer]) -> None:
        """Ask for what has changed. Raises `JetStreamError`, and then knows less."""
        self._looks += 1
        self.of = {}
        self._oldest = {key: each for key, each in self._oldest.items() if key in consumers}
        await self._ask(
            [key for key, each in consumers.items() if each.owed and not self._is_known(key, each)], consumers
        )
        now_s, ages = self._unix_s(), {}
        for key, each in consumers.items():
            oldest = self._oldest.get(key)
            if not each.owed:
                ages[key] = 0.0
            elif oldest is not None and oldest.floor == each.floor and oldest.stored_s is not None:
                # Clocks of two machines: it has never waited for less than nothing.
                ages[key] = max(now_s - oldest.stored_s, 0.0)
        self.of = ages

    def _is_known(self, key: Key, consumer: Consumer) -> bool:
        oldest = self._oldest.get(key)
        return oldest is not None and oldest.floor == consumer.floor and self._looks - oldest.look < _ANEW

    async def _ask(self, keys: list[Key], consumers: Mapping[Key, Consumer]) -> None:
        """Ask for as many as may be, those first whose turn was the longest ago. Some have the same message."""
        found: dict[tuple[str, int, str], float | None] = {}
        size = 0
        keys.sort(key=lambda key: self._oldest[key].look if key in self._oldest else 0)
        for key in keys:
            consumer = consumers[key]
            place = (key[0], consumer.floor, consumer.subject)
            if place not in found:
                if len(found) >= self._messages_max or size >= self._bytes_max:
                    continue
                stored = await self._streams.message_after(key[0], consumer.subject, consumer.floor)
                found[place] = stored.stored_s if stored is not None else None
                size += len(stored.data) if stored is not None else 0
            self._oldest[key] = _Oldest(consumer.floor, found[place], self._looks)
