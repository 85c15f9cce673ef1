"""Who a request is for: `Host`, absolute targets, and `K-Original-Host`, which becomes `Host` (RFC 9112 3.2)."""

from tests.conformance.http1.cases import Seen, passed, refused


def _to(*hosts: bytes) -> bytes:
    return b"\r\n".join([b"GET / HTTP/1.1", *hosts, b"", b""])


REQUESTS = [
    refused("none", _to()),
    refused("none, but other headers", _to(b"X-Host: h")),
    refused("two that differ", _to(b"Host: a", b"Host: b")),
    refused("two that are equal", _to(b"Host: h", b"Host: h")),
    refused("two in different case", _to(b"Host: h", b"hOST: h")),
    refused("two in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    refused("space before the colon", _to(b"Host : h")),
    refused("tab before the colon", _to(b"Host\t: h")),
    refused("folded", _to(b"Host:", b" h")),
    refused("folded as first line", _to(b" Host: h")),
    refused("a second one behind a bare LF", _to(b"Host: h\nHost: evil")),
    refused("a second one behind a bare CR", _to(b"Host: h\rHost: evil")),
    refused("space inside", _to(b"Host: a b")),
    refused("tab inside", _to(b"Host: a\tb")),
    refused("slash", _to(b"Host: a/b")),
    refused("backslash", _to(b"Host: a\\b")),
    refused("user", _to(b"Host: u@a")),
    refused("query", _to(b"Host: a?b")),
    refused("fragment", _to(b"Host: a#b")),
    refused("quotes", _to(b'Host: "a"')),
    refused("latin-1", _to(b"Host: \xe4")),
    refused("NUL", _to(b"Host: a\0b")),
    refused("DEL", _to(b"Host: a\x7fb")),
    refused("as an option of Connection", _to(b"Host: h", b"Connection: host")),
    passed("empty, which RFC 9112 3.2 lets pass", _to(b"Host:"), Seen(host=b"")),
    passed("an address of version 6", _to(b"Host: [::1]:80"), Seen(host=b"[::1]:80")),
    passed("white space around it", _to(b"Host: \t h\t "), Seen()),
    passed(
        "none in HTTP/1.0: an empty one is sent on",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        Seen(host=b""),
    ),
    # Absolute targets: theirs is the host, whatever Host says (RFC 9112 3.2.2).
    passed("absolute target", b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n", Seen(b"/b?c", host=b"a")),
    passed("absolute target against Host", b"GET http://a:81/b HTTP/1.1\r\nHost: x\r\n\r\n", Seen(b"/b", host=b"a:81")),
    passed("absolute target without a path", b"GET http://a HTTP/1.1\r\nHost: x\r\n\r\n", Seen(host=b"a")),
    passed("absolute target with only a query", b"GET http://a?b HTTP/1.1\r\nHost: x\r\n\r\n", Seen(b"/?b", host=b"a")),
    passed("absolute target in upper case", b"GET HTTP://a/ HTTP/1.1\r\nHost: x\r\n\r\n", Seen(host=b"a")),
    refused("absolute target without Host", b"GET http://a/ HTTP/1.1\r\n\r\n"),
    refused("absolute target and two Hosts", b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    refused("absolute target with a bad Host", b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n"),
    refused("absolute target without a host", b"GET http:///b HTTP/1.1\r\nHost: h\r\n\r\n"),
    refused("absolute target with a user", b"GET http://u:p@a/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    refused("absolute target with a backslash", b"GET http://a\\@b/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    refused("absolute target with a fragment", b"GET http://a/#b HTTP/1.1\r\nHost: h\r\n\r\n"),
    refused("absolute target of another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    refused("absolute target of a file", b"GET file:///etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n"),
    refused("target without its scheme", b"GET ://a/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    # What K-Original-Host says becomes Host on its way to the app.
    passed("original host", _to(b"Host: h", b"K-Original-Host: o:80"), Seen(host=b"o:80", lacks=(b"k-original-host",))),
    passed("empty original host", _to(b"Host: h", b"K-Original-Host:"), Seen(lacks=(b"k-original-host",))),
    passed(
        "two original hosts: the first",
        _to(b"Host: h", b"K-Original-Host: o", b"K-Original-Host: p"),
        Seen(host=b"o", lacks=(b"k-original-host",)),
    ),
    refused("original host with a space", _to(b"Host: h", b"K-Original-Host: a b")),
    refused("original host with a slash", _to(b"Host: h", b"K-Original-Host: a/b")),
    refused("original host with a user", _to(b"Host: h", b"k-original-host: u@a")),
    refused("original host in latin-1", _to(b"Host: h", b"K-Original-Host: \xe4")),
    refused("second original host with a space", _to(b"Host: h", b"K-Original-Host: o", b"K-Original-Host: a b")),
]
