"""CONNECT, OPTIONS *, Upgrade, Expect and HTTP/1.0: where a message could change what the connection is."""

from tests.conformance.http1.cases import RequestCase, Seen, passed, refused, rejected


def _with(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: h", *lines, b"", b""])


_NO_UPGRADE = Seen(lacks=(b"upgrade", b"connection", b"http2-settings"))
_CHUNKED = b"Transfer-Encoding: chunked"

REQUESTS = [
    # CONNECT opens no tunnel, whatever it asks for.
    RequestCase("CONNECT", _with(start=b"CONNECT h:443 HTTP/1.1"), (502,)),
    RequestCase("CONNECT to a path", _with(start=b"CONNECT / HTTP/1.1"), (502,)),
    RequestCase(
        "CONNECT and a request behind it", _with(start=b"CONNECT h:443 HTTP/1.1") + _with(), (502, 200), (Seen(),)
    ),
    RequestCase(
        "CONNECT with a body",
        _with(b"Content-Length: 5", start=b"CONNECT h:443 HTTP/1.1") + b"hello",
        (502,),
        at_once=True,
    ),
    refused("CONNECT without a host", b"CONNECT h:443 HTTP/1.1\r\n\r\n"),
    refused("CONNECT with two framings", _with(b"Content-Length: 5", _CHUNKED, start=b"CONNECT h:443 HTTP/1.1")),
    RequestCase("OPTIONS * is for the proxy", _with(start=b"OPTIONS * HTTP/1.1"), (200,)),
    refused("OPTIONS ** is for nobody", _with(start=b"OPTIONS ** HTTP/1.1")),
    passed("OPTIONS of a path", _with(start=b"OPTIONS /* HTTP/1.1"), Seen(b"/*", b"OPTIONS")),
    # Upgrade: what the proxy does not follow, the app must not hear of.
    passed(
        "upgrade", _with(b"Connection: Upgrade", b"Upgrade: echo"), Seen(has=(b"upgrade: echo", b"connection: Upgrade"))
    ),
    passed("upgrade that Connection does not name", _with(b"Upgrade: echo"), _NO_UPGRADE),
    passed("Connection that names no upgrade", _with(b"Connection: Upgrade"), _NO_UPGRADE),
    passed("an empty upgrade", _with(b"Connection: Upgrade", b"Upgrade:"), _NO_UPGRADE),
    passed(
        "upgrade to h2c",
        _with(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"),
        _NO_UPGRADE,
    ),
    passed("upgrade to h2c in another case", _with(b"Connection: upgrade", b"Upgrade: H2C"), _NO_UPGRADE),
    passed("a choice with h2c in it", _with(b"Connection: upgrade", b"Upgrade: echo, h2c"), _NO_UPGRADE),
    passed("a choice", _with(b"Connection: upgrade", b"Upgrade: echo, other"), _NO_UPGRADE),
    passed("a choice in two lines", _with(b"Connection: upgrade", b"Upgrade: h2c", b"Upgrade: echo"), _NO_UPGRADE),
    passed("upgrade to two words", _with(b"Connection: upgrade", b"Upgrade: echo x"), _NO_UPGRADE),
    passed("upgrade to h2c with white space", _with(b"Connection: upgrade", b"Upgrade: \th2c\t"), _NO_UPGRADE),
    passed(
        "upgrade with a version", _with(b"Connection: upgrade", b"Upgrade: echo/1.0"), Seen(has=(b"upgrade: echo/1.0",))
    ),
    passed(
        "upgrade in HTTP/1.0",
        _with(b"Connection: upgrade, keep-alive", b"Upgrade: echo", start=b"GET / HTTP/1.0"),
        _NO_UPGRADE,
    ),
    passed(
        "upgrade with a body, and a request behind it",
        _with(b"Connection: upgrade", b"Upgrade: echo", b"Content-Length: 5", start=b"POST / HTTP/1.1")
        + b"hello"
        + _with(),
        Seen(method=b"POST", body=b"hello", has=(b"upgrade: echo",)),
        Seen(),
    ),
    rejected(
        "upgrade and a bad request behind it",
        _with(b"Connection: upgrade", b"Upgrade: echo") + b"\x81\x05hello\r\n\r\n",
        Seen(),
    ),
    # Expect: only one expectation exists (RFC 9110 10.1.1).
    passed(
        "Expect: 100-continue",
        _with(b"Expect: 100-Continue", b"Content-Length: 5", start=b"POST / HTTP/1.1") + b"hello",
        Seen(method=b"POST", body=b"hello", has=(b"expect: 100-Continue",)),
    ),
    passed("Expect: 100-continue without a body", _with(b"Expect: 100-continue"), Seen(has=(b"expect: 100-continue",))),
    refused("Expect: something else", _with(b"Expect: 200-ok"), 417),
    refused("Expect: two things", _with(b"Expect: 100-continue, x"), 417),
    refused("Expect: in two lines", _with(b"Expect: 100-continue", b"Expect: x"), 417),
    passed("Expect: nothing", _with(b"Expect:"), Seen()),
    # HTTP/1.0.
    passed("1.0 closes", _with(start=b"GET / HTTP/1.0"), Seen(), closes=True),
    passed(
        "1.0 stays open when asked",
        _with(b"Connection: keep-alive", start=b"GET / HTTP/1.0"),
        Seen(lacks=(b"connection",)),
    ),
    passed(
        "1.0 with a body",
        _with(b"Content-Length: 5", start=b"POST / HTTP/1.0") + b"hello",
        Seen(method=b"POST", body=b"hello"),
        closes=True,
    ),
    passed(
        "1.0 closes when both are said",
        _with(b"Connection: keep-alive, close", start=b"GET / HTTP/1.0"),
        Seen(),
        closes=True,
    ),
]
