"""Header lines (RFC 9110 5.5, RFC 9112 5) and what is hop-by-hop among them (RFC 9110 7.6.1)."""

from tests.conformance.http1.cases import Seen, passed, refused


def _with(*lines: bytes) -> bytes:
    return b"\r\n".join([b"GET / HTTP/1.1", b"Host: h", *lines, b"", b""])


REQUESTS = [
    refused("space before the colon", _with(b"X : y")),
    refused("tab before the colon", _with(b"X\t: y")),
    refused("space in the name", _with(b"X Y: z")),
    refused("space before the name, a fold", _with(b"X: y", b" Z: z")),
    refused("tab before the name, a fold", _with(b"X: y", b"\tZ: z")),
    refused("a fold of spaces only", _with(b"X: y", b" ")),
    refused("no colon", _with(b"X")),
    refused("no name", _with(b": y")),
    refused("only a colon", _with(b":")),
    refused("only a space", _with(b" ")),
    refused("NUL in the name", _with(b"X\0: y")),
    refused("control in the name", _with(b"X\x1b: y")),
    refused("DEL in the name", _with(b"X\x7f: y")),
    refused("latin-1 in the name", _with(b"X\xe4: y")),
    refused("UTF-8 byte order mark before the name", _with(b"\xef\xbb\xbfX: y")),
    refused("non-breaking space before the colon", _with(b"X\xa0: y")),
    refused("slash in the name", _with(b"X/Y: z")),
    refused("parenthesis in the name", _with(b"X(Y): z")),
    refused("quotes around the name", _with(b'"X": y')),
    refused("at sign in the name", _with(b"X@Y: z")),
    refused("NUL in the value", _with(b"X: y\0z")),
    refused("control in the value", _with(b"X: y\x01z")),
    refused("escape in the value", _with(b"X: \x1b[2J")),
    refused("vertical tab in the value", _with(b"X: \x0by")),
    refused("form feed in the value", _with(b"X: y\x0c")),
    refused("DEL in the value", _with(b"X: \x7f")),
    refused("bare CR in the value", _with(b"X: y\rz")),
    refused("bare CR at the end of the value", _with(b"X: y\r")),
    refused("bare LF in the value", _with(b"X: y\nz")),
    refused("bare LF as the end of the line", b"GET / HTTP/1.1\r\nHost: h\r\nX: y\n\r\n"),
    refused("bare LF as the end of the head", b"GET / HTTP/1.1\r\nHost: h\r\n\n"),
    refused("LF CR instead of CR LF", b"GET / HTTP/1.1\r\nHost: h\n\rX: y\r\n\r\n"),
    passed("tabs and spaces around the value", _with(b"X: \t y z\t "), Seen(has=(b"x: y z",))),
    passed("no space before the value", _with(b"X:y"), Seen(has=(b"x: y",))),
    passed("colons in the value", _with(b"X::y:"), Seen(has=(b"x: :y:",))),
    passed("latin-1 in the value", _with(b"X: \xe4\xff"), Seen(has=(b"x: \xe4\xff",))),
    passed("tab inside the value", _with(b"X: y\tz"), Seen(has=(b"x: y\tz",))),
    passed("every sign that a token may have", _with(b"!#$%&'*+-.^_`|~0aA: y"), Seen(has=(b"!#$%&'*+-.^_`|~0aa: y",))),
    # Hop-by-hop.
    passed("what Connection lists goes", _with(b"Connection: X-Drop , ,", b"X-Drop: 1"), Seen(lacks=(b"x-drop",))),
    passed(
        "in several lines and any case",
        _with(b"Connection: x-a", b"connection: KEEP-ALIVE, X-B", b"X-A: 1", b"x-b: 2", b"Keep-Alive: 3"),
        Seen(lacks=(b"x-a", b"x-b", b"keep-alive", b"connection")),
    ),
    passed(
        "the others go without being listed",
        _with(b"Proxy-Connection: x", b"Keep-Alive: x", b"Proxy-Authorization: x", b"TE: gzip", b"Trailer: X"),
        Seen(lacks=(b"proxy-connection", b"keep-alive", b"proxy-authorization", b"te", b"trailer")),
    ),
    passed("TE: trailers stays", _with(b"TE: gzip, trailers"), Seen(has=(b"te: trailers",))),
    passed(
        "who the client says it came from can be taken back by it, the peer cannot",
        _with(b"X-Forwarded-For: 10.0.0.1", b"Connection: X-Forwarded-For"),
        Seen(has=(b"x-forwarded-for: 127.0.0.1",)),
    ),
    passed("Connection: close", _with(b"Connection: close"), Seen(lacks=(b"connection",)), closes=True),
    passed("a strange option of Connection", _with(b'Connection: "close", {}'), Seen(lacks=(b"connection",))),
    passed(
        "names that look like framing are not", _with(b"Content_Length: 5", b"X-Transfer-Encoding: chunked"), Seen()
    ),
]
