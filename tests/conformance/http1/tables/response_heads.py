"""Heads of an app's responses: status lines, header lines, informational ones, ends (RFC 9112 4, RFC 9110 15)."""

from tests.conformance.http1.cases import ResponseCase, bad_gateway, relayed

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


_HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"


def _with(*lines: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 5", *lines, b"", b"hello"])


def _start(line: bytes) -> bytes:
    return line + b"\r\nContent-Length: 5\r\n\r\nhello"


RESPONSES: list[ResponseCase] = [
    relayed("a plain one", _OK, b"hello"),
    relayed("no reason", _start(b"HTTP/1.1 200 "), b"hello"),
    relayed("no space behind the status", _start(b"HTTP/1.1 200"), b"hello"),
    relayed("latin-1 in the reason", _start(b"HTTP/1.1 200 \xe4"), b"hello"),
    relayed("a status nobody knows", _start(b"HTTP/1.1 799 x"), b"hello", status=799),
    relayed("version 1.0 closes", _start(b"HTTP/1.0 200 OK"), b"hello", drops_app=True),
    relayed(
        "version 1.0 may stay", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", b"hello"
    ),
    relayed("Connection: close", _with(b"Connection: close"), b"hello", lacks=(b"connection",), drops_app=True),
    relayed(
        "hop-by-hop headers go",
        _with(b"Connection: x-a", b"X-A: 1", b"Keep-Alive: x", b"Proxy-Authenticate: x", b"Upgrade: x"),
        b"hello",
        lacks=(b"x-a", b"keep-alive", b"proxy-authenticate", b"upgrade", b"connection"),
    ),
    # Status lines.
    bad_gateway("empty line in front", b"\r\n" + _OK),
    bad_gateway("nothing but line ends", b"\r\n\r\n"),
    bad_gateway("no status", _start(b"HTTP/1.1")),
    bad_gateway("no status but a reason", _start(b"HTTP/1.1 OK")),
    bad_gateway("status of two digits", _start(b"HTTP/1.1 20 OK")),
    bad_gateway("status of four digits", _start(b"HTTP/1.1 2000 OK")),
    bad_gateway("status 000", _start(b"HTTP/1.1 000 OK")),
    bad_gateway("status 099", _start(b"HTTP/1.1 099 OK")),
    bad_gateway("status with a sign", _start(b"HTTP/1.1 +20 OK")),
    bad_gateway("status with a letter", _start(b"HTTP/1.1 2OO OK")),
    bad_gateway("two spaces before the status", _start(b"HTTP/1.1  200 OK")),
    bad_gateway("tab before the status", _start(b"HTTP/1.1\t200 OK")),
    bad_gateway("no space before the reason", _start(b"HTTP/1.1 200OK")),
    bad_gateway("space in front", _start(b" HTTP/1.1 200 OK")),
    bad_gateway("NUL in the reason", _start(b"HTTP/1.1 200 O\0K")),
    bad_gateway("CR in the reason", _start(b"HTTP/1.1 200 O\rK")),
    bad_gateway("LF in the reason", _start(b"HTTP/1.1 200 O\nK")),
    bad_gateway("version 2.0", _start(b"HTTP/2.0 200 OK")),
    bad_gateway("version 2", _start(b"HTTP/2 200 OK")),
    bad_gateway("version in lower case", _start(b"http/1.1 200 OK")),
    bad_gateway("another protocol", _start(b"ICY 200 OK")),
    bad_gateway("a request instead", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    bad_gateway("a body alone", b"<html>\r\n\r\n</html>"),
    bad_gateway("only line feeds", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    bad_gateway("bare LF behind the status line", b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello"),
    bad_gateway("bare CR behind the status line", b"HTTP/1.1 200 OK\rContent-Length: 5\r\n\r\nhello"),
    # Header lines.
    bad_gateway("space before the colon", _with(b"X : y")),
    bad_gateway("space before the colon of the length", b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
    bad_gateway("folded", _with(b"X: y", b" z")),
    bad_gateway("folded as first line", b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 5\r\n\r\nhello"),
    bad_gateway("no colon", _with(b"X")),
    bad_gateway("no name", _with(b": y")),
    bad_gateway("space in the name", _with(b"X Y: z")),
    bad_gateway("NUL in the name", _with(b"X\0: y")),
    bad_gateway("NUL in the value", _with(b"X: \0")),
    bad_gateway("control in the value", _with(b"X: \x08")),
    bad_gateway("CR in the value", _with(b"X: y\rSet-Cookie: z")),
    bad_gateway("LF in the value", _with(b"X: y\nSet-Cookie: z")),
    bad_gateway("bare LF as the end of the head", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello"),
    # Ends and bounds.
    bad_gateway("nothing at all", b"", method="POST", app_closes=True),
    bad_gateway("an end within the status line", b"HTTP/1.1 20", app_closes=True),
    bad_gateway("an end within the head", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", app_closes=True),
    bad_gateway("no line end in sight", b"a" * ((1 << 20) + 5000)),
    bad_gateway("a value beyond 1 MiB", _with(b"X: " + b"y" * ((1 << 20) + 5000))),
    bad_gateway("headers beyond 1 MiB", _with(*[b"X: " + b"y" * 1000] * 1100)),
    relayed("a head of 256 KiB", _with(*[b"X: " + b"y" * 1000] * 250), b"hello"),
    # Informational ones.
    relayed("103 first", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + _OK, b"hello", informational=(103,)),
    relayed("100 that nobody waits for", b"HTTP/1.1 100 Continue\r\n\r\n" + _OK, b"hello", informational=(100,)),
    relayed(
        "several", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 x\r\n\r\n" + _OK, b"hello", informational=(102, 199)
    ),
    relayed("as many as may be", _HINTS * 100 + _OK, b"hello", informational=(103,) * 100),
    bad_gateway("a storm of them", _HINTS * 1000 + _OK, informational=(103,) * 100),
    bad_gateway("as many lines as may be, and one more", _with(*[b"X: y"] * 1000)),
    relayed("none for HTTP/1.0", b"HTTP/1.1 103 Early Hints\r\n\r\n" + _OK, b"hello", version="1.0", closes=True),
    relayed(
        "a length of 0 in one of them",
        b"HTTP/1.1 103 x\r\nContent-Length: 0\r\n\r\n" + _OK,
        b"hello",
        informational=(103,),
    ),
    bad_gateway("a length in one of them", b"HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\nhello" + _OK),
    bad_gateway("a coding in one of them", b"HTTP/1.1 103 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _OK),
    bad_gateway("a body behind one of them", b"HTTP/1.1 103 x\r\n\r\nhello" + _OK, informational=(103,)),
    bad_gateway("an end behind one of them", b"HTTP/1.1 103 x\r\n\r\n", informational=(103,), app_closes=True),
    bad_gateway(
        "a bad one behind a good one",
        b"HTTP/1.1 103 x\r\n\r\nHTTP/1.1 103 x\r\nX : y\r\n\r\n" + _OK,
        informational=(103,),
    ),
    bad_gateway("101 that nobody asked for", b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"),
    bad_gateway("101 without Upgrade", b"HTTP/1.1 101 x\r\n\r\n"),
]
