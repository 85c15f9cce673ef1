"""Lines on standard output, written without ever waiting for whoever reads them.

Standard output is often a pipe, and a reader may be slow, or stop. Lines are gathered and written together at the next
turn of the loop, in pieces that a pipe takes whole; while it takes nothing they wait in a bounded buffer, and what does
not fit there is dropped and counted.

Asking first (`poll`) instead of switching to non-blocking mode: that mode belongs to the open file, which other
processes may share. A pipe that polls as writable takes PIPE_BUF bytes at once; lines up to that length are never mixed
with those of another process (POSIX `write`).
"""

import asyncio
import os
import select
from typing import Final

from proxies.logs import Logger

__all__ = ["StdoutLines"]

_BUFFER_MAX: Final = 1 << 20
_PIECE: Final = select.PIPE_BUF
_RETRY_S: Final = 0.01
_CLOSE_S: Final = 1.0


class StdoutLines:
    """Writes whole lines to one descriptor."""

    def __init__(self, loop: asyncio.AbstractEventLoop, logger: Logger, *, fd: int = 1) -> None:
        """`logger` hears when lines are dropped, and when nobody can read them any more."""
        self._loop = loop
        self._logger = logger
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lines: list[bytes] = []
        self._size = 0
        self._handle: asyncio.Handle | None = None
        self._is_broken = False
        self._dropped = 0

    def write(self, line: bytes) -> None:
        """Write `line`, which ends with a newline and may hold several. Returns at once and never raises."""
        if self._is_broken:
            return
        if self._size + len(line) > _BUFFER_MAX:
            if not self._dropped:
                self._logger.warning("stdout_full", problem="nobody reads it, lines are dropped", buffered=self._size)
            self._dropped += 1
            return
        self._lines.append(line)
        self._size += len(line)
        if self._handle is None:
            self._handle = self._loop.call_soon(self._flush)

    async def close(self) -> None:
        """Write what waits, for a second at most."""
        deadline_s = self._loop.time() + _CLOSE_S
        while self._handle is not None and self._loop.time() < deadline_s:  # noqa: ASYNC110 - so does `_flush`
            await asyncio.sleep(_RETRY_S)
        if self._handle is not None:
            self._handle.cancel()
            self._dropped += len(self._lines)
        self._tell_dropped()

    def _flush(self) -> None:
        data, self._lines = b"".join(self._lines), []
        position = 0
        try:
            while position < len(data) and self._poll.poll(0):
                position += os.write(self._fd, data[position : _end_of_piece(data, position)])
        except BlockingIOError:  # another process has switched the mode
            pass
        except OSError as error:
            self._is_broken = True
            self._handle = None
            self._logger.error("stdout_broken", problem=str(error))
            return
        self._size = len(data) - position
        if self._size:
            self._lines.append(data[position:])
            self._handle = self._loop.call_later(_RETRY_S, self._flush)
        else:
            self._handle = None
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._logger.warning("stdout_lines_dropped", count=self._dropped)
            self._dropped = 0


def _end_of_piece(data: bytes, position: int) -> int:
    """Return where the piece from `position` ends: at the end of a line, unless one alone is too long for a piece."""
    limit = position + _PIECE
    if len(data) <= limit:
        return len(data)
    return data.rfind(b"\n", position, limit) + 1 or limit
