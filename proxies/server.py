"""The listening side: accepts connections, reads requests, and gives each to the policy as an exchange."""

import asyncio
import socket
from typing import Final

from proxies.downstream import DownstreamConnection
from proxies.exchange import Policy
from proxies.headers import DateLine
from proxies.timers import Timers

__all__ = ["Server", "listening_socket"]

_BACKLOG: Final = 4096


class Server:
    """One policy on any number of listening addresses."""

    def __init__(self, loop: asyncio.AbstractEventLoop, policy: Policy) -> None:
        self._loop = loop
        self._policy = policy
        self._date = DateLine()
        self._listeners: list[asyncio.AbstractServer] = []
        self._connections: set[DownstreamConnection] = set()
        self._changed: asyncio.Event = asyncio.Event()
        self.timers = Timers(loop)
        self.is_stopping = False
        """Responses close their connections."""
        self.active = 0
        """Exchanges under way, tunnels included."""
        self.tunnels = 0
        """Open tunnels."""

    async def listen(self, host: str | None, port: int) -> int:
        """Accept on `host` (None or empty: all addresses) and return the port. May be repeated.

        Raises `OSError` when the address cannot be had.
        """
        sock = listening_socket(host, port)
        listener = await self._loop.create_server(self._accept, sock=sock, backlog=_BACKLOG)
        self._listeners.append(listener)
        bound: int = sock.getsockname()[1]
        return bound

    @property
    def in_flight(self) -> int:
        """Exchanges and tunnels under way."""
        return self.active

    async def stop(self, *, tunnel_grace_s: float = 60.0) -> None:
        """Stop accepting, close idle connections, let running exchanges finish, wait so long for tunnels."""
        self.is_stopping = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            if connection.is_idle:
                connection.close()
        while self.active > self.tunnels:
            await self._change()
        try:
            async with asyncio.timeout(tunnel_grace_s):
                while self.active:
                    await self._change()
        except TimeoutError:
            pass
        for connection in list(self._connections):
            connection.close()
        self.timers.close()

    # What connections call.

    def opened(self, connection: DownstreamConnection) -> None:
        """A connection was accepted."""
        self._connections.add(connection)

    def closed(self, connection: DownstreamConnection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)

    def ended(self, *, is_tunnel: bool) -> None:
        """An exchange is over."""
        self.active -= 1
        if is_tunnel:
            self.tunnels -= 1
        if self.is_stopping:
            self._changed.set()

    def _accept(self) -> DownstreamConnection:
        return DownstreamConnection(self, self._policy, self._date)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def listening_socket(host: str | None, port: int) -> socket.socket:
    """Return a bound socket; without a host it takes IPv4 and IPv6 alike. Nothing is resolved: `host` is an address."""
    if host:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    else:
        try:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            host = "::"
        except OSError:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            host = "0.0.0.0"  # noqa: S104 - all addresses is what was asked for
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
