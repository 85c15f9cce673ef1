"""Where the frames of a WebSocket end, so that a tunnel can be closed politely between two of them (RFC 6455 5.2).

Nothing is decoded: bytes are relayed as they come, and `FrameTail` only counts along.
"""

from typing import Final

__all__ = ["GOING_AWAY", "FrameTail"]

GOING_AWAY: Final = b"\x88\x02\x03\xe9"
"""A server's close frame with status 1001 (RFC 6455 7.4.1)."""

_CLOSE_OPCODE: Final = 0x8


class FrameTail:
    """Follows the frames of one direction of a WebSocket."""

    __slots__ = ("_head", "_left", "has_closed")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.has_closed = False
        """A close frame went by."""

    @property
    def is_between_frames(self) -> bool:
        """The bytes so far end with a whole frame."""
        return not self._left and not self._head

    def scan(self, data: bytes) -> None:
        """Follow more bytes. O(frames), not O(bytes)."""
        if len(data) <= self._left:
            self._left -= len(data)
            return
        position = self._left
        self._left = 0
        if self._head:
            data, position, self._head = self._head + data[position:], 0, b""
        while position < len(data):
            size = _head_size(data, position)
            if size == 0 or position + size > len(data):
                self._head = data[position:]
                return
            if data[position] & 0x0F == _CLOSE_OPCODE:
                self.has_closed = True
            position += size + _payload_size(data, position)
        self._left = position - len(data)


def _head_size(data: bytes, position: int) -> int:
    """Return the length of the frame head at `position`; 0 when its second byte has not come."""
    if position + 1 >= len(data):
        return 0
    length = data[position + 1] & 0x7F
    extra = 8 if length == 127 else 2 if length == 126 else 0
    return 2 + extra + (4 if data[position + 1] & 0x80 else 0)


def _payload_size(data: bytes, position: int) -> int:
    length = data[position + 1] & 0x7F
    if length == 126:
        return int.from_bytes(data[position + 2 : position + 4], "big")
    if length == 127:
        return int.from_bytes(data[position + 2 : position + 10], "big")
    return length
