"""Container logs: a file per incarnation in the container runtimes' format, bounded, and readable while it grows.

A line is `<RFC 3339 time> stdout F <text>` (`P` instead of `F` for a part of an overlong line); stdout and stderr share
one pipe, so their order is kept and their names are not. A file that reaches 10 MiB is put aside as `N.log.1`,
replacing the one before: at most 20 MiB per incarnation, and two incarnations per container.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from kube.timestamps import format_micro_time, parse_time_s

__all__ = ["ContainerLog", "LogsUnavailable"]

FILE_BYTES_MAX = 10 << 20
_LINE_BYTES_MAX = 16 << 10
TAIL_BYTES_MAX = 2048
TAIL_LINES_MAX = 80
"""What a termination message holds of the log (Kubernetes documentation, "Determine the Reason for Pod Failure")."""


class LogsUnavailable(Exception):
    """There is no such log; the text is for the person who asked."""


class ContainerLog:
    """The log of one incarnation of a container."""

    def __init__(self, path: Path, *, file_bytes_max: int = FILE_BYTES_MAX) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file_bytes_max = file_bytes_max
        self._file = path.open("wb", buffering=0)
        self._size = 0
        self._rotations = 0
        self._pending = b""
        self._tail = b""
        self._waiters: list[asyncio.Future[None]] = []
        self.is_closed = False
        self._is_discarded = False

    # Writing.

    def feed(self, data: bytes, now_s: float) -> None:
        """Bytes that the container wrote."""
        self._tail = (self._tail + data)[-TAIL_BYTES_MAX:]
        *lines, rest = (self._pending + data).split(b"\n")
        stamp = format_micro_time(now_s).encode()
        out = bytearray()
        for line in lines:
            _append(out, stamp, line)
        while len(rest) >= _LINE_BYTES_MAX:
            out += b"%s stdout P %s\n" % (stamp, rest[:_LINE_BYTES_MAX])
            rest = rest[_LINE_BYTES_MAX:]
        self._pending = rest
        self._write(bytes(out))

    def close(self, now_s: float) -> None:
        """The container ended; a last line without an end is kept."""
        if self.is_closed:
            return
        if self._pending:
            out = bytearray()
            _append(out, format_micro_time(now_s).encode(), self._pending)
            self._pending = b""
            self._write(bytes(out))
        self.is_closed = True
        self._file.close()
        self._wake()

    def discard(self) -> None:
        """Nobody will ask for it any more."""
        self.is_closed = self._is_discarded = True
        self._file.close()
        self._wake()
        self.path.unlink(missing_ok=True)
        _aside(self.path).unlink(missing_ok=True)

    def tail(self) -> str:
        """The last lines, at most 80 and 2048 bytes, as a termination message shows them."""
        lines = self._tail.split(b"\n")
        has_end = lines[-1] == b""
        kept = lines[-(TAIL_LINES_MAX + has_end) :]
        return b"\n".join(kept).decode("utf-8", "replace")

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._size and self._size + len(data) > self._file_bytes_max:
            self._file.close()
            self.path.replace(_aside(self.path))
            self._file = self.path.open("wb", buffering=0)
            self._size = 0
            self._rotations += 1
        self._file.write(data)
        self._size += len(data)
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # Reading.

    async def read(
        self,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        since_s: float | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        """The log's text in chunks; with `follow`, goes on until the container ends. `since_s` is a Unix time."""
        reader = _Reader(since_s, timestamps)
        rotations, position = self._rotations, self._size
        # Opened at once: while they are read, a rotation may give their names to other files.
        stored: list[BinaryIO] = []
        if not self._is_discarded:
            stored += [path.open("rb") for path in ([_aside(self.path)] if rotations else []) + [self.path]]
        file = stored[-1] if stored else None
        try:
            yield await asyncio.to_thread(reader.collect, stored, position, tail_lines)
            if file is None or not follow:
                return
            file.seek(position)
            opened = rotations
            while True:
                chunk = file.read(1 << 16)
                if chunk:
                    yield reader.convert(chunk)
                elif opened != self._rotations and not self._is_discarded:
                    file.close()
                    file = self.path.open("rb")
                    opened = self._rotations
                elif self.is_closed:
                    return
                else:
                    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._waiters.append(waiter)
                    await waiter
        finally:
            for open_file in (*stored, *([file] if file is not None else [])):
                open_file.close()


class _Reader:
    """Turns stored lines into what the reader asked for."""

    def __init__(self, since_s: float | None, timestamps: bool) -> None:
        self._since_s = since_s
        self._timestamps = timestamps
        self._rest = b""
        self._continues = False

    def collect(self, files: list[BinaryIO], last_size: int, tail_lines: int | None) -> bytes:
        """All that is stored up to `last_size` bytes of the last file, or its last lines."""
        lines: deque[bytes] = deque(maxlen=tail_lines)
        for file in files:
            lines.extend(self._lines(file, last_size if file is files[-1] else -1))
        return b"".join(lines)

    def convert(self, chunk: bytes) -> bytes:
        """A part of the file that may end inside a line."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return b"".join(self._one(line) for line in lines)

    def _lines(self, file: BinaryIO, size: int) -> Iterator[bytes]:
        for line in file.read(size).split(b"\n"):
            text = self._one(line) if line else b""
            if text:
                yield text

    def _one(self, line: bytes) -> bytes:
        stamp, _, flag, text = [*line.split(b" ", 3), b"", b"", b""][:4]
        if self._since_s is not None and parse_time_s(stamp.decode()) < self._since_s:
            return b""
        shown = text if not self._timestamps or self._continues else stamp + b" " + text
        self._continues = flag == b"P"
        return shown if self._continues else shown + b"\n"


def _append(out: bytearray, stamp: bytes, line: bytes) -> None:
    while len(line) > _LINE_BYTES_MAX:
        out += b"%s stdout P %s\n" % (stamp, line[:_LINE_BYTES_MAX])
        line = line[_LINE_BYTES_MAX:]
    out += b"%s stdout F %s\n" % (stamp, line)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".1")
