"""Channels that keep nothing, behind the dispatcher: `KNUV_CHANNELS=memory`.

Source: spec eventing-channels.md 4, 6.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from broker.channel.backend import Channel, Owed, Refusal, Whose
from broker.channel.deliveries import Deliveries
from broker.channel.fanout import Fanout, Rounds
from broker.channel.in_memory_channels import RESOURCE, InMemoryChannels
from broker.early_filters import EarlyFilters
from broker.role import Context
from eventing.debugging import Debugging
from kube.models.duck import AppliedPolicy

__all__ = ["MemoryBackend"]

_ENDING_S: Final = 5.0
_LOOK_S: Final = 15.0
"""How often it is looked for events of which nothing is heard any more."""


class MemoryBackend:
    """The InMemoryChannels as the original has them."""

    resource = RESOURCE

    def __init__(self, context: Context, environ: Mapping[str, str], debugging: Debugging) -> None:
        self._loop = context.loop
        deliveries = Deliveries(context, debugging, unsunk="lost")
        self._early = EarlyFilters.from_env(environ, context, debugging.journal)
        self._rounds = Rounds(deliveries.courier, deliveries.delivered, self._early)
        self._channels = InMemoryChannels.of(context, environ, self._make)
        deliveries.watch(self._owed)
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Learn of the channels."""
        self._look()
        if self._early is not None:
            await self._early.start()
        await self._channels.start()

    def find(self, host: bytes, path: bytes) -> Channel | Refusal:
        """Return the channel of a request."""
        return self._channels.find(host, path)

    def policies(self, channel: Channel) -> Sequence[AppliedPolicy]:
        """Return the EventPolicies of a channel."""
        return self._channels.policies(channel)

    def is_ready(self) -> bool | None:
        """Whether all ready channels are served."""
        return self._channels.is_ready()

    async def stop(self) -> None:
        """Wait a little for what is under way: of an `async-handler` its senders have heard 202. Then end it."""
        if self._timer is not None:
            self._timer.cancel()
        await self._channels.stop()
        if self._early is not None:
            await self._early.stop()
        await self._rounds.finish(_ENDING_S)
        self._rounds.close()

    def _make(self, namespace: str, name: str, is_async: bool) -> Fanout:
        return Fanout(self._rounds, namespace, name, is_async=is_async)

    def _owed(self) -> Iterator[Owed]:
        for channel in self._channels.served:
            for each in channel.subscriptions:
                yield Owed(Whose(channel.namespace, channel.name, each.name), 0, 0.0)
        yield from self._rounds.owed(self._loop.time())

    def _look(self) -> None:
        self._timer = self._loop.call_later(_LOOK_S, self._look)
        self._rounds.give_up_stalled(self._loop.time())
