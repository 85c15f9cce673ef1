"""NatsJetStreamChannels behind the dispatcher: `KNUV_CHANNELS=jetstream`.

    Receiver --> find (host) --> accept --> stream --acknowledged--> 202
    stream --> consumer of each subscription --> Subscriber --> subscriber, reply, dead letter

Every replica makes streams and consumers, and brings them up to date: what is there already is left as it is, so no
leader is needed. All replicas pull from the same consumers and share the work. A consumer that no subscription has any
more is removed after a look at the API itself: what another replica has made a moment ago has an entry there.

Source: spec eventing-channels.md 9; conformance statements 15, 61 to 65.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nats.js.api import ConsumerConfig, StreamConfig

from broker.channel.backend import Channel, Refusal
from broker.channel.deliveries import Deliveries
from broker.channel.hosts import Hosts, address_of
from broker.channel.jetstream_backlog import Backlogs
from broker.channel.jetstream_names import CONSUMER_PREFIX, channel_subject
from broker.channel.jetstream_process import JetStreamProcess
from broker.channel.jetstream_redrive import Redrives
from broker.channel.jetstream_settings import Place, consumer_config, place_of, stream_config
from broker.channel.jetstream_status import STREAM_READY, set_finalizer, told
from broker.channel.jetstream_subscriber import Subscriber, end_all
from broker.role import Context
from eventing.debugging import Debugging
from eventing.delivery import Subscription
from eventing.jetstream.streams import JetStreamError
from eventing.message import Message
from eventing.subscribers import subscription_of
from kube.errors import NotFound
from kube.informer import Informer
from kube.models.duck import AppliedPolicy, SubscriberStatus
from kube.models.messaging import NatsJetStreamChannel
from kube.models.messaging import Subscription as SubscriptionResource
from kube.reconcile import Loop

__all__ = ["FINALIZER", "JetStreamBackend"]

FINALIZER: Final = "jetstream-ch-dispatcher"

Key = tuple[str, str]

_UNKNOWN: Final = Refusal(404, "no channel is served under this host")
_NO_PATH: Final = Refusal(400, "expected the path /")
_NO_HOST: Final = Refusal(400, "expected a host such as channel.namespace")
_AGAIN_S: Final = 5.0


class JetStreamChannel:
    """One channel that accepts events."""

    __slots__ = ("_process", "name", "namespace", "subject", "subscribers")

    def __init__(self, process: JetStreamProcess, namespace: str, name: str) -> None:
        self._process = process
        self.namespace = namespace
        self.name = name
        self.subject = channel_subject(namespace, name)
        self.subscribers: dict[str, Subscriber] = {}
        """By the uid of the subscription."""

    def accept(self, message: Message, done: Callable[[int, str], None]) -> None:
        """202 when JetStream has the event. It is kept, too, when its sender leaves meanwhile."""
        self._process.publish(self.subject, message, done)


class JetStreamBackend:
    """All of them."""

    resource = "natsjetstreamchannel"

    def __init__(self, context: Context, environ: Mapping[str, str], debugging: Debugging) -> None:
        """Raises `ConfigError`."""
        config = context.config
        self._context = context
        self._log = context.log
        self._process = JetStreamProcess(context, environ)
        self._deliveries = Deliveries(context, debugging)
        self._filter_host = f"broker-filter.{config.system_namespace}.svc.{config.cluster_domain}"
        self._informer = Informer(context.client, NatsJetStreamChannel, log=context.log)
        self._subscriptions = Informer(context.client, SubscriptionResource, log=context.log)
        self._loop: Loop[Key] = Loop("jetstream", self._reconcile, log=context.log)
        self._channels: dict[Key, JetStreamChannel] = {}
        self._hosts: Hosts[JetStreamChannel] = Hosts()
        self._programmed: set[Key] = set()
        self._redrives = Redrives(
            self._process.letters, self._process.claims, self._subscriber, self._subscribers, debugging, context.log
        )
        self._backlogs = Backlogs(self._process.streams, self._deliveries, self._subscribers, context.log)

    async def start(self) -> None:
        """Learn of the channels; NATS is connected to when it can be."""
        self._informer.on_change(self._changed)
        self._subscriptions.on_change(self._subscription_changed)
        self._process.link.on_up(self._wake_all)
        self._loop.start()
        await self._process.start()
        self._redrives.start()
        await self._subscriptions.start()
        await self._informer.start()

    def find(self, host: bytes, path: bytes) -> Channel | Refusal:
        """Return the channel of a request (spec 5, 9.3)."""
        if path != b"/":
            return _NO_PATH
        name = host.lower().partition(b":")[0]
        if b"." not in name:
            return _NO_HOST
        return self._hosts.served.get(name, _UNKNOWN)

    def policies(self, channel: Channel) -> Sequence[AppliedPolicy]:
        """Return the EventPolicies of a channel."""
        found = self._informer.get(channel.namespace, channel.name)
        return found.status.policies if found is not None else ()

    def is_ready(self) -> bool | None:
        """Whether all that are ready for others have their stream and consumers here, and NATS answers."""
        if not self._process.link.is_up:
            return False
        return all(each.key in self._programmed for each in self._informer.list() if each.status.is_ready())

    async def stop(self) -> None:
        """Take no more, wait a little for what is under way, and leave the rest to others."""
        await self._informer.stop()
        await self._subscriptions.stop()
        await self._loop.stop()
        await self._redrives.stop()
        await self._backlogs.stop()
        await end_all(self._subscribers())
        await self._process.stop()

    # What informers and the link call.

    def _changed(self, old: NatsJetStreamChannel | None, new: NatsJetStreamChannel | None) -> None:
        if new is None:
            assert old is not None
            self._forget(old.key)
            return
        key = new.key
        if new.metadata.deletion_timestamp:
            self._hosts.forget(key)
        else:
            if key not in self._channels:
                self._channels[key] = JetStreamChannel(self._process, *key)
            host = address_of(new.status.address).hostname or ""
            self._hosts.set(key, host.encode(), self._channels[key])
        self._loop.add(key)

    def _subscription_changed(self, old: SubscriptionResource | None, new: SubscriptionResource | None) -> None:
        # Its annotations are not in the channel's entry.
        changed = new or old
        assert changed is not None
        key = (changed.namespace, changed.spec.channel.name)
        if key in self._channels:
            self._loop.add(key)

    def _wake_all(self) -> None:
        for channel in self._informer.list():
            self._loop.add(channel.key)

    def _subscribers(self) -> list[Subscriber]:
        return [each for channel in self._channels.values() for each in channel.subscribers.values()]

    def _subscriber(self, uid: str) -> Subscriber | None:
        found = (channel.subscribers.get(uid) for channel in self._channels.values())
        return next((each for each in found if each is not None), None)

    def _forget(self, key: Key) -> None:
        self._hosts.forget(key)
        self._programmed.discard(key)
        channel = self._channels.pop(key, None)
        if channel is not None:
            for subscriber in channel.subscribers.values():
                subscriber.stop()

    # What the loop calls.

    async def _reconcile(self, key: Key) -> float | None:
        channel = self._informer.get(*key)
        if channel is None:
            return None
        if channel.metadata.deletion_timestamp:
            return await self._remove(channel)
        found = await set_finalizer(self._context.client, channel, FINALIZER, present=True)
        if found is None:
            return None
        channel = found
        self._informer.apply_local(channel)
        problem, again_s = "", None
        states: list[SubscriberStatus] = []
        try:
            config = stream_config(channel)
            await self._process.letters.ensure()
            await self._process.streams.ensure_stream(config)
            states, again_s = await self._program(channel, config)
        except (JetStreamError, ValueError) as error:
            problem, again_s = str(error), _AGAIN_S
            states = [
                SubscriberStatus(uid=each.uid, observed_generation=each.generation, ready="False", message=problem)
                for each in channel.spec.subscribers
            ]
        written = await told(self._context.client, channel, STREAM_READY, problem, subscribers=states)
        if written is not None:
            self._informer.apply_local(written)
        if not problem:
            self._programmed.add(key)
        return again_s

    async def _program(
        self, channel: NatsJetStreamChannel, config: StreamConfig
    ) -> tuple[list[SubscriberStatus], float | None]:
        """Bring consumers and subscribers up to date; what is to be told of each, and when to look again."""
        assert config.name is not None
        served = self._channels[channel.key]
        states: list[SubscriberStatus] = []
        places: list[Place] = []
        again_s = None
        for entry in channel.spec.subscribers:
            problem = ""
            try:
                subscription = subscription_of(entry, self._filter_host)
                place = self._place(channel, entry.uid, entry.name or "", subscription)
                places.append(place)
                consumer = consumer_config(place, channel.spec.consumer_config_template)
                await self._ensure(channel.key, served, config.name, subscription, place, consumer)
            except (JetStreamError, ValueError) as error:
                problem, again_s = str(error), _AGAIN_S
            states.append(
                SubscriberStatus(
                    uid=entry.uid,
                    observed_generation=entry.generation,
                    ready="False" if problem else "True",
                    message=problem,
                )
            )
        uids = {entry.uid for entry in channel.spec.subscribers}
        for uid in [uid for uid in served.subscribers if uid not in uids]:
            served.subscribers.pop(uid).stop()
        # Without a place nobody knows which consumer is an entry's: it may be one that still owes events.
        if len(places) == len(channel.spec.subscribers):
            await self._remove_others(channel, config.name, {each.consumer for each in places})
        return states, again_s

    async def _ensure(
        self,
        key: Key,
        served: JetStreamChannel,
        stream: str,
        subscription: Subscription,
        place: Place,
        consumer: ConsumerConfig,
    ) -> None:
        await self._process.streams.ensure_consumer(stream, consumer)
        held = served.subscribers.get(subscription.uid)
        if held is not None and held.place.consumer == place.consumer:
            held.change(subscription, place)
            return
        if held is not None:
            held.stop()
        subscriber = served.subscribers[subscription.uid] = Subscriber(
            self._process.link,
            self._deliveries,
            self._process.budget,
            self._process.letters,
            namespace=served.namespace,
            name=served.name,
            stream=stream,
            subscription=subscription,
            place=place,
            missing=lambda: self._loop.add(key),
            now_s=self._context.clock,
            log=self._log,
        )
        subscriber.start()
        self._redrives.served()

    def _place(self, channel: NatsJetStreamChannel, uid: str, name: str, subscription: Subscription) -> Place:
        resource = self._subscriptions.get(channel.namespace, name) if name else None
        annotations = resource.metadata.annotations if resource is not None else {}
        return place_of(
            channel.namespace,
            name,
            uid,
            subscription.settings.timeout_s,
            annotations,
            channel.spec.consumer_config_template,
        )

    async def _remove_others(self, channel: NatsJetStreamChannel, stream: str, wanted: set[str]) -> None:
        """Remove consumers of subscriptions that are gone; those that are to be kept vanish by themselves."""
        found = await self._process.streams.consumers(stream)
        others = [each for each in found if each.name.startswith(CONSUMER_PREFIX) and each.name not in wanted]
        if not any(not each.is_kept for each in others):
            return
        try:
            current = await self._context.client.get(NatsJetStreamChannel, channel.name, channel.namespace)
        except NotFound:
            return
        if {each.uid for each in current.spec.subscribers} != {each.uid for each in channel.spec.subscribers}:
            return  # the next pass knows better
        for each in others:
            if not each.is_kept:
                await self._process.streams.remove_consumer(stream, each.name)

    async def _remove(self, channel: NatsJetStreamChannel) -> float | None:
        """The channel is being deleted: so are its stream and all events in it."""
        if FINALIZER not in channel.metadata.finalizers:
            return None
        served = self._channels.get(channel.key)
        if served is not None:
            for subscriber in served.subscribers.values():
                subscriber.stop()
            served.subscribers.clear()
        try:
            name = stream_config(channel).name
            assert name is not None
            await self._process.streams.remove_stream(name, of=channel_subject(channel.namespace, channel.name))
            await self._process.letters.forget(name)
        except JetStreamError as error:
            self._log.warning("stream_not_removed", channel="/".join(channel.key), error=str(error))
            return _AGAIN_S
        except ValueError as error:
            # A channel that never had a stream must not stay for ever.
            self._log.warning("stream_not_removed", channel="/".join(channel.key), error=str(error))
        await set_finalizer(self._context.client, channel, FINALIZER, present=False)
        return None
