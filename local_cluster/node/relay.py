"""TCP connections passed on: bytes both ways, each end of stream to the other side, nothing held beyond a buffer.

Used where the node answers for another address: ClusterIPs, and the ports of the machine that lead into the stack's own
network. A side that does not read stops the other from being read.
"""

import asyncio
from collections.abc import Callable
from typing import cast

__all__ = ["RelayServer"]

CONNECT_S = 5.0
CONNECTIONS_MAX = 4096

Address = tuple[str, int]


class RelayServer:
    """Passes the connections of one listener on to where `target()` says; None refuses them."""

    def __init__(self, target: Callable[[], Address | None]) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[_Side] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    async def start(self, **listener: object) -> None:
        """Listen as `loop.create_server` does with `listener`. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Side(self), **listener)  # type: ignore[call-overload]

    def stop(self) -> None:
        """Stop listening and cut what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._connecting:
            task.cancel()
        for side in list(self._open):
            side.abort()

    def accepted(self, side: "_Side") -> None:
        """A client came."""
        target = self._target()
        if target is None or len(self._open) >= CONNECTIONS_MAX:
            side.abort()
            return
        self._open.add(side)
        task = asyncio.get_running_loop().create_task(self._connect(side, target), name="relay")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def closed(self, side: "_Side") -> None:
        """A client's connection is gone."""
        self._open.discard(side)

    async def _connect(self, side: "_Side", target: Address) -> None:
        other = _Side(None, side)
        try:
            async with asyncio.timeout(CONNECT_S):
                await asyncio.get_running_loop().create_connection(lambda: other, *target)
        except (OSError, TimeoutError):
            side.abort()
            return
        side.joined(other)


class _Side(asyncio.Protocol):
    """One of two connections. The accepted one is not read until the other is there."""

    def __init__(self, server: RelayServer | None, other: "_Side | None" = None) -> None:
        self._server = server
        self._other = other
        self._transport: asyncio.Transport | None = None
        self._is_lost = False
        self._is_ended = False
        self._early = bytearray()

    # From the relay.

    def joined(self, other: "_Side") -> None:
        """The way on is open."""
        if self._is_lost:
            other.abort()
            return
        self._other = other
        assert self._transport is not None
        assert other._transport is not None
        if self._early:
            other._transport.write(bytes(self._early))
            self._early.clear()
        if self._is_ended:
            other._transport.write_eof()
        self._transport.resume_reading()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._server is not None:
            self._transport.pause_reading()
            self._server.accepted(self)

    def data_received(self, data: bytes) -> None:
        if self._other is None or self._other._transport is None:
            self._early += data  # one read at most: uvloop begins to read after connection_made, paused or not
            assert self._transport is not None
            self._transport.pause_reading()
        else:
            self._other._transport.write(data)

    def eof_received(self) -> bool:
        self._is_ended = True
        other = self._other._transport if self._other is not None else None
        if other is not None and not other.is_closing():
            other.write_eof()
        if self._other is not None and self._other._is_ended:
            assert self._transport is not None
            self._transport.close()  # what is still to be written is, and then the other side is closed, too
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._server is not None:
            self._server.closed(self)
        other = self._other._transport if self._other is not None else None
        if other is not None:
            if exc is None:
                other.close()
            else:
                other.abort()

    def pause_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other._transport is not None:
            self._other._transport.resume_reading()
