"""One HTTP/1.1 connection towards a peer, as `pool` keeps them: it carries one exchange at a time.

Splices the request's body, reads the head of the response, and hands on what follows; a connection that is whole
after its exchange goes back to its endpoint.
"""

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final, cast

from proxies.bodies import BodyReader, ChunkedBody, LengthBody, UntilCloseBody
from proxies.dialling import reason_of
from proxies.exchange import Exchange
from proxies.heads import response_head
from proxies.http1 import HEAD_BYTES_MAX, HttpError, ResponseError
from proxies.messages import ResponseHead
from proxies.reframing import chunked
from proxies.roles import Ending

if TYPE_CHECKING:
    from proxies.pool import Endpoint, Pool

__all__ = ["UpstreamConnection", "keep_alive"]

_KEEPALIVE_S: Final = 5
_WRITE_HIGH_BYTES: Final = 4096
"""As in `downstream`: with what the loop reads at a time, at most 256 KiB wait for a slow peer."""
_SWITCHES: Final = 101
_INTERIM_MAX: Final = 100
"""Informational responses to one request; a peer that sends more is out of its mind."""
_LAST_READS_MAX: Final = 4
_LAST_READ_BYTES: Final = 64 * 1024
_FLUSH_S: Final = 2.0
"""How long the last bytes that were written may take to leave."""


