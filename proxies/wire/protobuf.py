"""The parts that protocol buffers messages are made of, read and written by hand.

A few small messages do not need a protobuf runtime, whose import alone would cost a sidecar more than its budget.
What is accepted and refused follows the code that the originals generate.

Source: protobuf.dev "Encoding".
"""

import struct
from typing import Final

__all__ = [
    "WireError",
    "bytes_field",
    "double_field",
    "fixed64_field",
    "read_bytes",
    "read_double",
    "read_tag",
    "read_varint",
    "skip",
    "text_field",
    "varint",
    "varint_field",
]

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
START_GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5

_VARINT_BYTES_MAX: Final = 10
UINT64: Final = 1 << 64
_DOUBLE: Final = struct.Struct("<d")
_FIXED64_VALUE: Final = struct.Struct("<Q")


class WireError(ValueError):
    """The peer sent bytes that are not the expected message."""


# Writing. `number` is the field's number; a negative integer is written in two's complement of 64 bits.


def varint(value: int) -> bytes:
    """Return a number of at most 64 bits, seven of them per byte."""
    value %= UINT64
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def varint_field(number: int, value: int) -> bytes:
    """Return a field of type int32, int64, uint64, bool or enum."""
    return varint(number << 3 | VARINT) + varint(value)


def double_field(number: int, value: float) -> bytes:
    """Return a field of type double."""
    return varint(number << 3 | FIXED64) + _DOUBLE.pack(value)


def fixed64_field(number: int, value: int) -> bytes:
    """Return a field of type fixed64 or sfixed64."""
    return varint(number << 3 | FIXED64) + _FIXED64_VALUE.pack(value % UINT64)


def bytes_field(number: int, content: bytes) -> bytes:
    """Return a field of type bytes, a message inside another, or packed numbers."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def text_field(number: int, text: str) -> bytes:
    """Return a field of type string; what UTF-8 cannot say becomes `?`."""
    return bytes_field(number, text.encode("utf-8", "replace"))


# Reading. Each takes the data and a position, and returns what it read with the position behind it.


def read_tag(data: bytes, position: int) -> tuple[int, int, int]:
    """Return (field number, wire type, position behind the tag)."""
    tag, position = read_varint(data, position)
    number, wire_type = tag >> 3, tag & 7
    if not 0 < number & 0xFFFFFFFF < 0x80000000:
        raise WireError(f"expected a field number from 1 to {0x7FFFFFFF}, got {number}")
    return number & 0xFFFFFFFF, wire_type, position


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return an unsigned number of 64 bits."""
    value = 0
    for index in range(_VARINT_BYTES_MAX):
        if position >= len(data):
            raise WireError("the message ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value % UINT64, position
    raise WireError(f"expected a number of at most {_VARINT_BYTES_MAX} bytes")


def read_double(data: bytes, position: int, wire_type: int) -> tuple[float, int]:
    """Return a double."""
    if wire_type != FIXED64:
        raise WireError(f"expected wire type {FIXED64} for a double, got {wire_type}")
    end = position + 8
    if end > len(data):
        raise WireError("the message ends inside a double")
    value: float = _DOUBLE.unpack_from(data, position)[0]
    return value, end


def read_bytes(data: bytes, position: int, wire_type: int, name: str) -> tuple[bytes, int]:
    """Return the content of the field `name`: bytes, a text or a message."""
    if wire_type != BYTES:
        raise WireError(f"{name}: expected wire type {BYTES}, got {wire_type}")
    length, position = read_varint(data, position)
    end = position + length
    if end > len(data):
        raise WireError(f"{name}: expected {length} bytes, got {len(data) - position}")
    return data[position:end], end


def skip(data: bytes, position: int, wire_type: int) -> int:
    """Return the position behind the value of an unknown field; groups may nest."""
    depth = 0
    while True:
        if wire_type == VARINT:
            _, position = read_varint(data, position)
        elif wire_type == FIXED64:
            position += 8
        elif wire_type == BYTES:
            _, position = read_bytes(data, position, wire_type, "unknown field")
        elif wire_type == FIXED32:
            position += 4
        elif wire_type == START_GROUP:
            depth += 1
        elif wire_type == END_GROUP:
            depth -= 1
        else:
            raise WireError(f"expected a wire type from 0 to 5, got {wire_type}")
        if position > len(data) or depth < 0:
            raise WireError("the message ends inside an unknown field")
        if depth == 0:
            return position
        tag, position = read_varint(data, position)
        wire_type = tag & 7
