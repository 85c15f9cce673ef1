"""Channels on a journal, behind the dispatcher: `KNUV_CHANNELS=journal`.

The objects are InMemoryChannels, so that nothing else has to be told: Brokers, Subscriptions and whoever reads their
status see the kind they know. What differs is what 202 means.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from broker.channel.backend import Channel, Owed, Refusal, Whose
from broker.channel.deliveries import Deliveries
from broker.channel.in_memory_channels import RESOURCE, InMemoryChannels
from broker.channel.journal.channel import Journal, JournalChannel
from broker.channel.journal.store import JournalLimits, JournalStore
from broker.early_filters import EarlyFilters
from broker.role import Context
from eventing.debugging import Debugging
from eventing.delivery import Leg, Outcome
from eventing.dispatching import Delivery
from kube.models.duck import AppliedPolicy
from proxies.environment import Environment
from proxies.gotext import parse_int

__all__ = ["JournalBackend", "settings_of"]

_ENDING_S: Final = 5.0
"""How long the answers to what was posted are waited for at the end: what they say need not be said again."""
_LOOK_S: Final = 0.02


def settings_of(environ: Mapping[str, str]) -> tuple[Path, JournalLimits]:
    """Return where the journal is, and what it may take. Raises `ConfigError`."""
    reading = Environment(environ)
    directory = reading.filled("KNUV_JOURNAL_DIR")
    defaults = JournalLimits()
    limits = JournalLimits(
        bytes_max=reading.parsed("KNUV_JOURNAL_BYTES_MAX", _count, defaults.bytes_max, 0),
        events_max=reading.parsed("KNUV_JOURNAL_EVENTS_MAX", _count, defaults.events_max, 0),
        dead_max=reading.parsed("KNUV_JOURNAL_DEAD_LETTERS_MAX", _count, defaults.dead_max, 0),
    )
    reading.finish()
    return Path(directory), limits


class JournalBackend:
    """InMemoryChannels whose events are in a journal of this process."""

    resource = RESOURCE

    def __init__(self, context: Context, environ: Mapping[str, str], debugging: Debugging) -> None:
        """Raises `ConfigError`."""
        directory, limits = settings_of(environ)
        self._store = JournalStore(directory, limits, context.log)
        deliveries = Deliveries(context, debugging, unsunk="kept")
        self._early = EarlyFilters.from_env(environ, context, debugging.journal)
        self._journal = Journal(
            self._store, deliveries.courier, context.log, delivered=deliveries.delivered, early=self._early
        )
        self._noted = deliveries.courier.attempted
        deliveries.courier.attempted = self._attempted
        self._channels = InMemoryChannels.of(context, environ, self._make)
        deliveries.watch(self._owed)
        if context.registry is not None:
            # Only now: they are off by default.
            from broker.channel.metrics import add_journal_metrics

            add_journal_metrics(context.registry, lambda: self._store.damages)
        self._loop = context.loop
        self._log = context.log
        self._is_open = False
        debugging.serve("GET", "/debug/dead-letters", self._dead_letters)
        debugging.serve("POST", "/debug/redrive", self._redrive)

    async def start(self) -> None:
        """Read the journal, then learn of the channels, which go on with what they owe."""
        await self._store.open()
        self._is_open = True
        self._journal.start()
        self._log.info("journal_opened", events=len(self._store.state.entries), bytes=self._store.size)
        if self._early is not None:
            await self._early.start()
        await self._channels.start()
        self._journal.forget_channels(self._channels.known)

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
        """Leave the rest to the next process."""
        await self._channels.stop()
        if self._early is not None:
            await self._early.stop()
        self._journal.is_ending = True
        end_s = self._loop.time() + _ENDING_S
        while any(channel.posts_under_way for channel in self._served) and self._loop.time() < end_s:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        for channel in self._served:
            channel.close()
        if self._is_open:
            self._is_open = False
            await self._store.close()

    def _make(self, namespace: str, name: str, is_async: bool) -> JournalChannel:
        return JournalChannel(self._journal, namespace, name)

    def _owed(self) -> Iterator[Owed]:
        entries, now_s = self._store.state.entries, self._journal.unix_s()
        for channel in self._served:
            for name, owed in channel.owed():
                oldest = entries.get(min(owed, default=0))
                age_s = max(now_s - oldest.at_s, 0.0) if oldest is not None else 0.0
                yield Owed(Whose(channel.namespace, channel.name, name), len(owed), age_s)

    def _attempted(self, delivery: Delivery, leg: Leg, outcome: Outcome, wait_s: float | None) -> None:
        self._journal.attempted(delivery, leg, outcome, wait_s)
        if self._noted is not None:
            self._noted(delivery, leg, outcome, wait_s)

    # The debug port's.

    def _dead_letters(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`GET /debug/dead-letters[?subscription=UID]`."""
        wanted = query.get("subscription", "")
        return {"dead_letters": self._journal.dead_letters(wanted)}

    def _redrive(self, query: Mapping[str, str]) -> dict[str, Any]:
        """`POST /debug/redrive?subscription=UID[&seq=N]`."""
        uid = query.get("subscription", "")
        if not uid:
            raise ValueError("subscription: expected the uid of a Subscription")
        seq = int(query["seq"]) if "seq" in query else None
        return {"redriven": sum(channel.redrive(uid, seq) for channel in self._served)}

    @property
    def _served(self) -> list[JournalChannel]:
        return [each for each in self._channels.served if isinstance(each, JournalChannel)]


def _count(text: str) -> int:
    value = parse_int(text, prefixes=True)
    if value < 1:
        raise ValueError("expected a number, 1 or more")
    return value
