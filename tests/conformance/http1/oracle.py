"""A second reading of HTTP/1.1 that knows no mercy: what it takes can be read in one way only (RFC 9110, RFC 9112).

It shares no code with the engine and is written differently on purpose: whole messages, byte by byte, no regular
expression, no memo. What the engine sends to an app or to a client has to be exactly what this accepts.
"""

from dataclasses import dataclass

__all__ = ["Ambiguous", "Fields", "Reply", "Request", "read_replies", "read_requests"]

Fields = tuple[tuple[bytes, bytes], ...]

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset(b"0123456789")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_TARGET = frozenset(range(0x21, 0x100)) - frozenset(b"\x7f#")
_TEXT = frozenset(b"\t") | frozenset(range(0x20, 0x100)) - {0x7F}
_HOST = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%:[]")
_NEVER_TRAILERS = frozenset([b"content-length", b"transfer-encoding", b"host", b"connection", b"te", b"trailer"])


class Ambiguous(Exception):
    """Two readers could differ about these bytes."""


class _Incomplete(Exception):
    """The message is not here as a whole."""


@dataclass(frozen=True)
class Request:
    """One request."""

    method: bytes
    target: bytes
    fields: Fields
    body: bytes
    trailers: Fields

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header; `name` in lower case."""
        return _values(self.fields, name)


@dataclass(frozen=True)
class Reply:
    """One response."""

    status: int
    fields: Fields
    body: bytes
    trailers: Fields
    is_whole: bool

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header; `name` in lower case."""
        return _values(self.fields, name)


def read_requests(data: bytes) -> tuple[list[Request], bytes]:
    """Return the whole requests in `data` and what is left: the beginning of one more. Raises `Ambiguous`."""
    requests = []
    while data:
        try:
            request, data = _request(data)
        except _Incomplete:
            break
        requests.append(request)
    return requests, data


def read_replies(data: bytes, *, methods: tuple[str, ...], is_closed: bool) -> tuple[list[Reply], bytes]:
    """Return the responses in `data` to requests of these `methods`, informational ones included, and what is left.

    `is_closed`: the connection has ended in order, so a body without a declared length is whole. Raises `Ambiguous`.
    """
    replies: list[Reply] = []
    wanted = list(methods)
    while data and wanted:
        try:
            reply, data = _reply(data, method=wanted[0], is_closed=is_closed)
        except _Incomplete:
            break
        replies.append(reply)
        if reply.status >= 200:
            wanted.pop(0)
    return replies, data


def _request(data: bytes) -> tuple[Request, bytes]:
    line, data = _line(data)
    parts = line.split(b" ")
    if len(parts) != 3 or parts[2] != b"HTTP/1.1":
        raise Ambiguous(f"request line {line!r}")
    method, target, _ = parts
    _only(method, _TOKEN, "method")
    _only(target, _TARGET, "target")
    if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        raise Ambiguous(f"target {target!r}")
    fields, data = _fields(data)
    hosts = _values(fields, b"host")
    if len(hosts) != 1 or not _HOST.issuperset(hosts[0]):
        raise Ambiguous(f"hosts {hosts!r}")
    for options in _values(fields, b"connection"):
        if options.lower() != b"upgrade":
            raise Ambiguous(f"hop-by-hop header sent on: Connection: {options!r}")
    lengths, is_chunked = _framing(fields)
    trailers: Fields = ()
    if is_chunked:
        body, trailers, data = _chunked(data)
    else:
        body, data = _take(data, lengths or 0)
    return Request(method, target, fields, body, trailers), data


