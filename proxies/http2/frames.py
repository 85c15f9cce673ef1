"""Frames of HTTP/2: from bytes, with the checks that need nothing but the frame itself, and to bytes.

`FrameScanner.scan` returns the whole frames of what was received. Payloads are slices of it: the one copy that is made
of DATA on its way in. Which frame may come when, and on which stream, is `connection`'s business.

    +-----------------------------------------------+
    |                 Length (24)                   |
    +---------------+---------------+---------------+
    |   Type (8)    |   Flags (8)   |
    +-+-------------+---------------+-------------------------------+
    |R|                 Stream Identifier (31)                      |
    +=+=============================================================+
    |                   Payload (Length)                          ...
    +---------------------------------------------------------------+

Source: RFC 9113 sections 4.1, 4.2, 6.
"""

from struct import Struct
from typing import Final, TypeAlias

from proxies.http2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR, ConnectionFault

__all__ = [
    "FrameScanner",
    "ReceivedFrame",
    "frame",
    "go_away_frame",
    "head_frames",
    "reset_frame",
    "settings_frame",
    "unpadded",
    "window_update_frame",
]

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (RFC 9113 3.4)."""
HEAD_BYTES: Final = 9
FRAME_BYTES_MAX: Final = 16384
"""Payload that every endpoint takes; we do not ask for more (RFC 9113 4.2)."""
STREAM_ID_MAX: Final = 0x7FFFFFFF
FRAMES_PER_SCAN: Final = 1000
"""Frames returned at once: whoever sends many small ones does not hold up other connections."""

# Length and type are read as one number: length << 8 | type.
HEAD: Final = Struct(">IBI")
NUMBER: Final = Struct(">I")
_WORD_MAX: Final = FRAME_BYTES_MAX << 8 | 0xFF
_WINDOW_UPDATE: Final = 4 << 8 | WINDOW_UPDATE
"""A sound one, the most frequent frame besides DATA: it may stand on any stream."""

ReceivedFrame: TypeAlias = tuple[int, int, int, bytes]
"""Type, flags, stream id, payload."""

_SIZES: Final = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_OF_STREAMS: Final = frozenset([DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION])
_OF_CONNECTIONS: Final = frozenset([SETTINGS, PING, GOAWAY])


class FrameScanner:
    """Cuts what a peer sends into frames."""

    __slots__ = ("_data", "_needed", "_position", "_rest", "has_more", "is_within_frame")

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._rest = bytearray()
        self._needed = 0
        self.has_more = False
        """`scan` left off before the end of what it was given: call it again, with nothing."""
        self.is_within_frame = False
        """A part of a frame is here whose rest is not."""

    def scan(self, data: bytes) -> list[ReceivedFrame]:
        """Return the next whole frames, in order, at most `FRAMES_PER_SCAN`; the rest is kept.

        Raises `ConnectionFault` for a frame that breaks the connection, after the frames before it were returned.
        """
        if self.has_more:
            if data:
                self._data = data = self._data[self._position :] + data
                self._position = 0
            else:
                data = self._data
        elif self.is_within_frame:
            # Put together once when all is there, however small the pieces come.
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest = bytearray()
            self.is_within_frame = False
        frames: list[ReceivedFrame] = []
        append = frames.append
        unpack = HEAD.unpack_from
        position, last = self._position, len(data) - HEAD_BYTES
        while position <= last:
            word, flags, stream_id = unpack(data, position)
            if word > _WORD_MAX:
                if frames:
                    return self._leave_off(frames, data, position)
                raise ConnectionFault(
                    FRAME_SIZE_ERROR, f"expected a frame of at most {FRAME_BYTES_MAX} bytes, got {word >> 8}"
                )
            begin = position + HEAD_BYTES
            end = begin + (word >> 8)
            if end > last + HEAD_BYTES:
                break
            kind = word & 0xFF
            if stream_id > STREAM_ID_MAX:
                stream_id &= STREAM_ID_MAX
            if word != _WINDOW_UPDATE and (kind > HEADERS or not stream_id):
                fault = _fault(kind, flags, stream_id, word >> 8)
                if fault is not None:
                    if frames:
                        return self._leave_off(frames, data, position)
                    raise fault
            append((kind, flags, stream_id, data[begin:end]))
            position = end
            if len(frames) == FRAMES_PER_SCAN:
                return self._leave_off(frames, data, position)
        if self.has_more:
            self.has_more = False
            self._data = b""
            self._position = 0
        rest = last + HEAD_BYTES - position
        if rest:
            self.is_within_frame = True
            self._rest += data[position:]
            self._needed = HEAD_BYTES if rest < HEAD_BYTES else HEAD_BYTES + (word >> 8)
        return frames

    def _leave_off(self, frames: list[ReceivedFrame], data: bytes, position: int) -> list[ReceivedFrame]:
        """Keep `data` from `position` on for the next call; return `frames`."""
        self.has_more = position < len(data)
        self._data = data if self.has_more else b""
        self._position = position if self.has_more else 0
        return frames


def _fault(kind: int, flags: int, stream_id: int, size: int) -> ConnectionFault | None:
    """Return what is wrong with the head of a frame."""
    if stream_id == 0 and kind in _OF_STREAMS:
        return ConnectionFault(PROTOCOL_ERROR, f"expected a frame of type {kind} on a stream")
    if stream_id and kind in _OF_CONNECTIONS:
        return ConnectionFault(PROTOCOL_ERROR, f"expected a frame of type {kind} on stream 0, got it on {stream_id}")
    expected = _SIZES.get(kind)
    if expected is not None and size != expected:
        return ConnectionFault(FRAME_SIZE_ERROR, f"expected a frame of type {kind} of {expected} bytes, got {size}")
    if kind == SETTINGS and (size if flags & ACK else size % 6):
        return ConnectionFault(
            FRAME_SIZE_ERROR, f"expected SETTINGS in pieces of 6 bytes, or none in an ACK, got {size}"
        )
    if kind == GOAWAY and size < 8:
        return ConnectionFault(FRAME_SIZE_ERROR, f"expected GOAWAY of at least 8 bytes, got {size}")
    return None


def unpadded(flags: int, payload: bytes) -> bytes:
    """Return a payload without the padding and the priority that `flags` announce. Raises `ConnectionFault`.

    DATA has no priority: leave that flag out.
    """
    begin, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(FRAME_SIZE_ERROR, "expected the length of the padding, got an empty frame")
        begin, end = 1, end - payload[0]
    if flags & HAS_PRIORITY:
        begin += 5
        if begin > len(payload):
            raise ConnectionFault(FRAME_SIZE_ERROR, "expected a priority of 5 bytes, got the end of the frame")
    if begin > end:
        raise ConnectionFault(PROTOCOL_ERROR, "expected padding shorter than the frame")
    return payload[begin:end]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def head_frames(stream_id: int, block: bytes, is_done: bool, frame_bytes_max: int) -> bytes:
    """Return HEADERS with `block`, and CONTINUATION for what has no room in it."""
    flags = END_STREAM if is_done else 0
    if len(block) <= frame_bytes_max:
        return HEAD.pack(len(block) << 8 | HEADERS, flags | END_HEADERS, stream_id) + block
    parts = [block[begin : begin + frame_bytes_max] for begin in range(0, len(block), frame_bytes_max)]
    frames = [frame(HEADERS, flags, stream_id, parts[0])]
    frames.extend(frame(CONTINUATION, 0, stream_id, part) for part in parts[1:-1])
    frames.append(frame(CONTINUATION, END_HEADERS, stream_id, parts[-1]))
    return b"".join(frames)


def settings_frame(settings: dict[int, int]) -> bytes:
    """Return SETTINGS with these values."""
    payload = b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in settings.items())
    return frame(SETTINGS, 0, 0, payload)


def reset_frame(stream_id: int, code: int) -> bytes:
    """Return RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, NUMBER.pack(code))


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, NUMBER.pack(increment))


def go_away_frame(last_stream_id: int, code: int, text: bytes = b"") -> bytes:
    """Return GOAWAY."""
    return frame(GOAWAY, 0, 0, NUMBER.pack(last_stream_id) + NUMBER.pack(code) + text)
