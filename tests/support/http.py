"""Both ends of an HTTP/1.1 dialogue for tests: a client that sees every byte, and an app that does what a test scripts.

Neither uses the project's own parser, so that a mistake in it cannot hide itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

from tests.support.processes import eventually

__all__ = ["App", "Call", "Client", "Response", "fetch", "running_app"]

TIMEOUT_S = 50.0
Fields = list[tuple[str, str]]


def _parse_head(head: bytes) -> tuple[str, Fields]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    return first, [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def _values(fields: Fields, name: str) -> list[str]:
    return [value for key, value in fields if key.lower() == name.lower()]


async def _read_chunked(reader: asyncio.StreamReader) -> tuple[bytes, Fields]:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    trailers: Fields = []
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        name, _, value = line.decode().partition(":")
        trailers.append((name, value.strip()))
    return body, trailers


@dataclass
class Response:
    """What a client received."""

    status: int
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    is_whole: bool = True
    """The body ended as its framing says."""

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return _values(self.fields, name)

    def value(self, name: str) -> str:
        """The only value of a header."""
        (value,) = self.values(name)
        return value


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection(host, port))

    async def send(self, data: bytes | str) -> None:
        """Send bytes as they are."""
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def request(
        self, target: str = "/", *, method: str = "GET", headers: Iterable[str] = (), body: bytes = b""
    ) -> None:
        """Send a whole request; `headers` are lines. `Host: app.example` unless one is given."""
        lines = [f"{method} {target} HTTP/1.1", *headers]
        if not any(line.lower().startswith("host:") for line in lines):
            lines.insert(1, "Host: app.example")
        if body:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def head(self) -> Response:
        """Read the head of a response, informational ones included."""
        async with asyncio.timeout(TIMEOUT_S):
            first, fields = _parse_head(await self.reader.readuntil(b"\r\n\r\n"))
        return Response(int(first.split(" ")[1]), fields)

    async def body(self, response: Response, *, method: str = "GET") -> Response:
        """Read the body of `response`, or as much of it as comes."""
        async with asyncio.timeout(TIMEOUT_S):
            lengths = response.values("content-length")
            try:
                if method == "HEAD" or response.status in (204, 304):
                    pass
                elif response.values("transfer-encoding"):
                    response.body, response.trailers = await _read_chunked(self.reader)
                elif lengths:
                    response.body = await self.reader.readexactly(int(lengths[0]))
                else:
                    response.body = await self.reader.read()
            except asyncio.IncompleteReadError as error:
                response.body, response.is_whole = error.partial, False
            except ConnectionResetError:
                response.is_whole = False
        return response

    async def response(self, *, method: str = "GET") -> Response:
        """Read a whole response."""
        return await self.body(await self.head(), method=method)

    async def eof(self) -> bytes:
        """Read until the peer closes, and return what came."""
        async with asyncio.timeout(TIMEOUT_S):
            with suppress(ConnectionResetError):
                return await self.reader.read()
            return b""

    def close(self) -> None:
        """Close at once."""
        self.writer.transport.abort()


async def fetch(
    host: str,
    port: int,
    target: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[str] = (),
    body: bytes = b"",
) -> Response:
    """One request on a connection of its own."""
    client = await Client.open(host, port)
    try:
        await client.request(target, method=method, headers=headers, body=body)
        return await client.response(method=method)
    finally:
        client.close()


@dataclass
class Call:
    """One request as the app received it."""

    method: str
    target: str
    version: str
    fields: Fields
    raw_head: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: int
    """Number of the connection that it came on, from 0."""

    def values(self, name: str) -> list[str]:
        """All values of a header, in order."""
        return _values(self.fields, name)

    async def body(self) -> tuple[bytes, Fields]:
        """Read body and trailers."""
        if self.values("transfer-encoding"):
            return await _read_chunked(self.reader)
        lengths = self.values("content-length")
        return (await self.reader.readexactly(int(lengths[0])) if lengths else b""), []

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def respond(self, status: int = 200, body: bytes = b"", *headers: str) -> None:
        """Send a whole response of known length."""
        lines = [f"HTTP/1.1 {status} Scripted", f"Content-Length: {len(body)}", *headers, "", ""]
        await self.send("\r\n".join(lines).encode() + (b"" if self.method == "HEAD" else body))

    async def start_chunked(self, status: int = 200, *headers: str) -> None:
        """Send the head of a chunked response."""
        await self.send(
            "\r\n".join([f"HTTP/1.1 {status} Scripted", "Transfer-Encoding: chunked", *headers, "", ""]).encode()
        )

    async def chunk(self, data: bytes) -> None:
        """Send one chunk; an empty one ends the body."""
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def close(self) -> None:
        """Close the connection in the middle of whatever it is."""
        self.writer.close()

    async def closed(self) -> None:
        """Wait until the other side has closed."""
        async with asyncio.timeout(TIMEOUT_S):
            with suppress(ConnectionResetError):
                while await self.reader.read(65536):
                    pass


Handler = Callable[[Call], Awaitable[None]]


@dataclass
class App:
    """A running app: what it was asked, in order, and how many requests are inside."""

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    connections: int = 0
    inside: int = 0
    inside_max: int = 0

    async def call(self, number: int = 0) -> Call:
        """Wait for the call of that number, from 0."""
        await eventually(lambda: len(self.calls) > number, timeout_s=TIMEOUT_S)
        return self.calls[number]


async def _hello(call: Call) -> None:
    await call.body()
    await call.respond(200, b"hello")


@asynccontextmanager
async def running_app(
    handler: Handler = _hello, *, port: int = 0, read_ahead_bytes: int = 4 << 20
) -> AsyncIterator[App]:
    """Serve `handler` on 127.0.0.1; a handler that raises closes its connection.

    `read_ahead_bytes`: what a connection takes in, twice over, before a handler asks for it; a head must fit in.
    """
    app = App()
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, app.connections = app.connections, app.connections + 1
        try:
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                first, fields = _parse_head(raw)
                method, target, version = first.split(" ")
                call = Call(method, target, version, fields, raw, reader, writer, number)
                app.calls.append(call)
                app.inside += 1
                app.inside_max = max(app.inside_max, app.inside)
                try:
                    await handler(call)
                finally:
                    app.inside -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await converse(reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", port, backlog=1024, limit=read_ahead_bytes)
    app.port = server.sockets[0].getsockname()[1]
    try:
        yield app
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
