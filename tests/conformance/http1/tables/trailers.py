"""Trailers (RFC 9110 6.5, RFC 9112 7.1.2): what may not stand there is never sent on, for a lenient app merges them."""

from tests.conformance.http1.cases import RequestCase, Seen, passed, refused

_HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"


def _bad(name: str, trailers: bytes) -> RequestCase:
    return refused(name, _HEAD + trailers + b"\r\n\r\n")


def _good(name: str, lines: bytes, *trailers: tuple[bytes, bytes]) -> RequestCase:
    return passed(name, _HEAD + lines + b"\r\n\r\n", Seen(method=b"POST", body=b"hello", trailers=trailers))


REQUESTS = [
    *(
        _bad(f"forges {name.decode()}", name + b": 1")
        for name in (
            # Framing and the connection.
            b"Content-Length",
            b"Transfer-Encoding",
            b"Trailer",
            b"Connection",
            b"Keep-Alive",
            b"Proxy-Connection",
            b"TE",
            b"Upgrade",
            # Where it goes, and from where it came.
            b"Host",
            b"Forwarded",
            b"X-Forwarded-For",
            b"X-Forwarded-Host",
            b"X-Forwarded-Proto",
            b"K-Original-Host",
            b"K-Proxy-Request",
            b"K-Network-Probe",
            b"Knative-Serving-Revision",
            # Who asks, and for what.
            b"Authorization",
            b"Proxy-Authorization",
            b"Cookie",
            b"Set-Cookie",
            b"Cache-Control",
            b"Expect",
            b"If-Match",
            b"Max-Forwards",
            b"Range",
            # How the body is to be read.
            b"Content-Encoding",
            b"Content-Type",
            b"Content-Range",
        )
    ),
    _bad("forges a length in another case", b"cOnTeNt-lEnGtH: 1"),
    _bad("forges a length behind a good one", b"X-Sum: 1\r\nContent-Length: 1"),
    _bad("space before the colon", b"X : y"),
    _bad("folded", b"X: y\r\n z"),
    _bad("folded as first line", b" X: y"),
    _bad("no colon", b"X"),
    _bad("no name", b": y"),
    _bad("NUL in the value", b"X: \0"),
    _bad("bare CR in the value", b"X: y\rContent-Length: 1"),
    _bad("bare LF in the value", b"X: y\nContent-Length: 1"),
    _bad("a request", b"GET /smuggled HTTP/1.1"),
    _bad("without end", b"X: " + b"y" * 70_000),
    _bad("too many", b"\r\n".join(b"X-%d: y" % number for number in range(7000))),
    _good("one", b"X-Sum: 1", (b"x-sum", b"1")),
    _good("several, one of them twice", b"A: 1\r\nb:2\r\nA:\t3 ", (b"a", b"1"), (b"b", b"2"), (b"a", b"3")),
    _good("an empty one", b"X:", (b"x", b"")),
    _good("one with latin-1", b"X: \xe4", (b"x", b"\xe4")),
    passed(
        "announced ones",
        b"POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\n" + _HEAD.partition(b"Host: h\r\n")[2] + b"X-Sum: 1\r\n\r\n",
        Seen(method=b"POST", body=b"hello", trailers=((b"x-sum", b"1"),)),
    ),
]
