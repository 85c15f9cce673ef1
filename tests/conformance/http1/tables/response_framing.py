"""How an app says where its body ends (RFC 9112 6.3): responses that say it twice, wrongly, or where there is none."""

from tests.conformance.http1.cases import ResponseCase, bad_gateway, relayed

_START = b"HTTP/1.1 200 OK"


def _with(*lines: bytes, body: bytes = b"hello", start: bytes = _START) -> bytes:
    return b"\r\n".join([start, *lines, b"", body])


_CHUNKED = b"Transfer-Encoding: chunked"
_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"

RESPONSES: list[ResponseCase] = [
    relayed("a length", _with(b"Content-Length: 5"), b"hello"),
    relayed("a length with white space and zeros", _with(b"Content-Length:\t 005 "), b"hello"),
    relayed("a length of 0", _with(b"Content-Length: 0", body=b"")),
    relayed("chunks", _with(_CHUNKED, body=_CHUNKS), b"hello"),
    relayed("chunks in any case", _with(b"transfer-encoding:CHUNKED", body=_CHUNKS), b"hello"),
    relayed("the connection's end", _with(), b"hello", closes=True, app_closes=True),
    relayed("the connection's end, and nothing before it", _with(body=b""), closes=True, app_closes=True),
    relayed("the connection's end in 1.0", _with(start=b"HTTP/1.0 200 OK"), b"hello", closes=True, app_closes=True),
    relayed(
        "the connection's end although it says keep-alive",
        _with(b"Connection: keep-alive"),
        b"hello",
        closes=True,
        app_closes=True,
    ),
    # Said twice, or wrongly.
    bad_gateway("CL.TE", _with(b"Content-Length: 5", _CHUNKED, body=_CHUNKS)),
    bad_gateway("TE.CL", _with(_CHUNKED, b"Content-Length: 5", body=_CHUNKS)),
    bad_gateway("CL.TE of a HEAD", _with(b"Content-Length: 5", _CHUNKED, body=b""), method="HEAD"),
    bad_gateway("CL.TE of a 304", _with(b"Content-Length: 5", _CHUNKED, body=b"", start=b"HTTP/1.1 304 x")),
    bad_gateway("CL.TE of a 204", _with(b"Content-Length: 5", _CHUNKED, body=b"", start=b"HTTP/1.1 204 x")),
    bad_gateway("two lengths, equal", _with(b"Content-Length: 5", b"Content-Length: 5")),
    bad_gateway("two lengths, different", _with(b"Content-Length: 5", b"Content-Length: 6")),
    bad_gateway("two lengths in different case", _with(b"Content-Length: 5", b"content-length: 5")),
    bad_gateway("a list of lengths", _with(b"Content-Length: 5, 5")),
    bad_gateway("an empty length", _with(b"Content-Length:")),
    bad_gateway("a length with a sign", _with(b"Content-Length: +5")),
    bad_gateway("a negative length", _with(b"Content-Length: -5")),
    bad_gateway("a length in hex", _with(b"Content-Length: 0x5")),
    bad_gateway("a length with an underscore", _with(b"Content-Length: 0_5")),
    bad_gateway("a fraction", _with(b"Content-Length: 5.0")),
    bad_gateway("a length that overflows", _with(b"Content-Length: 18446744073709551621")),
    bad_gateway("a length that is a word", _with(b"Content-Length: chunked")),
    bad_gateway("a length with NUL", _with(b"Content-Length: 5\0")),
    bad_gateway("a coding twice", _with(_CHUNKED, _CHUNKED, body=_CHUNKS)),
    bad_gateway("chunked twice in a line", _with(b"Transfer-Encoding: chunked, chunked", body=_CHUNKS)),
    bad_gateway("gzip inside chunked", _with(b"Transfer-Encoding: gzip, chunked", body=_CHUNKS)),
    bad_gateway("gzip alone", _with(b"Transfer-Encoding: gzip"), app_closes=True),
    bad_gateway("identity", _with(b"Transfer-Encoding: identity"), app_closes=True),
    bad_gateway("an unknown coding", _with(b"Transfer-Encoding: xchunked", body=_CHUNKS)),
    bad_gateway("an empty coding", _with(b"Transfer-Encoding:", body=_CHUNKS)),
    bad_gateway("a coding with a vertical tab", _with(b"Transfer-Encoding: \x0bchunked", body=_CHUNKS)),
    bad_gateway("a coding in 1.0", _with(_CHUNKED, body=_CHUNKS, start=b"HTTP/1.0 200 OK")),
    bad_gateway(
        "a coding in 1.0 that stays open",
        _with(_CHUNKED, b"Connection: keep-alive", body=_CHUNKS, start=b"HTTP/1.0 200 OK"),
    ),
    bad_gateway("the length as an option of Connection", _with(b"Content-Length: 5", b"Connection: content-length")),
    bad_gateway(
        "the coding as an option of Connection", _with(_CHUNKED, b"Connection: Transfer-Encoding", body=_CHUNKS)
    ),
    # No body, whatever is said: what follows is nobody's, and the connection is not used again.
    relayed("204", b"HTTP/1.1 204 x\r\n\r\n", status=204),
    relayed(
        "204 with a length of 0", b"HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n", status=204, lacks=(b"content-length",)
    ),
    relayed(
        "204 with a length",
        _with(b"Content-Length: 5", start=b"HTTP/1.1 204 x"),
        status=204,
        lacks=(b"content-length",),
        drops_app=True,
    ),
    relayed(
        "204 with a length and nothing behind it",
        _with(b"Content-Length: 5", body=b"", start=b"HTTP/1.1 204 x"),
        status=204,
        lacks=(b"content-length",),
        drops_app=True,
    ),
    relayed(
        "204 with chunks",
        _with(_CHUNKED, body=_CHUNKS, start=b"HTTP/1.1 204 x"),
        status=204,
        lacks=(b"transfer-encoding",),
        drops_app=True,
    ),
    relayed("204 with a body nobody announced", _with(start=b"HTTP/1.1 204 x"), status=204, drops_app=True),
    relayed(
        "304 with a length, which tells of another response",
        _with(b"Content-Length: 5", body=b"", start=b"HTTP/1.1 304 x"),
        status=304,
        has=(b"content-length: 5",),
    ),
    relayed("304 with chunks announced", _with(_CHUNKED, body=b"", start=b"HTTP/1.1 304 x"), status=304),
    relayed("304 with a body", _with(b"Content-Length: 5", start=b"HTTP/1.1 304 x"), status=304, drops_app=True),
    relayed("HEAD with a length", _with(b"Content-Length: 5", body=b""), method="HEAD", has=(b"content-length: 5",)),
    relayed(
        "HEAD with chunks announced", _with(_CHUNKED, body=b""), method="HEAD", has=(b"transfer-encoding: chunked",)
    ),
    relayed("HEAD without framing", _with(body=b""), method="HEAD"),
    relayed("HEAD with a body", _with(b"Content-Length: 5"), method="HEAD", drops_app=True),
    relayed("HEAD with chunks", _with(_CHUNKED, body=_CHUNKS), method="HEAD", drops_app=True),
    # More than was announced: the rest is no response to anybody.
    relayed("a byte more", _with(b"Content-Length: 5", body=b"hello!"), b"hello", drops_app=True),
    relayed("a line end more", _with(b"Content-Length: 5", body=b"hello\r\n"), b"hello", drops_app=True),
    relayed(
        "a response more",
        _with(b"Content-Length: 5") + _with(b"Content-Length: 6", body=b"forged"),
        b"hello",
        drops_app=True,
    ),
    relayed(
        "a response behind chunks",
        _with(_CHUNKED, body=_CHUNKS) + _with(b"Content-Length: 6", body=b"forged"),
        b"hello",
        drops_app=True,
    ),
    relayed(
        "a response behind a length of 0",
        _with(b"Content-Length: 0", body=b"") + _with(b"Content-Length: 6", body=b"forged"),
        drops_app=True,
    ),
    relayed(
        "a response behind a 204",
        b"HTTP/1.1 204 x\r\n\r\n" + _with(b"Content-Length: 6", body=b"forged"),
        status=204,
        drops_app=True,
    ),
    relayed(
        "a response behind the one to a HEAD",
        _with(b"Content-Length: 5", body=b"") + _with(b"Content-Length: 6", body=b"forged"),
        method="HEAD",
        drops_app=True,
    ),
]
