"""One end of an HTTP/2 connection for tests, frame by frame: it does what the test says and nothing else.

Frames that come are kept until the test asks for them by type and stream, in any order between streams. Only SETTINGS
and PING are acknowledged by themselves. Windows are wide open unless the test says otherwise.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hpack
from hyperframe.frame import Frame

from proxies.http2 import frames
from proxies.http2.frames import frame, reset_frame, settings_frame, window_update_frame
from proxies.http2.hpack import EMPTY_TABLE, encode

__all__ = ["App", "Peer", "block", "running_app"]

WIDE = 1 << 30


def block(*pairs: tuple[str, str]) -> bytes:
    """Return a header block."""
    return b"".join(encode(name.encode(), value.encode()) for name, value in pairs)


class Peer:
    """A client, or the app's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = hpack.Decoder()
        self._table_update = b""
        self.frames: list[Any] = []
        """What came and was not asked for yet."""
        self._came = asyncio.Condition()
        self.is_closed = False
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, host: str, port: int, *, settings: dict[int, int] | None = None) -> "Peer":
        """Open a connection and say hello."""
        return await cls.greet(*await asyncio.open_connection(host, port), settings=settings)

    @classmethod
    async def greet(
        cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, settings: dict[int, int] | None = None
    ) -> "Peer":
        """Say hello on a connection that is open."""
        peer = cls(reader, writer)
        peer.start()
        peer.send(frames.PREFACE + settings_frame({4: WIDE} if settings is None else settings))
        peer.send(window_update_frame(0, WIDE))
        return peer

    def start(self, already: bytes = b"") -> None:
        """Read from now on."""
        self._reading = asyncio.ensure_future(self._read(already))

    def send(self, data: bytes) -> None:
        """Send frames."""
        self._writer.write(data)

    def close(self) -> None:
        """Leave."""
        self._writer.transport.abort()
        if self._reading is not None:
            self._reading.cancel()

    # What a client says.

    def request(
        self, stream_id: int, *more: tuple[str, str], method: str = "GET", path: str = "/", done: bool = True
    ) -> None:
        """Send the head of a request."""
        pairs = ((":method", method), (":scheme", "http"), (":authority", "h"), (":path", path), *more)
        self.head(stream_id, *pairs, done=done)

    # What both say.

    def head(self, stream_id: int, *pairs: tuple[str, str], done: bool = False) -> None:
        """Send a head, or trailers."""
        flags = frames.END_HEADERS | (frames.END_STREAM if done else 0)
        update, self._table_update = self._table_update, b""
        self.send(frame(frames.HEADERS, flags, stream_id, update + block(*pairs)))

    def data(self, stream_id: int, data: bytes = b"", *, done: bool = False) -> None:
        """Send DATA, in as many frames as it needs."""
        while len(data) > frames.FRAME_BYTES_MAX:
            self.send(frame(frames.DATA, 0, stream_id, data[: frames.FRAME_BYTES_MAX]))
            data = data[frames.FRAME_BYTES_MAX :]
        self.send(frame(frames.DATA, frames.END_STREAM if done else 0, stream_id, data))

    def reset(self, stream_id: int, code: int) -> None:
        """Send RST_STREAM."""
        self.send(reset_frame(stream_id, code))

    # What both hear.

    async def next(self, kind: str, stream_id: int | None = None) -> Any:
        """Return the next frame of a type (`Headers`, `Data`, `RstStream`, `GoAway`, ...), of a stream."""

        def find() -> Any:
            for each in self.frames:
                if type(each).__name__ == f"{kind}Frame" and stream_id in (None, each.stream_id):
                    return each
            return None

        async with asyncio.timeout(50), self._came:
            await self._came.wait_for(lambda: find() is not None or self.is_closed)
        found = find()
        assert found is not None, f"expected {kind} on {stream_id}, the connection closed with {self.frames}"
        self.frames.remove(found)
        return found

    async def fields(self, stream_id: int | None = None) -> tuple[dict[str, str], bool, int]:
        """Return the next head on a stream: its headers, whether it ends the stream, and the stream."""
        headers = await self.next("Headers", stream_id)
        return dict(headers.decoded), "END_STREAM" in headers.flags, headers.stream_id

    async def body(self, stream_id: int) -> bytes:
        """Return all DATA of a stream up to its end."""
        data = b""
        while True:
            piece = await self.next("Data", stream_id)
            data += bytes(piece.data)
            if "END_STREAM" in piece.flags:
                return data

    async def response(self, stream_id: int) -> tuple[int, bytes]:
        """Return the status and the body of a response."""
        fields, is_done, _ = await self.fields(stream_id)
        return int(fields[":status"]), b"" if is_done else await self.body(stream_id)

    async def closed(self) -> None:
        """Wait until the other end has closed the connection."""
        async with asyncio.timeout(50), self._came:
            await self._came.wait_for(lambda: self.is_closed)

    # Inside.

    async def _read(self, data: bytes) -> None:
        try:
            while True:
                while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3]):
                    size = int.from_bytes(data[:3])
                    self._take(data[: 9 + size])
                    data = data[9 + size :]
                async with self._came:
                    self._came.notify_all()
                read = await self._reader.read(65536)
                if not read:
                    break
                data += read
        except OSError:
            pass  # as closed as it can be
        self.is_closed = True
        async with self._came:
            self._came.notify_all()

    def _take(self, data: bytes) -> None:
        each, size = Frame.parse_frame_header(memoryview(data[:9]))
        assert size == len(data) - 9
        each.parse_body(memoryview(data[9:]))
        name = type(each).__name__
        if name == "HeadersFrame":
            # Blocks share a decoder, so they are read in the order in which they come.
            each.decoded = self._decoder.decode(each.data)  # type: ignore[attr-defined]
        elif name == "SettingsFrame" and "ACK" not in each.flags:
            self.send(frame(frames.SETTINGS, frames.ACK, 0))
            if each.settings.get(1) == 0:  # type: ignore[attr-defined]
                self._table_update = EMPTY_TABLE  # for the next block (RFC 7541 4.2)
        elif name == "PingFrame" and "ACK" not in each.flags:
            self.send(frame(frames.PING, frames.ACK, 0, each.opaque_data))  # type: ignore[attr-defined]
        self.frames.append(each)


class App:
    """An app of HTTP/2 whose connections a test speaks for."""

    def __init__(self, settings: dict[int, int]) -> None:
        self.settings = settings
        self.port = 0
        self.connections: list[Peer] = []
        self._accepted: asyncio.Queue[Peer] = asyncio.Queue()

    async def accepted(self) -> Peer:
        """Return the next connection, the preface behind it."""
        async with asyncio.timeout(50):
            return await self._accepted.get()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        peer = Peer(reader, writer)
        self.connections.append(peer)
        assert await reader.readexactly(len(frames.PREFACE)) == frames.PREFACE
        peer.send(settings_frame(self.settings) + window_update_frame(0, WIDE))
        peer.start()
        self._accepted.put_nowait(peer)


@asynccontextmanager
async def running_app(settings: dict[int, int] | None = None) -> AsyncIterator[App]:
    """Listen on a free port. `settings`: what each connection says first; by default a wide window for streams."""
    app = App({4: WIDE} if settings is None else settings)
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    app.port = server.sockets[0].getsockname()[1]
    try:
        yield app
    finally:
        server.close()
        for peer in app.connections:
            peer.close()
        await asyncio.sleep(0)
