"""`Transfer-Encoding` (RFC 9112 6.1), alone, twice, and together with a length: CL.TE, TE.CL, TE.TE, TE.0."""

from tests.conformance.http1.cases import Seen, passed, refused, rejected


def _post(*lines: bytes, body: bytes = b"5\r\nhello\r\n0\r\n\r\n", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"POST / HTTP/" + version, b"Host: h", *lines, b"", body])


_HELLO = Seen(method=b"POST", body=b"hello", has=(b"transfer-encoding: chunked",))

REQUESTS = [
    refused("CL.TE", _post(b"Content-Length: 15", b"Transfer-Encoding: chunked")),
    refused("TE.CL", _post(b"Transfer-Encoding: chunked", b"Content-Length: 4")),
    refused("CL.TE with a length of 0", _post(b"Content-Length: 0", b"Transfer-Encoding: chunked")),
    refused("CL.TE in different case", _post(b"content-length: 15", b"TRANSFER-ENCODING: CHUNKED")),
    refused("CL and identity", _post(b"Content-Length: 5", b"Transfer-Encoding: identity", body=b"hello")),
    refused("CL and an empty coding", _post(b"Content-Length: 5", b"Transfer-Encoding:", body=b"hello")),
    refused("CL and an unknown coding", _post(b"Content-Length: 5", b"Transfer-Encoding: x", body=b"hello")),
    refused("bad CL and a coding", _post(b"Content-Length: x", b"Transfer-Encoding: chunked")),
    refused("coding behind a bare LF", _post(b"X: y\nTransfer-Encoding: chunked")),
    refused("coding behind a bare CR", _post(b"X: y\rTransfer-Encoding: chunked")),
    refused("space before the colon", _post(b"Transfer-Encoding : chunked")),
    refused("tab before the colon", _post(b"Transfer-Encoding\t: chunked")),
    refused("space before the name", _post(b"X: y", b" Transfer-Encoding: chunked")),
    refused("folded", _post(b"Transfer-Encoding:", b" chunked")),
    refused("folded inside", _post(b"Transfer-Encoding: chun", b"\tked")),
    refused("colon on the next line", _post(b"Transfer-Encoding", b" : chunked")),
    refused("vertical tab in front", _post(b"Transfer-Encoding: \x0bchunked")),
    refused("form feed behind", _post(b"Transfer-Encoding: chunked\x0c")),
    refused("NUL behind", _post(b"Transfer-Encoding: chunked\0")),
    refused("CR behind", _post(b"Transfer-Encoding: chunked\r")),
    refused("NUL in the name", _post(b"Transfer-Encoding\0: chunked")),
    refused("as an option of Connection", _post(b"Transfer-Encoding: chunked", b"Connection: Transfer-Encoding")),
    refused("in HTTP/1.0", _post(b"Transfer-Encoding: chunked", version=b"1.0")),
    refused("in HTTP/1.0 with a length", _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", version=b"1.0")),
    refused("TE.TE, equal", _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 501),
    refused("TE.TE, the second unknown", _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"), 501),
    refused("TE.TE, the first unknown", _post(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked"), 501),
    refused("TE.TE, identity first", _post(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), 501),
    refused("TE.TE, one empty", _post(b"Transfer-Encoding:", b"Transfer-Encoding: chunked"), 501),
    refused("chunked twice", _post(b"Transfer-Encoding: chunked, chunked"), 501),
    refused("gzip inside chunked", _post(b"Transfer-Encoding: gzip, chunked"), 501),
    refused("chunked is not last", _post(b"Transfer-Encoding: chunked, gzip"), 501),
    refused("identity", _post(b"Transfer-Encoding: identity"), 501),
    refused("unknown", _post(b"Transfer-Encoding: xchunked"), 501),
    refused("chunked with something behind", _post(b"Transfer-Encoding: chunkedx"), 501),
    refused("empty", _post(b"Transfer-Encoding:"), 501),
    refused("a comma behind", _post(b"Transfer-Encoding: chunked,"), 501),
    refused("a comma in front", _post(b"Transfer-Encoding: ,chunked"), 501),
    refused("a parameter", _post(b"Transfer-Encoding: chunked;q=1"), 501),
    refused("quotes", _post(b'Transfer-Encoding: "chunked"'), 501),
    refused("space inside", _post(b"Transfer-Encoding: chun ked"), 501),
    refused("latin-1 behind", _post(b"Transfer-Encoding: chunked\xa0"), 501),
    refused("a sign that becomes k in lower case", _post(b"Transfer-Encoding: chun\xe2\x84\xaaed"), 501),
    passed("white space around it", _post(b"Transfer-Encoding: \t chunked \t"), _HELLO),
    passed("any case", _post(b"tRANSFER-eNCODING:cHUNKED"), _HELLO),
    passed(
        "for a GET, too",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        Seen(body=b"x"),
    ),
    rejected("a name that only looks like it", _post(b"Transfer_Encoding: chunked"), Seen(method=b"POST")),
    rejected("another that only looks like it", _post(b"Transfer-Encodings: chunked"), Seen(method=b"POST")),
    rejected("TE is not it", _post(b"TE: chunked"), Seen(method=b"POST")),
    rejected("Content-Encoding is not it", _post(b"Content-Encoding: chunked"), Seen(method=b"POST")),
]
