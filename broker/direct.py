"""Brokers of class `JetStreamBroker`: the ingress publishes to a stream, the filter takes from it. No channel between.

    producer --> ingress --> stream KNB_<NS>__<NAME> --> filter: consumer of each Trigger --> subscriber
                    ^                  ^--- reply ----------------------------------------------'
                    +--- 202 when the stream has the event

Nothing of NATS is imported, and nothing connects, before there is such a Broker.

Source: knative-extensions/eventing-natss `docs/broker.md` has the idea; the contract outside is that of every Broker.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from broker.channel.backend import Channel
from broker.role import Context
from broker.subscribing import Subscribing
from broker.triggers import Triggers
from eventing.debugging import Debugging
from kube.informer import Informer
from kube.models.eventing import Broker, Trigger

if TYPE_CHECKING:
    from broker.channel.jetstream_broker import BrokerStreams
    from broker.channel.jetstream_triggers import TriggerConsumers

__all__ = ["JETSTREAM_BROKER", "DirectBrokers", "DirectTriggers", "check_settings"]

JETSTREAM_BROKER: Final = "JetStreamBroker"
_SETTINGS: Final = "KNUV_JETSTREAM_"


def check_settings(environ: Mapping[str, str]) -> None:
    """Look at the settings of what is begun with the first such Broker, when it is too late. Raises `ConfigError`."""
    if any(name.startswith(_SETTINGS) for name in environ):
        from broker.channel.jetstream_process import settings_of

        settings_of(environ)


class DirectBrokers:
    """The ingress's side."""

    def __init__(self, context: Context, environ: Mapping[str, str], brokers: Informer[Broker]) -> None:
        """`brokers` is the ingress's own, not started yet: what it learns is heard here, too."""
        self._context = context
        self._environ = environ
        self._brokers = brokers
        self._streams: BrokerStreams | None = None
        self._starting: asyncio.Task[None] | None = None
        brokers.on_change(self._changed)

    def find(self, namespace: str, name: str) -> Channel | None:
        """Return what takes a Broker's events; None: it is of another class, or does not exist."""
        return None if self._streams is None else self._streams.channels.get((namespace, name))

    async def stop(self) -> None:
        """End what is under way; `brokers` has been stopped."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self._streams is not None:
            await self._streams.stop()

    def _changed(self, old: Broker | None, new: Broker | None) -> None:
        if not any(each is not None and each.broker_class == JETSTREAM_BROKER for each in (old, new)):
            return
        if self._streams is None:
            from broker.channel.jetstream_broker import BrokerStreams

            self._streams = BrokerStreams(self._context, self._environ, self._brokers)
            self._starting = self._context.loop.create_task(self._streams.start())
        self._streams.changed(old, new)


class DirectTriggers:
    """The filter's side."""

    def __init__(
        self,
        context: Context,
        environ: Mapping[str, str],
        subscribing: Subscribing,
        triggers: Triggers,
        debugging: Debugging,
        *,
        brokers: Informer[Broker],
    ) -> None:
        """`triggers` and `brokers` are the filter's own, not started yet: what they learn is heard here, too."""
        self._context = context
        self._environ = environ
        self._subscribing = subscribing
        self._compiled = triggers
        self._debugging = debugging
        self._brokers = brokers
        self._triggers = triggers.informer
        self._consumers: TriggerConsumers | None = None
        self._starting: asyncio.Task[None] | None = None
        brokers.on_change(self._broker_changed)
        self._triggers.on_change(self._trigger_changed)

    async def stop(self) -> None:
        """Leave what is under way to others; `triggers` and `brokers` have been stopped."""
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self._consumers is not None:
            await self._consumers.stop()

    def _broker_changed(self, old: Broker | None, new: Broker | None) -> None:
        if not any(each is not None and each.broker_class == JETSTREAM_BROKER for each in (old, new)):
            return
        if self._consumers is None:
            from broker.channel.jetstream_triggers import TriggerConsumers

            self._consumers = TriggerConsumers(
                self._context,
                self._environ,
                self._subscribing,
                self._compiled,
                self._debugging,
                brokers=self._brokers,
                triggers=self._triggers,
            )
            self._starting = self._context.loop.create_task(self._consumers.start())
        changed = new or old
        assert changed is not None
        self._consumers.broker_changed(changed.key)

    def _trigger_changed(self, old: Trigger | None, new: Trigger | None) -> None:
        if self._consumers is not None:
            changed = new or old
            assert changed is not None
            self._consumers.trigger_changed(changed.key)
