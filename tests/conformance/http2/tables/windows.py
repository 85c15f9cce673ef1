"""Flow control (RFC 9113 5.2, 6.9)."""

from proxies.http2 import frames
from proxies.http2.errors import FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR
from proxies.http2.frames import frame, settings_frame, window_update_frame
from tests.conformance.http2.cases import broken, broken_stream, data, get, good, head, held

_LARGEST = 0x7FFFFFFF
_PAUSED = get(sent=head(path=b"/paused"), done=False)
"""Nobody takes the body of this one."""

REQUESTS = [
    broken("0 more on the connection", window_update_frame(0, 0), PROTOCOL_ERROR),
    broken_stream("0 more on a stream", held() + window_update_frame(3, 0), PROTOCOL_ERROR),
    broken("of 3 bytes", frame(frames.WINDOW_UPDATE, 0, 0, bytes(3)), FRAME_SIZE_ERROR),
    broken("of 5 bytes on a stream", held() + frame(frames.WINDOW_UPDATE, 0, 3, bytes(5)), FRAME_SIZE_ERROR),
    good("the largest window of the connection", window_update_frame(0, _LARGEST - 65535) + held()),
    broken("beyond it", window_update_frame(0, _LARGEST - 65534), FLOW_CONTROL_ERROR),
    broken(
        "beyond it in two steps",
        window_update_frame(0, _LARGEST - 65535) + window_update_frame(0, 1),
        FLOW_CONTROL_ERROR,
    ),
    good("the largest window of a stream", held() + window_update_frame(3, _LARGEST - 65535)),
    broken_stream("beyond that", held() + window_update_frame(3, _LARGEST - 65534), FLOW_CONTROL_ERROR),
    good("a first window of 0 that is opened", settings_frame({4: 0}) + get() + window_update_frame(3, 10), 3),
    good("a first window of 0 that is changed", settings_frame({4: 0}) + get() + settings_frame({4: 2}), 3),
    good(
        "a window below 0 that is opened",
        settings_frame({4: 1}) + get() + settings_frame({4: 0}) + window_update_frame(3, 2),
        3,
    ),
    good("no window at all: no answer's end", settings_frame({4: 1}) + get()),
    good("all that a stream may send", _PAUSED + data(bytes(16384)) * 3 + data(bytes(16383))),
    broken_stream("more than a stream may send", _PAUSED + data(bytes(16384)) * 4, FLOW_CONTROL_ERROR),
    broken_stream(
        "padding counts, too",
        _PAUSED + data(bytes(16384)) * 3 + data(b"\xff" + bytes(16383), flags=frames.PADDED),
        FLOW_CONTROL_ERROR,
    ),
    good("far more, when it is taken", get(done=False) + data(bytes(16384)) * 200 + data(done=True), 3),
]
