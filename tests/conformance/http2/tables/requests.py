"""Requests (RFC 9113 8.1 to 8.5)."""

from proxies.http2.errors import PROTOCOL_ERROR
from tests.conformance.http2.cases import Case, block, broken_stream, data, get, good, head

_METHOD, _SCHEME, _PATH, _HOST = (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"h")


def _malformed(name: str, sent: bytes) -> Case:
    return broken_stream(name, get(sent=sent), PROTOCOL_ERROR)


def _length(name: str, length: bytes, *bodies: bytes, is_good: bool = False) -> Case:
    """A request that declares `length` and sends `bodies`, the last of them as its end."""
    begun = get(sent=head((b"content-length", length)), done=not bodies)
    frames = [data(body, done=at == len(bodies)) for at, body in enumerate(bodies, 1)]
    sent = b"".join([begun, *frames])
    return good(name, sent, 3) if is_good else broken_stream(name, sent, PROTOCOL_ERROR)


REQUESTS = [
    good("pseudo-headers in any order", get(sent=block(_PATH, _HOST, _METHOD, _SCHEME)), 3),
    good("host instead of :authority", get(sent=head((b"host", b"h"), authority=None)), 3),
    good("host like :authority", get(sent=head((b"host", b"H"))), 3),
    good("a scheme that we do not speak", get(sent=head(scheme=b"gopher")), 3),
    good("OPTIONS *", get(sent=head(method=b"OPTIONS", path=b"*")), 3),
    good("a method that nobody knows", get(sent=head(method=b"BREW")), 3),
    good("te: trailers", get(sent=head((b"te", b"trailers"))), 3),
    good("pieces of a cookie", get(sent=head((b"cookie", b"a=1"), (b"cookie", b"b=2"))), 3),
    good("an empty value", get(sent=head((b"a", b""))), 3),
    good("bytes above ASCII in a value", get(sent=head((b"a", b"\xc3\xa4"))), 3),
    _malformed("no :method", head(method=None)),
    _malformed("no :scheme", head(scheme=None)),
    _malformed("no :path", head(path=None)),
    _malformed("neither :authority nor host", head(authority=None)),
    _malformed("no header at all", b""),
    _malformed("empty :path", head(path=b"")),
    _malformed(":path without a slash", head(path=b"a")),
    _malformed(":method twice", block(_METHOD) + head()),
    _malformed(":scheme twice", block(_SCHEME) + head()),
    _malformed(":path twice", block(_PATH) + head()),
    _malformed(":authority twice", block(_HOST) + head()),
    _malformed("unknown pseudo-header", block((b":test", b"ok")) + head()),
    _malformed("pseudo-header of a response", block((b":status", b"200")) + head()),
    _malformed(
        "extended CONNECT, which is not advertised", block((b":protocol", b"websocket")) + head(method=b"CONNECT")
    ),
    _malformed("pseudo-header behind a header", block(_METHOD, _SCHEME, (b"a", b"b"), _PATH, _HOST)),
    _malformed("another host than :authority", head((b"host", b"other"))),
    _malformed("user information in :authority", head(authority=b"user@h")),
    _malformed("CONNECT with :path", head(method=b"CONNECT")),
    _malformed("upper case in a name", head((b"A", b"b"))),
    _malformed("space in a name", head((b"a b", b"c"))),
    _malformed("colon in a name", head((b"a:b", b"c"))),
    _malformed("NUL in a name", head((b"a\0", b"c"))),
    _malformed("a name without a character", head((b"", b"c"))),
    _malformed("CR in a value", head((b"a", b"b\rc"))),
    _malformed("LF in a value", head((b"a", b"b\nc"))),
    _malformed("a request in a value", head((b"a", b"b\r\n\r\nGET / HTTP/1.1"))),
    _malformed("a request in :path", head(path=b"/ HTTP/1.1\r\nHost: x\r\n\r\nGET /")),
    _malformed("a header in :method", head(method=b"GET / HTTP/1.1\r\nA: b\r\nX: ")),
    _malformed("a header in :authority", head(authority=b"h\r\nA: b")),
    _malformed("NUL in a value", head((b"a", b"b\0"))),
    _malformed("space before a value", head((b"a", b" b"))),
    _malformed("tab behind a value", head((b"a", b"b\t"))),
    _malformed("connection", head((b"connection", b"close"))),
    _malformed("keep-alive", head((b"keep-alive", b"timeout=1"))),
    _malformed("proxy-connection", head((b"proxy-connection", b"close"))),
    _malformed("transfer-encoding", head((b"transfer-encoding", b"chunked"))),
    _malformed("upgrade", head((b"upgrade", b"websocket"))),
    _malformed("te that is not trailers", head((b"te", b"trailers, deflate"))),
    _length("no body where none is declared", b"0", is_good=True),
    _length("a body as long as declared", b"3", b"abc", is_good=True),
    _length("in several frames", b"6", b"abc", b"def", b"", is_good=True),
    _length("a body that is declared and missing", b"3"),
    _length("a body longer than declared", b"2", b"abc"),
    _length("in the second frame", b"4", b"abc", b"def"),
    _length("a body shorter than declared", b"4", b"abc"),
    _length("no byte of it", b"1", b""),
    _length("a length that is no number", b"3, 3", b"abc"),
    _length("a signed length", b"+3", b"abc"),
    broken_stream(
        "two lengths",
        get(sent=head(*[(b"content-length", b"3")] * 2), done=False) + data(b"abc", done=True),
        PROTOCOL_ERROR,
    ),
]
