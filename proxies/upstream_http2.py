"""HTTP/2 connections to apps: each stream is the upstream half of one exchange.

An endpoint has one `Multiplexer`, which puts as many requests on one connection as its peer takes, and dials another
one when that is full. Requests that come while a connection is being dialled wait for it together; when it is refused,
those that came meanwhile have another one dialled, for the app may be back since.
"""

import asyncio
import time

from proxies.dialling import Unanswered, Unreachable
from proxies.exchange import Exchange
from proxies.fields import Field
from proxies.http2.client import ClientConnection
from proxies.http2.endpoint import Endpoint as CoreEndpoint
from proxies.http2.errors import CANCEL
from proxies.http2.rendering import request_block, trailers_block
from proxies.http2.stream import CLOSED, Stream
from proxies.http2.transport import CoreProtocol
from proxies.messages import ResponseHead
from proxies.pool import Endpoint, Waiting
from proxies.reframing import Unchunker, chunked, chunked_head
from proxies.roles import Ending
from proxies.upstream import keep_alive

__all__ = ["Http2Upstream", "Multiplexer"]


class Multiplexer:
    """The HTTP/2 connections of one endpoint."""

    __slots__ = ("_asking", "_connections", "_endpoint", "_is_closed", "_is_dialling", "_waiting", "streams_max")

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connections: list[Http2Upstream] = []
        self._asking = Waiting()
        """They wait since before the dial that is under way began: what it learns is meant for them."""
        self._waiting = Waiting()
        """They came later."""
        self._is_dialling = False
        self._is_closed = False
        self.streams_max = 0
        """Streams that the peer said last it takes on a connection; 0: it did not say yet."""

    def carry(self, exchange: Exchange) -> None:
        """Send the exchange's request on a connection that has room, or on the next one that is dialled."""
        for connection in self._connections:
            if connection.core.can_open:
                connection.start(exchange)
                return
        self._waiting.append(exchange)
        self._dial()

    def expire(self, oldest_s: float) -> list["Http2Upstream"]:
        """Take out and return the connections that are idle since `oldest_s` or longer."""
        expired = [each for each in self._connections if each.core.is_idle and each.used_s <= oldest_s]
        for connection in expired:
            self._connections.remove(connection)
        return expired

    def close(self) -> None:
        """Close what is idle; the others close behind their last stream."""
        self._is_closed = True
        for connection in self._connections[:]:
            connection.retire()
        self._connections.clear()

    def lost(self, connection: "Http2Upstream") -> None:
        """A connection is closed, or takes no further streams."""
        if connection in self._connections:
            self._connections.remove(connection)

    # Inside.

    def _dial(self) -> None:
        if not self._is_dialling:
            self._is_dialling = True
            self._join()
            self._endpoint.pool.spawn(self._dialled())

    def _join(self) -> None:
        """What the dial learns is meant for all, from now on."""
        for exchange in self._waiting:
            self._asking.append(exchange)
        self._waiting.clear()

    async def _dialled(self) -> None:
        try:
            connection = await self._endpoint.dialler.connect(
                lambda: Http2Upstream(self._endpoint, self), self._is_wanted
            )
        except Unreachable as error:
            self._is_dialling = False
            if isinstance(error, Unanswered):
                self._join()  # waiting as long once more would be of no use
            self._give_up(str(error))
            return
        self._is_dialling = False
        if connection is None:
            return
        if connection.is_closing:
            # The peer accepted and left before this task went on.
            self._give_up(f"read tcp {self._endpoint.address}: EOF")
            return
        if not connection.core.can_open:
            # Its settings are here already, and another connection would say the same.
            connection.close()
            self._give_up(f"{self._endpoint.address}: the peer takes no streams")
            return
        pool = self._endpoint.pool
        pool.connections.add(connection)
        if not pool.is_watching_idle:
            pool.watch_idle()
        if not self._is_closed:
            self._connections.append(connection)
        # Its settings are still to come, and may be less than what is taken for granted: the rest would be refused.
        connection.core.streams_max = min(connection.core.streams_max, self.streams_max or connection.core.streams_max)
        self._join()
        asking = self._asking
        while asking and connection.core.can_open:
            exchange = asking.popleft()
            if not exchange.is_over:
                connection.start(exchange)
        if self._is_closed:
            connection.retire()
        if asking:
            self._dial()

    def _is_wanted(self) -> bool:
        """Whether somebody waits; those who left are forgotten."""
        for queue in (self._asking, self._waiting):
            while queue and queue[0].is_over:
                queue.popleft()
        return bool(self._asking or self._waiting)

    def _give_up(self, reason: str) -> None:
        """Those who asked before the dial learn `reason`; those who came later, an app that is back may take."""
        asking, self._asking = self._asking, Waiting()
        if self._waiting:
            self._dial()
        # Whoever is sent here again meanwhile waits for another dial.
        for exchange in asking:
            exchange.unreachable(reason)


