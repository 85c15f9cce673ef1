"""Bodies of an app's responses that break, end early, or have to be changed for an older client (RFC 9112 7.1, 8)."""

from tests.conformance.http1.cases import ResponseCase, cut, relayed

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_HELLO = b"5\r\nhello\r\n"
_END = b"0\r\n\r\n"


def _broken(name: str, body: bytes, *, app_closes: bool = False) -> ResponseCase:
    """A good chunk, then `body`: of that the client sees at most what was good, and never an end."""
    return cut(name, _CHUNKED + _HELLO + body, _HELLO + body, app_closes=app_closes)


RESPONSES: list[ResponseCase] = [
    relayed("an extension", _CHUNKED + b'5;a="b"\r\nhello\r\n' + _END, b"hello"),
    relayed("trailers", _CHUNKED + _HELLO + b"0\r\nX-Sum: 1\r\n\r\n", b"hello"),
    relayed(
        "announced trailers",
        b"HTTP/1.1 200 OK\r\nTrailer: X\r\n" + _CHUNKED.partition(b"\r\n")[2] + _HELLO + b"0\r\nX: 1\r\n\r\n",
        b"hello",
        has=(b"trailer: X",),
    ),
    relayed("no chunk but the last", _CHUNKED + _END),
    relayed(
        "a body that looks like a response",
        _CHUNKED + b"13\r\nHTTP/1.1 200 OK\r\n\r\n\r\n" + _END,
        b"HTTP/1.1 200 OK\r\n\r\n",
    ),
    relayed(
        "payload only for HTTP/1.0",
        _CHUNKED + _HELLO + _HELLO + b"0\r\nX: y\r\n\r\n",
        b"hellohello",
        version="1.0",
        lacks=(b"transfer-encoding",),
        closes=True,
    ),
    # Broken chunks.
    _broken("not hex", b"g\r\nhello\r\n" + _END),
    _broken("no size", b"\r\n" + _END),
    _broken("plus", b"+5\r\nhello\r\n" + _END),
    _broken("minus", b"-5\r\nhello\r\n" + _END),
    _broken("0x", b"0x5\r\nhello\r\n" + _END),
    _broken("underscore", b"0_5\r\nhello\r\n" + _END),
    _broken("space behind", b"5 \r\nhello\r\n" + _END),
    _broken("overflow", b"fffffffffffffffff\r\nhello\r\n" + _END),
    _broken("zeros without end", b"0" * 5000 + b"\r\n\r\n"),
    _broken("bare LF behind the size", b"5\nhello\r\n" + _END),
    _broken("bare CR behind the size", b"5\rhello\r\n" + _END),
    _broken("nothing behind the data", b"5\r\nhello" + _END),
    _broken("bare LF behind the data", b"5\r\nhello\n" + _END),
    _broken("data that is too long", b"4\r\nhello\r\n" + _END),
    _broken("data that is too short", b"6\r\nhello\r\n" + _END),
    _broken("bare LF in an extension", b"5;a\nb\r\nhello\r\n" + _END),
    _broken("an extension without end", b"5;" + b"a" * 5000 + b"\r\nhello\r\n" + _END),
    _broken("an open quote", b'5;a="\r\nhello\r\n' + _END),
    _broken("bare LF as the end", b"0\r\n\n"),
    _broken("a trailer that forges a length", b"0\r\nContent-Length: 5\r\n\r\n"),
    _broken("a trailer that forges a coding", b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    _broken("a trailer with a space before the colon", b"0\r\nX : y\r\n\r\n"),
    _broken("a folded trailer", b"0\r\nX: y\r\n z\r\n\r\n"),
    _broken("a trailer with NUL", b"0\r\nX: \0\r\n\r\n"),
    _broken("trailers without end", b"0\r\nX: " + b"y" * 70_000),
    _broken("a response instead of a chunk", b"HTTP/1.1 200 OK\r\n\r\n"),
    # Ends that come early.
    cut(
        "an end within a body of known length",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"hello",
        app_closes=True,
    ),
    cut("an end before a body of known length", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", app_closes=True),
    _broken("an end behind a chunk", b"", app_closes=True),
    _broken("an end within a chunk", b"5\r\nhel", app_closes=True),
    _broken("an end within a size", b"5", app_closes=True),
    _broken("an end behind the last chunk", b"0\r\n", app_closes=True),
    _broken("an end within the trailers", b"0\r\nX: y\r\n", app_closes=True),
    _broken("an end within the last line end", b"0\r\n\r", app_closes=True),
]
