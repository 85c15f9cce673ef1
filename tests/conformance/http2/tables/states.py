"""States of streams, their ids, how many there may be (RFC 9113 5.1, 5.1.1, 5.1.2, 5.3)."""

from proxies.http2 import frames
from proxies.http2.errors import CANCEL, FRAME_SIZE_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED
from proxies.http2.frames import frame, reset_frame, window_update_frame
from tests.conformance.http2.cases import Case, broken, broken_stream, data, get, good, head, held, trailers

_PRIORITY = frame(frames.PRIORITY, 0, 3, b"\0\0\0\0\x10")
_CONTINUATION = frame(frames.CONTINUATION, frames.END_HEADERS, 3)
_RESET = held(done=False) + reset_frame(3, CANCEL)
_ENDED = get()

REQUESTS = [
    broken("idle: DATA", data(b"a"), PROTOCOL_ERROR),
    broken("idle: RST_STREAM", reset_frame(3, CANCEL), PROTOCOL_ERROR),
    broken("idle: WINDOW_UPDATE", window_update_frame(3, 1), PROTOCOL_ERROR),
    broken("idle: CONTINUATION", _CONTINUATION, PROTOCOL_ERROR),
    broken("idle, of ours: DATA", data(b"a", 2), PROTOCOL_ERROR),
    broken("idle, of ours: RST_STREAM", reset_frame(2, CANCEL), PROTOCOL_ERROR),
    broken("idle, of ours: WINDOW_UPDATE", window_update_frame(2, 1), PROTOCOL_ERROR),
    good("idle: PRIORITY", _PRIORITY + get(), 3),
    broken("idle: PRIORITY of 4 bytes", frame(frames.PRIORITY, 0, 3, bytes(4)), FRAME_SIZE_ERROR),
    good("open: PRIORITY", get(done=False) + _PRIORITY + data(done=True), 3),
    broken_stream(
        "open: PRIORITY of 4 bytes", held(done=False) + frame(frames.PRIORITY, 0, 3, bytes(4)), FRAME_SIZE_ERROR
    ),
    good(
        "a stream that depends on itself, which nobody looks at",
        frame(frames.PRIORITY, 0, 3, b"\0\0\0\3\x10") + get(),
        3,
    ),
    good("open: RST_STREAM", held(done=False) + reset_frame(3, CANCEL) + get(5), 5),
    good("open: RST_STREAM of an unknown code", held(done=False) + reset_frame(3, 0xFFFFFFFF) + get(5), 5),
    good(
        "early answer, the body goes on", get(sent=head(path=b"/early"), done=False) + data(b"a") + data(done=True), 3
    ),
    broken_stream("half-closed: DATA", held() + data(b"a"), STREAM_CLOSED),
    broken_stream("half-closed: HEADERS", held() + held(), STREAM_CLOSED),
    broken_stream("half-closed: trailers", held() + trailers((b"a", b"b")), STREAM_CLOSED),
    broken_stream(
        "half-closed by trailers: DATA", held(done=False) + trailers((b"a", b"b")) + data(b"a"), STREAM_CLOSED
    ),
    broken("half-closed: CONTINUATION", held() + _CONTINUATION, PROTOCOL_ERROR),
    good("half-closed: WINDOW_UPDATE", held() + window_update_frame(3, 1) + get(5), 5),
    good("half-closed: PRIORITY", held() + _PRIORITY + get(5), 5),
    good("half-closed: RST_STREAM", held() + reset_frame(3, CANCEL) + get(5), 5),
    broken_stream("reset by the peer: DATA", _RESET + data(b"a"), STREAM_CLOSED),
    broken_stream("reset by the peer: HEADERS", _RESET + held(), STREAM_CLOSED),
    broken("reset by the peer: CONTINUATION", _RESET + _CONTINUATION, PROTOCOL_ERROR),
    good("reset by the peer: RST_STREAM", _RESET + reset_frame(3, CANCEL) + get(5), 5),
    good("reset by the peer: WINDOW_UPDATE", _RESET + window_update_frame(3, 1) + get(5), 5),
    good("reset by the peer: PRIORITY", _RESET + _PRIORITY + get(5), 5),
    broken_stream(
        "reset by us: DATA is under way",
        get(sent=head(path=b""), done=False) + data(b"a") + data(done=True),
        PROTOCOL_ERROR,
    ),
    broken_stream(
        "reset by us: trailers are under way",
        get(sent=head(path=b""), done=False) + trailers((b"a", b"b")),
        PROTOCOL_ERROR,
    ),
    broken_stream(
        "reset by us: the rest is under way",
        get(sent=head(path=b""), done=False) + window_update_frame(3, 1) + reset_frame(3, CANCEL),
        PROTOCOL_ERROR,
    ),
    broken("ended: DATA", _ENDED + data(b"a"), STREAM_CLOSED, answered=(3,)),
    broken("ended: HEADERS", _ENDED + get(), STREAM_CLOSED, answered=(3,)),
    broken("ended: CONTINUATION", _ENDED + _CONTINUATION, PROTOCOL_ERROR, answered=(3,)),
    good("ended: WINDOW_UPDATE", _ENDED + window_update_frame(3, 1), 3),
    good("ended: WINDOW_UPDATE of 0", _ENDED + window_update_frame(3, 0), 3),
    good("ended: RST_STREAM", _ENDED + reset_frame(3, CANCEL), 3),
    good("ended: PRIORITY", _ENDED + _PRIORITY, 3),
    broken("an even id", get(4), PROTOCOL_ERROR),
    broken("an id that was left out", get(7) + get(5), PROTOCOL_ERROR, answered=(7,)),
    good("ids with gaps", get(9) + get(1001) + get(0x7FFFFFFF), 9, 1001, 0x7FFFFFFF),
    good(
        "as many streams as are allowed",
        b"".join(held(stream_id) for stream_id in range(3, 503, 2)),
    ),
    broken_stream(
        "one stream too many", b"".join(held(stream_id) for stream_id in range(3, 505, 2)), REFUSED_STREAM, 503
    ),
    Case(
        "room for a stream again",
        b"".join(held(stream_id) for stream_id in range(3, 505, 2)) + reset_frame(3, CANCEL) + get(505),
        resets=((503, REFUSED_STREAM),),
        answered=(505,),
    ),
    good(
        "two requests at a time",
        get(3, done=False) + get(5, done=False) + data(b"a", 5, done=True) + data(b"a", 3, done=True),
        5,
        3,
    ),
]
