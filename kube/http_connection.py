"""A connection to an HTTP/1.1 server: a request goes out, its response comes in, whole or as it arrives.

    connection = await HttpConnection.open(host, port, tls=context)
    head = await connection.ask(render_request("GET", "/healthz", {"Host": host}))
    body = await connection.read_all()             # or `read` for each piece, until it is empty

One request at a time, by one task. Responses are read as strictly as the proxies read them (`proxies.http1`). At most
`_HELD_BYTES_MAX`, and what the loop reads at a time, wait to be read; beyond it the peer waits. A peer that is gone
without a word (its machine, or the way to it) is noticed within `_GONE_S`, however long it may be silent. Redirects are
answers like others, and nobody asks for compressed ones.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Final, cast

from proxies.bodies import BodyReader, ChunkedBody, LengthBody, UntilCloseBody
from proxies.heads import response_head
from proxies.http1 import HttpError
from proxies.messages import ResponseHead

__all__ = ["BrokenConnection", "HttpConnection", "render_request"]

_HEAD_BYTES_MAX: Final = 64 << 10
_HELD_BYTES_MAX: Final = 1 << 20
_WHOLE_BYTES_MAX: Final = 1 << 30
"""Of a body that is read at once; the largest lists of a cluster are far below."""
_SHUTDOWN_S: Final = 1.0
"""How long a peer may take to say goodbye in TLS."""
_SILENT_S: Final = 15
"""After which the kernel asks whether the peer is still there, and again every so long."""
_GONE_S: Final = 45
"""As client-go, which asks after 30 s and waits 15 s."""
_BODILESS: Final = frozenset([204, 304])
_LINE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]+")


class BrokenConnection(Exception):
    """The peer closed it before the response was whole, or sent what is no response."""


def render_request(method: str, target: str, fields: Mapping[str, str], body: bytes | None = None) -> bytes:
    """The bytes of a request, its length included. Raises `ValueError` for what cannot stand in a line of a head."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    for line in lines:
        if _LINE.fullmatch(line) is None:
            raise ValueError(f"expected printable characters in {line.partition(':')[0][:64]!r}")
    return "\r\n".join((*lines, "\r\n")).encode("latin-1") + (body or b"")


class HttpConnection(asyncio.Protocol):
    """One connection. Made by `open`; ends with `close`, `abort`, or when its peer ends it."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it is closed. Who may be cancelled waits for it by `asyncio.wait`, which leaves it as it is."""
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        """Of the task that waits for anything to come."""
        self._is_asked = False
        self._head: ResponseHead | None = None
        self._body: BodyReader = LengthBody(0)
        self._is_whole = True
        self._partial = b""
        """What came of a line that is not complete."""
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._is_paused = False
        self._problem = ""
        self.is_unanswered = False
        """Nothing came since the last request was sent."""
        self.idle_since_s = 0.0
        """For who keeps it; by the loop's clock."""

    @classmethod
    async def open(
        cls, host: str, port: int, *, tls: ssl.SSLContext | None = None, server_name: str | None = None
    ) -> "HttpConnection":
        """Connect to an address or a name. Raises `OSError`; `ValueError` for a name that nobody can have.

        `server_name`: whom a server in TLS has to be, instead of `host`.
        """
        loop = asyncio.get_running_loop()
        if tls is None:
            return (await loop.create_connection(cls, host, port))[1]
        _, connection = await loop.create_connection(
            cls, host, port, ssl=tls, server_hostname=server_name or host, ssl_shutdown_timeout=_SHUTDOWN_S
        )
        return connection

    @property
    def is_free(self) -> bool:
        """It is open, its last request went out and its last response was read to the end: another may follow."""
        if self._transport is None or self._transport.is_closing() or self._transport.get_write_buffer_size():
            return False
        return self._is_whole and not self._pieces and (self._head is None or self._head.keep_alive)

    async def ask(self, request: bytes) -> ResponseHead:
        """Send a request and return the head of its response. Raises `BrokenConnection`."""
        if self._transport is None or self._transport.is_closing():
            raise BrokenConnection(self._problem or "connection closed")
        self._expect_response()
        self._transport.write(request)
        while self._head is None:
            await self._more()
        return self._head

    async def read(self) -> bytes:
        """The next bytes of the response's body; empty at its end. Raises `BrokenConnection`."""
        while not self._pieces:
            if self._is_whole:
                return b""
            await self._more()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held_bytes = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def read_all(self) -> bytes:
        """The rest of the response's body. Raises `BrokenConnection`, also for one of more than `_WHOLE_BYTES_MAX`."""
        pieces, size = [], 0
        while piece := await self.read():
            pieces.append(piece)
            size += len(piece)
            if size > _WHOLE_BYTES_MAX:
                raise BrokenConnection(f"expected a body of at most {_WHOLE_BYTES_MAX} bytes")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close a connection on which nothing is under way."""
        # Twice would do harm: in TLS, asyncio's own loop forgets at the first what it needs for the second.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    def abort(self) -> None:
        """Cut it off, whatever it is doing. Who waits for a response gets `BrokenConnection`."""
        if self._transport is not None:
            self._problem = self._problem or "cut off"
            self._transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _SILENT_S)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * _GONE_S)

    def data_received(self, data: bytes) -> None:
        if not self._is_asked or self._is_whole:
            self._fail("bytes that nobody asked for")
            return
        self.is_unanswered = False
        if self._partial:
            data, self._partial = self._partial + data, b""
        try:
            if self._head is None:
                self._take_head(data)
            else:
                self._take_body(data)
        except HttpError as error:
            self._fail(f"malformed response: {error}")
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._head is not None and isinstance(self._body, UntilCloseBody) and error is None and not self._problem:
            self._is_whole = True
        self._problem = self._problem or str(error or "connection closed by its peer")
        self._wake()
        self.lost.set_result(None)

    # Inside.

    def _expect_response(self) -> None:
        self._head = None
        self._is_whole = False
        self._is_asked = self.is_unanswered = True

    async def _more(self) -> None:
        """Wait for anything to come. Raises `BrokenConnection` when nothing will."""
        if self._transport is None or self._problem:
            raise BrokenConnection(self._problem)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, problem: str) -> None:
        self._problem = problem
        self.abort()

    def _take_head(self, data: bytes) -> None:
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0 or end > _HEAD_BYTES_MAX:
                if len(data) > _HEAD_BYTES_MAX:
                    raise HttpError(f"expected a head of at most {_HEAD_BYTES_MAX} bytes")
                self._partial = data
                return
            head = response_head(data[:end])
            data = data[end + 4 :]
            if head.status >= 200:
                break
            if head.status == 101:
                raise HttpError("expected no switch of protocols")
        self._head = head
        if head.status in _BODILESS:
            self._body = LengthBody(0)
        elif head.content_length >= 0:
            self._body = LengthBody(head.content_length)
        else:
            self._body = ChunkedBody(keeps_spans=True) if head.is_chunked else UntilCloseBody()
        self._take_body(data)

    def _take_body(self, data: bytes) -> None:
        body = self._body
        took = body.scan(data)
        if isinstance(body, ChunkedBody):
            piece = b"".join([data[begin:end] for begin, end in body.spans])
        else:
            piece = data[:took]
        if piece:
            self._pieces.append(piece)
            self._held_bytes += len(piece)
        if body.is_done:
            self._is_whole = True
            if took < len(data):
                self._fail("bytes that nobody asked for")
            return
        self._partial = data[took:]
        if self._held_bytes > _HELD_BYTES_MAX and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
