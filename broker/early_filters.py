"""Which of a channel's subscriptions the filter would turn away, known before it is asked.

Behind a Broker each Trigger is a subscription whose destination is the filter, and of a thousand Triggers often one
wants an event. The other requests would be answered 200 with nothing, which is success: here they are not made. What is
in doubt is always sent: a Trigger that is not known or has another uid, an event without passages, while OIDC is on.

Off unless `KNUV_EARLY_FILTERS=1`: the original's dispatcher may not list Triggers. They are grouped by the type that
each demands, so that an event costs what those of its type cost.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from broker.paths import Leg, trigger_of
from broker.role import Context
from broker.triggers import Subscriber, Triggers
from broker.ttl import TTL, ttl_of
from eventing.delivery import Subscription
from eventing.event_journal import EventJournal
from eventing.message import Message
from eventing.values import Value, to_text
from proxies.environment import Environment

__all__ = ["EarlyFilters", "Selection", "is_enabled"]

_ENABLED: Final = "KNUV_EARLY_FILTERS"
_NOTES_MAX: Final = 20
"""Triggers of one event that did not want it and are noted by name: a thousand would push everything else out."""


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Whether the environment asks for them. Raises `ConfigError`."""
    reading = Environment(environ)
    enabled = reading.boolean(_ENABLED, False)
    reading.finish()
    return enabled


class EarlyFilters:
    """Follows the Triggers for one dispatcher."""

    def __init__(self, context: Context, triggers: Triggers, journal: EventJournal | None = None) -> None:
        """Before `triggers` starts. `journal` hears which Triggers do not want an event."""
        self.journal = journal
        self._context = context
        self._triggers = triggers
        triggers.informer.on_change(lambda old, new: self._changed())
        self.version = 0
        """Grows with each change of a Trigger."""

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], context: Context, journal: EventJournal | None = None
    ) -> "EarlyFilters | None":
        """Return them if the environment asks for them. Raises `ConfigError`."""
        return cls(context, Triggers(context.client, context.log), journal) if is_enabled(environ) else None

    async def start(self) -> None:
        """Return when all Triggers are known."""
        await self._triggers.start()

    async def stop(self) -> None:
        """Follow nothing any more."""
        await self._triggers.stop()

    @property
    def is_in_doubt(self) -> bool:
        """The filter has to see every event: it also checks who sends it."""
        return self._context.features.is_oidc_on

    def subscriber_of(self, subscription: Subscription) -> Subscriber | None:
        """Return the Trigger behind a subscription, if it is one and filters anything."""
        destination = subscription.destination
        if destination is None or not subscription.unwraps_errors:
            return None
        path = trigger_of(urlsplit(destination.url).path.encode())
        if path is None or path.leg is not Leg.SUBSCRIBER:
            return None
        subscriber = self._triggers.subscribers.get((path.namespace, path.name))
        # Without a subscriber's address the answer is 404, whatever the filters say.
        if subscriber is None or subscriber.uid != path.uid or not subscriber.recipient.url:
            return None
        return subscriber if subscriber.matches is not None else None

    def _changed(self) -> None:
        self.version += 1


class Selection:
    """The subscriptions of one channel, by what their Triggers demand."""

    __slots__ = ("_always", "_by_type", "_early", "_subscriptions", "_version")

    def __init__(self, early: EarlyFilters) -> None:
        self._early = early
        self._subscriptions: Sequence[Subscription] = ()
        self._version = -1
        self._always: list[tuple[Subscription, Subscriber | None]] = []
        """Those that do not demand a type; without a Subscriber: that get everything."""
        self._by_type: dict[str, list[tuple[Subscription, Subscriber]]] = {}

    def wanted(self, subscriptions: Sequence[Subscription], message: Message) -> Sequence[Subscription]:
        """Return those of a channel's subscriptions that an event is to be delivered to.

        They are sorted anew when they are others than the last time: keep one object until they change.
        """
        early, attributes = self._early, message.attributes
        if early.is_in_doubt or ttl_of(attributes.get(TTL)) is None:
            return subscriptions
        if self._version != early.version or self._subscriptions is not subscriptions:
            self._sort(subscriptions)
        # As the filter sees it: in binary mode, and without its passages.
        seen: dict[str, Value] = {name: to_text(value) for name, value in attributes.items() if name != TTL}
        found = [
            subscription
            for subscription, subscriber in self._always
            if subscriber is None or subscriber.matches is None or subscriber.matches(seen)
        ]
        found += [
            subscription
            for subscription, subscriber in self._by_type.get(str(seen.get("type", "")), ())
            if subscriber.matches is None or subscriber.matches(seen)
        ]
        if early.journal is not None and len(found) < len(subscriptions):
            self._note(early.journal, message, {each.uid for each in found})
        return found

    def _note(self, journal: EventJournal, message: Message, wanted: Container[str]) -> None:
        """Say who did not want an event, as the filter does."""
        others = [each for each in self._subscriptions if each.uid not in wanted]
        for subscription in others[:_NOTES_MAX]:
            subscriber = self._early.subscriber_of(subscription)
            if subscriber is not None:
                journal.note(message.attributes, "filtered", trigger=subscriber.trigger)
        if len(others) > _NOTES_MAX:
            journal.note(message.attributes, "filtered", trigger=f"{len(others) - _NOTES_MAX} more")

    def _sort(self, subscriptions: Sequence[Subscription]) -> None:
        self._subscriptions = subscriptions
        self._version = self._early.version
        self._always = []
        self._by_type = {}
        for subscription in subscriptions:
            subscriber = self._early.subscriber_of(subscription)
            if subscriber is None or subscriber.wanted_type is None:
                self._always.append((subscription, subscriber))
            else:
                self._by_type.setdefault(subscriber.wanted_type, []).append((subscription, subscriber))
