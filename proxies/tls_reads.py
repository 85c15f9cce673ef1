"""Reads of connections in TLS, through one buffer that all of them share.

The event loop hands a protocol of its own buffer what was decrypted, and one without gets an object of 256 KiB for each
read, cut to what came. Small objects that are made meanwhile come to lie behind it, so the heap is full of gaps; and
where blocks of that size have mappings of their own, a small request costs twice as much (docs/decisions/0009).
"""

import asyncio
from collections.abc import Callable
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

__all__ = ["SecureReads", "hand_over"]

_BUFFER_BYTES: Final = 256 * 1024
"""The most that the loop decrypts at a time; the rest, if any, comes in its next turn."""
_BUFFER: Final = memoryview(mmap(-1, _BUFFER_BYTES, flags=MAP_PRIVATE | MAP_ANONYMOUS))
"""Of all connections: the loop, of which a process has one, fills it and has it emptied before it looks at another
connection. A mapping, for the system gives it pages only as far as it is used; private, lest a process that forks share
what it reads. A view of it, because asyncio's own loop fills it piece by piece."""


class SecureReads(asyncio.BufferedProtocol):
    """What the loop takes for a connection's protocol; all but reading is left to `protocol`."""

    __slots__ = ("_data_received", "protocol")

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self._data_received: Callable[[bytes], None] = protocol.data_received

    def take_over(self, protocol: asyncio.Protocol) -> None:
        """Give `protocol` all that comes from now on."""
        self.protocol = protocol
        self._data_received = protocol.data_received

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.protocol.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        self._data_received(bytes(_BUFFER[:nbytes]))

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self.protocol.connection_lost(error)

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()


def hand_over(transport: asyncio.Transport, protocol: asyncio.Protocol) -> None:
    """Have `protocol` told what comes on `transport` from now on, in TLS or not."""
    reads = transport.get_protocol()
    if isinstance(reads, SecureReads):
        reads.take_over(protocol)
    else:
        transport.set_protocol(protocol)
