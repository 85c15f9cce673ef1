"""What an HTTP request, a response and an answer of our own say, whatever version carried them.

Heads are immutable and shared: equal bytes on the wire give the same object (see `http1`), so whatever is derived from
a head alone may be kept with it (`RequestHead.derived`). Heads that differ only in a request id or a trace context,
which no service decides by, share what was derived from the rest.
"""

from collections.abc import Iterable
from typing import Final

from proxies.fields import VOLATILE, Field

__all__ = ["Answer", "RequestHead", "ResponseHead"]

_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()

REASONS: Final = {
    100: b"Continue",
    101: b"Switching Protocols",
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    204: b"No Content",
    307: b"Temporary Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}


class Derived:
    """What was made of a head, for the next request that has the same."""

    __slots__ = ("measured", "plan", "rendered")

    def __init__(self) -> None:
        self.measured: dict[int, object] | None = None
        """Where complete exchanges are measured, by the status that they ended with; a service's own."""
        self.plan: object = None
        """Whatever the service derived; filled and read by its policy."""
        self.rendered: dict[object, tuple[bytes, bytes | None]] = {}
        """Edited forms of the head; kept by `headers.HeadEdits`, bounded there."""


class RequestHead:
    """The head of a request. Made by a parser, never changed afterwards."""

    __slots__ = (
        "_fields",
        "_first",
        "connection_options",
        "content_length",
        "core",
        "derived",
        "is_chunked",
        "keep_alive",
        "lines",
        "major",
        "marks",
        "method",
        "minor",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, fields: list[Field], marks: int) -> None:
        """A head without a body on a connection that stays open; the parser sets what differs."""
        self.method = method
        self.target = target
        """Path and query exactly as received; may be `*`."""
        self._fields = fields
        self.lines: tuple[bytes, ...] = ()
        """Header lines that hardly two requests have in common, without their ends; `fields` holds them too."""
        self.core: RequestHead | None = None
        """The head without `lines`; None when there are none."""
        self.derived = Derived()
        """Shared with every head that has the same core."""
        self.marks = marks
        """The marks of all lines together (`fields`)."""
        self.major = 1
        """The version of HTTP is `major`.`minor`; a head of HTTP/2 has the minor of HTTP/1.1, whose rules it obeys."""
        self.minor = 1
        self.content_length = 0
        """Length of the body in bytes; 0 when there is none; -1 when it is chunked."""
        self.is_chunked = False
        """The body's length is not declared, so that HTTP/1 has to send it in chunks."""
        self.keep_alive = True
        """Whether the client lets the connection live on after the response."""
        self.connection_options = _NO_OPTIONS
        """Lower-case names that `Connection` lists."""
        self.upgrade = b""
        """Value of `Upgrade` when the client asks for one, else empty."""
        self._first: dict[bytes, bytes] | None = None

    def with_lines(self, lines: tuple[bytes, ...]) -> "RequestHead":
        """Return this head with `lines` added: well-formed header lines, each `name: value`, of volatile names."""
        head = RequestHead.__new__(RequestHead)
        head.method = self.method
        head.target = self.target
        head._fields = self._fields
        head.lines = lines
        head.core = self
        head.derived = self.derived
        head.marks = self.marks | VOLATILE
        head.major = self.major
        head.minor = self.minor
        head.content_length = self.content_length
        head.is_chunked = self.is_chunked
        head.keep_alive = self.keep_alive
        head.connection_options = self.connection_options
        head.upgrade = self.upgrade
        head._first = None
        return head

    @property
    def fields(self) -> list[Field]:
        """All lines, hop-by-hop ones included; those of one name in their order."""
        if not self.lines:
            return self._fields
        added = (line.partition(b": ") for line in self.lines)
        return [*self._fields, *(Field(name.lower(), value, name + b": " + value) for name, _, value in added)]

    def get(self, name: bytes) -> bytes:
        """Return the first value of the header `name` (lower case); empty when there is none."""
        first = self._first
        if first is None:
            first = self._first = {field.name: field.value for field in reversed(self.fields)}
        return first.get(name, b"")

    def get_all(self, name: bytes) -> list[bytes]:
        """Return every value of the header `name` (lower case), in order."""
        return [field.value for field in self.fields if field.name == name]

    @property
    def version(self) -> str:
        """The version of HTTP as the originals' telemetry writes it: `1.0`, `1.1`, `2.0`."""
        return f"1.{self.minor}" if self.major == 1 else "2.0"

    @property
    def host(self) -> bytes:
        """The authority that the request is for, with its port if it was given."""
        return self.get(b"host")

    @property
    def has_body(self) -> bool:
        """A body follows the head."""
        return self.content_length != 0

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {self.target!r}, {self.fields!r})"


class ResponseHead:
    """The head of a response, informational ones included. Made by a parser, never changed afterwards."""

    __slots__ = (
        "block",
        "connection_options",
        "content_length",
        "fields",
        "is_chunked",
        "keep_alive",
        "marks",
        "minor",
        "reason",
        "rendered",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, reason: bytes, fields: list[Field], marks: int) -> None:
        """A head that declares no framing, on a connection that stays open; the parser sets what differs."""
        self.status = status
        self.reason = reason
        self.fields = fields
        self.marks = marks
        """The marks of all lines together (`fields`)."""
        self.minor = 1
        self.content_length = -1
        """As declared; -1 when it is not: then the body is chunked or ends with the connection."""
        self.is_chunked = False
        self.keep_alive = True
        self.connection_options = _NO_OPTIONS
        self.upgrade = b""
        self.rendered = b""
        """The head as it is relayed; kept by `headers.relayed_head`."""
        self.block = b""
        """The head as HTTP/2 relays it; kept by `http2.heads.relayed_block`."""

    def get(self, name: bytes) -> bytes:
        """Return the first value of the header `name` (lower case); empty when there is none."""
        return next((field.value for field in self.fields if field.name == name), b"")

    def __repr__(self) -> str:
        return f"ResponseHead({self.status}, {self.fields!r})"


_BODILESS: Final = frozenset([204, 304])


class Answer:
    """A whole response that a service gives itself. Immutable; make constant ones once."""

    __slots__ = ("_head", "body", "fields", "status")

    def __init__(
        self, status: int, body: bytes = b"", *, content_type: bytes = b"", fields: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """`content_type` is left out when empty; `fields` are (name, value) as they shall be written.

        204 and 304 have no body, whatever is given: a client would take it for the next response (RFC 9112 6.3).
        """
        self.status = status
        self.body = b"" if status in _BODILESS else body
        self.fields = tuple(fields) if not content_type else ((b"Content-Type", content_type), *fields)
        self._head = b""

    @classmethod
    def error(cls, status: int, text: str) -> "Answer":
        """Return `text` and a newline in the shape of Go's `http.Error` (spec queue-proxy.md 4)."""
        return cls(
            status,
            text.encode() + b"\n",
            content_type=b"text/plain; charset=utf-8",
            fields=((b"X-Content-Type-Options", b"nosniff"),),
        )

    def head(self) -> bytes:
        """Return the head in HTTP/1.1 up to where the connection appends `Date`, `Connection` and the empty line."""
        if not self._head:
            lines = [b"HTTP/1.1 %d %s" % (self.status, REASONS.get(self.status, b"Unknown"))]
            lines.extend(b"%s: %s" % field for field in self.fields)
            lines.append(b"" if self.status in _BODILESS else b"Content-Length: %d\r\n" % len(self.body))
            self._head = b"\r\n".join(lines)
        return self._head

    def __repr__(self) -> str:
        return f"Answer({self.status}, {self.body!r})"
