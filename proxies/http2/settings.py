"""SETTINGS: what we advertise, and what a peer may.

Source: RFC 9113 sections 6.5.2 and 7.2.2; spec queue-proxy.md 3.2.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

from proxies.http2.errors import FLOW_CONTROL_ERROR, PROTOCOL_ERROR, ConnectionFault
from proxies.http2.memos import LIST_BYTES_MAX

__all__ = ["CLIENT_SETTINGS", "SERVER_SETTINGS", "STREAMS_MAX", "read_settings"]

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6

STREAMS_MAX: Final = 250
"""Streams that a client may have open at once, as the original's server (spec queue-proxy.md 3.2)."""

STREAMS_WITHOUT_BOUND: Final = 1000
"""Streams that we have open at once where the server names no bound."""

SERVER_SETTINGS: Final = {
    HEADER_TABLE_SIZE: 0,
    MAX_CONCURRENT_STREAMS: STREAMS_MAX,
    MAX_HEADER_LIST_SIZE: LIST_BYTES_MAX,
}
CLIENT_SETTINGS: Final = {HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, MAX_HEADER_LIST_SIZE: LIST_BYTES_MAX}

_SETTING: Final = Struct(">HI")


def read_settings(payload: bytes, *, push_max: int) -> Iterator[tuple[int, int]]:
    """Yield the settings of a frame, unknown ones included, in order. Raises `ConnectionFault` for a wrong value.

    `push_max`: the largest SETTINGS_ENABLE_PUSH; a server must not say 1.
    """
    for key, value in _SETTING.iter_unpack(payload):
        if key == INITIAL_WINDOW_SIZE and value > 0x7FFFFFFF:
            raise ConnectionFault(FLOW_CONTROL_ERROR, f"expected an initial window below 2^31, got {value}")
        if key == MAX_FRAME_SIZE and not 16384 <= value <= 0xFFFFFF:
            raise ConnectionFault(PROTOCOL_ERROR, f"expected a frame size of 16384 to 16777215, got {value}")
        if key == ENABLE_PUSH and value > push_max:
            raise ConnectionFault(PROTOCOL_ERROR, f"expected push to be at most {push_max}, got {value}")
        yield key, value
