"""Triggers of Brokers of class JetStreamBroker: each has a consumer of its Broker's stream. The filter's side.

What is taken for a Trigger goes the way of every channel's delivery (`jetstream_subscriber`), but the first leg is the
filter's own, without HTTP in between, and a reply is published to the stream at once (`jetstream_direct`).

A Trigger gets the events from when its consumer was made, once it is known to whom they go. One that resumes goes on
where the last of its name was.
"""

from collections.abc import Mapping
from typing import Final

from nats.js.api import DeliverPolicy

from broker.channel.deliveries import Deliveries
from broker.channel.jetstream_backlog import Backlogs
from broker.channel.jetstream_broker import BrokerChannel, broker_stream_config
from broker.channel.jetstream_direct import DirectSends, ReplyTo, SubscriberOf
from broker.channel.jetstream_names import CONSUMER_PREFIX, broker_stream
from broker.channel.jetstream_process import JetStreamProcess
from broker.channel.jetstream_redrive import Redrives
from broker.channel.jetstream_settings import consumer_config, place_of
from broker.channel.jetstream_status import CONSUMER_READY, told
from broker.channel.jetstream_subscriber import Subscriber, end_all
from broker.role import Context
from broker.subscribing import Subscribing
from broker.triggers import Triggers
from eventing.debugging import Debugging
from eventing.delivery import Recipient, Subscription
from eventing.jetstream.streams import JetStreamError
from eventing.subscribers import settings_of
from kube.informer import Informer
from kube.models.eventing import Broker, Trigger
from kube.reconcile import Loop

__all__ = ["TriggerConsumers"]

_CLASS: Final = "JetStreamBroker"
_AGAIN_S: Final = 5.0

Key = tuple[str, str]


