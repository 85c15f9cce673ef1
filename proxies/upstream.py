"""Connections towards the peers that requests are forwarded to: a bounded keep-alive pool for each.

A service makes one `Pool`, asks it for an `Endpoint` per peer address, keeps that, and names it in `Exchange.forward`.
An endpoint gives an exchange its most recently used idle connection, or dials one (`dialling`). No more than 64 are
dialled at once; exchanges beyond wait their turn, lest a burst of thousands have none of them done in time.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final, cast

from proxies.bodies import BodyReader, ChunkedBody, LengthBody, UntilCloseBody
from proxies.dialling import DIAL_ATTEMPTS, Dialler, Security, Unreachable, reason_of
from proxies.exchange import Ending, Exchange
from proxies.heads import response_head
from proxies.http1 import HEAD_BYTES_MAX, HttpError, ResponseError
from proxies.messages import ResponseHead
from proxies.reframing import chunked

if TYPE_CHECKING:
    from proxies.upstream_http2 import Http2Upstream, Multiplexer

__all__ = ["Endpoint", "Pool", "keep_alive"]

_IDLE_S: Final = 90.0
_DIALS_MAX: Final = 64
"""Connections that are dialled to one peer at once: each begins with 50 ms, and starting one takes some 60 us."""
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


class Pool:
    """All endpoints of one process. Not a look-up on the hot path: keep the endpoints."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        idle_max: int = 1000,
        idle_per_endpoint_max: int = 1000,
        idle_s: float = _IDLE_S,
        dial_attempts: int = DIAL_ATTEMPTS,
    ) -> None:
        """`idle_max`, `idle_per_endpoint_max`: idle connections kept at most; `idle_s`: for how long each is kept.

        `dial_attempts`: how often to connect to a peer that does not answer, before it counts as unreachable.
        """
        self.loop = loop
        self.idle_max = idle_max
        self.idle_per_endpoint_max = idle_per_endpoint_max
        self.idle_s = idle_s
        self.dial_attempts = dial_attempts
        self.idle_count = 0
        """Idle connections of all endpoints."""
        self.connections: set[UpstreamConnection | Http2Upstream] = set()
        """Every open connection, idle or in use."""
        self._endpoints: set[Endpoint] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self.is_watching_idle = False
        self._sweep: asyncio.TimerHandle | None = None

    def endpoint(self, host: str, port: int, *, version: int = 0, security: Security | None = None) -> "Endpoint":
        """Return a new endpoint. `host` is an address, never a name, or the path of a unix socket (then no port).

        `version`: 1 or 2, the one that the peer speaks; 0: whichever the request has. `security`: of its TLS; None: in
        plaintext.
        """
        endpoint = Endpoint(self, host, port, version, security)
        self._endpoints.add(endpoint)
        return endpoint

    async def close(self) -> None:
        """Close every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
        for endpoint in list(self._endpoints):
            endpoint.close()
        dials = list(self._dials)
        for dial in dials:
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        for connection in list(self.connections):
            connection.close()

    # What endpoints call.

    def spawn(self, dial: Coroutine[None, None, None]) -> None:
        """Run a dial; it ends with the pool."""
        task = self.loop.create_task(dial)
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    def watch_idle(self) -> None:
        """A connection became idle: see to it that it does not stay for ever."""
        self.is_watching_idle = True
        self._sweep = self.loop.call_later(self.idle_s / 4, self._expire)

    def forget(self, endpoint: "Endpoint") -> None:
        """The endpoint is closed."""
        self._endpoints.discard(endpoint)

    def _expire(self) -> None:
        self.is_watching_idle = False
        oldest_s = self.loop.time() - self.idle_s
        for endpoint in self._endpoints:
            for connection in endpoint.expire(oldest_s):
                connection.close()
        if self.connections:
            self.watch_idle()


class Endpoint:
    """One peer address and its idle connections. Made by `Pool.endpoint`; keep it as long as the peer is wanted."""

    __slots__ = (
        "_dials",
        "_http2",
        "_idle",
        "_is_closed",
        "_version",
        "_waiting",
        "address",
        "dialler",
        "is_secure",
        "pool",
    )

    def __init__(self, pool: Pool, host: str, port: int, version: int, security: Security | None) -> None:
        self.dialler = Dialler(pool.loop, host, port, attempts=pool.dial_attempts, security=security)
        self.address = self.dialler.address
        self.is_secure = security is not None
        self.pool = pool
        self._version = version
        self._dials = 0
        self._waiting: deque[Exchange] = deque()
        """For a place among those that are dialled for."""
        self._idle: list[UpstreamConnection] = []
        self._http2: Multiplexer | None = None
        self._is_closed = False

    def close(self) -> None:
        """The peer is not wanted any more: close what is idle; connections in use close after their exchange."""
        self._is_closed = True
        self.pool.forget(self)
        for connection in self._take_idle(len(self._idle)):
            connection.close()
        if self._http2 is not None:
            self._http2.close()

    def carry(self, exchange: Exchange, *, fresh: bool = False) -> None:
        """Send the exchange's request over the idle connection that was used last, or over one of its own.

        The version is the request's, if the peer has none of its own (spec queue-proxy.md 8); upgrades are HTTP/1.1's.
        `fresh`: over a new connection only; those that were idle together are closed together by their peer.
        """
        request = exchange.request
        if (self._version or request.major) == 2 and not request.upgrade:
            self._multiplexer().carry(exchange)
            return
        idle = self._idle
        while idle and not fresh:
            connection = idle.pop()
            self.pool.idle_count -= 1
            if not connection.is_closing:
                connection.start(exchange)
                return
        if self._dials == _DIALS_MAX:
            self._waiting.append(exchange)
            return
        self._dials += 1
        self.pool.spawn(self._dial_for(exchange))

    # What connections call.

    def release(self, connection: "UpstreamConnection") -> bool:
        """Keep a connection for the next exchange; False when it is not wanted."""
        pool = self.pool
        if self._is_closed or len(self._idle) >= pool.idle_per_endpoint_max or pool.idle_count >= pool.idle_max:
            return False
        self._idle.append(connection)
        pool.idle_count += 1
        connection.idle_since_s = pool.loop.time()
        if not pool.is_watching_idle:
            pool.watch_idle()
        return True

    def lost(self, connection: "UpstreamConnection") -> None:
        """A connection is closed."""
        self.pool.connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
            self.pool.idle_count -= 1

    def expire(self, oldest_s: float) -> "list[UpstreamConnection | Http2Upstream]":
        """Take out and return the connections that are idle since `oldest_s` or longer. They stand in that order."""
        count = 0
        while count < len(self._idle) and self._idle[count].idle_since_s <= oldest_s:
            count += 1
        expired = self._take_idle(count)
        return [*expired] if self._http2 is None else [*expired, *self._http2.expire(oldest_s)]

    # Inside.

    def _take_idle(self, count: int) -> list["UpstreamConnection"]:
        taken, self._idle[:count] = self._idle[:count], []
        self.pool.idle_count -= len(taken)
        return taken

    def _multiplexer(self) -> "Multiplexer":
        if self._http2 is None:
            # Only now: most processes never see a request of HTTP/2, and loading it takes milliseconds of start-up.
            from proxies.upstream_http2 import Multiplexer

            self._http2 = Multiplexer(self)
        return self._http2

    async def _dial_for(self, exchange: Exchange) -> None:
        """Have `exchange` carried, and then one after the other of those that wait."""
        try:
            await self._dial(exchange)
            while self._waiting:
                waiting = self._waiting.popleft()
                if waiting.is_over:
                    continue
                connection = self._idle.pop() if self._idle and not waiting.failures else None
                if connection is None:
                    await self._dial(waiting)
                    continue
                self.pool.idle_count -= 1
                if connection.is_closing:
                    self._waiting.appendleft(waiting)
                else:
                    connection.start(waiting)
        finally:
            self._dials -= 1

    async def _dial(self, exchange: Exchange) -> None:
        """Connect and let the connection carry `exchange`, or keep it for another one if this has ended meanwhile."""
        try:
            connection = await self.dialler.connect(
                lambda: UpstreamConnection(self, self.pool), lambda: not exchange.is_over
            )
        except Unreachable as error:
            # Those that wait would learn the same, one round after the other.
            waiting, self._waiting = self._waiting, deque()
            for each in (exchange, *waiting):
                each.unreachable(str(error))
            return
        if connection is None:
            return
        if connection.is_closing:
            # The peer accepted and left before this task went on; nobody would tell the exchange.
            exchange.unreachable(f"read tcp {self.address}: EOF")
        elif not exchange.is_over:
            connection.start(exchange)
        elif not self.release(connection):
            connection.close()


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

    def __init__(self, endpoint: Endpoint, pool: Pool) -> None:
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
        self._pool.connections.add(self)
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
