"""Heads beyond their bound (spec queue-proxy.md 3.2) and just below it."""

from tests.conformance.http1.cases import Seen, passed, refused

_MIB = 1 << 20


def _with(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: h", *lines, b"", b""])


REQUESTS = [
    refused("a value beyond 1 MiB", _with(b"X: " + b"y" * (_MIB + 5000)), 431),
    refused("a name beyond 1 MiB", _with(b"x" * (_MIB + 5000) + b": y"), 431),
    refused("a target beyond 1 MiB", _with(start=b"GET /" + b"a" * (_MIB + 5000) + b" HTTP/1.1"), 431),
    refused("a method beyond 1 MiB", _with(start=b"G" * (_MIB + 5000) + b" / HTTP/1.1"), 431),
    refused("headers beyond 1 MiB", _with(*[b"X: " + b"y" * 1000] * 1100), 431),
    refused("headers of two bytes beyond 1 MiB", _with(*[b"x:"] * 270_000), 431),
    refused("no line end in sight", b"\x01" * (_MIB + 5000), 431),
    passed("a value below 1 MiB", _with(b"X: " + b"y" * (_MIB - 100)), Seen(has=(b"x: " + b"y" * (_MIB - 100),))),
    passed("a thousand lines", _with(*[b"X-%d: y" % number for number in range(999)]), Seen(has=(b"x-998: y",))),
    refused("a line more", _with(*[b"X-%d: y" % number for number in range(1000)]), 431),
    passed("a target of 64 KiB", _with(start=b"GET /" + b"a" * 65536 + b" HTTP/1.1"), Seen(b"/" + b"a" * 65536)),
]
