"""HTTP/2 by frames that are made beforehand: a client of long streams or of one request, and an app that echoes.

Neither keeps windows. Both open their own ones wide, and never have more than a message on its way, which is less than
any window; a peer that gives back what it has read keeps them open.
"""

import asyncio
import time
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, cast

from loadtests.lab.queue_proxy.subjects import HOST, PORT, LabError

__all__ = ["MESSAGE_BYTES", "EchoApp", "Echoes", "echoing", "idle"]

MESSAGE_BYTES: Final = 100
_OPEN_S: Final = 20.0
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_WIDE: Final = (1 << 31) - 1
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 3, 4
_LITERAL: Final = 0x00
_NO_TABLE: Final = b"\x20"
"""Our table is empty: said in case that the peer's SETTINGS allow none (RFC 7541 4.2)."""
_FRAMED: Final = bytes((0,)) + MESSAGE_BYTES.to_bytes(4) + b"x" * MESSAGE_BYTES
"""A message as gRPC frames it."""


def _frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return bytes((_LITERAL, len(name))) + name + bytes((len(value),)) + value


_HELLO: Final = _frame(
    *(_SETTINGS, 0, 0),
    _MAX_CONCURRENT_STREAMS.to_bytes(2) + (1000).to_bytes(4) + _INITIAL_WINDOW_SIZE.to_bytes(2) + _WIDE.to_bytes(4),
) + _frame(_WINDOW_UPDATE, 0, 0, (_WIDE - 65_535).to_bytes(4))
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_COMMON: Final = (
    _literal(b":scheme", b"http")
    + _literal(b":authority", b"lab.default.example.com")
    + _literal(b"user-agent", b"lab/1")
    + _literal(b"x-forwarded-for", b"10.1.2.3")
    + _literal(b"x-forwarded-proto", b"http")
)
_CALL: Final = (
    _literal(b":method", b"POST")
    + _literal(b":path", b"/lab.Echo/Chat")
    + _COMMON
    + _literal(b"content-type", b"application/grpc")
    + _literal(b"te", b"trailers")
)
_GET: Final = _literal(b":method", b"GET") + _literal(b":path", b"/hello") + _COMMON
_RESPONSE: Final = _literal(b":status", b"200") + _literal(b"content-type", b"application/grpc")


class _End(asyncio.Protocol):
    """One end of a connection: cuts what comes into frames."""

    _partial = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = cast("asyncio.Transport", transport)
        self._out: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        at, size = 0, len(data)
        while size - at >= 9:
            end = at + 9 + int.from_bytes(data[at : at + 3])
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind == _SETTINGS and not flags & _ACK:
                self._out.append(_frame(_SETTINGS, _ACK, 0))
            elif kind == _PING and not flags & _ACK:
                self._out.append(_frame(_PING, _ACK, 0, data[at + 9 : end]))
            elif kind != _WINDOW_UPDATE:
                self.came(kind, flags, data[at:end])
            at = end
        self._partial = data[at:]
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def came(self, kind: int, flags: int, frame: bytes) -> None:
        """A frame is here whole."""


class EchoApp(_End):
    """Answers each stream at once and sends back each frame of data as it is."""

    _is_greeted = False

    def data_received(self, data: bytes) -> None:
        if not self._is_greeted:
            data = self._partial + data
            if len(data) < len(_PREFACE):
                self._partial = data
                return
            self._partial = b""
            self._is_greeted = True
            self._out.append(_HELLO)
            data = data[len(_PREFACE) :]
        super().data_received(data)

    def came(self, kind: int, flags: int, frame: bytes) -> None:
        if kind == _DATA:
            self._out.append(frame)
        elif kind == _HEADERS:
            self._out.append(_frame(_HEADERS, _END_HEADERS, int.from_bytes(frame[5:9]), _NO_TABLE + _RESPONSE))


class Echoes:
    """What the streams of one load have seen."""

    def __init__(self) -> None:
        self.latencies_s = array("d")
        """Of whole echoes, in the order in which they came."""
        self.problems: list[str] = []
        self.unheard = 0
        """Streams without an echo so far, or connections without an answer."""


