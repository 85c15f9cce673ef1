"""HPACK: header lists from header blocks, and back.

We advertise a dynamic table without room (SETTINGS_HEADER_TABLE_SIZE 0). As soon as the peer has acknowledged that and
has emptied its table, a block says the same whenever it comes: blocks, and the representations that they consist of,
can then be remembered (`memos`). A block that comes earlier is decoded with the table that the peer still uses, and so
are all blocks of a peer that never empties it.

    Decoder.decode      any block: the plain version, with the dynamic table
    split, field_of     a block in which the dynamic table has no room: its representations, and what one of them says
    encode              name and value without the dynamic table, and without Huffman: local networks have room

`split` with `field_of` and `Decoder.decode` are held equal by a property test.

Source: RFC 7541; RFC 9113 sections 4.3, 10.5.1.
"""

from collections import deque
from typing import Final, TypeAlias

from proxies.http2 import huffman
from proxies.http2.errors import ENHANCE_YOUR_CALM, CompressionFault, ConnectionFault, ListTooLarge
from proxies.http2.static_table import NAME_INDEX, PAIR_INDEX, PAIRS

__all__ = ["EMPTY_TABLE", "Decoder", "Pair", "encode", "field_of", "split"]

Pair: TypeAlias = tuple[bytes, bytes]
"""Name and value of a header."""

TABLE_BYTES: Final = 4096
"""Room of the dynamic table until SETTINGS change it (RFC 9113 6.5.2)."""
ENTRY_BYTES: Final = 32
"""What an entry counts besides its name and value (RFC 7541 4.1)."""
EMPTY_TABLE: Final = b"\x20"
"""Begins a block: the encoder's dynamic table has no room from here on."""

_STATIC_MAX: Final = len(PAIRS) - 1
_UPDATES_MAX: Final = 2
"""Size updates in one block: the smallest size since the block before, and the last (RFC 7541 4.2)."""
_INTEGER_OCTETS_MAX: Final = 4
"""Octets behind an integer's prefix: enough for 2^28, far beyond every bound of ours."""
_EXCESS_MAX: Final = 10_000
"""Fields that are read only for the dynamic table's sake, since the list is beyond its bounds anyway: some 5 ms."""


