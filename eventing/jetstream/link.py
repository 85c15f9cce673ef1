"""One connection to NATS for a whole process: everything that is sent, in order, and one inbox for every answer.

Theory of operation. One task connects, stays until the connection is lost, waits a little, connects anew, for ever;
each time with settings that are read anew, so that changed credentials need no restart. The client library's own
reconnection is off: it sends again what it had buffered, and what is to be sent again here is decided by whoever sent
it. Users are told `up` and `down`, both on the loop.

What is to be sent is queued and handed to the library by one writer task, so that nobody needs a coroutine to send.
While there is no connection only what was sent with `keep` stays queued: an acknowledgement holds whenever it comes, a
pull or a publish is made again by its owner.

Answers come to inboxes, each a subscription of its own: when one is closed, the server knows that nobody waits for what
was asked for, and keeps it for others.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext

from eventing.jetstream.settings import NatsSettings, NatsSettingsError
from kube.errors import ApiError, ApiUnreachable
from proxies.logs import Logger

__all__ = ["Inbox", "Link", "NotConnected"]

_CONNECT_TIMEOUT_S: Final = 5
_PING_S: Final = 10
"""Two that are not answered end a connection whose peer has vanished without a word."""
_TICK_S: Final = 0.25
_RETRY_MAX_S: Final = 5.0
_HANDSHAKE_S: Final = 15.0
_CLOSE_S: Final = 2.0


_Act: TypeAlias = Callable[[Client], Awaitable[None]]


class NotConnected(Exception):
    """There is no connection to NATS now."""


class _Client(Client):
    """The library's, which ends its reading for good at what is not UTF-8, or no block of headers.

    Whoever may publish may write both, and JetStream delivers it again to whoever has it for the first time.
    """

    def _build_message(self, sid: int, subject: bytes, *rest: Any) -> Msg:
        message: Msg = super()._build_message(sid, subject.decode("utf-8", "replace").encode(), *rest)
        return message

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):
            return None


class _Out(NamedTuple):
    subject: str
    payload: bytes
    reply: str
    headers: dict[str, str] | None
    keep: bool


class Link:
    """The connection. `load` reads the settings; register users, then `start`."""

    def __init__(self, load: Callable[[], Awaitable[NatsSettings]], *, name: str, log: Logger) -> None:
        self._load = load
        self._name = name
        self._log = log
        self._client: Client | None = None
        self._context: JetStreamContext | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue: deque[_Out | _Act] = deque()
        self._wake = asyncio.Event()
        self._up = asyncio.Event()
        self._inboxes: dict[Inbox, None] = {}
        self._count = 0
        self._on_up: list[Callable[[], None]] = []
        self._on_down: list[Callable[[], None]] = []
        self._on_tick: list[Callable[[float], None]] = []
        self._discovered: tuple[str, ...] = ()
        self.prefix = ""
        """Of every inbox, as long as this connection holds."""
        self._problem = ""

    @property
    def is_up(self) -> bool:
        """Whether there is a connection now."""
        return self._up.is_set()

    @property
    def problem(self) -> str:
        """Why there is no connection; empty while there is one."""
        return "" if self.is_up else (self._problem or "not connected to NATS yet")

    @property
    def payload_bytes_max(self) -> int:
        """The largest message, headers included, that the server takes; 1 MiB as long as it has not said."""
        return self._client.max_payload if self._client is not None else 1 << 20

    @property
    def jetstream(self) -> JetStreamContext:
        """The library's interface to streams and consumers. Raises `NotConnected`."""
        if self._context is None:
            raise NotConnected(self.problem)
        return self._context

    # Set-up.

    def on_up(self, callback: Callable[[], None]) -> None:
        """Call it at each connection, and at once if there is one."""
        self._on_up.append(callback)
        if self.is_up:
            callback()

    def on_down(self, callback: Callable[[], None]) -> None:
        """Call it when a connection was lost."""
        self._on_down.append(callback)

    def on_tick(self, callback: Callable[[float], None]) -> None:
        """Call it with the loop's time, four times a second."""
        self._on_tick.append(callback)

    def forget(self, callback: Callable[..., None]) -> None:
        """Call it no more; nothing if it was not registered."""
        callbacks: tuple[list[Callable[..., None]], ...] = (self._on_up, self._on_down, self._on_tick)
        for listed in callbacks:
            if callback in listed:
                listed.remove(callback)

    def open_inbox(self, handler: Callable[[Msg], None]) -> "Inbox":
        """Return an inbox; `handler` gets what comes to it."""
        self._count += 1
        inbox = Inbox(self, self._count, handler)
        self._inboxes[inbox] = None
        if self.is_up:
            self._do(inbox.subscribe)
        return inbox

    def close_inbox(self, inbox: "Inbox") -> None:
        """Nobody listens there any more."""
        if self._inboxes.pop(inbox, inbox) is None and self.is_up:
            self._do(inbox.unsubscribe)

    # Life.

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(), name="nats link")
        self._tick()

    async def wait_up(self) -> None:
        """Return when there is a connection."""
        await self._up.wait()

    async def stop(self) -> None:
        """Send what is queued and disconnect."""
        if self._timer is not None:
            self._timer.cancel()
        if self._client is not None and self.is_up:
            await self._flush()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    async def _flush(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                while self._queue and self._client is not None:
                    await self._send(self._client, self._queue.popleft())
                if self._client is not None:
                    await self._client.flush()
        except (TimeoutError, nats.errors.Error, OSError) as error:
            self._log.warning("nats_not_flushed", error=str(error))

    # Sending.

    def send(
        self,
        subject: str,
        payload: bytes,
        *,
        reply: str = "",
        headers: dict[str, str] | None = None,
        keep: bool = False,
    ) -> None:
        """Queue a message. `keep`: also over a connection that is lost meanwhile."""
        if self.is_up or keep:
            self._queue.append(_Out(subject, payload, reply, headers, keep))
            self._wake.set()

    def _do(self, act: "_Act") -> None:
        """Queue something to be done with this connection, behind what was sent before."""
        self._queue.append(act)
        self._wake.set()

    async def _write(self, client: Client) -> None:
        """Hand what is queued to the library, as long as this connection lasts."""
        queue = self._queue
        while True:
            await self._wake.wait()
            self._wake.clear()
            while queue:
                out = queue.popleft()
                try:
                    await self._send(client, out)
                except nats.errors.ConnectionClosedError:
                    if isinstance(out, _Out) and out.keep:
                        queue.appendleft(out)
                    return
                except (nats.errors.Error, ValueError) as error:
                    # One message that cannot be sent must not stop the others; its owner hears of it by its timeout.
                    subject = out.subject if isinstance(out, _Out) else "inbox"
                    self._log.error("nats_message_refused", subject=subject, error=str(error))

    async def _send(self, client: Client, out: "_Out | _Act") -> None:
        if not isinstance(out, _Out):
            await out(client)
            return
        await client.publish(out.subject, out.payload, reply=out.reply, headers=out.headers)

    # The connection.

    async def _run(self) -> None:
        wait_s = 0.0
        while True:
            reconnect_wait_s = 1.0
            try:
                settings = await self._load()
                reconnect_wait_s = settings.reconnect_wait_s
                await self._connected(settings)
                wait_s = 0.0
            except (nats.errors.Error, NatsSettingsError, ApiError, ApiUnreachable, OSError, ValueError) as error:
                problem = str(error) or type(error).__name__
                if problem != self._problem:
                    self._log.warning("nats_unreachable", error=problem)
                self._problem = problem
            except Exception as error:  # noqa: BLE001 - a bug: without a connection the process would be of no use
                self._log.exception("nats_link_failed", error)
            wait_s = min(max(wait_s * 2, reconnect_wait_s), _RETRY_MAX_S)
            await asyncio.sleep(wait_s)

    async def _connected(self, settings: NatsSettings) -> None:
        """Connect, and return when the connection is lost. Raises when there is none."""
        client = _Client()
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        heard: list[str] = []

        async def on_error(error: Exception) -> None:
            # Why it is going to end; that it has is heard by `on_closed`.
            heard[:] = [str(error) or type(error).__name__]

        writer: asyncio.Task[None] | None = None
        try:
            async with _limit(settings):
                await client.connect(
                    list(dict.fromkeys((*settings.servers, *self._discovered))),
                    name=self._name,
                    allow_reconnect=False,
                    connect_timeout=_CONNECT_TIMEOUT_S,
                    ping_interval=_PING_S,
                    max_outstanding_pings=2,
                    closed_cb=on_closed,
                    error_cb=on_error,
                    tls=settings.tls,
                    user=settings.user or None,
                    password=settings.password or None,
                    user_credentials=RawCredentials(settings.credentials) if settings.credentials else None,
                )
                self.prefix = client.new_inbox()
                # Others may be opened meanwhile.
                while missing := [inbox for inbox in self._inboxes if not inbox.listens_to(client)]:
                    for inbox in missing:
                        await inbox.subscribe(client)
            # It ends with this connection: the library may keep it waiting for a flush that never comes.
            writer = asyncio.get_running_loop().create_task(self._write(client), name="nats writer")
            self._client = client
            self._context = client.jetstream()
            self._problem = ""
            self._up.set()
            self._wake.set()
            self._log.info("nats_connected", server=_shown(client))
            for callback in list(self._on_up):
                callback()
            writer.add_done_callback(lambda _writer: closed.set())
            await closed.wait()
            if writer.done() and not writer.cancelled():
                writer.result()  # raises what it ended with, if that was a bug
            self._discovered = tuple(url.geturl() for url in client.discovered_servers)
            self._problem = heard[0] if heard else "the connection to NATS was lost"
            self._log.warning("nats_lost", error=self._problem)
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.wait([writer])
            if self._client is client:
                self._lost()
            if not client.is_closed:
                with suppress(TimeoutError, nats.errors.Error, OSError):
                    async with asyncio.timeout(_CLOSE_S):
                        await client.close()

    def _lost(self) -> None:
        self._up.clear()
        self._client = self._context = None
        kept = [out for out in self._queue if isinstance(out, _Out) and out.keep]
        self._queue.clear()
        self._queue.extend(kept)
        for callback in list(self._on_down):
            callback()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_TICK_S, self._tick)
        now_s = loop.time()
        for callback in list(self._on_tick):
            callback(now_s)