def _reply(data: bytes, *, method: str, is_closed: bool) -> tuple[Reply, bytes]:
    line, data = _line(data)
    parts = line.split(b" ", 2)
    if len(parts) != 3 or parts[0] != b"HTTP/1.1" or len(parts[1]) != 3 or not _DIGITS.issuperset(parts[1]):
        raise Ambiguous(f"status line {line!r}")
    _only(parts[2], _TEXT, "reason", may_be_empty=True)
    status = int(parts[1])
    fields, data = _fields(data)
    length, is_chunked = _framing(fields)
    trailers: Fields = ()
    if status < 200 or status == 204:
        if length is not None or is_chunked:
            raise Ambiguous(f"a {status} with a body")
        return Reply(status, fields, b"", (), True), data
    if method == "HEAD" or status == 304:
        return Reply(status, fields, b"", (), True), data
    if not is_chunked and length is None:
        if [value.lower() for value in _values(fields, b"connection")] != [b"close"]:
            raise Ambiguous("a body that ends with its connection, and the client was not told")
        return Reply(status, fields, data, (), is_closed), b""
    try:
        if is_chunked:
            body, trailers, data = _chunked(data)
        else:
            body, data = _take(data, length or 0)
    except _Incomplete:
        if not is_closed:
            raise
        return Reply(status, fields, data, (), False), b""
    return Reply(status, fields, body, trailers, True), data


def _line(data: bytes) -> tuple[bytes, bytes]:
    """Cut off one line. A CR or LF by itself is never part of one."""
    for index, byte in enumerate(data):
        if byte == 0x0A:
            raise Ambiguous(f"bare LF behind {data[:index]!r}")
        if byte == 0x0D:
            if index + 1 == len(data):
                break
            if data[index + 1] != 0x0A:
                raise Ambiguous(f"bare CR behind {data[:index]!r}")
            return data[:index], data[index + 2 :]
    raise _Incomplete


def _fields(data: bytes) -> tuple[Fields, bytes]:
    """Cut off header lines and the empty line behind them."""
    fields: list[tuple[bytes, bytes]] = []
    while True:
        line, data = _line(data)
        if not line:
            return tuple(fields), data
        name, colon, value = line.partition(b":")
        if not colon:
            raise Ambiguous(f"no header line: {line!r}")
        _only(name, _TOKEN, "header name")
        _only(value, _TEXT, "header value", may_be_empty=True)
        fields.append((name.lower(), value.strip(b" \t")))


def _framing(fields: Fields) -> tuple[int | None, bool]:
    """Return (declared length, is chunked)."""
    lengths, codings = _values(fields, b"content-length"), _values(fields, b"transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Ambiguous(f"several framings: {lengths + codings!r}")
    if codings and codings[0].lower() != b"chunked":
        raise Ambiguous(f"transfer coding {codings!r}")
    if not lengths:
        return None, bool(codings)
    _only(lengths[0], _DIGITS, "Content-Length")
    if int(lengths[0]) >= 1 << 63:
        raise Ambiguous(f"Content-Length {lengths[0]!r} overflows")
    return int(lengths[0]), False


def _chunked(data: bytes) -> tuple[bytes, Fields, bytes]:
    body = b""
    while True:
        line, data = _line(data)
        size, semicolon, extension = line.partition(b";")
        _only(size, _HEX, "chunk size")
        if int(size, 16) >= 1 << 63:
            raise Ambiguous(f"chunk size {size!r} overflows")
        _only(extension, _TEXT, "chunk extension", may_be_empty=not semicolon)
        if not int(size, 16):
            break
        chunk, data = _take(data, int(size, 16))
        body += chunk
        end, data = _take(data, 2)
        if end != b"\r\n":
            raise Ambiguous(f"behind a chunk: {end!r}")
    trailers, data = _fields(data)
    for name, _ in trailers:
        if name in _NEVER_TRAILERS:
            raise Ambiguous(f"{name!r} as a trailer")
    return body, trailers, data


def _take(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise _Incomplete
    return data[:size], data[size:]


def _only(text: bytes, allowed: frozenset[int], what: str, *, may_be_empty: bool = False) -> None:
    if not allowed.issuperset(text) or not (text or may_be_empty):
        raise Ambiguous(f"{what} {text!r}")


def _values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]
