"""Entries of channels' `spec.subscribers`, written together: many Subscriptions of a channel are one patch.

Theory of operation. Each channel has at most one write under way; what comes meanwhile waits and goes with the next. So
a thousand Triggers of one Broker are a handful of writes, not a thousand that refuse each other. The first write goes
at once, further ones keep a distance, since each is the whole list and wakes everybody who is in it.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from controller.collection import Collection
from controller.eventing.ducks import ChannelDuck
from kube.errors import Conflict, NotFound
from kube.models.duck import SubscriberSpec

__all__ = ["SubscriberLists"]

_Key = tuple[str, str, str, str]
"""Group and kind, namespace and name of a channel."""

_DISTANCE_S = 0.05
_TRIES_MAX = 4
"""The dispatcher writes into the same object; beyond these the Subscriptions come again by themselves."""


@dataclass(slots=True)
class _Batch:
    """What is wanted of one channel: by uid an entry, or None for its removal."""

    collection: Collection[ChannelDuck]
    entries: dict[str, SubscriberSpec | None] = field(default_factory=dict)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)


class SubscriberLists:
    """All channels' lists."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, _Batch] = {}
        self._writing: dict[_Key, asyncio.Task[None]] = {}

    async def put(self, collection: Collection[ChannelDuck], channel: ChannelDuck, entry: SubscriberSpec) -> None:
        """Have `entry` in the channel's list, in place of the one of the same uid. Raises what the API raises."""
        if any(held == entry for held in channel.spec.subscribers):
            return
        await self._write(collection, channel, entry.uid, entry)

    async def remove(self, collection: Collection[ChannelDuck], channel: ChannelDuck, uid: str) -> None:
        """Have no entry of that uid; that the channel is gone is fine."""
        if not any(held.uid == uid for held in channel.spec.subscribers):
            return
        try:
            await self._write(collection, channel, uid, None)
        except NotFound:
            return

    async def stop(self) -> None:
        """End what is under way."""
        tasks = list(self._writing.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        # A task that was cancelled before its first step has settled nothing.
        self._writing.clear()
        for batch in self._waiting.values():
            for waiter in batch.waiters:
                waiter.cancel()
        self._waiting.clear()

    async def _write(
        self, collection: Collection[ChannelDuck], channel: ChannelDuck, uid: str, entry: SubscriberSpec | None
    ) -> None:
        loop = asyncio.get_running_loop()
        info = collection.kind.RESOURCE
        key = (info.group, info.kind, *channel.key)
        batch = self._waiting.setdefault(key, _Batch(collection))
        batch.entries[uid] = entry
        done: asyncio.Future[None] = loop.create_future()
        batch.waiters.append(done)
        if key not in self._writing:
            self._writing[key] = loop.create_task(self._run(key), name=f"subscribers {key}")
        await done

    async def _run(self, key: _Key) -> None:
        try:
            while (batch := self._waiting.pop(key, None)) is not None:
                failure: BaseException | None = None
                try:
                    await self._flush(batch, *key[2:])
                except BaseException as error:  # each waiter raises it, a cancellation goes on
                    failure = error
                    if isinstance(error, asyncio.CancelledError):
                        raise
                finally:
                    for waiter in batch.waiters:
                        if not waiter.done():
                            _settle(waiter, failure)
                await asyncio.sleep(_DISTANCE_S)
        finally:
            self._writing.pop(key, None)

    async def _flush(self, batch: _Batch, namespace: str, name: str) -> None:
        channel = batch.collection.get(namespace, name)
        for attempt in range(_TRIES_MAX):
            if channel is None or attempt:
                channel = await batch.collection.read(namespace, name)
            wanted = merged(channel.spec.subscribers, batch.entries)
            if wanted == channel.spec.subscribers:
                return
            patch: Any = {"spec": {"subscribers": msgspec.to_builtins(wanted)}}
            try:
                await batch.collection.patch(channel, patch)
            except Conflict:
                if attempt == _TRIES_MAX - 1:
                    raise
                continue
            return


def merged(held: list[SubscriberSpec], entries: dict[str, SubscriberSpec | None]) -> list[SubscriberSpec]:
    """The list with all entries: known ones stay where they are, others follow in the order in which they came."""
    found = [entries.get(each.uid, each) for each in held]
    known = {each.uid for each in held}
    found += [entry for uid, entry in entries.items() if uid not in known]
    return [each for each in found if each is not None]


def _settle(waiter: asyncio.Future[None], failure: BaseException | None) -> None:
    if failure is None:
        waiter.set_result(None)
    elif isinstance(failure, asyncio.CancelledError):
        waiter.cancel()
    else:
        waiter.set_exception(failure)
