"""One HTTP/1.1 connection from a client: reads requests, one exchange at a time, and writes their responses.

A pipelined request waits in the buffer until the response before it is written. What is read ahead is bounded: reading
stops while bytes wait that nobody can take yet.

    reading heads --> exchange under way --> reading heads ...
                        |                |
                        +--> tunnel      +--> lingering (the rest of an unwanted body is dropped) --> closed
"""

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING, Final, cast

from proxies.bodies import BodyReader, ChunkedBody, LengthBody
from proxies.exchange import Exchange
from proxies.fields import DATE
from proxies.h2c import ACCEPTED, SETTINGS, offered_settings, without_offer
from proxies.headers import DateLine, relayed_head, unchunked_head
from proxies.heads import request_head
from proxies.http1 import HEAD_BYTES_MAX, HttpError, RequestError
from proxies.messages import REASONS, Answer, RequestHead, ResponseHead
from proxies.roles import Ending, Policy
from proxies.timers import Timer
from proxies.websocket import GOING_AWAY, FrameTail

if TYPE_CHECKING:
    from proxies.server import Server

__all__ = ["ENGINE_POLICY", "DownstreamConnection", "peer_of"]

_LINGER_S: Final = 2.0
"""How long an unwanted rest of a request is dropped before the connection is cut: closing at once would make the
client's system throw away the answer that it has not read yet (RFC 9112 9.6)."""
_LINGER_MAX_S: Final = 60.0
"""While the client still takes what was written."""
_LINGER_BYTES_MAX: Final = 256 * 1024
_HEADS_PER_TURN: Final = 64
_CHUNKS_PER_TURN: Final = 1000
"""Requests answered, or chunks scanned, for one connection in one turn of the loop: whoever sends many small things
does not hold up the others."""
_WRITE_HIGH_BYTES: Final = 4096
"""Beyond it a write is tried at once, and what the client does not take pauses the upstream. The loop reads at most
256,000 bytes at a time, so a slow reader never makes us hold more than 256 KiB."""
_WATCH_S: Final = 0.08
"""How often a connection that is not being read is asked whether its client is still there."""
_TCP_ESTABLISHED: Final = 1
_TCP_CLOSED: Final = 7
_RESET: Final = struct.pack("ii", 1, 0)

_CLOSE: Final = b"Connection: close\r\n\r\n"
_KEEP_ALIVE: Final = b"Connection: keep-alive\r\n\r\n"
_BLANK: Final = b"\r\n"
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\n"
"""The head that begins the preface of HTTP/2 (RFC 9113 3.4)."""


class _EnginePolicy:
    """Answers what no service decides about (spec queue-proxy.md 3.1, 4)."""

    def admit(self, exchange: Exchange) -> None:
        exchange.answer(_CONNECT_ANSWER if exchange.request.method == b"CONNECT" else _OPTIONS_ANSWER)

    def cancelled(self, exchange: Exchange) -> None:
        """Nothing is held."""

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""


_CONNECT_ANSWER: Final = Answer.error(502, "client sent unsupported CONNECT request")
_OPTIONS_ANSWER: Final = Answer(200)
ENGINE_POLICY: Final = _EnginePolicy()


