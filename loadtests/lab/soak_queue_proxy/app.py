"""The app behind the proxies: answers with known bytes, digests, events, echoes, or far too late."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from loadtests.lab.soak_queue_proxy import wire

__all__ = ["App", "accept_key"]

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CHUNK_BYTES: Final = 10_000
_GONE: Final = (ConnectionError, wire.Unexpected, asyncio.IncompleteReadError)

Handler = Callable[[wire.Head, dict[str, int], asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, bool]]


def accept_key(key: str) -> str:
    """What a server answers to `Sec-WebSocket-Key` (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()


class App:
    """Serves until the block ends; `busy` counts the requests inside."""

    def __init__(self) -> None:
        self.busy = 0
        self.port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._handlers: dict[str, Handler] = {
            "/bytes": self._bytes,
            "/digest": self._digest,
            "/events": self._events,
            "/websocket": self._websocket,
            "/late": self._late,
            "/stall": self._stall,
        }

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen on a free port of 127.0.0.1."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Proxies leave as they like: the connection's end is no event.
            with suppress(*_GONE):
                while not reader.at_eof():
                    head = await wire.read_head(reader)
                    url = urlsplit(head.target)
                    query = {name: int(value) for name, value in parse_qsl(url.query)}
                    self.busy += 1
                    try:
                        if not await self._handlers[url.path](head, query, reader, writer):
                            return
                        await writer.drain()
                    finally:
                        self.busy -= 1
        finally:
            writer.close()

    async def _bytes(
        self, head: wire.Head, query: dict[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """`?seed=&size=`, `times=` so many times over, `chunked=1` in chunks."""
        data = wire.content(query["seed"], query["size"])
        times = query.get("times", 1)
        if not query.get("chunked"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(data) * times))
            for _ in range(times):
                writer.write(data)
                await writer.drain()
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(times):
            for at in range(0, len(data), _CHUNK_BYTES):
                writer.write(wire.chunk(data[at : at + _CHUNK_BYTES]))
                await writer.drain()
        writer.write(wire.chunk(b""))
        return True

    async def _digest(
        self, head: wire.Head, query: dict[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """The checksum of the request's body, which is asked for first if the client waits to be asked."""
        if head.fields.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        hasher = hashlib.sha256()
        async for piece in wire.body(reader, head):
            hasher.update(piece)
        text = hasher.hexdigest().encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        return True

    async def _events(
        self, head: wire.Head, query: dict[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """`?count=&every_ms=`: numbered server-sent events."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(query["count"]):
            writer.write(wire.chunk(b"data: %d\n\n" % number))
            await writer.drain()
            await asyncio.sleep(query["every_ms"] / 1000)
        writer.write(wire.chunk(b""))
        return True

    async def _websocket(
        self, head: wire.Head, query: dict[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Echo, until the client closes."""
        key = accept_key(head.fields["sec-websocket-key"])
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % key.encode()
        )
        opcode = wire.TEXT
        while opcode != wire.CLOSE:
            opcode, payload = await wire.read_frame(reader)
            writer.write(wire.frame(opcode, payload, is_masked=False))
            await writer.drain()
        return False

    async def _late(
        self, head: wire.Head, query: dict[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """`?ms=`: answers after so long."""
        await asyncio.sleep(query["ms"] / 1000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        return True

    async def _stall(
        self, head: wire.Head, query: dict[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """`?ms=`: begins a response, then says nothing for so long."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun")
        await writer.drain()
        await asyncio.sleep(query["ms"] / 1000)
        writer.write(b"ended")
        return True