class Http2Upstream(CoreProtocol):
    """One connection to an app."""

    core: ClientConnection

    def __init__(self, endpoint: Endpoint, multiplexer: Multiplexer) -> None:
        super().__init__(endpoint.pool.loop)
        self.core = ClientConnection(self, time.monotonic)
        self.endpoint = endpoint
        self.used_s = time.monotonic()
        """When a request was put on it last."""
        self.reads = 0
        """Reads of the connection so far."""
        self._multiplexer = multiplexer

    # What the multiplexer calls.

    @property
    def is_closing(self) -> bool:
        """The connection carries nothing more."""
        return self.core.is_over or self._transport.is_closing()

    def start(self, exchange: Exchange) -> None:
        """Carry `exchange` on a stream of its own."""
        self.used_s = exchange.forwarded_s
        _UpstreamStream(self.core, self).start(exchange)

    def retire(self) -> None:
        """Close behind the last stream."""
        self.core.is_draining = True
        self.stream_ended()

    def close(self) -> None:
        """Close at once; streams that are open are lost."""
        self.core.close()
        self.flush()

    # What the transport and the core call.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        keep_alive(self._transport)

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        turn = self._turn
        turn.begin()
        try:
            if self.core.receive(data):
                self._go_on_later()
        finally:
            turn.end()

    def connection_lost(self, error: Exception | None) -> None:
        self.endpoint.pool.connections.discard(self)
        self._multiplexer.lost(self)
        super().connection_lost(error)

    def settings_received(self) -> None:
        """What it says of streams holds for the next connection, too."""
        self._multiplexer.streams_max = self.core.streams_max

    def peer_goes_away(self, code: int, text: str) -> None:
        """It carries what it has, and nothing more."""
        self._multiplexer.lost(self)
        self.stream_ended()

    # What the streams call.

    def stream_ended(self) -> None:
        """A connection that takes no further streams closes behind its last one."""
        core = self.core
        if core.is_idle and (core.is_draining or not core.streams_max) and not core.is_over:
            core.close()


class _UpstreamStream(Stream):
    """One request and its response: what the exchange sees of the app."""

    __slots__ = ("_begun_at", "_connection", "_exchange", "_is_chunked", "_unchunker")

    def __init__(self, core: CoreEndpoint, connection: Http2Upstream) -> None:
        Stream.__init__(self, core)
        self._connection = connection
        self._exchange: Exchange | None = None
        self._begun_at = 0
        self._unchunker: Unchunker | None = None
        self._is_chunked = False

    def start(self, exchange: Exchange) -> None:
        """Send the request's head, and what there is of its body."""
        connection = self._connection
        self._exchange = exchange
        self._begun_at = connection.reads
        edits = exchange.edits
        assert edits is not None
        request = exchange.request
        self.is_bodiless = request.method == b"HEAD"
        if request.major == 1 and request.is_chunked:
            self._unchunker = Unchunker()
        scheme = b"https" if connection.endpoint.is_secure else b"http"
        head, lines = edits.parts(request, exchange.peer)
        block = request_block(head, scheme, lines)
        data = exchange.take_body()
        is_done = exchange.request_done
        is_whole = is_done and not data and exchange.request_trailers is None
        connection.core.open(self, block, is_whole)
        exchange.connected(self)
        if not is_whole and (data or is_done):
            self.send(data, is_done)

    # What the core calls.

    def informational_received(self, head: ResponseHead) -> None:
        if self._exchange is not None:
            self._exchange.informational(head)

    def response_received(self, head: ResponseHead, is_done: bool) -> None:
        exchange = self._exchange
        assert exchange is not None
        data = b""
        request = exchange.request
        if request.major == 1 and head.content_length < 0 and not self._has_no_body(head):
            self._is_chunked = request.minor == 1
            if self._is_chunked:
                head = chunked_head(head)
                data = chunked(b"", is_done)
        if is_done:
            self._finish()
        if data or not is_done:
            exchange.response_body = self  # an empty body in chunks has bytes, and none of its own
        exchange.response(head, data, is_done)

    def data_received(self, data: bytes, is_done: bool) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if is_done:
            self._finish()
        exchange.response_data(chunked(data, is_done) if self._is_chunked else data, is_done)

    def trailers_received(self, fields: list[Field]) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.response_trailers = fields
            self._finish()
            exchange.response_data(chunked(b"", True) if self._is_chunked else b"", True)

    def lost(self, code: int, text: str, *, is_unprocessed: bool) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        self._exchange = None
        # No byte came since, and nobody else's stream told that the connection is alive.
        is_stale = self._connection.core.is_over and self._begun_at > 0 and self._connection.reads == self._begun_at
        reason = f"{self._connection.endpoint.address}: {text}"
        exchange.upstream_lost(reason, is_stale=is_stale, is_unprocessed=is_unprocessed)
        self._connection.stream_ended()

    def filled(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_is_full()

    def drained(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_has_room()

    # What the exchange calls.

    def send(self, data: bytes, is_done: bool) -> None:
        """Send on bytes of the request's body, and behind the last the trailers."""
        exchange = self._exchange
        assert exchange is not None
        if self._unchunker is not None:
            data = self._unchunker.take(data)
        trailers = exchange.request_trailers
        if trailers is None:
            self.send_data(data, is_done)
            return
        if data:
            self.send_data(data, False)
        self.send_trailers(trailers_block(trailers))

    def send_eof(self) -> None:
        """Never called: there are no tunnels."""
        raise AssertionError("HTTP/2 has no tunnels")

    def abandon(self) -> None:
        """The exchange is over before its response was."""
        self._finish()

    def pause_response(self) -> None:
        """Let the app send no more than its window."""
        self.pause()

    def resume_response(self) -> None:
        """Open the window again."""
        self.resume()

    def ending(self, text: bytes) -> Ending:
        """Return how to end the response under way with `text` (spec queue-proxy.md 10)."""
        if self.length < 0:
            return Ending(chunked(text, True) if self._is_chunked else text, is_whole=True)
        left = self.length - self.size
        return Ending(text if left >= len(text) else b"", is_whole=left == len(text))

    # Inside.

    def _has_no_body(self, head: ResponseHead) -> bool:
        return self.is_bodiless or head.status == 204 or head.status == 304

    def _finish(self) -> None:
        """Nobody waits any more: neither for what is still to come nor for what of the request is still unsent."""
        self._exchange = None
        if self.state != CLOSED:
            self.connection.reset(self, CANCEL)
        if not self.connection.streams:
            self._connection.stream_ended()
