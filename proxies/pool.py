"""Connections towards the peers that requests are forwarded to: a bounded keep-alive pool for each.

A service makes one `Pool`, asks it for an `Endpoint` per peer address, keeps that, and names it in `Exchange.forward`.
An endpoint gives an exchange its most recently used idle connection, or dials one (`dialling`). No more than 64 are
dialled at once; exchanges beyond wait their turn, lest a burst of thousands have none of them done in time.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

from proxies.dialling import DIAL_ATTEMPTS, Dialler, Security, Unanswered, Unreachable
from proxies.exchange import Exchange
from proxies.upstream import UpstreamConnection

if TYPE_CHECKING:
    from proxies.upstream_http2 import Http2Upstream, Multiplexer

__all__ = ["Endpoint", "Pool", "Waiting"]

_IDLE_S: Final = 90.0
_DIALS_MAX: Final = 64
"""Connections that are dialled to one peer at once: each begins with 50 ms, and starting one takes some 60 us."""
_FEW: Final = 64
"""Exchanges among which nobody looks for those that are over."""


class Waiting(deque[Exchange]):
    """Exchanges that wait for a connection, in their order; no more of them are over than wait.

    A dial may take 20 s, in which any number of clients may come and leave.
    """

    __slots__ = ("_count_max",)

    def __init__(self) -> None:
        super().__init__()
        self._count_max = _FEW

    def append(self, exchange: Exchange) -> None:
        """Let `exchange` wait behind the others."""
        if len(self) >= self._count_max:
            wanted = [each for each in self if not each.is_over]
            self.clear()
            self.extend(wanted)
            self._count_max = max(_FEW, 2 * len(wanted))
        super().append(exchange)


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
        """Every open connection, idle or in use, from the end of its dial on: where an attempt is given up at the very
        moment at which it is connected, uvloop closes the connection and does not say so."""
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
        self._waiting = Waiting()
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
            (self._http2 or self._multiplexer()).carry(exchange)
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

    def release(self, connection: UpstreamConnection) -> bool:
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

    def lost(self, connection: UpstreamConnection) -> None:
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

    def _take_idle(self, count: int) -> list[UpstreamConnection]:
        taken, self._idle[:count] = self._idle[:count], []
        self.pool.idle_count -= len(taken)
        return taken

    def _multiplexer(self) -> "Multiplexer":
        # Only now: most processes never see a request of HTTP/2, and loading it takes milliseconds of start-up.
        from proxies.upstream_http2 import Multiplexer

        self._http2 = multiplexer = Multiplexer(self)
        return multiplexer

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
        newest = self._waiting[-1] if self._waiting else None
        try:
            connection = await self.dialler.connect(
                lambda: UpstreamConnection(self, self.pool), lambda: not exchange.is_over
            )
        except Unreachable as error:
            # Those that wait would learn the same, one round after the other. But an app that refused may be back for
            # those that came meanwhile; to wait as long once more for one that says nothing would be of no use.
            if isinstance(error, Unanswered):
                newest = self._waiting[-1] if self._waiting else None
            for each in (exchange, *self._take_waiting(newest)):
                each.unreachable(str(error))
            return
        if connection is None:
            return
        if connection.is_closing:
            # The peer accepted and left before this task went on; nobody would tell the exchange.
            exchange.unreachable(f"read tcp {self.address}: EOF")
            return
        self.pool.connections.add(connection)
        if not exchange.is_over:
            connection.start(exchange)
        elif not self.release(connection):
            connection.close()

    def _take_waiting(self, newest: Exchange | None) -> list[Exchange]:
        """Take out and return those that wait, up to `newest`: none if that one does not wait any more."""
        waiting = self._waiting
        if newest is None or newest not in waiting:
            return []
        return [waiting.popleft() for _ in range(waiting.index(newest) + 1)]
