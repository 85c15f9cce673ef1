"""PUSH_PROMISE, PING, GOAWAY (RFC 9113 6.6 to 6.8)."""

from proxies.http2 import frames
from proxies.http2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR
from proxies.http2.frames import frame, go_away_frame
from tests.conformance.http2.cases import GET, broken, data, get, good, held

REQUESTS = [
    broken("PUSH_PROMISE of a client", held() + frame(frames.PUSH_PROMISE, 4, 3, b"\0\0\0\2" + GET), PROTOCOL_ERROR),
    broken("PUSH_PROMISE on stream 0", frame(frames.PUSH_PROMISE, 4, 0, b"\0\0\0\2" + GET), PROTOCOL_ERROR),
    good("PING", frame(frames.PING, 0, 0, b"12345678") + get(), 3),
    good("ACK of a PING that nobody sent", frame(frames.PING, frames.ACK, 0, b"12345678") + get(), 3),
    broken("PING on a stream", frame(frames.PING, 0, 3, bytes(8)), PROTOCOL_ERROR),
    broken("PING of 6 bytes", frame(frames.PING, 0, 0, bytes(6)), FRAME_SIZE_ERROR),
    broken("PING of 9 bytes", frame(frames.PING, 0, 0, bytes(9)), FRAME_SIZE_ERROR),
    broken("ACK of a PING of no bytes", frame(frames.PING, frames.ACK, 0), FRAME_SIZE_ERROR),
    good("GOAWAY: the streams that there are go on", get(done=False) + go_away_frame(0, 0) + data(done=True), 3),
    good("GOAWAY with a reason and an unknown code", go_away_frame(0x7FFFFFFF, 0xFFFF, b"because \xff") + get(), 3),
    broken("GOAWAY on a stream", frame(frames.GOAWAY, 0, 3, bytes(8)), PROTOCOL_ERROR),
    broken("GOAWAY of 7 bytes", frame(frames.GOAWAY, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
]
