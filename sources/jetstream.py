"""`python -m sources jetstream`: the events of one JetStreamSource, the messages of a stream of NATS.

    stream --> durable pull consumer --> event --> sink --taken--> ack
                                                       \\--not taken, may be later--> again after a while
                                                       \\--refused for good, or no event--> ended, and logged

A message that is an event (structured, or with the headers of CloudEvents' binding to NATS) is sent as it is. Any other
becomes the data of one, whose id is the message's place in the stream: delivered twice, it is the same event twice.
Several processes may run: they share the messages of the consumer. The stream has to exist.

Settings come in `K_SOURCE_CONFIG`, JSON with the fields of the source's `spec`: `stream`, `subject`, `consumer`,
`deliverPolicy` (All, Last, New), `ackWait`, `maxAckPending`, `eventType`, `contentType`, `url`.

Source: NATS JetStream; CloudEvents 1.0, NATS protocol binding; spec eventing-sources.md 1.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from eventing.event import STRUCTURED, Event, EventError, event_from
from eventing.jetstream.link import Link
from eventing.jetstream.loading import load_settings
from eventing.jetstream.pull import ByteBudget, Delivered, Pull
from eventing.jetstream.settings import NatsSettings
from eventing.jetstream.streams import JetStreamError, Streams
from eventing.retries import is_retried
from proxies.environment import Environment
from proxies.gotext import parse_duration_s
from proxies.logs import Logger
from sources.adapter import Target
from sources.app import Shell
from sources.config import AdapterConfig, json_object, read_target

__all__ = ["App", "JetStreamConfig", "event_of"]

COMPONENT: Final = "jetstreamsource"
DEFAULT_TYPE: Final = "dev.knuv.jetstream.message"
_DELIVER: Final = {
    "": DeliverPolicy.ALL,
    "All": DeliverPolicy.ALL,
    "Last": DeliverPolicy.LAST,
    "New": DeliverPolicy.NEW,
}
_ACK_WAIT_S: Final = 10.0
_AT_ONCE: Final = 32
_AT_ONCE_MAX: Final = 256
_BYTES_MAX: Final = 64 << 20
_AGAIN_S: Final = 10.0
_RETRY_S: Final = 1.0
_STOP_S: Final = 3.0
_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class JetStreamConfig:
    """Read once, from the environment."""

    adapter: AdapterConfig
    target: Target
    stream: str
    subject: str
    """Only messages under it, with the wildcards of NATS; empty: all of the stream."""
    consumer: str
    """Durable; its place in the stream is kept while no process runs."""
    deliver_policy: DeliverPolicy
    ack_wait_s: float
    at_once: int
    """Messages under way."""
    event_type: str
    content_type: str
    """Of messages that are no events and do not say; empty: `application/octet-stream`."""
    url: str
    """Of NATS; empty: what ConfigMap `config-nats` of the system namespace says."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "JetStreamConfig":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        content: dict[str, Any] = reading.parsed("K_SOURCE_CONFIG", _checked, None, {})
        target = read_target(reading, environ)
        named = _NAME.sub("_", f"KN_SOURCE_{target.namespace}__{target.name}").upper()
        config = cls(
            adapter=AdapterConfig.read(reading, environ),
            target=target,
            stream=content.get("stream", ""),
            subject=content.get("subject", ""),
            consumer=content.get("consumer") or named,
            deliver_policy=_DELIVER[content.get("deliverPolicy", "")],
            ack_wait_s=parse_duration_s(content["ackWait"]) if content.get("ackWait") else _ACK_WAIT_S,
            at_once=min(content.get("maxAckPending") or _AT_ONCE, _AT_ONCE_MAX),
            event_type=content.get("eventType") or DEFAULT_TYPE,
            content_type=content.get("contentType", ""),
            url=content.get("url", ""),
        )
        reading.finish()
        return config


