"""The streams of Brokers of class JetStreamBroker, and publishing to them: the ingress's side.

A stream keeps an event until every Trigger's consumer is done with it (`Interest`), and refuses events when it is full,
so that none that was accepted is lost. Annotations of the Broker, read when its stream is made:

    jetstream.eventing.knuv.dev/replicas    copies of each event (1)
    jetstream.eventing.knuv.dev/max-bytes   room for events; no limit but the server's unless set
    jetstream.eventing.knuv.dev/max-age     ISO 8601 period after which an undelivered event is dropped; unset: never
"""

from collections.abc import Callable, Mapping
from typing import Final

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from broker.channel.jetstream_message import Deduplication
from broker.channel.jetstream_names import broker_stream, broker_subject
from broker.channel.jetstream_process import JetStreamProcess
from broker.channel.jetstream_settings import PREFIX
from broker.channel.jetstream_status import STREAM_READY, set_finalizer, told
from broker.role import Context
from eventing.jetstream.streams import JetStreamError
from eventing.message import Message
from eventing.periods import period_s
from kube.informer import Informer
from kube.models.eventing import Broker
from kube.reconcile import Loop

__all__ = ["FINALIZER", "BrokerChannel", "BrokerStreams", "broker_stream_config"]

FINALIZER: Final = "jetstream.eventing.knuv.dev"
_CLASS: Final = "JetStreamBroker"
_AGAIN_S: Final = 5.0

Key = tuple[str, str]


class BrokerChannel:
    """Where one Broker's events go."""

    __slots__ = ("_process", "name", "namespace", "subject")

    def __init__(self, process: JetStreamProcess, namespace: str, name: str) -> None:
        self._process = process
        self.namespace = namespace
        self.name = name
        self.subject = broker_subject(namespace, name)

    def accept(self, message: Message, done: Callable[[int, str], None]) -> None:
        """202 when the stream has the event. It is kept, too, when its sender leaves meanwhile."""
        self._process.publish(self.subject, message, done, how=Deduplication.SOURCE_AND_ID)


class BrokerStreams:
    """Those of one process."""

    def __init__(self, context: Context, environ: Mapping[str, str], brokers: Informer[Broker]) -> None:
        self._context = context
        self._brokers = brokers
        self._process = JetStreamProcess(context, environ)
        self._loop: Loop[Key] = Loop("broker-streams", self._reconcile, log=context.log)
        self.channels: dict[Key, BrokerChannel] = {}

    async def start(self) -> None:
        """Begin to connect."""
        self._process.link.on_up(self._wake_all)
        self._loop.start()
        await self._process.start()

    async def stop(self) -> None:
        """Fail what is not acknowledged, disconnect."""
        await self._loop.stop()
        await self._process.stop()

    def changed(self, old: Broker | None, new: Broker | None) -> None:
        """A Broker was, or is, of this class."""
        changed = new or old
        assert changed is not None
        key = changed.key
        if new is None or new.broker_class != _CLASS or new.metadata.deletion_timestamp:
            self.channels.pop(key, None)
        elif key not in self.channels:
            self.channels[key] = BrokerChannel(self._process, *key)
        self._loop.add(key)

    def _wake_all(self) -> None:
        for key in self.channels:
            self._loop.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        broker = self._brokers.get(*key)
        if broker is None or broker.broker_class != _CLASS:
            return None
        client = self._context.client
        if broker.metadata.deletion_timestamp:
            return await self._remove(broker)
        found = await set_finalizer(client, broker, FINALIZER, present=True)
        if found is None:
            return None
        self._brokers.apply_local(found)
        problem = ""
        try:
            await self._process.streams.ensure_stream(broker_stream_config(found))
        except (JetStreamError, ValueError) as error:
            problem = str(error)
        written = await told(client, found, STREAM_READY, problem)
        if written is not None:
            self._brokers.apply_local(written)
        return _AGAIN_S if problem else None

    async def _remove(self, broker: Broker) -> float | None:
        if FINALIZER not in broker.metadata.finalizers:
            return None
        key = broker.key
        try:
            await self._process.streams.remove_stream(broker_stream(*key), of=broker_subject(*key))
            await self._process.letters.forget(broker_stream(*key))
        except JetStreamError as error:
            self._context.log.warning("stream_not_removed", broker="/".join(key), error=str(error))
            return _AGAIN_S
        await set_finalizer(self._context.client, broker, FINALIZER, present=False)
        return None


def broker_stream_config(broker: Broker) -> StreamConfig:
    """Return the stream of a Broker. Raises `ValueError` that names the annotation."""
    annotations = broker.metadata.annotations
    max_age = annotations.get(f"{PREFIX}max-age", "")
    try:
        max_age_s = period_s(max_age) if max_age else None
    except ValueError as error:
        raise ValueError(f"{PREFIX}max-age: {error}") from error
    return StreamConfig(
        name=broker_stream(*broker.key),
        subjects=[broker_subject(*broker.key)],
        retention=RetentionPolicy.INTEREST,
        discard=DiscardPolicy.NEW,
        storage=StorageType.FILE,
        num_replicas=_number(annotations, "replicas"),
        max_bytes=_number(annotations, "max-bytes"),
        max_age=max_age_s,
    )


def _number(annotations: Mapping[str, str], name: str) -> int | None:
    text = annotations.get(PREFIX + name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:15]) > 0):
        raise ValueError(f"{PREFIX}{name}: expected a number above 0, got {text[:32]!r}")
    return int(text)
