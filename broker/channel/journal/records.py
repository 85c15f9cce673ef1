"""What stands in the files of a journal: a sequence of records, each with its length and a checksum.

    crc32 of the rest | length of the content | kind | content (msgpack)
         4 bytes              4 bytes           1 byte

A process may end in the middle of a record. Whoever reads finds that by the checksum and takes what is before it; what
is behind was never confirmed to anybody.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import ClassVar, Final, TypeAlias

import msgspec

from broker.channel.dead import Dead

__all__ = ["Accepted", "Owed", "Record", "Redriven", "Retried", "Settled", "encoded", "records_of"]

_HEADER: Final = struct.Struct(">IIB")
_CHECKED: Final = struct.Struct(">IB")
RECORD_BYTES_MAX: Final = 1 << 30
"""A length beyond it is no length: no event is so large."""


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


def encoded(record: Record) -> bytes:
    """Return the bytes of a record."""
    content = _encode(record)
    checked = zlib.crc32(content, zlib.crc32(_CHECKED.pack(len(content), record.KIND)))
    return _HEADER.pack(checked, len(content), record.KIND) + content


def records_of(data: bytes) -> Iterator[tuple[int, int, Record]]:
    """Yield (offset, length, record) up to the end or to the first bytes that are no whole record."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        checked, length, kind = _HEADER.unpack_from(data, offset)
        begin = offset + _HEADER.size
        content = data[begin : begin + length] if length <= RECORD_BYTES_MAX else b""
        decoder = _DECODERS.get(kind)
        if decoder is None or len(content) != length:
            return
        if zlib.crc32(content, zlib.crc32(_CHECKED.pack(length, kind))) != checked:
            return
        try:
            record = decoder.decode(content)
        except msgspec.DecodeError:
            return
        end = begin + length
        yield offset, end - offset, record
        offset = end
