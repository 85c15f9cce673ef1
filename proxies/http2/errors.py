"""Error codes of HTTP/2 and how a fault of the peer is told.

    ConnectionFault           the connection ends with GOAWAY
      CompressionFault        a header block is broken: the state that all later blocks share is lost
    ListTooLarge              a header list is beyond its bound
    Malformed                 a head or trailers that no HTTP message may have: the stream ends with RST_STREAM

Source: RFC 9113 sections 5.4, 7, 8.1.1; RFC 7541.
"""

from typing import Final

__all__ = ["CompressionFault", "ConnectionFault", "ListTooLarge", "Malformed", "name_of"]

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
CONNECT_ERROR: Final = 0xA
ENHANCE_YOUR_CALM: Final = 0xB
INADEQUATE_SECURITY: Final = 0xC
HTTP_1_1_REQUIRED: Final = 0xD

_NAMES: Final = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)


def name_of(code: int) -> str:
    """Return the name of a code; its number where it has none."""
    return _NAMES[code] if code < len(_NAMES) else str(code)


class ConnectionFault(Exception):
    """The peer broke the protocol so that the whole connection ends; `code` is what GOAWAY says."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class CompressionFault(ConnectionFault):
    """A header block that cannot be decoded (RFC 9113 4.3)."""

    def __init__(self, text: str) -> None:
        super().__init__(COMPRESSION_ERROR, text)


class ListTooLarge(Exception):
    """A header list beyond its bounds. The blocks behind it can be read."""


class Malformed(Exception):
    """A header list that no HTTP message may have (RFC 9113 8.1.1)."""
