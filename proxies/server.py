"""The listening side: accepts connections, reads requests, and gives each to the policy as an exchange."""

import asyncio
from typing import TYPE_CHECKING, Final

from proxies.downstream import DownstreamConnection
from proxies.headers import DateLine
from proxies.listener import Listeners, connections_max, listening_socket
from proxies.logs import Logger
from proxies.roles import Policy
from proxies.timers import Timers

if TYPE_CHECKING:
    # Loading it costs milliseconds of start-up; who serves TLS has done so.
    from ssl import SSLContext

    from proxies.downstream_http2 import Http2Downstream

__all__ = ["Server"]

HEAD_TIMEOUT_S: Final = 60.0
"""As the original's (spec queue-proxy.md 3.2)."""

_GOODBYE_S: Final = 1.0
"""How long a stop waits for clients to close, when nothing is under way any more: those of HTTP/2 may have sent a
request before they heard that they should not. As long as the original does (`goAwayTimeout` of x/net http2)."""


class Server:
    """One policy on any number of listening addresses."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        policy: Policy,
        logger: Logger | None = None,
        *,
        head_timeout_s: float = HEAD_TIMEOUT_S,
        is_side_port: bool = False,
        takes_http2: bool = False,
        grpc_errors: bool = False,
    ) -> None:
        """`logger` hears when connections have to wait because no file descriptor is left.

        `head_timeout_s`: how long the head of a request may take, from its first byte or from the connection's begin.
        `is_side_port`: few will ask, and a flood of them must not take the main port's file descriptors.
        `takes_http2`: a connection that begins with the preface of HTTP/2 is served as such.
        `grpc_errors`: gRPC clients get our own 502, 503 and 504 in their terms.
        """
        self.head_timeout_s = head_timeout_s
        self.takes_http2 = takes_http2
        self.grpc_errors = grpc_errors
        self._loop = loop
        self._policy = policy
        self._date = DateLine()
        self._listeners = Listeners(loop, self._accept, limit=connections_max(is_side_port=is_side_port), logger=logger)
        self._connections: set[DownstreamConnection | Http2Downstream] = set()
        self._changed: asyncio.Event = asyncio.Event()
        self.timers = Timers(loop)
        self.is_stopping = False
        """Responses close their connections."""
        self.active = 0
        """Exchanges under way, tunnels included."""
        self.tunnels = 0
        """Open tunnels."""

    async def listen(self, host: str | None, port: int, *, tls: "SSLContext | None" = None) -> int:
        """Accept on `host` (None or empty: all addresses) and return the port. May be repeated.

        Raises `OSError` when the address cannot be had.
        """
        sock = listening_socket(host, port)
        await self._listeners.add(sock, tls)
        bound: int = sock.getsockname()[1]
        return bound

    @property
    def in_flight(self) -> int:
        """Exchanges and tunnels under way."""
        return self.active

    async def stop(self, *, tunnel_grace_s: float = 60.0) -> None:
        """Stop accepting, close idle connections, let running exchanges finish, wait so long for tunnels.

        A WebSocket that is still open then is told that the server goes away (close status 1001).
        """
        self.is_stopping = True
        self._listeners.close()
        for connection in list(self._connections):
            connection.shut_down()
        while self.active > self.tunnels:
            await self._change()
        try:
            async with asyncio.timeout(tunnel_grace_s):
                while self.active:
                    await self._change()
        except TimeoutError:
            pass
        try:
            async with asyncio.timeout(_GOODBYE_S):
                while len(self._connections) > self.tunnels:
                    await self._change()
        except TimeoutError:
            pass
        while self.active > self.tunnels:
            await self._change()
        for connection in list(self._connections):
            connection.go_away()
        self.timers.close()

    # What connections call.

    def opened(self, connection: "DownstreamConnection | Http2Downstream") -> None:
        """A connection was accepted."""
        self._connections.add(connection)
        self._listeners.opened(len(self._connections))

    def closed(self, connection: "DownstreamConnection | Http2Downstream") -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if self.is_stopping:
            self._changed.set()
        self._listeners.closed(len(self._connections))

    def ended(self, *, is_tunnel: bool) -> None:
        """An exchange is over."""
        self.active -= 1
        if is_tunnel:
            self.tunnels -= 1
        if self.is_stopping:
            self._changed.set()

    def http2(self) -> "Http2Downstream":
        """Return what takes a connection over that turned out to be one of HTTP/2."""
        # Only now: most processes never see one, and loading it takes milliseconds of start-up.
        from proxies.downstream_http2 import Http2Downstream

        return Http2Downstream(self._loop, self, self._policy, self._date)

    def _accept(self) -> DownstreamConnection:
        return DownstreamConnection(self, self._policy, self._date)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
