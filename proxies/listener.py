"""Listening sockets that stop accepting when the process runs out of room, and go on when it has some again.

A process that accepts until it has no file descriptor left can neither reach its upstream nor say anything useful. So a
listener accepts only up to a number of connections that leaves as many descriptors for upstreams, and a few for the
rest. Beyond it clients wait in the kernel's backlog, unharmed, until others leave.

The event loop's listener cannot be paused, only closed. What it is given is therefore a duplicate of a socket that
stays open here: the kernel goes on completing handshakes for that one while no duplicate is being accepted from.
"""

import asyncio
import resource
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from proxies.logs import Logger

if TYPE_CHECKING:
    from ssl import SSLContext

    from proxies.tls_listener import TlsListener

__all__ = ["Listeners", "connections_max", "listening_socket", "raise_open_files"]

BACKLOG: Final = 4096
"""Connections that the kernel completes ahead of us; it cuts this to `net.core.somaxconn`."""
_KEEPALIVE_S: Final = 15
"""Go's default for the connections that it accepts."""
_RESERVED_FILES: Final = 64
"""Descriptors for everything that is no connection: the loop's own, listeners, logs, probes, exporters."""
_RESUME_RATIO: Final = 0.95
"""Connections, relative to the limit, at which accepting goes on."""
_OVER_RATIO: Final = 0.5
"""At which the episode is over: the next pause is told again."""
_SIDE_PORTS: Final = 3
_SIDE_CONNECTIONS_MAX: Final = 64
"""Who asks a side port is one of few: kubelet, an autoscaler, a scraper."""


class Listeners:
    """All listening sockets of one server."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        accept: Callable[[], asyncio.Protocol],
        *,
        limit: int | None,
        logger: Logger | None,
    ) -> None:
        """`accept` makes the protocol of a new connection. `limit`: connections at once; None: no limit."""
        self._loop = loop
        self._accept = accept
        self._limit = limit
        self._logger = logger
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.AbstractServer] = []
        self._secured: list[TlsListener] = []
        self._connections = 0
        self._is_paused = False
        self._is_told = False
        self._is_closed = False
        self._resuming: asyncio.Task[None] | None = None

    async def add(self, sock: socket.socket, tls: "SSLContext | None" = None) -> None:
        """Listen and accept on a bound socket."""
        sock.listen(BACKLOG)
        if tls is not None:
            # Only now: most processes have no TLS port.
            from proxies.tls_listener import TlsListener

            listener = TlsListener(self._loop, sock, tls, self._accept, self._handshakes_changed)
            self._secured.append(listener)
            if not self._is_paused:
                listener.start()
            return
        self._sockets.append(sock)
        if not self._is_paused:
            await self._accept_on([sock])

    def opened(self, connections: int) -> None:
        """A connection was accepted, and now there are so many."""
        self._connections = connections
        self._pause_if_full()

    def closed(self, connections: int) -> None:
        """A connection is gone, and so many are left."""
        self._connections = connections
        self._resume_if_room()

    def close(self) -> None:
        """Stop listening: who knocks from now on is refused."""
        self._is_closed = True
        if self._resuming is not None:
            self._resuming.cancel()
        self._stop_accepting()
        for sock in self._sockets:
            sock.close()
        for listener in self._secured:
            listener.stop()
        self._sockets.clear()
        self._secured.clear()

    async def _accept_on(self, sockets: Sequence[socket.socket]) -> None:
        for sock in list(sockets):
            accepting = await self._loop.create_server(self._accept, sock=sock.dup(), backlog=BACKLOG)
            self._accepting.append(accepting)

    def _handshakes_changed(self) -> None:
        self._pause_if_full()
        self._resume_if_room()

    @property
    def _places(self) -> int:
        """How many are taken. Who is shaking hands has one, as others have who did not send their request yet."""
        return self._connections + sum(listener.handshakes for listener in self._secured)

    def _pause_if_full(self) -> None:
        places = self._places
        if self._limit is not None and places >= self._limit and not self._is_paused:
            self._is_paused = True
            self._stop_accepting()
            if self._logger is not None and not self._is_told:
                self._is_told = True
                self._logger.warning(
                    "accept_paused",
                    connections=places,
                    problem="no file descriptor left for another connection and its upstream",
                    remedy="raise the limit of open files (ulimit -n), or run more replicas",
                )

    def _resume_if_room(self) -> None:
        places = self._places
        if self._is_told and places <= (self._limit or 0) * _OVER_RATIO:
            self._is_told = False
        if self._is_paused and not self._is_closed and places <= (self._limit or 0) * _RESUME_RATIO:
            self._is_paused = False
            for listener in self._secured:
                listener.start()
            self._resuming = self._loop.create_task(self._accept_on(self._sockets))

    def _stop_accepting(self) -> None:
        for accepting in self._accepting:
            accepting.close()
        self._accepting.clear()
        for listener in self._secured:
            listener.pause()


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
        # Accepted connections inherit it: a client that vanished without a word must not hold its place for ever.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_S)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def raise_open_files() -> None:
    """Allow this process as many open files as it may have, as Go does for its own at start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_max(*, is_side_port: bool) -> int | None:
    """Return how many connections the limit of open files leaves room for; None: any number.

    A side port (metrics, drain) takes few. What they leave is the main port's, which needs two for each connection: one
    for its upstream.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_unlimited = soft == resource.RLIM_INFINITY
    side = _SIDE_CONNECTIONS_MAX if is_unlimited else max(1, min(_SIDE_CONNECTIONS_MAX, soft // 16))
    if is_side_port:
        return side
    return None if is_unlimited else max(1, (soft - _RESERVED_FILES - _SIDE_PORTS * side) // 2)
