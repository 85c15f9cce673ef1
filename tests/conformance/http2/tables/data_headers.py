"""DATA, HEADERS, PRIORITY, RST_STREAM (RFC 9113 6.1 to 6.4)."""

from proxies.http2 import frames
from proxies.http2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR
from proxies.http2.frames import HAS_PRIORITY, PADDED, frame
from tests.conformance.http2.cases import GET, broken, data, get, good, held

_BODY = get(done=False)

REQUESTS = [
    broken("DATA on stream 0", data(b"a", 0), PROTOCOL_ERROR),
    good("DATA with padding", _BODY + data(b"\4abc\0\0\0\0", done=True, flags=PADDED), 3),
    good("DATA with padding of ones", _BODY + data(b"\4abc\xff\xff\xff\xff", done=True, flags=PADDED), 3),
    good("DATA of padding alone", _BODY + data(b"\3\0\0\0", done=True, flags=PADDED), 3),
    good("DATA with no byte of padding", _BODY + data(b"\0abc", done=True, flags=PADDED), 3),
    good("empty DATA at the end", _BODY + data(done=True), 3),
    good("empty DATA in between", _BODY + data() + data(b"a") + data() + data(done=True), 3),
    broken("DATA with padding as long as the frame", _BODY + data(b"\4abc", flags=PADDED), PROTOCOL_ERROR),
    broken("DATA with padding longer than the frame", _BODY + data(b"\xffabc", flags=PADDED), PROTOCOL_ERROR),
    broken("DATA without room for the padding's length", _BODY + data(flags=PADDED), FRAME_SIZE_ERROR),
    broken("HEADERS on stream 0", get(0), PROTOCOL_ERROR),
    good("HEADERS with padding", get(sent=b"\3" + GET + bytes(3), flags=PADDED), 3),
    good("HEADERS with a priority", get(sent=b"\x80\0\0\1\xff" + GET, flags=HAS_PRIORITY), 3),
    good("HEADERS that depends on itself", get(sent=b"\0\0\0\3\xff" + GET, flags=HAS_PRIORITY), 3),
    good("HEADERS with both", get(sent=b"\2\0\0\0\0\0" + GET + bytes(2), flags=PADDED | HAS_PRIORITY), 3),
    broken("HEADERS with padding longer than the frame", get(sent=b"\xff" + GET, flags=PADDED), PROTOCOL_ERROR),
    broken(
        "HEADERS with padding into the priority",
        get(sent=b"\3" + bytes(5), flags=PADDED | HAS_PRIORITY),
        PROTOCOL_ERROR,
    ),
    broken("HEADERS without room for its priority", get(sent=bytes(4), flags=HAS_PRIORITY), FRAME_SIZE_ERROR),
    broken("HEADERS without room for the padding's length", get(sent=b"", flags=PADDED), FRAME_SIZE_ERROR),
    broken("PRIORITY on stream 0", frame(frames.PRIORITY, 0, 0, bytes(5)), PROTOCOL_ERROR),
    broken("RST_STREAM on stream 0", frame(frames.RST_STREAM, 0, 0, bytes(4)), PROTOCOL_ERROR),
    broken("RST_STREAM of 3 bytes", held() + frame(frames.RST_STREAM, 0, 3, bytes(3)), FRAME_SIZE_ERROR),
    broken("RST_STREAM of 5 bytes", held() + frame(frames.RST_STREAM, 0, 3, bytes(5)), FRAME_SIZE_ERROR),
]
