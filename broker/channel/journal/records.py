"""What stands in the files of a journal: a sequence of records, each with a marker, its length and a checksum.

    marker  | crc32 of the rest | length of the content | kind | content (msgpack)
    4 bytes       4 bytes              4 bytes           1 byte

A process may end in the middle of a record, and a disk may damage any. Whoever reads finds that by the checksum, and
goes on at the next marker that a whole record follows. The marker is a random word of the process that wrote: an event
that carries the bytes of a record does not carry one that counts here.

Files without a marker, as they once were, are read up to their first damage.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import ClassVar, Final, TypeAlias

import msgspec

from broker.channel.dead import Dead

__all__ = ["MARKER_BYTES", "Accepted", "Owed", "Record", "Redriven", "Retried", "Settled", "encoded", "records_of"]

MARKER_BYTES: Final = 4
_HEADER: Final = struct.Struct(">IIB")
_CHECKED: Final = struct.Struct(">IB")


class Owed(msgspec.Struct, array_like=True):
    """What is known of one subscription that an event is owed to."""

    uid: str
    retry: int = 0
    """Retries that were begun."""
    due_s: float = 0.0
    """Unix time of the next attempt."""
    dead: Dead | None = None


class Accepted(msgspec.Struct, array_like=True, frozen=True):
    """An event that was accepted; or, later, the same one again with what became of it so far."""

    KIND: ClassVar = 1
    seq: int
    namespace: str
    channel: str
    at_s: float
    """Unix time of its acceptance."""
    lines: bytes
    passed: bytes
    body: bytes
    owed: list[Owed]


class Settled(msgspec.Struct, array_like=True, frozen=True):
    """An event is owed to a subscription no longer."""

    KIND: ClassVar = 2
    seq: int
    uid: str


class Retried(msgspec.Struct, array_like=True, frozen=True):
    """An attempt failed; the next one is due then."""

    KIND: ClassVar = 3
    seq: int
    uid: str
    retry: int
    due_s: float


class Died(msgspec.Struct, array_like=True, frozen=True):
    """A delivery failed for good; the event is kept."""

    KIND: ClassVar = 4
    seq: int
    uid: str
    dead: Dead


class Redriven(msgspec.Struct, array_like=True, frozen=True):
    """What had failed for good is owed again."""

    KIND: ClassVar = 5
    seq: int
    uid: str


Record: TypeAlias = Accepted | Settled | Retried | Died | Redriven

_DECODERS: Final[dict[int, msgspec.msgpack.Decoder[Record]]] = {
    kind.KIND: msgspec.msgpack.Decoder(kind) for kind in (Accepted, Settled, Retried, Died, Redriven)
}
_encode: Final = msgspec.msgpack.Encoder().encode


def encoded(record: Record, marker: bytes) -> bytes:
    """Return the bytes of a record; `marker` is that of the file."""
    content = _encode(record)
    checked = zlib.crc32(content, zlib.crc32(_CHECKED.pack(len(content), record.KIND)))
    return marker + _HEADER.pack(checked, len(content), record.KIND) + content


def records_of(data: bytes, marker: bytes) -> Iterator[tuple[int, int, Record]]:
    """Yield (offset, length, record) of every whole record; what is between two of them, or at the end, is damaged."""
    offset = 0
    while 0 <= offset < len(data):
        found = _record_at(data, offset, marker)
        if found is not None:
            end, record = found
            yield offset, end - offset, record
            offset = end
        elif marker:
            offset = data.find(marker, offset + 1)
        else:
            return


def _record_at(data: bytes, offset: int, marker: bytes) -> tuple[int, Record] | None:
    """Return the record that begins at `offset` and where it ends, or None if none does."""
    begin = offset + len(marker) + _HEADER.size
    if begin > len(data) or not data.startswith(marker, offset):
        return None
    checked, length, kind = _HEADER.unpack_from(data, offset + len(marker))
    end = begin + length
    decoder = _DECODERS.get(kind)
    if decoder is None or end > len(data):
        return None
    content = memoryview(data)[begin:end]
    if zlib.crc32(content, zlib.crc32(_CHECKED.pack(length, kind))) != checked:
        return None
    try:
        return end, decoder.decode(content)
    except msgspec.DecodeError:
        return None
