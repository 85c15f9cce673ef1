"""Connections to one HTTP/1.1 server: bounded, kept for the next request.

    connection, head = await pool.ask(request, is_repeatable=True)
    try:
        body = await connection.read_all()
    finally:
        pool.give_back(connection)

A connection that is given back before its response is whole is cut off. A kept one may be closed by its peer just when
it is used again: a request that met this without getting a byte, and may be repeated, is sent once more over a new
connection; those that were idle together are closed together by their peer.
"""

import asyncio
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from kube.http_connection import BrokenConnection, HttpConnection
from proxies.messages import ResponseHead

__all__ = ["HttpPool"]

_CONNECT_S: Final = 10.0
"""For all addresses of the server together."""


class HttpPool:
    """All connections to `server`, a URL of which only scheme, host and port count. `close` it at the end."""

    def __init__(self, server: str, tls: ssl.SSLContext | None, *, connections_max: int, idle_s: float = 60.0) -> None:
        """`tls`: for a server whose scheme is https. `idle_s`: how long one that nobody uses is kept."""
        url = urlsplit(server)
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._address = ""
        """Where somebody answered the last time."""
        self._tls = tls
        self._idle_s = idle_s
        self._places = asyncio.Semaphore(connections_max)
        """Of connections in use. Nobody dials while one is idle, so there are never more of both together."""
        self._open: set[HttpConnection] = set()
        """All of them, in use or not."""
        self._idle: list[HttpConnection] = []
        """In the order in which they became idle."""
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def ask(self, request: bytes, *, is_repeatable: bool) -> tuple[HttpConnection, ResponseHead]:
        """Send a request; its connection, to be given back, and the response's head.

        Raises `BrokenConnection` and `OSError`. Waits for a place as long as it takes.
        """
        connection, is_kept = await self._take()
        try:
            return connection, await connection.ask(request)
        except BrokenConnection:
            if not (is_kept and is_repeatable and connection.is_unanswered):
                self.give_back(connection)
                raise
        except BaseException:
            self.give_back(connection)
            raise
        self.give_back(connection)
        self._close_idle(len(self._idle))
        connection, _ = await self._take()
        try:
            return connection, await connection.ask(request)
        except BaseException:
            self.give_back(connection)
            raise

    def give_back(self, connection: HttpConnection) -> None:
        """Keep a connection for the next request, or end it."""
        self._places.release()
        if self._is_closed or not connection.is_free:
            connection.abort()
            return
        connection.idle_since_s = asyncio.get_running_loop().time()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep_later()

    async def close(self) -> None:
        """End every connection; whoever waits for a response gets `BrokenConnection`."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        for connection in self._open:
            connection.abort()
        if self._open:
            await asyncio.wait([connection.lost for connection in self._open])

    async def _take(self) -> tuple[HttpConnection, bool]:
        """A connection, and whether it had been used before. Raises `BrokenConnection` and `OSError`."""
        await self._places.acquire()
        try:
            self._check_open()
            while self._idle:
                connection = self._idle.pop()
                if connection.is_free:
                    return connection, True
            return await self._dial(), False
        except BaseException:
            self._places.release()
            raise

    async def _dial(self) -> HttpConnection:
        """A new connection. Each address has its share of the time: a silent one is not in the way of the others."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + _CONNECT_S
        async with asyncio.timeout_at(end_s):
            addresses = await _addresses(self._host, self._port)
        addresses.sort(key=lambda address: address != self._address)
        for left in range(len(addresses), 0, -1):
            address = addresses[-left]
            try:
                async with asyncio.timeout((end_s - loop.time()) / left):
                    connection = await HttpConnection.open(address, self._port, tls=self._tls, server_name=self._host)
                break
            except OSError:
                if left == 1:
                    raise
        self._address = address
        try:
            self._check_open()
        except BrokenConnection:
            connection.abort()
            raise
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    def _check_open(self) -> None:
        if self._is_closed:
            raise BrokenConnection("the client is closed")

    def _close_idle(self, count: int) -> None:
        closed, self._idle[:count] = self._idle[:count], []
        for connection in closed:
            connection.close()

    def _sweep_later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(self._idle_s / 4, self._expire)

    def _expire(self) -> None:
        self._sweep = None
        oldest_s = asyncio.get_running_loop().time() - self._idle_s
        self._close_idle(sum(connection.idle_since_s <= oldest_s for connection in self._idle))
        if self._idle:
            self._sweep_later()


async def _addresses(host: str, port: int) -> list[str]:
    """Those of a name, each once, as they are to be tried. Raises `OSError`; `ValueError` for what cannot be a name."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))
