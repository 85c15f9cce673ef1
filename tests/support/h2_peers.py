"""Both ends of an HTTP/2 dialogue by the `h2` library: a client that opens streams, an app that a test scripts.

Nothing of the project's own core is in it, so that a mistake there cannot hide itself. The library takes a GOAWAY for
the end of a connection; whoever looks at what comes behind one, or at frames, takes `http2`.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.support.processes import eventually

__all__ = ["Http2App", "Http2Call", "Http2Client", "Http2Response", "running_http2_app"]

TIMEOUT_S = 50.0
Fields = list[tuple[str, str]]


@dataclass
class Message:
    """What came on a stream so far."""

    stream_id: int
    fields: Fields = field(default_factory=list)
    """With the pseudo-headers."""
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    is_ended: bool = False
    """The peer ended the stream in order."""
    reset_code: int | None = None
    """The peer reset it, or the connection was lost (-1)."""

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return [value for key, value in self.fields if key == name]

    def value(self, name: str) -> str:
        """The only value of a header."""
        (value,) = self.values(name)
        return value

    @property
    def is_over(self) -> bool:
        """Nothing more will come."""
        return self.is_ended or self.reset_code is not None


@dataclass
class Http2Response(Message):
    """What a client received."""

    informational: list[int] = field(default_factory=list)
    """Statuses of the interim responses."""

    @property
    def status(self) -> int:
        """Of the final response."""
        return int(self.value(":status"))


class Http2Call(Message):
    """One request as the app received it."""

    peer: "_Peer"

    @property
    def target(self) -> str:
        """Path and query."""
        return self.value(":path")

    async def whole(self) -> bytes:
        """Wait for the end of the request; return its body."""
        await self.peer.until(lambda: self.is_over)
        return self.body

    async def respond(self, status: int = 200, body: bytes = b"", *fields: tuple[str, str]) -> None:
        """Send a whole response."""
        await self.start(status, *fields, is_done=not body)
        if body:
            await self.send(body, is_done=True)

    async def start(self, status: int = 200, *fields: tuple[str, str], is_done: bool = False) -> None:
        """Send a head, an interim one if `status` says so."""
        await self.peer.send_headers(self.stream_id, [(":status", str(status)), *fields], is_done=is_done)

    async def send(self, data: bytes, *, is_done: bool = False) -> None:
        """Send a piece of the body."""
        await self.peer.send_data(self.stream_id, data, is_done=is_done)

    async def finish(self, *trailers: tuple[str, str]) -> None:
        """End the response with trailers."""
        await self.peer.send_headers(self.stream_id, list(trailers), is_done=True)

    async def reset(self, code: int = 2) -> None:
        """Reset the stream."""
        await self.peer.reset(self.stream_id, code)

    async def cancelled(self) -> int:
        """Wait until the other side resets the stream; return its code."""
        await self.peer.until(lambda: self.reset_code is not None)
        assert self.reset_code is not None
        return self.reset_code


class _Peer:
    """One end of a connection."""

    message = Message

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool) -> None:
        self.reader = reader
        self.writer = writer
        # Tests send what is wrong on purpose, and want to see what came as it came.
        config = h2.config.H2Configuration(
            client_side=is_client,
            header_encoding="latin-1",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.core = h2.connection.H2Connection(config)
        self.messages: dict[int, Message] = {}
        self.goaway_code: int | None = None
        """The peer said GOAWAY."""
        self.is_lost = False
        self.fault: h2.exceptions.ProtocolError | None = None
        """What the peer did wrong; nothing is read behind it."""
        self._changed = asyncio.Condition()
        self.core.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Write what is to be sent."""
        self.writer.write(self.core.data_to_send())

    async def read_on(self) -> None:
        """Take what comes until the connection ends."""
        try:
            while data := await self.reader.read(1 << 16):
                for event in self.core.receive_data(data):
                    self.take(event)
                self.flush()
                await self._tell()
        except h2.exceptions.ProtocolError as error:
            self.fault = error
        except ConnectionError:
            pass  # as closed as it can be
        self.is_lost = True
        for message in self.messages.values():
            if not message.is_over:
                message.reset_code = -1
        await self._tell()

    def take(self, event: h2.events.Event) -> None:
        """One thing that happened."""
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway_code = int(event.error_code or 0)
        stream_id = getattr(event, "stream_id", None)
        if not stream_id:
            return
        message = self.messages.setdefault(stream_id, self.message(stream_id))
        if isinstance(event, h2.events.RequestReceived | h2.events.ResponseReceived):
            message.fields = _text(event.headers)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            assert isinstance(message, Http2Response)
            message.informational.append(int(_text(event.headers)[0][1]))
        elif isinstance(event, h2.events.DataReceived):
            message.body += event.data or b""
            with suppress(h2.exceptions.StreamClosedError):
                self.core.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            message.trailers = _text(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            message.is_ended = True
        elif isinstance(event, h2.events.StreamReset):
            message.reset_code = int(event.error_code or 0)

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until `holds` is true; it is asked whenever something came. A peer that breaks the protocol ends it."""
        async with asyncio.timeout(TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: self.fault or holds())
        if self.fault is not None:
            raise AssertionError(f"the peer broke the protocol: {self.fault}") from self.fault

    async def send_headers(self, stream_id: int, fields: Fields, *, is_done: bool) -> None:
        """Send a head or trailers."""
        self.core.send_headers(stream_id, fields, end_stream=is_done)
        self.flush()
        await self.writer.drain()

    async def send_data(self, stream_id: int, data: bytes, *, is_done: bool) -> None:
        """Send a piece of a body, as its windows allow."""
        while data:
            await self.until(lambda: self.is_lost or self.core.local_flow_control_window(stream_id) > 0)
            size = min(len(data), self.core.local_flow_control_window(stream_id), self.core.max_outbound_frame_size)
            piece, data = data[:size], data[size:]
            self.core.send_data(stream_id, piece, end_stream=is_done and not data)
            self.flush()
            await self.writer.drain()

    async def reset(self, stream_id: int, code: int) -> None:
        """Reset a stream."""
        self.core.reset_stream(stream_id, code)
        self.flush()
        await self.writer.drain()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Http2Client(_Peer):
    """One connection to a server."""

    message = Http2Response
    reading: asyncio.Task[None]

    @classmethod
    async def open(cls, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> Self:
        """Connect with prior knowledge, or over TLS."""
        client = cls(*await asyncio.open_connection(host, port, ssl=tls), is_client=True)
        client.reading = asyncio.get_running_loop().create_task(client.read_on())
        return client

    async def start(
        self,
        target: str = "/",
        *fields: tuple[str, str],
        method: str = "GET",
        authority: str = "app.example",
        is_done: bool = True,
    ) -> Http2Response:
        """Send a request's head; return what will be its response."""
        stream_id = self.core.get_next_available_stream_id()
        response = self.messages[stream_id] = Http2Response(stream_id)
        pseudo = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", target)]
        await self.send_headers(stream_id, [*pseudo, *fields], is_done=is_done)
        return response

    async def finish(self, response: Http2Response) -> Http2Response:
        """Wait until `response` is over."""
        await self.until(lambda: response.is_over)
        return response

    async def fetch(
        self, target: str = "/", *fields: tuple[str, str], method: str = "GET", body: bytes = b""
    ) -> Http2Response:
        """One request to its end."""
        response = await self.start(target, *fields, method=method, is_done=not body)
        if body:
            await self.send_data(response.stream_id, body, is_done=True)
        return await self.finish(response)

    def close(self) -> None:
        """Close at once."""
        self.reading.cancel()
        self.writer.transport.abort()


Handler = Callable[[Http2Call], Awaitable[None]]


@dataclass
class Http2App:
    """A running app: what it was asked, in order."""

    port: int = 0
    calls: list[Http2Call] = field(default_factory=list)
    connections: int = 0

    async def call(self, number: int = 0) -> Http2Call:
        """Wait for the call of that number, from 0."""
        await eventually(lambda: len(self.calls) > number, timeout_s=TIMEOUT_S)
        return self.calls[number]


async def _hello(call: Http2Call) -> None:
    await call.whole()
    await call.respond(200, b"hello")


class _Served(_Peer):
    """A connection to the app."""

    message = Http2Call

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, app: Http2App, handler: Handler
    ) -> None:
        super().__init__(reader, writer, is_client=False)
        self._app = app
        self._handler = handler
        self.tasks: set[asyncio.Task[None]] = set()

    def take(self, event: h2.events.Event) -> None:
        super().take(event)
        if isinstance(event, h2.events.RequestReceived):
            call = self.messages[event.stream_id or 0]
            assert isinstance(call, Http2Call)
            call.peer = self
            self._app.calls.append(call)
            self.tasks.add(asyncio.get_running_loop().create_task(self._handle(call)))

    async def _handle(self, call: Http2Call) -> None:
        # A test that resets a stream does not care what its handler still wanted to say.
        with suppress(h2.exceptions.StreamClosedError, ConnectionError):
            await self._handler(call)


@asynccontextmanager
async def running_http2_app(handler: Handler = _hello) -> AsyncIterator[Http2App]:
    """Serve `handler` on 127.0.0.1, in plaintext and HTTP/2 only. A handler that raises fails the test at the end."""
    app = Http2App()
    served: list[_Served] = []
    readings: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        app.connections += 1
        peer = _Served(reader, writer, app, handler)
        served.append(peer)
        task = asyncio.current_task()
        assert task is not None
        readings.append(task)
        try:
            await peer.read_on()
        except asyncio.CancelledError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1024)
    app.port = server.sockets[0].getsockname()[1]
    try:
        yield app
    finally:
        server.close()
        await _end(readings)
        for result in await _end([task for peer in served for task in peer.tasks]):
            if isinstance(result, Exception):
                raise result


async def _end(tasks: Iterable[asyncio.Task[None]]) -> list[BaseException | None]:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _text(headers: Iterable[tuple[bytes | str, bytes | str]] | None) -> Fields:
    return [(str(name), str(value)) for name, value in headers or ()]
