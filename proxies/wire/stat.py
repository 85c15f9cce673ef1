"""The load figures that pods and activators report to the autoscaler, as protocol buffers (proto3).

`Stat` is the body of queue-proxy's `:9090/metrics`; `StatMessage` names the revision it belongs to; a list of those is
one frame of the stat push over WebSocket. What is accepted and refused follows the code that the original generates:
unknown fields are skipped, order does not matter, the last of a repeated field wins and a repeated message is merged, a
known field with another wire type is an error.

Reporters write the fields in order, each at most once. Messages of that layout are read at a glance (`_glance_*`), all
others field by field; a property test holds the two equal. An autoscaler reads 20,000 stats a second in a fifth of a
core so (`python -m loadtests.lab autoscaler --only stats`).

Source: knative/serving `pkg/autoscaler/metrics/stat.proto`; spec queue-proxy.md 16; golden set `wire`.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from operator import itemgetter
from typing import Final, NamedTuple

from proxies.wire.protobuf import (
    UINT64,
    VARINT,
    WireError,
    bytes_field,
    read_bytes,
    read_double,
    read_tag,
    read_varint,
    skip,
    text_field,
    varint_field,
)

__all__ = ["Stat", "StatMessage", "WireError", "decode_messages", "decode_stat", "encode_messages", "encode_stat"]

_INT64_MAX: Final = (1 << 63) - 1

# Tag bytes of Stat's five doubles, in field order; 0x0a is the pod's name and 0x38 the timestamp.
_DOUBLE_TAGS: Final = (0x11, 0x19, 0x21, 0x29, 0x31)
_TAG_AND_DOUBLE: Final = struct.Struct("<Bd")


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
        parts.append(text_field(1, stat.pod_name))
    values = (
        stat.average_concurrent_requests,
        stat.average_proxied_concurrent_requests,
        stat.request_count,
        stat.proxied_request_count,
        stat.process_uptime,
    )
    parts.extend(_TAG_AND_DOUBLE.pack(tag, value) for tag, value in zip(_DOUBLE_TAGS, values, strict=True) if value)
    if stat.timestamp:
        parts.append(varint_field(7, stat.timestamp))
    return b"".join(parts)


def decode_stat(data: bytes) -> Stat:
    """Return the `Stat` in `data`, the whole message. Raises `WireError`."""
    glanced = _glance_stat(data, 0, len(data))
    if glanced is not None:
        return glanced
    stat = Stat()
    _merge_stat(stat, data)
    return stat


def encode_messages(messages: list[StatMessage]) -> bytes:
    """Return `metrics.WireStatMessages`: one frame of the stat push."""
    return b"".join(bytes_field(1, _encode_message(message)) for message in messages)


def decode_messages(data: bytes) -> list[StatMessage]:
    """Return the messages of one frame, in order. A message without a stat has an empty one. Raises `WireError`."""
    messages: list[StatMessage] = []
    position = 0
    while position < len(data):
        glanced = _glance_message(data, position)
        if glanced is not None:
            message, position = glanced
            messages.append(message)
            continue
        number, wire_type, position = read_tag(data, position)
        if number == 1:
            content, position = read_bytes(data, position, wire_type, "messages")
            messages.append(_decode_message(content))
        else:
            position = skip(data, position, wire_type)
    return messages


def _encode_message(message: StatMessage) -> bytes:
    return b"".join(
        (
            text_field(1, message.namespace) if message.namespace else b"",
            text_field(2, message.name) if message.name else b"",
            bytes_field(3, encode_stat(message.stat)),
        )
    )


def _decode_message(data: bytes) -> StatMessage:
    message = StatMessage()
    position = 0
    while position < len(data):
        number, wire_type, position = read_tag(data, position)
        if number == 1:
            content, position = read_bytes(data, position, wire_type, "namespace")
            message.namespace = content.decode("utf-8", "replace")
        elif number == 2:
            content, position = read_bytes(data, position, wire_type, "name")
            message.name = content.decode("utf-8", "replace")
        elif number == 3:
            content, position = read_bytes(data, position, wire_type, "stat")
            _merge_stat(message.stat, content)
        else:
            position = skip(data, position, wire_type)
    return message


def _merge_stat(stat: Stat, data: bytes) -> None:
    position = 0
    while position < len(data):
        number, wire_type, position = read_tag(data, position)
        if number == 1:
            content, position = read_bytes(data, position, wire_type, "pod_name")
            stat.pod_name = content.decode("utf-8", "replace")
        elif number == 2:
            stat.average_concurrent_requests, position = read_double(data, position, wire_type)
        elif number == 3:
            stat.average_proxied_concurrent_requests, position = read_double(data, position, wire_type)
        elif number == 4:
            stat.request_count, position = read_double(data, position, wire_type)
        elif number == 5:
            stat.proxied_request_count, position = read_double(data, position, wire_type)
        elif number == 6:
            stat.process_uptime, position = read_double(data, position, wire_type)
        elif number == 7:
            if wire_type != VARINT:
                raise WireError(f"timestamp: expected wire type {VARINT}, got {wire_type}")
            value, position = read_varint(data, position)
            stat.timestamp = value if value <= _INT64_MAX else value - UINT64
        else:
            position = skip(data, position, wire_type)


# At a glance. Tags of texts and messages are one byte (number << 3 | 2), and so are lengths below 128.


class _Shape(NamedTuple):
    """Which of the five doubles are there."""

    layout: struct.Struct
    """Reads them, one behind the other."""
    arrange: Callable[[tuple[float, ...]], tuple[float, float, float, float, float]]
    """Makes all five of what was read and a zero behind it."""


def _shapes() -> Iterator[tuple[bytes, _Shape]]:
    for count in range(len(_DOUBLE_TAGS) + 1):
        for tags in combinations(_DOUBLE_TAGS, count):
            places = (tags.index(tag) if tag in tags else count for tag in _DOUBLE_TAGS)
            yield bytes(tags), _Shape(struct.Struct("<" + "xd" * count), itemgetter(*places))


_SHAPES: Final = dict(_shapes())
"""By the tags."""
_TAG_AND_DOUBLE_BYTES: Final = _TAG_AND_DOUBLE.size


def _glance_message(data: bytes, position: int) -> tuple[StatMessage, int] | None:
    """The message that begins with its tag at `position`, and where it ends; None when it is not laid out as usual."""
    try:
        if data[position] != 0x0A:
            return None
        size, position = _short_length(data, position + 1)
        end = position + size
        if data[position] != 0x0A or data[position + 1] > 0x7F:
            return None
        name_at = position + 2 + data[position + 1]
        if data[name_at] != 0x12 or data[name_at + 1] > 0x7F:
            return None
        stat_at = name_at + 2 + data[name_at + 1]
        if data[stat_at] != 0x1A:
            return None
        size, begin = _short_length(data, stat_at + 1)
    except IndexError:
        return None
    if begin + size != end or end > len(data):
        return None
    stat = _glance_stat(data, begin, end)
    if stat is None:
        return None
    namespace = data[position + 2 : name_at].decode("utf-8", "replace")
    return StatMessage(namespace, data[name_at + 2 : stat_at].decode("utf-8", "replace"), stat), end


def _glance_stat(data: bytes, begin: int, end: int) -> Stat | None:
    """The stat that fills the data from `begin` to `end`, or None when it is not laid out as usual."""
    name = ""
    if end - begin >= 2 and data[begin] == 0x0A:
        length = data[begin + 1]
        doubles_at = begin + 2 + length
        if length > 0x7F or doubles_at > end:
            return None
        name = data[begin + 2 : doubles_at].decode("utf-8", "replace")
        begin = doubles_at
    tags = data[begin:end:_TAG_AND_DOUBLE_BYTES]
    shape = _SHAPES.get(tags)
    if shape is None or end - begin != _TAG_AND_DOUBLE_BYTES * len(tags):
        return None
    return Stat(name, *shape.arrange((*shape.layout.unpack_from(data, begin), 0.0)))


def _short_length(data: bytes, position: int) -> tuple[int, int]:
    """A length of one or two bytes and the position behind it; a longer one reads as more than there is."""
    low = data[position]
    if low < 0x80:
        return low, position + 1
    high = data[position + 1]
    return (low & 0x7F | high << 7, position + 2) if high < 0x80 else (len(data) + 1, position)
