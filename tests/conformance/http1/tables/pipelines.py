"""Several requests on one connection: each is read by itself, and nothing behind a bad one is."""

from tests.conformance.http1.cases import RequestCase, Seen, passed, refused, rejected, truncated

_GOOD = b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
_CHUNKED = b"POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
_SIZED = b"POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
_1, _2, _3 = Seen(b"/1"), Seen(b"/2", b"POST", body=b"hello"), Seen(b"/3", b"POST", body=b"hello")

REQUESTS = [
    passed("two", _GOOD + _GOOD, _1, _1),
    passed("fifty", _GOOD * 50, *[_1] * 50),
    passed("bodies of both kinds", _CHUNKED + _SIZED + _GOOD + _SIZED + _CHUNKED, _2, _3, _1, _3, _2),
    passed("an empty line between them", _SIZED + b"\r\n" + _GOOD + b"\r\n" + _CHUNKED, _3, _1, _2),
    passed(
        "none behind Connection: close",
        b"GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + _GOOD,
        _1,
        closes=True,
    ),
    passed("none behind HTTP/1.0", b"GET /1 HTTP/1.0\r\nHost: h\r\n\r\n" + _GOOD, _1, closes=True),
    rejected("a bad one", _GOOD + b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", _1),
    rejected("a bad one behind a chunked body", _CHUNKED + b"GET /\r\n\r\n", _2),
    rejected("a bad one behind a sized body", _SIZED + b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", _3),
    rejected("a bad one behind many", _GOOD * 20 + b"\0\r\n\r\n", *[_1] * 20),
    rejected("one without a host", _GOOD + b"GET / HTTP/1.1\r\n\r\n", _1),
    rejected("one of another version", _GOOD + b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", _1, status=505),
    rejected("one of HTTP/0.9", _GOOD + b"GET /smuggled\r\n\r\n", _1),
    rejected(
        "CL.TE",
        _GOOD + b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _1,
    ),
    rejected(
        "a bad chunk",
        _GOOD + b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        _1,
    ),
    rejected("line feeds", _GOOD + b"GET / HTTP/1.1\nHost: h\n\n", _1),
    rejected("two empty lines between them", _GOOD + b"\r\n\r\n" + _GOOD, _1),
    rejected("a body nobody announced", _GOOD + b'{"a":1}', _1),
    refused("a bad one in front of a good one", b"GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n" + _GOOD),
    RequestCase("one that is answered here", b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n" + _GOOD, (200, 200), (_1,)),
    RequestCase(
        "a probe with a body",
        b"POST / HTTP/1.1\r\nHost: h\r\nUser-Agent: kube-probe/1\r\nK-Network-Probe: queue\r\n"
        b"Content-Length: 5\r\n\r\nhello" + _GOOD,
        (200, 200),
        (_1,),
        at_once=True,
    ),
    truncated("half a head", _GOOD + b"GET / HTTP/1.1\r\nHost: h\r\n", _1),
    truncated("half a line end", _GOOD + b"GET / HTTP/1.1\r\nHost: h\r\n\r", _1),
    truncated("half a body", _GOOD + _SIZED[:-1], _1),
]
