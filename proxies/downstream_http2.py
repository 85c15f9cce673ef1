"""HTTP/2 connections from clients: each stream is the downstream half of one exchange.

A connection begins as one of HTTP/1.1 (`downstream`) and is taken over when the client's preface comes, or when a
request asked for `h2c`. From then on everything about the version is the core's (`http2`), and everything about a
request the exchange's. What is here is what lies between: admission, answers, timers, the end of a drain.

One timer serves all streams of a connection. It looks at each when it fires, and is then set to the earliest one.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from proxies.downstream import ENGINE_POLICY, peer_of
from proxies.exchange import Exchange
from proxies.fields import DATE, Field
from proxies.headers import DateLine
from proxies.http2.endpoint import Endpoint
from proxies.http2.errors import CANCEL, INTERNAL_ERROR, SETTINGS_TIMEOUT
from proxies.http2.grpc import GRPC_CODES, grpc_block, is_grpc
from proxies.http2.rendering import lines_block, relayed_block, response_block, trailers_block
from proxies.http2.server import ServerConnection
from proxies.http2.stream import Stream
from proxies.http2.transport import CoreProtocol
from proxies.messages import Answer, RequestHead, ResponseHead
from proxies.roles import Ending, Policy
from proxies.timers import Timer
from proxies.tls_reads import hand_over

if TYPE_CHECKING:
    from proxies.server import Server

__all__ = ["Http2Downstream"]

_LINGER_S: Final = 60.0
"""How long the end of a response may wait for a client that opens no window."""
_GOODBYE_S: Final = 2.0
"""How long a client may take to close, behind the end of a drain."""
_LINGER_BYTES_MAX: Final = 256 * 1024
"""Of what it still sends."""
_DRAIN_STEP_S: Final = 1.0
"""When a client that does not answer the first step of a drain gets the second."""


class Http2Downstream(CoreProtocol, Timer):
    """One connection from a client."""

    core: ServerConnection

    def __init__(self, loop: asyncio.AbstractEventLoop, server: "Server", policy: Policy, date: DateLine) -> None:
        CoreProtocol.__init__(self, loop)
        Timer.__init__(self)
        self.server = server
        self.policy = policy
        self.core = ServerConnection(self, time.monotonic, self._make_stream)
        self.client = (b"", 0)
        """Address and port of the client's end."""
        self._date = date
        self._date_line = b""
        self._date_block = b""
        self._head_due_s = 0.0
        self._drain_due_s = 0.0
        self._linger_end_s = 0.0
        self._linger_bytes = 0
        self._upgrade_body = b""

    def take_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Go on with a connection whose first bytes, the preface among them, are `data`."""
        hand_over(transport, self)
        self.connection_made(transport)
        self.data_received(data)

    def take_over_upgraded(
        self, transport: asyncio.Transport, settings: bytes, head: RequestHead, body: bytes, data: bytes
    ) -> None:
        """Go on with a connection whose first request, `head` and `body`, was sent in HTTP/1.1; its response goes here.

        `settings`: the payload of the client's; `data`: what came behind the request.
        """
        hand_over(transport, self)
        self.connection_made(transport)
        self._upgrade_body = body
        self.core.upgrade(settings, head)
        self.data_received(data)

    # What the transport and the timers call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.client = peer_of(self._transport)
        self.server.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._linger_end_s:
            self._drop(data)
            return
        core = self.core
        if core.receive(data):
            self._go_on_later()
        if not core.is_owed:
            self._head_due_s = 0.0
        elif not core.is_over and (not self._head_due_s or core.is_advancing):
            self._head_due_s = time.monotonic() + self.server.head_timeout_s
            self.wake_at(self._head_due_s)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.closed(self)
        self.server.timers.disarm(self)
        super().connection_lost(error)

    def on_timer(self, now_s: float) -> None:
        if self._linger_end_s:
            if self._transport.get_write_buffer_size() and now_s < self._linger_end_s:
                self.wake_at(now_s + _GOODBYE_S)  # a slow reader still takes its answers
            else:
                self._transport.abort()
            return
        if self._head_due_s and self._head_due_s <= now_s:
            self.core.close(
                SETTINGS_TIMEOUT, "expected the rest of a message, or an acknowledgement of SETTINGS, sooner"
            )
            return
        if self._drain_due_s and self._drain_due_s <= now_s:
            self._drain_due_s = 0.0
            self.core.finish_drain()
        due = [due_s for due_s in (self._head_due_s, self._drain_due_s) if due_s]
        for stream in list(self.core.streams.values()):
            assert isinstance(stream, _DownstreamStream)
            due_s = stream.check_timers(now_s)
            if due_s is not None:
                due.append(due_s)
        if due:
            self.wake_at(min(due))  # not later than a stream asked for that began while another one ended

    def close_if_done(self) -> None:
        if self._linger_end_s:
            return
        super().close_if_done()
        if self.core.is_drained and not self._transport.is_closing():
            self._linger()

    # What the server calls.

    def shut_down(self) -> None:
        """Serve what is under way, and say that nothing more will be."""
        self.core.start_drain()
        self._drain_due_s = time.monotonic() + _DRAIN_STEP_S
        self.wake_at(self._drain_due_s)

    def go_away(self) -> None:
        """Close at the end of a drain."""
        if self._linger_end_s:
            self._transport.close()
        else:
            self.core.close()

    # What the streams call.

    def wake_at(self, due_s: float) -> None:
        """Look at all timers then, or before."""
        if not self.wakes_by(due_s) or self.due_s > due_s:
            self.server.timers.arm(self, due_s)

    def date_block(self) -> bytes:
        """Return the representation of `date`."""
        line = self._date.at(time.time())
        if line is not self._date_line:
            self._date_line = line
            self._date_block = lines_block(line)
        return self._date_block

    def take_upgrade_body(self) -> bytes:
        """Return the body of the request that asked for h2c; it came before the connection was one of HTTP/2."""
        body, self._upgrade_body = self._upgrade_body, b""
        return body

    # Inside.

    def _linger(self) -> None:
        """End a drain. To close at once would throw away what the client has not read yet, for it goes on sending:
        updates of windows, say, which the kernel answers with a reset.
        """
        now_s = time.monotonic()
        self._linger_end_s = now_s + _LINGER_S
        self.core.connection_lost("the connection is drained")
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # TLS reads on until the client has heard of it
        self.wake_at(now_s + _GOODBYE_S)

    def _drop(self, data: bytes) -> None:
        self._linger_bytes += len(data)
        if self._linger_bytes > _LINGER_BYTES_MAX:
            self._transport.close()

    def _make_stream(self, core: Endpoint, stream_id: int) -> "_DownstreamStream":
        return _DownstreamStream(core, stream_id, self)


class _DownstreamStream(Stream):
    """One request and its response: what the exchange sees of the client."""

    __slots__ = ("_connection", "_exchange", "_linger_due_s")

    def __init__(self, core: Endpoint, stream_id: int, connection: Http2Downstream) -> None:
        Stream.__init__(self, core, stream_id)
        self._connection = connection
        self._exchange: Exchange | None = None
        self._linger_due_s = 0.0

    # What the core calls.

    def request_received(self, head: RequestHead, is_done: bool) -> None:
        connection = self._connection
        data = connection.take_upgrade_body() if self.id == 1 else b""
        self.size = len(data)
        is_ours = head.method == b"CONNECT" or head.target == b"*"
        policy = ENGINE_POLICY if is_ours else connection.policy
        exchange = self._exchange = Exchange(
            self,
            policy,
            head,
            peer=connection.client[0],
            clock=time.monotonic,
            data=data,
            body=self if data or not is_done else None,
            request_done=is_done,
        )
        connection.server.active += 1
        policy.admit(exchange)
        exchange.wait()

    def data_received(self, data: bytes, is_done: bool) -> None:
        if self._exchange is not None:
            self._exchange.request_data(data, is_done)

    def trailers_received(self, fields: list[Field]) -> None:
        if self._exchange is not None:
            self._exchange.request_trailers = fields
            self._exchange.request_data(b"", True)

    def lost(self, code: int, text: str, *, is_unprocessed: bool) -> None:
        if self._exchange is not None:
            self._exchange.client_gone()
        elif self._linger_due_s:
            self._sent()

    def filled(self) -> None:
        if self._exchange is not None:
            self._exchange.downstream_is_full()

    def drained(self) -> None:
        if self._exchange is not None:
            self._exchange.downstream_has_room()
        elif self._linger_due_s:
            self._sent()

    # What the timer calls.

    def check_timers(self, now_s: float) -> float | None:
        """Do what is due; return when to be asked again, or None."""
        if self._exchange is not None:
            return self._exchange.check_timers(now_s)
        if self._linger_due_s and self._linger_due_s <= now_s:
            self.reset(CANCEL)
            self._sent()
        return self._linger_due_s or None

    # What the exchange calls.

    @property
    def peer_port(self) -> int:
        """Port of the client's end."""
        return self._connection.client[1]

    def inform(self, head: ResponseHead) -> None:
        """Relay an informational response."""
        self.send_head(relayed_block(head), False)

    def respond(self, head: ResponseHead, data: bytes, is_done: bool) -> None:
        """Relay the final head and the first bytes of the body."""
        exchange = self._exchange
        assert exchange is not None
        block = head.block or relayed_block(head)
        if not head.marks & DATE:
            block += self._connection.date_block()
        if exchange.response_lines is not None:
            block += lines_block(exchange.response_lines(exchange))
        if data:
            self.send_head(block, False)
            self.respond_data(data, is_done)
        else:
            self.send_head(block, is_done)

    def respond_data(self, data: bytes, is_done: bool) -> None:
        """Relay bytes of the body, and behind the last the trailers."""
        exchange = self._exchange
        assert exchange is not None
        trailers = exchange.response_trailers
        if trailers is None:
            self.send_data(data, is_done)
            return
        if data:
            self.send_data(data, False)
        self.send_trailers(trailers_block(trailers))

    def respond_tunnel(self, head: ResponseHead, data: bytes) -> None:
        """Never called: a request of HTTP/2 asks for no upgrade, and an upstream that upgrades unasked is refused."""
        raise AssertionError("HTTP/2 has no tunnels")

    def tunnel_data(self, data: bytes) -> None:
        """Never called, as `respond_tunnel`."""
        raise AssertionError("HTTP/2 has no tunnels")

    def tunnel_eof(self) -> None:
        """Never called, as `respond_tunnel`."""
        raise AssertionError("HTTP/2 has no tunnels")

    def give_answer(self, answer: Answer) -> None:
        """Send an answer of our own."""
        exchange = self._exchange
        assert exchange is not None
        if self._connection.server.grpc_errors and is_grpc(exchange.request) and answer.status in GRPC_CODES:
            self.send_head(grpc_block(answer), True)
            return
        block = response_block(answer.head()) + self._connection.date_block()
        is_bodiless = not answer.body or exchange.request.method == b"HEAD"
        self.send_head(block, is_bodiless)
        if not is_bodiless:
            self.send_data(answer.body, True)

    def cut_short(self, ending: Ending) -> None:
        """End a response under way before its end."""
        if ending.is_whole:
            self.send_data(ending.data, True)
        else:
            self.reset(INTERNAL_ERROR)

    def abort(self) -> None:
        """End it so that the client sees that the response is not whole."""
        self.reset(INTERNAL_ERROR)

    def wake_at(self, due_s: float) -> None:
        """Look at the exchange's timers then."""
        self._connection.wake_at(due_s)

    def pause_request(self) -> None:
        """Let the client send no more than its window."""
        self.pause()

    def resume_request(self) -> None:
        """Open the window again."""
        self.resume()

    def release(self, exchange: Exchange) -> None:
        """The exchange is over; the end of its response may still wait for room."""
        self._exchange = None
        if self._connection.core.is_draining:
            self._connection.output_ready()  # if only to see that this was the last one
        if not self.is_local_done:
            self._linger_due_s = time.monotonic() + _LINGER_S
            self._connection.wake_at(self._linger_due_s)
        else:
            self._connection.server.ended(is_tunnel=False)
        if not exchange.request_done and not self.is_closed:
            self.finish()

    # Inside.

    def _sent(self) -> None:
        """Nothing waits any more: what the client has is all that it gets."""
        self._linger_due_s = 0.0
        self._connection.server.ended(is_tunnel=False)
