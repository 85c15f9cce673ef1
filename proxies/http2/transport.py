"""A transport's protocol around a core, and when what the core puts out is written.

Many streams put out something in one turn of the loop, often on several connections at once. `Turn` gathers the
connections that have output, and each of them writes once: at the end of the turn, when all that came from all clients
stands in one write to the app; or before, at the end of a read from the app, for its clients wait each for a write of
their own.
"""

import asyncio
from typing import Final, cast
from weakref import WeakKeyDictionary

from proxies.http2.connection import Connection

__all__ = ["CoreProtocol", "Turn"]

_WRITE_HIGH_BYTES: Final = 64 * 1024
"""Beyond it DATA waits in its streams, where each has its own bound, and heads go on to be written."""

_FLUSH_S: Final = 2.0
"""How long the last bytes that were written may take to leave."""


class Turn:
    """The connections of one loop that have something to write. Use `Turn.of`."""

    __slots__ = ("_is_scheduled", "_is_within", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[CoreProtocol] = []
        self._is_within = False
        self._is_scheduled = False

    @staticmethod
    def of(loop: asyncio.AbstractEventLoop) -> "Turn":
        """Return the one of `loop`: clients' and apps' connections share it."""
        turn = _turns.get(loop)
        if turn is None:
            turn = _turns[loop] = Turn(loop)
        return turn

    def begin(self) -> None:
        """A read is being worked on behind which `end` follows, whatever happens."""
        self._is_within = True

    def end(self) -> None:
        """Write now."""
        waiting = self._waiting
        while waiting:
            # Writing may tell streams that there is room, or none, and make more to write.
            self._waiting = []
            for protocol in waiting:
                try:
                    protocol.flush()
                except Exception as error:  # noqa: BLE001 - one connection's bug must not silence the others
                    self._loop.call_exception_handler({"message": f"{protocol!r} failed", "exception": error})
            waiting = self._waiting
        self._is_within = False

    def add(self, protocol: "CoreProtocol") -> None:
        """Have `protocol` written, once."""
        self._waiting.append(protocol)
        if not self._is_within and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._end_scheduled)

    def _end_scheduled(self) -> None:
        self._is_scheduled = False
        self.begin()
        self.end()


_turns: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Turn]] = WeakKeyDictionary()


class _Lost(asyncio.Transport):
    """The transport of a connection that is lost."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        """It is."""

    def abort(self) -> None:
        """It is."""

    def get_write_buffer_size(self) -> int:
        return 0


_LOST: Final = _Lost()


class CoreProtocol(asyncio.Protocol):
    """What connections from clients and to apps have in common. A subclass sets `core` first of all."""

    core: Connection

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn = Turn.of(loop)
        self._transport: asyncio.Transport

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self._turn.add(self)

    def data_received(self, data: bytes) -> None:
        if self.core.receive(data):
            self._go_on_later()

    def eof_received(self) -> None:
        """Both directions end: a stream that the peer half-closed cannot have its windows opened any more."""

    def connection_lost(self, error: Exception | None) -> None:
        self.core.connection_lost("the connection is lost" if error is None else str(error))
        self._transport = _LOST  # with TLS the old one keeps some 50 KiB

    def pause_writing(self) -> None:
        self.core.pause_writing()
        # Not only when there is more to send: that would be as much again as the transport has already.
        for stream in list(self.core.streams.values()):
            stream.filled()

    def resume_writing(self) -> None:
        self.core.resume_writing()
        for stream in list(self.core.streams.values()):
            if not stream.is_full:
                stream.drained()

    # What the core calls (`endpoint.Owner`).

    def output_ready(self) -> None:
        """Write before the turn ends."""
        self._turn.add(self)

    def write_through(self) -> None:
        """Write now."""
        self.flush()

    def settings_received(self) -> None:
        """Nothing waits for them."""

    def peer_goes_away(self, code: int, text: str) -> None:
        """The core opens nothing more."""

    def ping_acknowledged(self, payload: bytes) -> None:
        """None is sent that would be waited for."""

    # What the turn calls.

    def flush(self) -> None:
        """Write what there is; close behind it when the connection is over."""
        core, transport = self.core, self._transport
        data = core.take_output()
        if transport.is_closing():
            return
        if data:
            transport.write(data)
        if core.is_draining:
            self.close_if_done()

    def close_if_done(self) -> None:
        """No further stream begins: close behind what was written if nothing else follows."""
        if self.core.is_over:
            self.close_transport()

    def close_transport(self) -> None:
        """Close behind what was written; a peer that does not take that is not waited for long."""
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(_FLUSH_S, self._transport.abort)

    # Inside.

    def _go_on_later(self) -> None:
        """More was read than one connection may take of a turn."""
        self._transport.pause_reading()
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not self.core.is_over and not self._transport.is_closing():
            self._transport.resume_reading()
            self.data_received(b"")