class TriggerConsumers:
    """Those of one process; replicas pull from the same consumers and share the work."""

    def __init__(
        self,
        context: Context,
        environ: Mapping[str, str],
        subscribing: Subscribing,
        compiled: Triggers,
        debugging: Debugging,
        *,
        brokers: Informer[Broker],
        triggers: Informer[Trigger],
    ) -> None:
        self._context = context
        self._brokers = brokers
        self._triggers = triggers
        self._process = JetStreamProcess(context, environ)
        self._deliveries = Deliveries(context, debugging)
        courier = self._deliveries.courier
        self._direct = DirectSends(courier.sends, context, subscribing, compiled, environ)
        courier.sends = self._direct
        self._loop: Loop[Key] = Loop("triggers", self._reconcile, log=context.log)
        self._cleaning: Loop[Key] = Loop("trigger-consumers", self._clean, log=context.log)
        self._subscribers: dict[Key, tuple[str, Subscriber]] = {}
        """By Trigger: its uid, and who works for it."""
        self._redrives = Redrives(
            self._process.letters, self._process.claims, self._subscriber, self._taking, debugging, context.log
        )
        self._backlogs = Backlogs(self._process.streams, self._deliveries, self._taking, context.log)

    async def start(self) -> None:
        """Begin to connect."""
        self._process.link.on_up(self._wake_all)
        self._loop.start()
        self._cleaning.start()
        await self._process.start()
        self._redrives.start()

    async def stop(self) -> None:
        """Take no more, leave what is under way to others."""
        await self._loop.stop()
        await self._cleaning.stop()
        await self._redrives.stop()
        await self._backlogs.stop()
        await end_all(self._taking())
        await self._process.stop()

    def trigger_changed(self, key: Key) -> None:
        """It exists, has changed, or is gone."""
        self._loop.add(key)

    def broker_changed(self, key: Key) -> None:
        """It exists, has changed, or is gone."""
        for trigger in self._triggers.list():
            if trigger.broker_key == key:
                self._loop.add(trigger.key)
        self._cleaning.add(key)

    def _wake_all(self) -> None:
        for broker in self._brokers.list():
            if broker.broker_class == _CLASS:
                self.broker_changed(broker.key)

    # What the loops call.

    async def _reconcile(self, key: Key) -> float | None:
        trigger = self._triggers.get(*key)
        broker = self._brokers.get(*trigger.broker_key) if trigger is not None else None
        is_ours = broker is not None and broker.broker_class == _CLASS and not broker.metadata.deletion_timestamp
        if trigger is None or broker is None or not is_ours or trigger.metadata.deletion_timestamp:
            if self._stop(key):
                # After a look at all that is there: another replica may have been faster, in either direction.
                for each in self._brokers.list():
                    if each.broker_class == _CLASS:
                        self._cleaning.add(each.key)
            return None
        problem = ""
        try:
            await self._program(trigger, broker)
        except (JetStreamError, ValueError) as error:
            problem = str(error)
        written = await told(self._context.client, trigger, CONSUMER_READY, problem)
        if written is not None:
            self._triggers.apply_local(written)
        return _AGAIN_S if problem else None

    async def _program(self, trigger: Trigger, broker: Broker) -> None:
        subscription = self._subscription_of(trigger, broker)
        uid = trigger.metadata.uid
        place = place_of(
            trigger.namespace,
            trigger.name,
            uid,
            subscription.settings.timeout_s,
            trigger.metadata.annotations,
        )
        stream = broker_stream(*broker.key)
        await self._process.letters.ensure()
        await self._process.streams.ensure_stream(broker_stream_config(broker))
        await self._process.streams.ensure_consumer(stream, consumer_config(place, start=DeliverPolicy.NEW))
        held = self._subscribers.get(trigger.key)
        if not trigger.status.subscriber_uri:
            # Its events are kept until it is known to whom they go.
            self._stop(trigger.key)
            return
        if held is not None:
            if held[0] == uid and held[1].place.consumer == place.consumer:
                held[1].change(subscription, place)
                return
            held[1].stop()
        key = trigger.key
        subscriber = Subscriber(
            self._process.link,
            self._deliveries,
            self._process.budget,
            self._process.letters,
            namespace=trigger.namespace,
            name=broker.name,
            stream=stream,
            subscription=subscription,
            place=place,
            missing=lambda: self._loop.add(key),
            now_s=self._context.clock,
            log=self._context.log,
            addressed=self._direct.addressed,
        )
        self._subscribers[key] = uid, subscriber
        subscriber.start()
        self._redrives.served()

    def _taking(self) -> list[Subscriber]:
        return [subscriber for _, subscriber in self._subscribers.values()]

    def _subscriber(self, uid: str) -> Subscriber | None:
        return next((subscriber for of, subscriber in self._subscribers.values() if of == uid), None)

    def _stop(self, key: Key) -> bool:
        """Take nothing more for a Trigger; whether anything was."""
        held = self._subscribers.pop(key, None)
        if held is not None:
            held[1].stop()
        return held is not None

    def _subscription_of(self, trigger: Trigger, broker: Broker) -> Subscription:
        """Return the Trigger as a subscription of its Broker's stream. Raises `ValueError` for a wrong `delivery`."""
        status = trigger.status
        delivery = trigger.spec.delivery if trigger.spec.delivery is not None else broker.spec.delivery
        sink_uri, sink_ca, sink_audience = (
            (status.dead_letter_sink_uri, status.dead_letter_sink_ca_certs, status.dead_letter_sink_audience)
            if status.dead_letter_sink_uri
            else (
                broker.status.dead_letter_sink_uri,
                broker.status.dead_letter_sink_ca_certs,
                broker.status.dead_letter_sink_audience,
            )
        )
        return Subscription(
            uid=trigger.metadata.uid,
            name=trigger.name,
            destination=SubscriberOf(status.subscriber_uri or "", trigger=trigger.key),
            reply=ReplyTo(f"jetstream:{'/'.join(broker.key)}", channel=BrokerChannel(self._process, *broker.key)),
            dead_letter=Recipient.of(sink_uri, sink_ca, sink_audience),
            settings=settings_of(delivery),
            service_account=(status.auth.service_account_name or "") if status.auth is not None else "",
        )

    async def _clean(self, key: Key) -> float | None:
        """Remove a stream's consumers whose Trigger is gone; those that are to be kept vanish by themselves."""
        broker = self._brokers.get(*key)
        if broker is None or broker.broker_class != _CLASS or broker.metadata.deletion_timestamp:
            return None
        streams, stream = self._process.streams, broker_stream(*key)
        try:
            found = [each for each in await streams.consumers(stream) if each.name.startswith(CONSUMER_PREFIX)]
            if not found:
                return None
            # Asked for now, behind the list of consumers: a consumer is made after its Trigger.
            triggers = (await self._context.client.list(Trigger)).items
            wanted = {
                place_of(each.namespace, each.name, each.metadata.uid, None, each.metadata.annotations).consumer
                for each in triggers
                if each.broker_key == key
            }
            for each in found:
                if each.name not in wanted and not each.is_kept:
                    await streams.remove_consumer(stream, each.name)
        except JetStreamError as error:
            self._context.log.warning("consumers_not_removed", broker="/".join(key), error=str(error))
            return _AGAIN_S
        except ValueError:
            return None  # an annotation is wrong, of which its Trigger's status tells: nothing is removed meanwhile
        return None
