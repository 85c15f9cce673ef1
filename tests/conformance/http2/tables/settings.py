"""SETTINGS (RFC 9113 6.5)."""

from proxies.http2 import frames
from proxies.http2.errors import FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR
from proxies.http2.frames import frame, settings_frame
from tests.conformance.http2.cases import broken, get, good, held

_ACK = frame(frames.SETTINGS, frames.ACK, 0)

REQUESTS = [
    good("empty", settings_frame({}) + get(), 3),
    good("again and again", settings_frame({4: 1000}) * 20 + get(), 3),
    good("one setting twice: the last counts", frame(frames.SETTINGS, 0, 0, b"\0\4\0\0\0\0\0\4\0\0\x10\0") + get(), 3),
    good("unknown settings", settings_frame({0xFFFF: 0xFFFFFFFF, 0x10: 1}) + get(), 3),
    good(
        "the largest values",
        settings_frame({1: 0xFFFFFFFF, 3: 0xFFFFFFFF, 4: 0x7FFFFFFF, 5: 0xFFFFFF, 6: 0xFFFFFFFF}) + get(),
        3,
    ),
    good("push allowed and forbidden", settings_frame({2: 1}) + settings_frame({2: 0}) + get(), 3),
    good("no stream of ours", settings_frame({3: 0}) + get(), 3),
    broken("on a stream", frame(frames.SETTINGS, 0, 1), PROTOCOL_ERROR),
    broken("of 5 bytes", frame(frames.SETTINGS, 0, 0, bytes(5)), FRAME_SIZE_ERROR),
    broken("of 7 bytes", frame(frames.SETTINGS, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
    broken("ACK with a setting", frame(frames.SETTINGS, frames.ACK, 0, bytes(6)), FRAME_SIZE_ERROR),
    broken("ACK on a stream", frame(frames.SETTINGS, frames.ACK, 1), PROTOCOL_ERROR),
    broken("ACK of nothing", _ACK, PROTOCOL_ERROR),
    broken("push of 2", settings_frame({2: 2}), PROTOCOL_ERROR),
    broken("window of 2^31", settings_frame({4: 1 << 31}), FLOW_CONTROL_ERROR),
    broken("frame size of 16,383", settings_frame({5: 16383}), PROTOCOL_ERROR),
    broken("frame size of 2^24", settings_frame({5: 1 << 24}), PROTOCOL_ERROR),
    broken(
        "a window that takes a stream's beyond 2^31",
        held() + frame(frames.WINDOW_UPDATE, 0, 3, b"\0\0\0\1") + settings_frame({4: 0x7FFFFFFF}),
        FLOW_CONTROL_ERROR,
    ),
]
