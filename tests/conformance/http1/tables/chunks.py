"""Chunked bodies (RFC 9112 7.1): sizes, extensions, line ends."""

from tests.conformance.http1.cases import RequestCase, Seen, passed, refused, rejected, truncated

_HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"


def _bad(name: str, body: bytes) -> RequestCase:
    return refused(name, _HEAD + body)


def _good(name: str, body: bytes, payload: bytes) -> RequestCase:
    return passed(name, _HEAD + body, Seen(method=b"POST", body=payload))


REQUESTS = [
    # Sizes.
    _bad("no size", b"\r\nhello\r\n" + _END),
    _bad("not hex", b"g\r\nhello\r\n" + _END),
    _bad("plus", b"+5\r\nhello\r\n" + _END),
    _bad("minus", b"-5\r\nhello\r\n" + _END),
    _bad("minus zero", b"-0\r\n\r\n"),
    _bad("0x", b"0x5\r\nhello\r\n" + _END),
    _bad("h behind", b"5h\r\nhello\r\n" + _END),
    _bad("underscore", b"0_5\r\nhello\r\n" + _END),
    _bad("fraction", b"5.0\r\nhello\r\n" + _END),
    _bad("space in front", b" 5\r\nhello\r\n" + _END),
    _bad("tab in front", b"\t5\r\nhello\r\n" + _END),
    _bad("space behind", b"5 \r\nhello\r\n" + _END),
    _bad("tab behind", b"5\t\r\nhello\r\n" + _END),
    _bad("space inside", b"0 5\r\nhello\r\n" + _END),
    _bad("vertical tab behind", b"5\x0b\r\nhello\r\n" + _END),
    _bad("NUL behind", b"5\0\r\nhello\r\n" + _END),
    _bad("digits of another script", b"\xd9\xa5\r\nhello\r\n" + _END),
    _bad("comma", b"5,5\r\nhello\r\n" + _END),
    _bad("equals sign", b"5=\r\nhello\r\n" + _END),
    _bad("2^64 + 5", b"10000000000000005\r\nhello\r\n" + _END),
    _bad("2^63", b"8000000000000000\r\nhello\r\n" + _END),
    _bad("2^32 + 5 with zeros to overflow", b"00000000000000000000000100000005\r\nhello\r\n" + _END),
    _bad("zeros without end", b"0" * 5000 + b"\r\n\r\n"),
    _good("leading zeros", b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    _good("digits of both cases", b"A\r\n0123456789\r\na\r\n0123456789\r\n" + _END, b"0123456789" * 2),
    _good("no chunk but the last", _END, b""),
    _good("chunks of one byte", b"1\r\nh\r\n1\r\n\r\r\n1\r\n\n\r\n" + _END, b"h\r\n"),
    _good("a body that looks like its own end", b"5\r\n0\r\n\r\n\r\n" + _END, b"0\r\n\r\n"),
    # Line ends.
    _bad("bare LF behind the size", b"5\nhello\r\n" + _END),
    _bad("bare CR behind the size", b"5\rhello\r\n" + _END),
    _bad("CR CR LF behind the size", b"5\r\r\nhello\r\n" + _END),
    _bad("LF CR behind the size", b"5\n\rhello\r\n" + _END),
    _bad("nothing behind the data", b"5\r\nhello" + _END),
    _bad("bare LF behind the data", b"5\r\nhello\n" + _END),
    _bad("bare CR behind the data", b"5\r\nhello\r" + _END),
    _bad("LF CR behind the data", b"5\r\nhello\n\r" + _END),
    _bad("two line ends behind the data", b"5\r\nhello\r\n\r\n" + _END),
    _bad("data that is too long", b"4\r\nhello\r\n" + _END),
    _bad("data that is too short", b"6\r\nhello\r\n" + _END),
    _bad("bare LF behind the last chunk", b"5\r\nhello\r\n0\n\r\n"),
    _bad("bare CR behind the last chunk", b"5\r\nhello\r\n0\r\r\n"),
    _bad("bare LF as the end", b"5\r\nhello\r\n0\r\n\n"),
    _bad("bare CR as the end", b"5\r\nhello\r\n0\r\n\rX: y\r\n\r\n"),
    _bad("only line feeds", b"5\nhello\n0\n\n"),
    _bad("a request instead of a chunk", b""),
    # Extensions: what a lenient peer skips to another line end than a strict one.
    _bad("bare CR in an extension", b"5;a\rb\r\nhello\r\n" + _END),
    _bad("bare LF in an extension", b"5;a\nb\r\nhello\r\n" + _END),
    _bad("bare LF behind an extension", b"5;a\nhello\r\n" + _END),
    _bad("bare LF in a quoted extension", b'5;a="\n"\r\nhello\r\n' + _END),
    _bad("bare CR in a quoted extension", b'5;a="\r"\r\nhello\r\n' + _END),
    _bad("CR LF in a quoted extension", b'5;a="\r\n"\r\nhello\r\n' + _END),
    _bad("an escaped CR LF in a quoted extension", b'5;a="\\\r\n"\r\nhello\r\n' + _END),
    _bad("NUL in an extension", b"5;a=\0\r\nhello\r\n" + _END),
    _bad("NUL in a quoted extension", b'5;a="\0"\r\nhello\r\n' + _END),
    _bad("an open quote", b'5;a="b\r\nhello\r\n' + _END),
    _bad("an open quote before a semicolon", b'5;a="b;c=d\r\nhello\r\n' + _END),
    _bad("something behind a quote", b'5;a="b"c\r\nhello\r\n' + _END),
    _bad("an empty extension", b"5;\r\nhello\r\n" + _END),
    _bad("an extension without a name", b"5;=b\r\nhello\r\n" + _END),
    _bad("an extension without a value", b"5;a=\r\nhello\r\n" + _END),
    _bad("two semicolons", b"5;;a\r\nhello\r\n" + _END),
    _bad("space before an extension", b"5 ;a\r\nhello\r\n" + _END),
    _bad("space behind the semicolon", b"5; a\r\nhello\r\n" + _END),
    _bad("latin-1 in an extension", b"5;a=\xe4\r\nhello\r\n" + _END),
    _bad("control in an extension", b"5;a=\x1b\r\nhello\r\n" + _END),
    _bad("an extension without end", b"5;" + b"a" * 5000 + b"\r\nhello\r\n" + _END),
    _bad("an extension of the last chunk with a bare LF", b"5\r\nhello\r\n0;a\n\r\n"),
    _good("an extension", b"5;a\r\nhello\r\n" + _END, b"hello"),
    _good("extensions with values", b'5;a=b;c="d;e";f\r\nhello\r\n0;g=h\r\n\r\n', b"hello"),
    _good("a quoted extension with escapes", b'5;a="\\"\\\\\t "\r\nhello\r\n' + _END, b"hello"),
    _good("a quoted extension that looks like a size", b'5;a="0"\r\nhello\r\n' + _END, b"hello"),
    _good("an extension as long as they may be", b"5;" + b"a" * 4000 + b"\r\nhello\r\n" + _END, b"hello"),
    # Ends.
    rejected(
        "something behind the end",
        _HEAD + b"5\r\nhello\r\n" + _END + b"5\r\nhello\r\n",
        Seen(method=b"POST", body=b"hello"),
    ),
    truncated("no end", _HEAD + b"5\r\nhello\r\n"),
    truncated("no end within a chunk", _HEAD + b"5\r\nhel"),
    truncated("no end within a size", _HEAD + b"5\r\nhello\r\n1"),
    truncated("no end behind the last chunk", _HEAD + b"5\r\nhello\r\n0\r\n"),
    truncated("no end within the last line end", _HEAD + b"5\r\nhello\r\n0\r\n\r"),
    truncated("no body at all", _HEAD),
    truncated("the largest size", _HEAD + b"fffffffffffffff\r\nhello\r\n" + _END),
]
