"""The files of a journal: numbered segments in a directory, appended to at the last one. Everything here may block.

A segment's name tells its number and the marker of its records: `0000000007-5be2c019.journal`.

One process at a time: the directory is locked. A write that fails leaves the files as they were, as far as anybody can
tell: what was written of it is cut off again, or a new segment is begun.
"""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from broker.channel.journal.records import MARKER_BYTES

__all__ = ["JournalInUse", "Segments"]

_BLOCK_BYTES: Final = 4096
"""What a disk loses at once, at least."""
_NAME: Final = re.compile(r"([0-9]{10})(?:-([0-9a-f]{8}))?\.journal")


class JournalInUse(OSError):
    """Another process has the journal."""


class Segments:
    """The segments of one directory. `append` may run in another thread than the rest, one call at a time."""

    def __init__(self, directory: Path, *, segment_bytes: int) -> None:
        """`segment_bytes`: a segment that has so many is not appended to any more."""
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._lock = -1
        self._descriptors: dict[int, int] = {}
        self._paths: dict[int, Path] = {}
        self._markers: dict[int, bytes] = {}
        self._last = 0
        self._end = 0
        self._is_broken = False
        self.marker = secrets.token_bytes(MARKER_BYTES)
        """Of the records in all segments that are begun here."""
        self.sizes: dict[int, int] = {}
        """Bytes of each segment, in order."""

    def open(self) -> None:
        """Lock the directory, which is made when it is not there. Raises `OSError`, `JournalInUse`."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalInUse(f"{self._directory}: another process has this journal") from error

    def read_all(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (segment, its bytes, their marker) in order, and begin a new segment behind them."""
        found = ((path, _NAME.fullmatch(path.name)) for path in self._directory.iterdir())
        for path, match in sorted((path, match) for path, match in found if match is not None):
            # A name could be there with one marker and another: neither is to hide the other.
            number = self._last = max(int(match[1]), self._last + 1)
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            size = os.fstat(descriptor).st_size
            if not size:
                # Of a process that wrote nothing: each start would leave one more open, for as long as one event stays.
                os.close(descriptor)
                os.unlink(path)
                continue
            marker = bytes.fromhex(match[2] or "")
            self._keep(number, path, marker, descriptor)
            data = _read_around(descriptor, size)
            self.sizes[number] = len(data)
            yield number, data, marker
        self._begin()

    def append(self, data: bytes, is_synced: bool) -> tuple[int, int]:
        """Write at the end; return (segment, offset). With `is_synced` it is on the disk then. Raises `OSError`."""
        if self._is_broken or self._end >= self._segment_bytes:
            self._begin()
        number, offset = self._last, self._end
        descriptor = self._descriptors[number]
        end = offset
        try:
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, end)
                end += written
                view = view[written:]
            # After a failed sync nobody knows what of the segment is on the disk: it is not appended to any more.
            self._is_broken = True
            if is_synced:
                os.fdatasync(descriptor)
            self._is_broken = False
        except OSError:
            os.ftruncate(descriptor, offset)
            raise
        self._end = self.sizes[number] = end
        return number, offset

    def read(self, segment: int, offset: int, length: int) -> bytes:
        """Return bytes of a segment. Raises `OSError`."""
        return _read(self._descriptors[segment], length, offset)

    def marker_of(self, segment: int) -> bytes:
        """Return the marker of a segment's records; empty if it is a segment of before there were any."""
        return self._markers[segment]

    @property
    def last(self) -> int:
        """The segment that is appended to."""
        return self._last

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(self.sizes.values())

    def remove(self, segment: int) -> None:
        """Delete a segment; never the last one."""
        assert segment != self._last
        os.unlink(self._paths[segment])
        os.close(self._descriptors.pop(segment))
        del self._paths[segment], self._markers[segment]
        del self.sizes[segment]

    def close(self) -> None:
        """Close all files, and let another process have them."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _begin(self) -> None:
        number = self._last + 1
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        path = self._directory / f"{number:010}-{self.marker.hex()}.journal"
        descriptor = os.open(path, flags, 0o600)
        try:
            # The name, too, has to be on the disk before what is in the file counts.
            _sync_directory(self._directory)
        except OSError:
            os.close(descriptor)
            os.unlink(path)
            raise
        self._keep(number, path, self.marker, descriptor)
        self.sizes[number] = 0
        self._last, self._end, self._is_broken = number, 0, False

    def _keep(self, number: int, path: Path, marker: bytes, descriptor: int) -> None:
        self._descriptors[number] = descriptor
        self._paths[number] = path
        self._markers[number] = marker


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read_around(descriptor: int, size: int) -> bytes:
    """Return a whole file, with zeros where the disk does not give it back."""
    try:
        return _read(descriptor, size, 0)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
    data = bytearray(size)
    for offset in range(0, size, _BLOCK_BYTES):
        try:
            block = _read(descriptor, min(_BLOCK_BYTES, size - offset), offset)
        except OSError:
            continue  # whoever looks for records finds none there, and says so
        data[offset : offset + len(block)] = block
    return bytes(data)


def _read(descriptor: int, length: int, offset: int) -> bytes:
    parts = []
    while length:
        part = os.pread(descriptor, min(length, 1 << 30), offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)