class Inbox:
    """Where answers come to, over every connection."""

    __slots__ = ("_client", "_handler", "_link", "_number", "_subscription")

    def __init__(self, link: Link, number: int, handler: Callable[[Msg], None]) -> None:
        self._link = link
        self._number = number
        self._handler = handler
        self._subscription: Subscription | None = None
        self._client: Client | None = None

    def listens_to(self, client: Client) -> bool:
        """Whether it is subscribed to over this connection."""
        return self._client is client

    def subject(self, number: int) -> str:
        """Return where an answer is to be sent; its last token is `number`. It holds as long as this connection."""
        return f"{self._link.prefix}.{self._number}.{number}"

    async def subscribe(self, client: Client) -> None:
        """Listen over this connection."""
        self._client = client
        self._subscription = await client.subscribe(f"{self._link.prefix}.{self._number}.*", cb=self._take)

    async def unsubscribe(self, client: Client) -> None:
        """Listen no more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.unsubscribe()

    async def _take(self, message: Msg) -> None:
        self._handler(message)


@asynccontextmanager
async def _limit(settings: NatsSettings) -> AsyncIterator[None]:
    """Bound the time for connecting; raise `TimeoutError` that says to whom."""
    try:
        async with asyncio.timeout(_HANDSHAKE_S):
            yield
    except TimeoutError as error:
        hosts = ", ".join(urlsplit(server).netloc.rpartition("@")[2] for server in settings.servers)
        raise TimeoutError(f"{hosts}: no answer within {_HANDSHAKE_S:g} s") from error


def _shown(client: Client) -> str:
    url = client.connected_url
    return f"{url.hostname}:{url.port}" if url is not None else ""