class DownstreamConnection(asyncio.Protocol, Timer):
    """One connection from a client."""

    __slots__ = (
        "_body",
        "_buffer",
        "_close_after",
        "_date",
        "_exchange",
        "_frames",
        "_head_due_s",
        "_is_lingering",
        "_is_new",
        "_is_reading_heads",
        "_is_reading_paused",
        "_is_tunnel",
        "_is_until_close",
        "_is_write_paused",
        "_linger_bytes",
        "_linger_end_s",
        "_partial",
        "_peer",
        "_policy",
        "_server",
        "_transport",
        "peer_port",
    )

    def __init__(self, server: "Server", policy: Policy, date: DateLine) -> None:
        super().__init__()
        self._server = server
        self._policy = policy
        self._date = date
        self._transport: asyncio.Transport
        self._peer = b""
        self.peer_port = 0
        self._exchange: Exchange | None = None
        self._frames: FrameTail | None = None
        self._body: BodyReader | None = None
        self._buffer = b""
        self._partial = bytearray()
        self._head_due_s = 0.0
        self._close_after = False
        self._is_reading_heads = False
        self._is_reading_paused = False
        self._is_write_paused = False
        self._is_tunnel = False
        self._is_until_close = False
        self._is_lingering = False
        self._is_new = server.takes_http2
        self._linger_bytes = 0
        self._linger_end_s = 0.0

    # What the transport and the timers call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self._peer, self.peer_port = peer_of(transport)
        self._server.opened(self)
        self._head_due_s = time.monotonic() + self._server.head_timeout_s
        self._server.timers.arm(self, self._head_due_s)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            if self._is_lingering:
                self._drop(data)
            else:
                self._read_heads(data)
        elif self._is_tunnel:
            exchange.tunnel_request_data(data)
        elif self._body is not None:
            self._body_received(exchange, self._body, data)
        else:
            self._buffer += data
            self._pause_reading()
            exchange.read_ahead(len(data))

    def eof_received(self) -> bool:
        return self._exchange is not None and self._exchange.client_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.closed(self)
        self._server.timers.disarm(self)
        exchange = self._exchange
        if exchange is not None:
            exchange.client_gone()

    def pause_writing(self) -> None:
        self._is_write_paused = True
        if self._exchange is not None:
            self._exchange.downstream_is_full()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._exchange is not None:
            self._exchange.downstream_has_room()
        elif not self._is_reading_heads:
            if self._buffer:
                self._read_on()
            else:
                self.resume_request()

    def on_timer(self, now_s: float) -> None:
        if self._exchange is not None:
            if self._is_reading_paused and self._is_client_gone(self._exchange):
                self._transport.abort()
                return
            due_s = self._exchange.check_timers(now_s)
            if self._is_reading_paused and self._exchange is not None:
                due_s = now_s + _WATCH_S if due_s is None else min(due_s, now_s + _WATCH_S)
            if due_s is not None:
                self._server.timers.arm(self, due_s)
        elif self._is_lingering or self._transport.is_closing():
            if self._transport.get_write_buffer_size() and now_s < self._linger_end_s:
                self._server.timers.arm(self, now_s + _LINGER_S)  # a slow reader still takes its answer
            else:
                self._transport.abort()
        elif self._head_due_s:
            if self._head_due_s <= now_s:
                self.close()
            else:
                self._server.timers.arm(self, self._head_due_s)

    # What the server calls.

    def shut_down(self) -> None:
        """Close unless an exchange is under way; behind that one it closes by itself."""
        if self._exchange is None:
            self.close()

    def close(self) -> None:
        """Close it behind what was written; a client that does not take that is not waited for long."""
        self._transport.close()
        if self._transport.get_write_buffer_size():
            now_s = time.monotonic()
            self._linger_end_s = now_s + _LINGER_MAX_S
            self._server.timers.arm(self, now_s + _LINGER_S)

    def go_away(self) -> None:
        """Close at the end of a drain: a WebSocket between two frames hears why."""
        frames = self._frames
        if frames is not None and frames.is_between_frames and not frames.has_closed:
            self._transport.write(GOING_AWAY)
        self.close()

    # What the exchange calls.

    def wake_at(self, due_s: float) -> None:
        """Call `Exchange.check_timers` then."""
        if self._is_reading_paused:
            due_s = min(due_s, time.monotonic() + _WATCH_S)
        if self.wakes_by(due_s):
            self.due_s = due_s
        else:
            self._server.timers.arm(self, due_s)

    def inform(self, head: ResponseHead) -> None:
        """Relay an informational response; HTTP/1.0 has none."""
        exchange = self._exchange
        if exchange is not None and exchange.request.minor:
            self._transport.write(relayed_head(head) + _BLANK)

    def respond(self, head: ResponseHead, data: bytes, is_done: bool) -> None:
        """Relay the final head and the first bytes of the body in one write."""
        exchange = self._exchange
        assert exchange is not None
        request = exchange.request
        if not request.minor:
            self._respond_1_0(exchange, head, data)
            return
        rendered = head.rendered or relayed_head(head)
        if head.content_length < 0 and not head.is_chunked:
            self._is_until_close = request.method != b"HEAD" and head.status != 204 and head.status != 304
        self._close_after = (
            self._is_until_close or not request.keep_alive or self._server.is_stopping or not exchange.request_done
        )
        if not head.marks & DATE:
            rendered += self._date.at(time.time())
        if exchange.response_lines is not None:
            rendered += exchange.response_lines(exchange)
        self._transport.write(rendered + (_CLOSE if self._close_after else _BLANK) + data)

    def respond_data(self, data: bytes, is_done: bool) -> None:
        """Relay bytes of the body."""
        if data:
            self._transport.write(data)

    def respond_tunnel(self, head: ResponseHead, data: bytes) -> None:
        """Relay the 101 and the first bytes behind it."""
        self._is_tunnel = True
        self._server.tunnels += 1
        if head.upgrade.lower() == b"websocket":
            self._frames = FrameTail()
            self._frames.scan(data)
        self._transport.write(relayed_head(head) + _BLANK + data)
        if self._buffer and self._exchange is not None:
            data, self._buffer = self._buffer, b""
            self._exchange.tunnel_request_data(data)
            self.resume_request()

    def tunnel_data(self, data: bytes) -> None:
        """Relay bytes of a tunnel."""
        if self._frames is not None:
            self._frames.scan(data)
        self._transport.write(data)

    def tunnel_eof(self) -> None:
        """The upstream will send no more bytes."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self.close()  # TLS cannot be closed by half

    def give_answer(self, answer: Answer) -> None:
        """Send an answer of our own in one write."""
        exchange = self._exchange
        assert exchange is not None
        request = exchange.request
        self._close_after = not request.keep_alive or self._server.is_stopping or not exchange.request_done
        self._write_answer(answer, without_body=request.method == b"HEAD", minor=request.minor)

    def cut_short(self, ending: Ending) -> None:
        """End a response under way before its end."""
        if ending.data:
            self._transport.write(ending.data)
        if not ending.is_whole:
            self.close()

    def abort(self) -> None:
        """End it so that the client sees that the response is not whole."""
        if self._is_until_close:
            # An orderly end of the connection would say that the body is complete; only a reset does not.
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self.close()

    def pause_request(self) -> None:
        """Read no more of the request for now."""
        self._pause_reading()

    def resume_request(self) -> None:
        """Read on."""
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._transport.resume_reading()

    def release(self, exchange: Exchange) -> None:
        """The exchange is over: go on with the next request, or close."""
        self._exchange = None
        self._server.ended(is_tunnel=self._is_tunnel)
        if self._is_reading_heads or self._transport.is_closing():
            return
        if self._is_tunnel or self._close_after or not exchange.request_done:
            self._finish(exchange)
        elif self._server.is_stopping:
            self.close()
        elif self._buffer:
            if not self._is_write_paused:
                self._read_on()
        elif self._is_reading_paused:
            self.resume_request()

    # Inside.

    def _read_on(self) -> None:
        """Take up the requests that came while an exchange was under way."""
        if self._exchange is not None or self._transport.is_closing():
            return
        data, self._buffer = self._buffer, b""
        self._read_heads(data)
        self._go_on_reading()

    def _read_heads(self, data: bytes) -> None:
        """Start one exchange after another, as long as each is over at once and bytes are left.

        A loop, not a recursion through `release`: a client may send thousands of requests at a time.
        """
        self._is_reading_heads = True
        heads = 0
        try:
            while data and not self._transport.is_closing():
                if heads == _HEADS_PER_TURN:
                    self._buffer = data
                    self._pause_reading()
                    asyncio.get_running_loop().call_soon(self._read_on)
                    return
                heads += 1
                exchange = self._read_head(data)
                if exchange is None or self._exchange is not None:
                    return
                if self._close_after or not exchange.request_done:
                    self._finish(exchange)
                    return
                if self._is_write_paused:
                    self._pause_reading()
                    return
                data, self._buffer = self._buffer, b""
        finally:
            self._is_reading_heads = False

    def _read_head(self, data: bytes) -> Exchange | None:
        """Start the exchange whose request begins `data`; None when the head is not whole or not good."""
        partial = self._partial
        if partial:
            partial += data
            end = partial.find(b"\r\n\r\n", max(0, len(partial) - len(data) - 3))
            if end >= 0:
                data = bytes(partial)
                self._partial = bytearray()
        else:
            end = data.find(b"\r\n\r\n")
        if end > 0 and data[:2] == b"\r\n":
            # RFC 9112 2.2: an empty line before a request is to be ignored.
            data = data[2:]
            end -= 2
        try:
            if end < 0:
                self._keep_partial_head(data)
                return None
            if end > HEAD_BYTES_MAX:
                raise RequestError(431, "the head is too large")
            return self._start(request_head(data[:end]), data[end + 4 :])
        except HttpError as error:
            if self._is_new and data.startswith(_PREFACE):
                self._is_new = False
                self._become_http2(data)
            else:
                self._refuse(error)
            return None

    def _start(self, request: RequestHead, rest: bytes) -> Exchange | None:
        """Start the exchange of a request; `rest`: what came behind its head. Raises `HttpError` for its body.

        None when it turned the connection into one of HTTP/2.
        """
        self._is_new = False
        self._head_due_s = 0.0
        if SETTINGS in request.connection_options and self._upgrade_to_http2(request, rest):
            return None
        is_done = request.content_length == 0
        data = b""
        body: BodyReader | None = None
        if is_done:
            self._buffer = rest
        else:
            body = ChunkedBody() if request.is_chunked else LengthBody(request.content_length)
            data, is_done = self._scan(body, rest)
        is_ours = request.method == b"CONNECT" or request.target == b"*"
        policy = ENGINE_POLICY if is_ours else self._policy
        exchange = self._exchange = Exchange(
            self, policy, request, peer=self._peer, clock=time.monotonic, data=data, body=body, request_done=is_done
        )
        self._server.active += 1
        if self._is_write_paused:
            exchange.downstream_is_full()  # by the responses before; the transport does not say it again
        policy.admit(exchange)
        exchange.wait()
        if not is_done:
            exchange.hold_body()
        elif self._buffer and self._exchange is not None:
            exchange.read_ahead(len(self._buffer))
            if self._exchange is not None:
                self._pause_reading()  # the next request is here already: what follows it can wait outside
        return exchange

    def _scan(self, body: BodyReader, data: bytes) -> tuple[bytes, bool]:
        """Return (bytes of the body, whether they are the last); the rest stays in the buffer."""
        took = body.scan(data)
        self._body = None if body.is_done else body
        self._buffer = data[took:]
        return data[:took], body.is_done

    def _body_received(self, exchange: Exchange, body: BodyReader, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        try:
            data, is_done = self._scan(body, data)
        except HttpError as error:
            self._close_after = True
            self._body = None
            self._buffer = b""
            exchange.client_broke_framing(_refusal(400, str(error)))
            return
        if data or is_done:
            exchange.request_data(data, is_done)
        if isinstance(body, ChunkedBody) and body.chunks > _CHUNKS_PER_TURN and not self._is_reading_paused:
            self._pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on_reading)

    def _go_on_reading(self) -> None:
        """Read on, unless requests wait in the buffer (part of a chunk's line may) or nobody takes the body."""
        if self._buffer and self._body is None:
            return
        if not self._transport.is_closing() and (self._exchange is None or not self._exchange.is_request_paused):
            self.resume_request()

    def _become_http2(self, data: bytes) -> None:
        """Hand the connection on to whom its preface is meant for."""
        self._server.timers.disarm(self)
        self._server.closed(self)
        self._server.http2().take_over(self._transport, data)

    def _upgrade_to_http2(self, request: RequestHead, rest: bytes) -> bool:
        """Accept what a request offers that is here whole; False when it is answered in HTTP/1.1."""
        settings = offered_settings(request)
        length = request.content_length
        if settings is None or length > len(rest) or not self._server.takes_http2:
            return False
        self._transport.write(ACCEPTED)
        self._server.timers.disarm(self)
        self._server.closed(self)
        head = without_offer(request)
        self._server.http2().take_over_upgraded(self._transport, settings, head, rest[:length], rest[length:])
        return True

    def _keep_partial_head(self, data: bytes) -> None:
        if not self._partial:
            self._partial = bytearray(data)
            self._head_due_s = time.monotonic() + self._server.head_timeout_s
            self._server.timers.arm(self, self._head_due_s)
        partial = self._partial
        if len(partial) > HEAD_BYTES_MAX + len(b"\r\n\r"):
            raise RequestError(431, "the head is too large")
        tail = partial[-len(data) - 1 :]
        if tail.count(b"\n", 1) != tail.count(b"\r\n") or partial[:1] == b"\n":
            raise RequestError(400, "expected lines to end with CRLF, got a bare LF")

    def _refuse(self, error: HttpError) -> None:
        """Answer a request that cannot be taken; the connection ends, for nobody knows where the next one begins."""
        self._partial = bytearray()
        self._close_after = True
        status = error.status if isinstance(error, RequestError) else 400
        self._write_answer(_refusal(status, str(error)), without_body=False, minor=1)
        self._linger()

    def _respond_1_0(self, exchange: Exchange, head: ResponseHead, data: bytes) -> None:
        """Relay a head to a client that knows neither chunks nor connections that stay open unasked."""
        request = exchange.request
        is_bodiless = request.method == b"HEAD" or head.status == 204 or head.status == 304
        self._is_until_close = head.content_length < 0 and not is_bodiless
        self._close_after = self._is_until_close or not request.keep_alive or self._server.is_stopping
        lines = b"" if head.marks & DATE else self._date.at(time.time())
        if exchange.response_lines is not None:
            lines += exchange.response_lines(exchange)
        self._transport.write(unchunked_head(head) + lines + (_CLOSE if self._close_after else _KEEP_ALIVE) + data)

    def _write_answer(self, answer: Answer, *, without_body: bool, minor: int) -> None:
        end = _CLOSE if self._close_after else (_BLANK if minor else _KEEP_ALIVE)
        body = b"" if without_body else answer.body
        self._transport.write(answer.head() + self._date.at(time.time()) + end + body)

    def _finish(self, exchange: Exchange) -> None:
        """Close the connection behind its last exchange, so that the client can still read what was written."""
        if self._is_tunnel:
            self.close()
        else:
            self._linger()

    def _linger(self) -> None:
        self._is_lingering = True
        self._body = None
        self._buffer = b""
        if not self._transport.can_write_eof():
            self.close()  # TLS says by itself where the response ends
            return
        self._transport.write_eof()
        now_s = time.monotonic()
        self._linger_end_s = now_s + _LINGER_MAX_S
        self._server.timers.arm(self, now_s + _LINGER_S)
        self.resume_request()

    def _drop(self, data: bytes) -> None:
        self._linger_bytes += len(data)
        if self._linger_bytes > _LINGER_BYTES_MAX:
            self.close()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()
            if self._exchange is not None:
                now_s = time.monotonic()
                due_s = now_s + _WATCH_S
                self._server.timers.arm(self, min(self.due_s, due_s) if self.due_s > now_s else due_s)

    def _is_client_gone(self, exchange: Exchange) -> bool:
        """Whether the client hung up, which nobody hears who does not read.

        A client that sent everything and shut down its half has left if its request waits, for then nothing of it was
        used. Where the peer is still taking the request, or in a tunnel, the rest is delivered first.
        """
        sock = self._transport.get_extra_info("socket")
        if sock is None:
            return False
        state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return bool(state == _TCP_CLOSED or (state != _TCP_ESTABLISHED and exchange.is_held))


def peer_of(transport: asyncio.Transport) -> tuple[bytes, int]:
    """Return address and port of the other end; empty and 0 for a unix socket."""
    name = transport.get_extra_info("peername")
    if not isinstance(name, tuple):
        return b"", 0
    return name[0].removeprefix("::ffff:").encode(), name[1]


def _refusal(status: int, text: str) -> Answer:
    reason = f"{status} {REASONS[status].decode()}"
    return Answer(status, f"{reason}: {text}".encode(), content_type=b"text/plain; charset=utf-8")