class _Client(_End):
    """A connection to the proxy. What goes wrong is a problem of the load's."""

    _is_ours_to_close = False

    def __init__(self, load: Echoes) -> None:
        self._load = load

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(_PREFACE + _HELLO + self.first())

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_ours_to_close:
            self._load.problems.append(f"the proxy closed the connection: {error or 'in order'}")

    def first(self) -> bytes:
        """What is sent behind the preface."""
        return b""

    def came(self, kind: int, flags: int, frame: bytes) -> None:
        if kind in (_RST_STREAM, _GOAWAY):
            self._load.problems.append(f"the proxy sent {frame!r}")
        elif kind == _DATA:
            self.data(frame)

    def data(self, frame: bytes) -> None:
        """Some of a body."""

    def close(self) -> None:
        """Be done with it."""
        self._is_ours_to_close = True
        self._transport.abort()


class _EchoClient(_Client):
    """Streams that each send their next message when the last one is back."""

    def __init__(self, load: Echoes, streams: int) -> None:
        super().__init__(load)
        ids = range(1, 2 * streams, 2)
        self._messages = {stream_id: _frame(_DATA, 0, stream_id, _FRAMED) for stream_id in ids}
        self._missing = dict.fromkeys(ids, len(_FRAMED))
        self._sent_s = dict.fromkeys(ids, 0.0)
        self._unheard = set(ids)

    def first(self) -> bytes:
        now_s = time.perf_counter()
        self._sent_s = dict.fromkeys(self._sent_s, now_s)
        return b"".join(
            _frame(_HEADERS, _END_HEADERS, stream_id, _CALL) + message for stream_id, message in self._messages.items()
        )

    def data(self, frame: bytes) -> None:
        stream_id = int.from_bytes(frame[5:9])
        missing = self._missing[stream_id] - (len(frame) - 9)
        if missing > 0:
            self._missing[stream_id] = missing
            return
        if missing < 0:
            self._load.problems.append(f"more came back than was sent: {frame!r}")
        self._missing[stream_id] = len(_FRAMED)
        now_s = time.perf_counter()
        self._load.latencies_s.append(now_s - self._sent_s[stream_id])
        self._sent_s[stream_id] = now_s
        self._out.append(self._messages[stream_id])
        if stream_id in self._unheard:
            self._unheard.discard(stream_id)
            self._load.unheard -= 1


class _IdleClient(_Client):
    """One request, then silence."""

    def first(self) -> bytes:
        return _frame(_HEADERS, _END_HEADERS | _END_STREAM, 1, _GET)

    def came(self, kind: int, flags: int, frame: bytes) -> None:
        super().came(kind, flags, frame)
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self._load.unheard -= 1


@asynccontextmanager
async def echoing(connections: int, streams: int) -> AsyncIterator[Echoes]:
    """Open so many connections with so many streams each; yields when each stream has had an echo."""
    load = Echoes()
    load.unheard = connections * streams
    async with _open(load, [_EchoClient(load, streams) for _ in range(connections)]):
        yield load


@asynccontextmanager
async def idle(connections: int) -> AsyncIterator[Echoes]:
    """Open so many connections; yields when each has had an answer. They keep still after that."""
    load = Echoes()
    load.unheard = connections
    async with _open(load, [_IdleClient(load) for _ in range(connections)]):
        yield load


def _itself(client: _Client) -> _Client:
    return client


@asynccontextmanager
async def _open(load: Echoes, clients: list[_Client]) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    opened: list[_Client] = []
    try:
        for client in clients:
            await loop.create_connection(partial(_itself, client), HOST, PORT)
            opened.append(client)
        end_s = loop.time() + _OPEN_S
        while load.unheard and not load.problems:
            if loop.time() > end_s:
                raise LabError(f"{load.unheard} streams have heard nothing within {_OPEN_S:.0f} s")
            await asyncio.sleep(0.005)
        yield
    finally:
        for client in opened:
            client.close()
