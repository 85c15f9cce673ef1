"""The load figures that pods and activators report to the autoscaler, as protocol buffers (proto3).

`Stat` is the body of queue-proxy's `:9090/metrics`; `StatMessage` names the revision it belongs to; a list of those is
one frame of the stat push over WebSocket. Three small messages do not need a protobuf runtime, whose import alone would
cost a sidecar more than its budget, so they are written by hand. What is accepted and refused follows the code that the
original generates: unknown fields are skipped, order does not matter, the last of a repeated field wins and a repeated
message is merged, a known field with another wire type is an error.

Source: knative/serving `pkg/autoscaler/metrics/stat.proto`; spec queue-proxy.md 16; golden set `wire`.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Stat", "StatMessage", "WireError", "decode_messages", "decode_stat", "encode_messages", "encode_stat"]

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_START_GROUP: Final = 3
_END_GROUP: Final = 4
_FIXED32: Final = 5

_VARINT_BYTES_MAX: Final = 10
_UINT64: Final = 1 << 64
_INT64_MAX: Final = (1 << 63) - 1

# Tag bytes of Stat's five doubles, in field order; 0x0a is the pod's name and 0x38 the timestamp.
_DOUBLE_TAGS: Final = (0x11, 0x19, 0x21, 0x29, 0x31)
_TAG_AND_DOUBLE: Final = struct.Struct("<Bd")
_DOUBLE: Final = struct.Struct("<d")


class WireError(ValueError):
    """The peer sent bytes that are not the expected message."""


@dataclass(slots=True)
class Stat:
    """Load of one pod, or of one revision in one activator, over the last second."""

    pod_name: str = ""
    """Identity of the reporter: the pod's or the activator's name."""
    average_concurrent_requests: float = 0.0
    """Time-weighted average of requests inside, waiting ones included."""
    average_proxied_concurrent_requests: float = 0.0
    """The part of it that came through an activator (and is counted there, too)."""
    request_count: float = 0.0
    """Requests that arrived, per second."""
    proxied_request_count: float = 0.0
    """The part of it that came through an activator."""
    process_uptime: float = 0.0
    """Seconds since the reporter started; 0: not told."""
    timestamp: int = 0
    """Unix seconds; 0: not told."""


@dataclass(slots=True)
class StatMessage:
    """A `Stat` with the revision that it belongs to."""

    namespace: str = ""
    name: str = ""
    stat: Stat = field(default_factory=Stat)


def encode_stat(stat: Stat) -> bytes:
    """Return the message `metrics.Stat`; zero values take no bytes."""
    parts: list[bytes] = []
    if stat.pod_name:
        parts.append(_text_field(0x0A, stat.pod_name))
    values = (
        stat.average_concurrent_requests,
        stat.average_proxied_concurrent_requests,
        stat.request_count,
        stat.proxied_request_count,
        stat.process_uptime,
    )
    parts.extend(_TAG_AND_DOUBLE.pack(tag, value) for tag, value in zip(_DOUBLE_TAGS, values, strict=True) if value)
    if stat.timestamp:
        parts.append(b"\x38" + _varint(stat.timestamp % _UINT64))
    return b"".join(parts)


def decode_stat(data: bytes) -> Stat:
    """Return the `Stat` in `data`, the whole message. Raises `WireError`."""
    stat = Stat()
    _merge_stat(stat, data)
    return stat


def encode_messages(messages: list[StatMessage]) -> bytes:
    """Return `metrics.WireStatMessages`: one frame of the stat push."""
    return b"".join(_bytes_field(0x0A, _encode_message(message)) for message in messages)


def decode_messages(data: bytes) -> list[StatMessage]:
    """Return the messages of one frame, in order. A message without a stat has an empty one. Raises `WireError`."""
    messages: list[StatMessage] = []
    position = 0
    while position < len(data):
        number, wire_type, position = _read_tag(data, position)
        if number == 1:
            content, position = _read_bytes(data, position, wire_type, "messages")
            messages.append(_decode_message(content))
        else:
            position = _skip(data, position, wire_type)
    return messages


def _encode_message(message: StatMessage) -> bytes:
    return b"".join(
        (
            _text_field(0x0A, message.namespace) if message.namespace else b"",
            _text_field(0x12, message.name) if message.name else b"",
            _bytes_field(0x1A, encode_stat(message.stat)),
        )
    )


def _decode_message(data: bytes) -> StatMessage:
    message = StatMessage()
    position = 0
    while position < len(data):
        number, wire_type, position = _read_tag(data, position)
        if number == 1:
            content, position = _read_bytes(data, position, wire_type, "namespace")
            message.namespace = content.decode("utf-8", "replace")
        elif number == 2:
            content, position = _read_bytes(data, position, wire_type, "name")
            message.name = content.decode("utf-8", "replace")
        elif number == 3:
            content, position = _read_bytes(data, position, wire_type, "stat")
            _merge_stat(message.stat, content)
        else:
            position = _skip(data, position, wire_type)
    return message


def _merge_stat(stat: Stat, data: bytes) -> None:
    position = 0
    while position < len(data):
        number, wire_type, position = _read_tag(data, position)
        if number == 1:
            content, position = _read_bytes(data, position, wire_type, "pod_name")
            stat.pod_name = content.decode("utf-8", "replace")
        elif number == 2:
            stat.average_concurrent_requests, position = _read_double(data, position, wire_type)
        elif number == 3:
            stat.average_proxied_concurrent_requests, position = _read_double(data, position, wire_type)
        elif number == 4:
            stat.request_count, position = _read_double(data, position, wire_type)
        elif number == 5:
            stat.proxied_request_count, position = _read_double(data, position, wire_type)
        elif number == 6:
            stat.process_uptime, position = _read_double(data, position, wire_type)
        elif number == 7:
            if wire_type != _VARINT:
                raise WireError(f"timestamp: expected wire type {_VARINT}, got {wire_type}")
            value, position = _read_varint(data, position)
            stat.timestamp = value if value <= _INT64_MAX else value - _UINT64
        else:
            position = _skip(data, position, wire_type)


def _read_tag(data: bytes, position: int) -> tuple[int, int, int]:
    """Return (field number, wire type, position behind the tag)."""
    tag, position = _read_varint(data, position)
    number, wire_type = tag >> 3, tag & 7
    if not 0 < number & 0xFFFFFFFF < 0x80000000:
        raise WireError(f"expected a field number from 1 to {0x7FFFFFFF}, got {number}")
    return number & 0xFFFFFFFF, wire_type, position


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index in range(_VARINT_BYTES_MAX):
        if position >= len(data):
            raise WireError("the message ends inside a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value % _UINT64, position
    raise WireError(f"expected a number of at most {_VARINT_BYTES_MAX} bytes")


def _read_double(data: bytes, position: int, wire_type: int) -> tuple[float, int]:
    if wire_type != _FIXED64:
        raise WireError(f"expected wire type {_FIXED64} for a double, got {wire_type}")
    end = position + 8
    if end > len(data):
        raise WireError("the message ends inside a double")
    value: float = _DOUBLE.unpack_from(data, position)[0]
    return value, end


def _read_bytes(data: bytes, position: int, wire_type: int, name: str) -> tuple[bytes, int]:
    if wire_type != _BYTES:
        raise WireError(f"{name}: expected wire type {_BYTES}, got {wire_type}")
    length, position = _read_varint(data, position)
    end = position + length
    if end > len(data):
        raise WireError(f"{name}: expected {length} bytes, got {len(data) - position}")
    return data[position:end], end


def _skip(data: bytes, position: int, wire_type: int) -> int:
    """Return the position behind the value of an unknown field; groups may nest."""
    depth = 0
    while True:
        if wire_type == _VARINT:
            _, position = _read_varint(data, position)
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _BYTES:
            _, position = _read_bytes(data, position, wire_type, "unknown field")
        elif wire_type == _FIXED32:
            position += 4
        elif wire_type == _START_GROUP:
            depth += 1
        elif wire_type == _END_GROUP:
            depth -= 1
        else:
            raise WireError(f"expected a wire type from 0 to 5, got {wire_type}")
        if position > len(data) or depth < 0:
            raise WireError("the message ends inside an unknown field")
        if depth == 0:
            return position
        tag, position = _read_varint(data, position)
        wire_type = tag & 7


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _text_field(tag: int, text: str) -> bytes:
    return _bytes_field(tag, text.encode("utf-8", "replace"))


def _bytes_field(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + _varint(len(content)) + content