class App:
    """The adapter of one JetStreamSource."""

    def __init__(self, config: JetStreamConfig, log: Logger | None = None) -> None:
        self._config = config
        self._shell = Shell(config.adapter, COMPONENT, log)
        self._link = Link(self._load, name=f"{COMPONENT} {config.target.path}", log=self._shell.log)
        self._streams = Streams(self._link)
        self._pull: Pull | None = None
        self._ensuring: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where probes are answered."""
        return self._shell.port

    async def start(self) -> None:
        """Connect, now or when NATS is there, and take messages."""
        await self._shell.start()
        self._link.on_up(self._wanted.set)
        await self._link.start()
        self._ensuring = asyncio.get_running_loop().create_task(self._ensure(), name="consumer")
        self._shell.ready()

    async def drain(self) -> None:
        """Take no more, wait a little for what is being sent."""
        await self._shell.drain()
        if self._pull is not None:
            self._pull.stop()
        if self._sending:
            await asyncio.wait(self._sending, timeout=_STOP_S)

    async def stop(self) -> None:
        """End everything, in any state. What was not settled is delivered again."""
        for task in (*self._sending, *([self._ensuring] if self._ensuring is not None else [])):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
        if self._ensuring is not None:
            await asyncio.wait([self._ensuring])
        await self._link.stop()
        await self._shell.stop()

    async def _load(self) -> NatsSettings:
        if self._config.url:
            # Another NATS than the cluster's is not shown the cluster's credentials.
            return NatsSettings(servers=(self._config.url,))
        return await load_settings(self._shell.client, self._config.adapter.system_namespace)

    async def _ensure(self) -> None:
        """Make the consumer whenever it may be missing, and pull from it."""
        config, told = self._config, ""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._streams.ensure_consumer(config.stream, _consumer_of(config))
            except JetStreamError as error:
                if str(error) != told:
                    self._shell.log.warning("stream_unavailable", source=config.target.path, error=str(error))
                told = str(error)
                await asyncio.sleep(_RETRY_S)
                self._wanted.set()
                continue
            told = ""
            if self._pull is None:
                self._pull = Pull(
                    self._link,
                    config.stream,
                    config.consumer,
                    self._take,
                    credit=config.at_once,
                    ack_wait_s=config.ack_wait_s,
                    budget=ByteBudget(_BYTES_MAX),
                    now_s=asyncio.get_running_loop().time,
                    missing=self._wanted.set,
                )

    def _take(self, message: Delivered) -> None:
        try:
            event = event_of(message, self._config)
        except EventError as error:
            self._shell.log.warning("message_is_no_event", sequence=message.sequence, problem=str(error))
            message.term()
            return
        task = asyncio.get_running_loop().create_task(self._send(message, event))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, message: Delivered, event: Event) -> None:
        outcome = await self._shell.adapter.deliver(self._config.target, event)
        if outcome.is_delivered:
            message.ack()
        elif is_retried(outcome.status):
            message.nak(_AGAIN_S)
        else:
            message.term()  # refused as it is; the adapter has logged it


def event_of(message: Delivered, config: JetStreamConfig) -> Event:
    """Return the event that a message is, or whose data it is. Raises `EventError` for a wrong event."""
    fields = [(name.lower().encode(), value.encode()) for name, value in message.headers.items()]
    given = dict(fields)
    if b"ce-specversion" in given or given.get(b"content-type", b"").lower().startswith(STRUCTURED.encode()):
        return event_from(fields, message.data)
    try:
        # Structured, without a header that says so: what channels and Brokers of JetStream write.
        return event_from([(b"content-type", STRUCTURED.encode())], message.data)
    except EventError:
        seconds = int(message.stored_at) / 1e9
        kind = given.get(b"content-type", b"").decode()
        if not kind.isprintable() or not kind:
            kind = config.content_type or "application/octet-stream"
        return Event(
            {
                "specversion": "1.0",
                "id": f"{config.stream}-{message.stored_at}-{message.sequence}",
                "source": f"/apis/v1/namespaces/{config.target.namespace}/jetstreamsources/{config.target.name}",
                "type": config.event_type,
                # Whoever may publish may choose one that no attribute can be.
                "subject": message.subject if message.subject.isprintable() else quote(message.subject),
                "time": datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z"),
                "datacontenttype": kind,
            },
            message.data or None,
        )


def _consumer_of(config: JetStreamConfig) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=config.consumer,
        deliver_policy=config.deliver_policy,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=config.ack_wait_s,
        filter_subject=config.subject or None,
        max_ack_pending=max(config.at_once, 1) * 4,
    )


def _checked(text: str) -> dict[str, Any]:
    """Return the settings. Raises `ValueError` that names the field that is wrong."""
    content = json_object(text)
    for name, value in content.items():
        if not isinstance(value, int if name == "maxAckPending" else str) or isinstance(value, bool):
            raise ValueError(f"{name}: expected {'a number' if name == 'maxAckPending' else 'text'}")
    if not content.get("stream"):
        raise ValueError("stream: expected the name of a stream")
    if content.get("deliverPolicy", "") not in _DELIVER:
        raise ValueError("deliverPolicy: expected All, Last or New")
    if content.get("maxAckPending", 0) < 0:
        raise ValueError("maxAckPending: expected a number above 0")
    if content.get("ackWait") and parse_duration_s(content["ackWait"]) <= 0:
        raise ValueError("ackWait: expected a duration above 0")
    return content
