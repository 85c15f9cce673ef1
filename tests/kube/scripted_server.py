"""A server that a test writes: what each connection answers, byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["Peer", "Server", "serving"]


class Peer:
    """One connection as the server has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number
        """0 for the first connection."""
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """The next request's head, and its body where it has one. Raises `EOFError` when there is none."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        return head + (await self._reader.readexactly(int(lengths[0])) if lengths else b"")

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, body: bytes, status: int = 200, *fields: str) -> None:
        """A whole response."""
        lines = [f"HTTP/1.1 {status} X", *fields, f"Content-Length: {len(body)}", "\r\n"]
        await self.send("\r\n".join(lines).encode() + body)

    async def left(self) -> None:
        """Return when the client has closed the connection."""
        while await self._reader.read(1 << 16):
            pass


class Server:
    """What came, and where the server is."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme
        self.port = 0
        self.connections = 0
        self.requests: list[bytes] = []

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{self._scheme}://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(
    script: Callable[[Peer, bytes], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """Run `script(peer, request)` for each request; when it returns, the next one is read. `EOFError` ends it."""
    server = Server("https" if tls is not None else "http")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, server.connections)
        server.connections += 1
        try:
            while True:
                request = await peer.request()
                server.requests.append(request)
                await script(peer, request)
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()
