"""Trailers (RFC 9113 8.1)."""

from proxies.http2.errors import PROTOCOL_ERROR
from tests.conformance.http2.cases import broken_stream, data, get, good, head, trailers

_BODY = get(done=False) + data(b"abc")
_DECLARED = get(sent=head((b"content-length", b"3")), done=False)

REQUESTS = [
    good("behind a body", _BODY + trailers((b"a", b"b")), 3),
    good("without a body", get(done=False) + trailers((b"a", b"b")), 3),
    good("empty", _BODY + trailers(), 3),
    good("behind a body as long as declared", _DECLARED + data(b"abc") + trailers((b"a", b"b")), 3),
    broken_stream(
        "behind a body shorter than declared", _DECLARED + data(b"ab") + trailers((b"a", b"b")), PROTOCOL_ERROR
    ),
    broken_stream("that do not end the stream", _BODY + trailers((b"a", b"b"), done=False), PROTOCOL_ERROR),
    broken_stream("with a pseudo-header", _BODY + trailers((b":path", b"/")), PROTOCOL_ERROR),
    broken_stream(
        "with a pseudo-header behind another", _BODY + trailers((b"a", b"b"), (b":status", b"200")), PROTOCOL_ERROR
    ),
    broken_stream("with upper case", _BODY + trailers((b"Grpc-Status", b"0")), PROTOCOL_ERROR),
    broken_stream("with a header of connections", _BODY + trailers((b"transfer-encoding", b"chunked")), PROTOCOL_ERROR),
    broken_stream("with a line end in a value", _BODY + trailers((b"a", b"b\r\nc: d")), PROTOCOL_ERROR),
]