class Decoder:
    """Decodes the blocks of one direction of a connection, in their order."""

    __slots__ = ("_capacity", "_entries", "_fields_max", "_limit", "_list_bytes_max", "_size")

    def __init__(self, *, list_bytes_max: int, fields_max: int) -> None:
        """`list_bytes_max`: of names and values with `ENTRY_BYTES` each; `fields_max`: their count."""
        self._list_bytes_max = list_bytes_max
        self._fields_max = fields_max
        self._entries: deque[Pair] | None = None
        self._size = 0
        self._capacity = TABLE_BYTES
        self._limit = TABLE_BYTES

    @property
    def is_context_free(self) -> bool:
        """The dynamic table has no room, now and later: every block can be read by itself."""
        return not self._capacity and not self._limit

    def limit_acknowledged(self, limit: int) -> None:
        """The peer acknowledged our SETTINGS_HEADER_TABLE_SIZE: it may announce no larger table any more.

        Its next block should announce the smaller one (RFC 9113 4.3.1). Peers that acknowledge and go on with the table
        that they have are many, so it stays as it is until they say otherwise (docs/decisions/0012).
        """
        self._limit = limit

    def decode(self, block: bytes) -> list[Pair]:
        """Return what `block` says. Raises `CompressionFault`; `ListTooLarge` when the list is beyond its bounds.

        The block was read to its end nonetheless, so the next one can be; `ConnectionFault` where it goes on and on.
        """
        pairs: list[Pair] = []
        excess = 0
        room = self._list_bytes_max
        position, length = self._resized(block), len(block)
        while position < length:
            byte = block[position]
            if byte & 0x80:
                index, position = _integer(block, position, 0x7F)
                pair = self._pair(index)
            elif byte & 0xE0 == 0x20:
                raise CompressionFault("expected a dynamic table size update only at the beginning of a block")
            else:
                is_added = byte & 0x40
                index, position = _integer(block, position, 0x3F if is_added else 0x0F)
                if index:
                    name = self._pair(index)[0]
                else:
                    name, position = _string(block, position)
                value, position = _string(block, position)
                pair = (name, value)
                if is_added:
                    self._add(pair)
            room -= len(pair[0]) + len(pair[1]) + ENTRY_BYTES
            if room >= 0 and len(pairs) < self._fields_max:
                pairs.append(pair)
                continue
            room = -1
            excess += 1
            if excess > _EXCESS_MAX:
                raise ConnectionFault(ENHANCE_YOUR_CALM, self._bounds)
        if room < 0:
            raise ListTooLarge(self._bounds)
        return pairs

    @property
    def _bounds(self) -> str:
        return f"expected a header list of at most {self._fields_max} fields, {self._list_bytes_max} bytes"

    def _resized(self, block: bytes) -> int:
        """Take the size updates at the beginning of `block`; return where they end."""
        position = updates = 0
        while position < len(block) and block[position] & 0xE0 == 0x20:
            updates += 1
            if updates > _UPDATES_MAX:
                raise CompressionFault(f"expected at most {_UPDATES_MAX} dynamic table size updates in a block")
            capacity, position = _integer(block, position, 0x1F)
            if capacity > self._limit:
                raise CompressionFault(f"expected a dynamic table of at most {self._limit} bytes, got {capacity}")
            self._capacity = capacity
            self._evict(capacity)
        return position

    def _pair(self, index: int) -> Pair:
        if 0 < index <= _STATIC_MAX:
            return PAIRS[index]
        entries = self._entries
        index -= _STATIC_MAX + 1
        if index < 0 or entries is None or index >= len(entries):
            raise CompressionFault("expected the index of a table entry")
        return entries[index]

    def _add(self, pair: Pair) -> None:
        size = len(pair[0]) + len(pair[1]) + ENTRY_BYTES
        if size > self._capacity:
            self._evict(0)
            return
        self._evict(self._capacity - size)
        if self._entries is None:
            self._entries = deque()
        self._entries.appendleft(pair)
        self._size += size

    def _evict(self, size_max: int) -> None:
        entries = self._entries
        if entries is None:
            return
        while self._size > size_max:
            name, value = entries.pop()
            self._size -= len(name) + len(value) + ENTRY_BYTES
        if not entries:
            self._entries = None


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Return the integer whose prefix of the bits in `mask` stands at `position`, and where it ends (RFC 7541 5.1)."""
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    for shift in range(0, 7 * _INTEGER_OCTETS_MAX, 7):
        if position == len(block):
            raise CompressionFault("expected the rest of an integer, got the end of the block")
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise CompressionFault(f"expected an integer of at most {_INTEGER_OCTETS_MAX} octets behind its prefix")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    """Return the string literal at `position`, and where it ends (RFC 7541 5.2)."""
    if position == len(block):
        raise CompressionFault("expected a string, got the end of the block")
    is_huffman = block[position] & 0x80
    size, position = _integer(block, position, 0x7F)
    end = position + size
    if end > len(block):
        raise CompressionFault(f"expected a string of {size} bytes, got the end of the block")
    text = block[position:end]
    return (huffman.decode(text) if is_huffman else text), end


def split(block: bytes, fields_max: int) -> list[bytes]:
    """Return the field representations of a block in which the dynamic table has no room, each as it stands there.

    Size updates at the beginning are left out. What the strings hold is not looked at. Raises `CompressionFault`;
    `ListTooLarge` beyond `fields_max`.
    """
    length = len(block)
    begin = 0
    while begin < length and block[begin] & 0xE0 == 0x20:
        if block[begin] != 0x20:
            raise CompressionFault("expected a dynamic table of at most 0 bytes")
        begin += 1
        if begin > _UPDATES_MAX:
            raise CompressionFault(f"expected at most {_UPDATES_MAX} dynamic table size updates in a block")
    parts: list[bytes] = []
    while begin < length:
        byte = block[begin]
        if byte & 0x80:
            position = begin + 1 if byte < 0xFF else _integer(block, begin, 0x7F)[1]
        elif byte & 0xE0 == 0x20:
            raise CompressionFault("expected a dynamic table size update only at the beginning of a block")
        else:
            index, position = _integer(block, begin, 0x3F if byte & 0x40 else 0x0F)
            position = _string_end(block, position)
            if not index:
                position = _string_end(block, position)
        if len(parts) == fields_max:
            raise ListTooLarge(f"expected a header list of at most {fields_max} fields")
        parts.append(block[begin:position])
        begin = position
    return parts


def _string_end(block: bytes, position: int) -> int:
    if position == len(block):
        raise CompressionFault("expected a string, got the end of the block")
    size, position = _integer(block, position, 0x7F)
    position += size
    if position > len(block):
        raise CompressionFault(f"expected a string of {size} bytes, got the end of the block")
    return position


def field_of(part: bytes) -> Pair:
    """Return what one representation from `split` says. Raises `CompressionFault`."""
    byte = part[0]
    if byte & 0x80:
        return _static(_integer(part, 0, 0x7F)[0])
    index, position = _integer(part, 0, 0x3F if byte & 0x40 else 0x0F)
    if index:
        name = _static(index)[0]
    else:
        name, position = _string(part, position)
    return name, _string(part, position)[0]


def _static(index: int) -> Pair:
    if not 0 < index <= _STATIC_MAX:
        raise CompressionFault("expected the index of an entry of the static table")
    return PAIRS[index]


def encode(name: bytes, value: bytes) -> bytes:
    """Return the representation of a header, without the dynamic table. `name` in lower case."""
    index = PAIR_INDEX.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))
    index = NAME_INDEX.get(name)
    start = b"\0" + _prefixed(len(name), 0x7F) + name if index is None else _prefixed(index, 0x0F)
    return start + _prefixed(len(value), 0x7F) + value


def _prefixed(value: int, mask: int) -> bytes:
    """Return `value` with a prefix of the bits in `mask`, the other bits 0 (RFC 7541 5.1)."""
    if value < mask:
        return bytes((value,))
    octets = bytearray((mask,))
    value -= mask
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