class UpstreamConnection(asyncio.Protocol):
    """One HTTP/1.1 connection to a peer: carries one exchange at a time."""

    __slots__ = (
        "_body",
        "_endpoint",
        "_exchange",
        "_has_bytes",
        "_head",
        "_head_done",
        "_interims",
        "_is_lost",
        "_is_paused",
        "_is_tunnel",
        "_keep_alive",
        "_partial",
        "_payload_only",
        "_pool",
        "_request_done",
        "_sends_chunks",
        "_transport",
        "idle_since_s",
        "is_reused",
    )

    def __init__(self, endpoint: "Endpoint", pool: "Pool") -> None:
        self._endpoint = endpoint
        self._pool = pool
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._body: BodyReader | None = None
        self._partial = b""
        self._head = bytearray()
        self._head_done = False
        self._has_bytes = False
        self._interims = 0
        self._is_lost = False
        self._is_paused = False
        self._keep_alive = False
        self._is_tunnel = False
        self._payload_only = False
        self._request_done = True
        self._sends_chunks = False
        self.is_reused = False
        self.idle_since_s = 0.0

    # What the endpoint and the exchange call.

    @property
    def is_closing(self) -> bool:
        """The connection cannot carry another exchange."""
        return self._is_lost or self._transport.is_closing()

    def start(self, exchange: Exchange) -> None:
        """Carry `exchange`: send its head and what there is of its body in one write."""
        self._exchange = exchange
        self._has_bytes = False
        self._head_done = False
        self._interims = 0
        edits = exchange.edits
        assert edits is not None
        request = exchange.request
        head = edits.apply(request, exchange.peer)
        data = exchange.take_body()
        self._request_done = exchange.request_done
        if request.major == 2 and request.is_chunked:
            self._sends_chunks = True
            data = chunked(data, self._request_done)
        exchange.connected(self)
        self._transport.write(head + data if data else head)

    def send(self, data: bytes, is_done: bool) -> None:
        """Send on bytes of the request's body or of the tunnel."""
        self._request_done = is_done
        if self._sends_chunks:
            data = chunked(data, is_done)
        if data:
            self._transport.write(data)

    def send_eof(self) -> None:
        """The client will send no more bytes (tunnel)."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self.close()  # TLS cannot be closed by half

    def abandon(self) -> None:
        """The exchange is over before its response was."""
        self._exchange = None
        if self._is_tunnel:
            # What the client sent last shall still arrive.
            self.close()
        else:
            self._transport.abort()

    def close(self) -> None:
        """Close a connection that is idle or not wanted; a peer that does not read is not waited for long."""
        if self._transport.is_closing():
            return
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._pool.loop.call_later(_FLUSH_S, self._transport.abort)

    def pause_response(self) -> None:
        """Read no more for now."""
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def resume_response(self) -> None:
        """Read on."""
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def ending(self, text: bytes) -> Ending:
        """Return how to end the response under way with `text` (spec queue-proxy.md 10)."""
        body = self._body
        if isinstance(body, LengthBody):
            return Ending(text if body.remaining >= len(text) else b"", is_whole=body.remaining == len(text))
        if isinstance(body, ChunkedBody) and not self._payload_only:
            data = body.closing(text)
            return Ending(data or b"", is_whole=data is not None)
        return Ending(text, is_whole=True)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        keep_alive(transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            # Bytes that nobody asked for: the next response would be mistaken for them.
            self._transport.abort()
            return
        self._has_bytes = True
        try:
            if self._head:
                self._head += data
                if self._head.find(b"\r\n\r\n", max(0, len(self._head) - len(data) - 3)) < 0:
                    self._check_partial_head(len(data))
                    return
                data = bytes(self._head)
                self._head = bytearray()
            elif self._partial:
                data = self._partial + data
                self._partial = b""
            if self._is_tunnel:
                exchange.tunnel_response_data(data)
            elif self._head_done:
                self._body_received(exchange, data)
            else:
                self._head_received(exchange, data)
        except HttpError as error:
            self._broken(exchange, f"malformed HTTP response from {self._endpoint.address}: {error}")

    def eof_received(self) -> bool:
        exchange = self._exchange
        if self._is_tunnel and exchange is not None:
            exchange.tunnel_response_eof()
            return True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        self._endpoint.lost(self)
        exchange = self._exchange
        if exchange is None or exchange.is_over:
            return
        if error is not None:
            self._read_last_words()
            if self._exchange is not exchange:
                return
        self._exchange = None
        if isinstance(self._body, UntilCloseBody) and error is None:
            exchange.response_data(b"", True)
            return
        what = reason_of(error) if isinstance(error, OSError) else "EOF"
        is_stale = self.is_reused and not self._has_bytes
        exchange.upstream_lost(f"read tcp {self._endpoint.address}: {what}", is_stale=is_stale)

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_is_full()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_has_room()

    # Inside.

    def _head_received(self, exchange: Exchange, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._keep_partial_head(data)
            return
        if end > HEAD_BYTES_MAX:
            raise ResponseError(f"expected a head of at most {HEAD_BYTES_MAX} bytes")
        head = response_head(data[:end])
        data = data[end + 4 :]
        while head.status < 200:
            if self._interim_received(exchange, head, data):
                return
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._keep_partial_head(data)
                return
            head = response_head(data[:end])
            data = data[end + 4 :]
        self._head_done = True
        is_bodiless = exchange.request.method == b"HEAD" or head.status == 204 or head.status == 304
        length = 0 if is_bodiless else head.content_length
        if length == len(data):
            self._finish(head.keep_alive)
            exchange.response(head, data, True)
            return
        if length >= 0:
            body: BodyReader = LengthBody(length)
        elif head.is_chunked:
            self._payload_only = exchange.request.minor == 0 or exchange.request.major == 2
            body = ChunkedBody(keeps_spans=self._payload_only)
        else:
            body = UntilCloseBody()
        self._body = exchange.response_body = body
        self._keep_alive = head.keep_alive
        taken, is_done, rest = self._scan(body, data)
        if is_done:
            self._finish(head.keep_alive and not rest)
        else:
            self._partial = rest
        exchange.response(head, taken, is_done)

    def _interim_received(self, exchange: Exchange, head: ResponseHead, data: bytes) -> bool:
        """An informational response; or, then True, the switch of protocols that the client asked for."""
        if head.status == _SWITCHES:
            if not exchange.request.upgrade or head.upgrade.lower() != exchange.request.upgrade.lower():
                raise ResponseError(f"expected an upgrade to {exchange.request.upgrade!r}, got {head.upgrade!r}")
            self._is_tunnel = True
            exchange.upgraded(head, data)
            return True
        self._interims += 1
        if self._interims > _INTERIM_MAX:
            raise ResponseError(f"expected at most {_INTERIM_MAX} informational responses")
        exchange.informational(head)
        return False

    def _body_received(self, exchange: Exchange, data: bytes) -> None:
        body = self._body
        assert body is not None
        taken, is_done, rest = self._scan(body, data)
        if is_done:
            self._finish(self._keep_alive and not rest)
        else:
            self._partial = rest
        if taken or is_done:
            exchange.response_data(taken, is_done)

    def _scan(self, body: BodyReader, data: bytes) -> tuple[bytes, bool, bytes]:
        """Return (bytes to relay, whether the body is complete, bytes that it did not take)."""
        took = body.scan(data)
        if self._payload_only and isinstance(body, ChunkedBody):
            return b"".join(data[begin:end] for begin, end in body.spans), body.is_done, data[took:]
        if took == len(data):
            return data, body.is_done, b""
        return data[:took], body.is_done, data[took:]

    def _finish(self, keep: bool) -> None:
        """The response is whole: give the connection back before the exchange ends; the next one may have it."""
        self._exchange = None
        self._body = None
        self._payload_only = False
        self._sends_chunks = False
        self.is_reused = True
        if not keep or self._is_lost or not self._request_done or not self._endpoint.release(self):
            self.close()

    def _read_last_words(self) -> None:
        """Take what the peer sent before it reset the connection, as an app does that refuses a body unread.

        A write failed, so the loop reads no more; but the answer came before the reset and is still in the socket.
        """
        descriptor = self._transport.get_extra_info("socket").fileno()
        exchange = self._exchange
        for _ in range(_LAST_READS_MAX):
            try:
                data = os.read(descriptor, _LAST_READ_BYTES)
            except OSError:
                return
            if not data:
                return
            self.data_received(data)
            if self._exchange is not exchange:
                return

    def _keep_partial_head(self, data: bytes) -> None:
        if data:
            self._head = bytearray(data)
            self._check_partial_head(len(data))

    def _check_partial_head(self, new: int) -> None:
        """Refuse early what cannot become a head; `new`: how many of its last bytes have not been looked at."""
        head = self._head
        if len(head) > HEAD_BYTES_MAX + len(b"\r\n\r"):
            raise ResponseError(f"expected a head of at most {HEAD_BYTES_MAX} bytes")
        tail = head[-new - 1 :]
        if tail.count(b"\n", 1) != tail.count(b"\r\n") or head[:1] == b"\n":
            raise ResponseError("expected lines to end with CRLF, got a bare LF")

    def _broken(self, exchange: Exchange, reason: str) -> None:
        self._exchange = None
        self._transport.abort()
        exchange.upstream_lost(reason, is_stale=False)


def keep_alive(transport: asyncio.Transport) -> None:
    """Notice a peer that is gone without a word (spec queue-proxy.md 8)."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_S)
