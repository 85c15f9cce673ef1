"""What a server sends: heads, bodies, frames that only a client can judge (RFC 9113 5.1, 6.5, 6.6, 8.1, 8.3.2, 8.4)."""

from proxies.http2 import frames
from proxies.http2.errors import CANCEL, COMPRESSION_ERROR, PROTOCOL_ERROR, STREAM_CLOSED
from proxies.http2.frames import frame, go_away_frame, reset_frame, settings_frame, window_update_frame
from proxies.http2.hpack import Pair
from tests.conformance.http2.cases import Case, block, broken, broken_stream, data, get, good, trailers


def _head(*more: Pair, status: bytes = b"200", stream_id: int = 3, done: bool = False) -> bytes:
    return get(stream_id, block((b":status", status), *more), done=done)


def _malformed(name: str, *pairs: Pair) -> Case:
    return broken_stream(name, get(3, block(*pairs)), PROTOCOL_ERROR)


_STATUS = (b":status", b"200")

RESPONSES = [
    good("a head alone", _head(done=True), 3),
    good("a body", _head() + data(b"abc") + data(b"def", done=True), 3),
    good("a body as long as declared", _head((b"content-length", b"3")) + data(b"abc", done=True), 3),
    good("trailers", _head() + data(b"abc") + trailers((b"grpc-status", b"0")), 3),
    good("trailers without a body", _head() + trailers((b"grpc-status", b"0")), 3),
    good("informational responses before", _head(status=b"100") + _head(status=b"103") + _head(done=True), 3),
    good("a length without a body, to HEAD", _head((b"content-length", b"3"), stream_id=5, done=True), 5),
    good("a length without a body, of a 304", _head((b"content-length", b"3"), status=b"304", done=True), 3),
    good("an empty body to HEAD", _head((b"content-length", b"3"), stream_id=5) + data(b"", 5, done=True), 5),
    good("an answer before the settings' ACK is due", settings_frame({3: 7}) + _head(done=True), 3),
    good("RST_STREAM", reset_frame(3, CANCEL)),
    good("an early end, and NO_ERROR", _head(done=True) + reset_frame(3, 0), 3),
    good("GOAWAY that names the last stream: it goes on", go_away_frame(5, 0) + _head(done=True), 3),
    broken_stream("a body to HEAD", _head(stream_id=5) + data(b"a", 5, done=True), PROTOCOL_ERROR, 5),
    broken_stream("a body of a 204", _head(status=b"204") + data(b"a", done=True), PROTOCOL_ERROR),
    broken_stream("a body of a 304", _head(status=b"304") + data(b"a", done=True), PROTOCOL_ERROR),
    broken_stream("DATA before the head", data(b"a"), PROTOCOL_ERROR),
    broken_stream("empty DATA as the whole response", data(b"", done=True), PROTOCOL_ERROR),
    broken_stream("an informational response that ends the stream", _head(status=b"103", done=True), PROTOCOL_ERROR),
    broken_stream("DATA behind an informational response", _head(status=b"103") + data(b"a"), PROTOCOL_ERROR),
    broken_stream(
        "a body shorter than declared", _head((b"content-length", b"3")) + data(b"ab", done=True), PROTOCOL_ERROR
    ),
    broken_stream("a body longer than declared", _head((b"content-length", b"3")) + data(b"abcd"), PROTOCOL_ERROR),
    broken_stream("a length and no body", _head((b"content-length", b"3"), done=True), PROTOCOL_ERROR),
    broken_stream("a second head", _head() + _head(), PROTOCOL_ERROR),
    broken_stream("trailers with :status", _head() + trailers(_STATUS), PROTOCOL_ERROR),
    _malformed("no :status", (b"a", b"b")),
    _malformed("two of them", _STATUS, _STATUS),
    _malformed(":status behind a header", (b"a", b"b"), _STATUS),
    _malformed("a status that is no number", (b":status", b"2x0")),
    _malformed("a status of two digits", (b":status", b"20")),
    _malformed("101", (b":status", b"101")),
    _malformed("a pseudo-header of a request", _STATUS, (b":path", b"/")),
    _malformed("upper case", _STATUS, (b"A", b"b")),
    _malformed("connection", _STATUS, (b"connection", b"close")),
    _malformed("a response in a value", _STATUS, (b"a", b"b\r\n\r\nHTTP/1.1 200 OK")),
    broken("behind the end: DATA", _head(done=True) + data(b"a"), STREAM_CLOSED, answered=(3,)),
    broken("behind the end: HEADERS", _head(done=True) + _head(), STREAM_CLOSED, answered=(3,)),
    broken("a stream that we did not open", _head(stream_id=99), PROTOCOL_ERROR),
    broken("a stream of the server's own", _head(stream_id=2), PROTOCOL_ERROR),
    broken(
        "PUSH_PROMISE, which we forbade", frame(frames.PUSH_PROMISE, 4, 3, b"\0\0\0\2" + block(_STATUS)), PROTOCOL_ERROR
    ),
    broken("push enabled by a server", settings_frame({2: 1}), PROTOCOL_ERROR),
    good("push disabled by a server", settings_frame({2: 0}) + _head(done=True), 3),
    broken("WINDOW_UPDATE of a stream that is idle", window_update_frame(99, 1), PROTOCOL_ERROR),
    broken("GOAWAY that takes back an earlier one", go_away_frame(5, 0) + go_away_frame(7, 0), PROTOCOL_ERROR),
    broken("a broken block", get(3, b"\x80"), COMPRESSION_ERROR),
]
