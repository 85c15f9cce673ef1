"""`Content-Length` (RFC 9110 8.6, RFC 9112 6.3), alone and against the bytes that follow."""

from tests.conformance.http1.cases import Seen, passed, refused, rejected, truncated


def _post(*lines: bytes, body: bytes = b"hello") -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: h", *lines, b"", body])


_HELLO = Seen(method=b"POST", body=b"hello")
_EMPTY = Seen(method=b"POST")
_JSON = b'{"a":1}'
"""No beginning of a request; letters would be one, of a method that nobody knows."""
_INNER = b"GET /inner HTTP/1.1\r\nHost: h\r\n\r\n"

REQUESTS = [
    refused("two that are equal", _post(b"Content-Length: 5", b"Content-Length: 5")),
    refused("two that differ", _post(b"Content-Length: 5", b"Content-Length: 0")),
    refused("two in different case", _post(b"Content-Length: 5", b"content-length: 5")),
    refused("two, the first empty", _post(b"Content-Length:", b"Content-Length: 5")),
    refused("a list of equals", _post(b"Content-Length: 5, 5")),
    refused("a list without space", _post(b"Content-Length: 5,5")),
    refused("a list of different ones", _post(b"Content-Length: 5, 0")),
    refused("a comma behind", _post(b"Content-Length: 5,")),
    refused("plus", _post(b"Content-Length: +5")),
    refused("minus", _post(b"Content-Length: -5")),
    refused("minus zero", _post(b"Content-Length: -0")),
    refused("empty", _post(b"Content-Length:")),
    refused("hex", _post(b"Content-Length: 0x5")),
    refused("hex digits", _post(b"Content-Length: a")),
    refused("octal of Python", _post(b"Content-Length: 0o5")),
    refused("underscore", _post(b"Content-Length: 0_5")),
    refused("fraction", _post(b"Content-Length: 5.0")),
    refused("exponent", _post(b"Content-Length: 5e0")),
    refused("space inside", _post(b"Content-Length: 0 5")),
    refused("tab inside", _post(b"Content-Length: 0\t5")),
    refused("quotes", _post(b'Content-Length: "5"')),
    refused("semicolon", _post(b"Content-Length: 5;")),
    refused("unit", _post(b"Content-Length: 5 bytes")),
    refused("vertical tab in front", _post(b"Content-Length: \x0b5")),
    refused("NUL behind", _post(b"Content-Length: 5\0")),
    refused("CR behind", _post(b"Content-Length: 5\r")),
    refused("bare LF behind", _post(b"Content-Length: 5\nX: y")),
    refused("digits of another script", _post(b"Content-Length: \xd9\xa5")),
    refused("superscript", _post(b"Content-Length: \xb2")),
    refused("no-break space in front", _post(b"Content-Length: \xa05")),
    refused("2^63", _post(b"Content-Length: 9223372036854775808")),
    refused("2^64 + 5", _post(b"Content-Length: 18446744073709551621")),
    refused("a hundred digits", _post(b"Content-Length: " + b"9" * 100)),
    refused("zeros without end", _post(b"Content-Length: " + b"0" * 100 + b"5")),
    refused("space before the colon", _post(b"Content-Length : 5")),
    refused("space before the name", _post(b"X: y", b" Content-Length: 5")),
    refused("folded", _post(b"Content-Length:", b" 5")),
    refused("as an option of Connection", _post(b"Content-Length: 5", b"Connection: close, Content-Length")),
    passed("white space around it", _post(b"Content-Length: \t5 \t"), _HELLO),
    passed("leading zeros", _post(b"Content-Length: 005"), _HELLO),
    passed("any case", _post(b"cOnTeNt-LeNgTh:5"), _HELLO),
    passed("zero", _post(b"Content-Length: 0", body=b""), Seen(method=b"POST")),
    passed("none", _post(body=b""), Seen(method=b"POST")),
    # What a smuggler hopes for: that the length is believed by one of two only.
    passed(
        "the body of a GET stays a body",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(_INNER) + _INNER,
        Seen(body=_INNER),
    ),
    passed(
        "the body of a HEAD-like method stays a body",
        b"TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(_INNER) + _INNER,
        Seen(method=b"TRACE", body=_INNER),
    ),
    passed("behind a length of 0 comes a request", _post(b"Content-Length: 0", body=_INNER), _EMPTY, Seen(b"/inner")),
    passed("behind no length comes a request", _post(body=_INNER), _EMPTY, Seen(b"/inner")),
    rejected("behind no length comes no body", _post(body=_JSON), _EMPTY),
    rejected(
        "a body that is too long", _post(b"Content-Length: 3", body=b"hel" + _JSON), Seen(method=b"POST", body=b"hel")
    ),
    rejected("a name that only looks like it", _post(b"Content_Length: 5", body=_JSON), _EMPTY),
    rejected("another that only looks like it", _post(b"Content-Length-: 5", body=_JSON), _EMPTY),
    truncated("a body that is too short", _post(b"Content-Length: 6")),
    truncated("no body at all", _post(b"Content-Length: 6", body=b"")),
    truncated("the largest length", _post(b"Content-Length: 999999999999999999")),
]
