"""Frames as such: format, size, extension (RFC 9113 4.1, 4.2, 5.5)."""

from proxies.http2 import frames
from proxies.http2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR
from proxies.http2.frames import frame
from tests.conformance.http2.cases import broken, data, get, good, head

_LARGEST = head((b"a", b"x" * (16384 - len(head()) - 6)))

REQUESTS = [
    good("unknown type on the connection", frame(0x42, 0xFF, 0, b"anything") + get(), 3),
    good("unknown type on a stream that is idle", frame(0x42, 0, 9, b"anything") + get(), 3),
    good("unknown type within a stream", get(done=False) + frame(0x42, 0xFF, 3, b"") + data(done=True), 3),
    good("undefined flags of HEADERS", get(flags=0xD2), 3),
    good("undefined flags of DATA", get(done=False) + data(b"a", done=True, flags=0xF6), 3),
    good("undefined flags of PING", frame(frames.PING, 0xFE, 0, bytes(8)) + get(), 3),
    good("undefined flags of SETTINGS", frame(frames.SETTINGS, 0xFE, 0) + get(), 3),
    good("the reserved bit of a stream's id", frame(frames.HEADERS, 5, 0x80000003, head()), 3),
    good(
        "the reserved bit of stream 0",
        frame(frames.PING, 0, 0x80000000, bytes(8)),
    ),
    good(
        "the reserved bit of a window",
        get(done=False) + frame(frames.WINDOW_UPDATE, 0, 3, b"\x80\0\0\1") + data(done=True),
        3,
    ),
    good("DATA of the largest size", get(done=False) + data(bytes(16384), done=True), 3),
    good("HEADERS of the largest size", get(sent=_LARGEST), 3),
    broken("DATA above the largest size", get(done=False) + data(bytes(16385)), FRAME_SIZE_ERROR),
    broken("HEADERS above the largest size", get(sent=_LARGEST + b"\x90"), FRAME_SIZE_ERROR),
    broken("SETTINGS above the largest size", frame(frames.SETTINGS, 0, 0, bytes(6) * 2731), FRAME_SIZE_ERROR),
    broken("unknown type above the largest size", frame(0x42, 0, 0, bytes(16385)), FRAME_SIZE_ERROR),
    good("no byte in an unknown frame", frame(0x42, 0, 0) + get(), 3),
    broken("unknown frame in a header block", get(ends_block=False) + frame(0x42, 0, 3), PROTOCOL_ERROR),
    good("PRIORITY_UPDATE of RFC 9218", frame(0x10, 0, 0, b"\0\0\0\3u=1") + get(), 3),
    good("ORIGIN and ALTSVC", frame(0xC, 0, 0, b"\0\1h") + frame(0xA, 0, 0, b"\0\1hx") + get(), 3),
]
