"""The heads of HTTP/1.1 messages from their bytes. Strict by RFC 9112, without I/O and without memory.

Whatever two parsers might read differently is an error and never forwarded: both framings at once, a repeated or odd
`Content-Length`, bare CR or LF, white space around a field name, folded lines, NUL, no or two hosts. `bodies` does the
same for what follows a head, `heads` remembers what was parsed.
"""

import re
from collections.abc import Callable
from typing import Final

from proxies.fields import CODING, CONNECTION, EXPECT, HOST, KNATIVE, LENGTH, UPGRADE, Field
from proxies.messages import RequestHead, ResponseHead

__all__ = [
    "FIELDS_MAX",
    "FIELD_LINE",
    "HEAD_BYTES_MAX",
    "HOST_VALUE",
    "REQUEST_LINE",
    "TOKEN",
    "HttpError",
    "RequestError",
    "ResponseError",
    "parse_field",
    "parse_request",
    "parse_response",
]

HEAD_BYTES_MAX: Final = (1 << 20) + 4096
"""Go's default limit with its slack (spec queue-proxy.md 3.2)."""

FIELDS_MAX: Final = 1000
"""Lines of a head. Each costs a few hundred bytes once it is parsed, so a head of tiny ones would grow twentyfold."""


class HttpError(Exception):
    """A peer broke the protocol."""


class RequestError(HttpError):
    """The client's message cannot be taken. `status` is the answer; the connection ends with it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ResponseError(HttpError):
    """The upstream's message cannot be relayed: 502 if nothing was sent yet, else the response is cut off."""


# RFC 9110 5.6.2: token; 5.5: field-value without the obs-fold of RFC 9112 5.2. Latin-1 bytes are allowed as obs-text.
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD_LINE: Final = re.compile(rb"(" + TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
# RFC 9112 3.2: a request's target has no fragment. What else no URL may have is passed on, as the original does.
REQUEST_LINE: Final = re.compile(rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
# RFC 3986 3.2.2 loosely: what cannot stand in a host or port at all is refused, names are not judged.
HOST_VALUE: Final = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]*")
# RFC 9110 7.8: one protocol. A list is a choice that the peer would make for both of us.
_PROTOCOL: Final = re.compile(TOKEN + rb"(?:/" + TOKEN + rb")?")
_ORIGINAL_HOST: Final = b"k-original-host"
"""Becomes `Host` on its way to the user container, so it has to be one (spec queue-proxy.md 7)."""
# 18 digits fit any counter; more is an attempt to overflow one.
LENGTH_VALUE: Final = re.compile(rb"[0-9]{1,18}")


def parse_request(head: bytes, field_of: Callable[[bytes], Field | None] | None = None) -> RequestHead:
    """Return the head of a request from its bytes, without the empty line that ends it. Raises `RequestError`.

    `field_of`: `parse_field`, or something that does the same.
    """
    lines = head.split(b"\r\n")
    match = REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise RequestError(400, f"expected a request line, got {lines[0][:64]!r}")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise RequestError(505, f"expected HTTP/1.x, got HTTP/{major.decode()}.{minor.decode()}")
    try:
        fields = _fields(lines, field_of or parse_field)
    except ValueError as error:
        raise RequestError(400, str(error)) from None
    framing = _Framing(fields)
    is_1_0 = minor == b"0"
    if len(framing.hosts) != 1 and (framing.hosts or not is_1_0):
        raise RequestError(400, f"expected one Host, got {len(framing.hosts)}")
    if framing.hosts and HOST_VALUE.fullmatch(framing.hosts[0]) is None:
        raise RequestError(400, f"expected a host, got {framing.hosts[0][:64]!r}")
    if not framing.connection.isdisjoint(_NOT_CONNECTION_OPTIONS):
        raise RequestError(400, "expected no framing and no Host among the options of Connection")
    if not framing.expectations <= _EXPECTATIONS:
        raise RequestError(417, f"expected no expectation but 100-continue, got {sorted(framing.expectations)!r}")
    if not framing.hosts:
        fields = [_NO_HOST, *fields]
    target, fields = _origin_form(method, target, fields)
    request = RequestHead(method, target, fields, framing.marks | HOST)
    request.minor = 0 if is_1_0 else 1
    request.content_length, request.is_chunked = _request_framing(framing, is_1_0=is_1_0)
    options = request.connection_options = framing.connection
    request.keep_alive = b"close" not in options and (not is_1_0 or b"keep-alive" in options)
    # An upgrade may be ignored (RFC 9110 7.8). One to h2c must be: behind it, many requests would pass as one tunnel.
    if not is_1_0 and framing.protocol.lower() != b"h2c":
        request.upgrade = framing.protocol
    return request


def parse_response(head: bytes, field_of: Callable[[bytes], Field | None] | None = None) -> ResponseHead:
    """Return the head of a response from its bytes, without the empty line that ends it. Raises `ResponseError`.

    `field_of`: as for `parse_request`.
    """
    lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise ResponseError(f"expected a status line, got {lines[0][:64]!r}")
    minor, digits, reason = match.groups()
    status = int(digits)
    try:
        fields = _fields(lines, field_of or parse_field)
    except ValueError as error:
        raise ResponseError(str(error)) from None
    framing = _Framing(fields)
    response = ResponseHead(status, reason or b"", fields, framing.marks)
    is_1_0 = minor == b"0"
    if is_1_0:
        response.minor = 0
    if framing.transfer_encodings:
        if framing.lengths or is_1_0 or not _is_chunked(framing.transfer_encodings):
            raise ResponseError(f"conflicting framing: Transfer-Encoding {framing.transfer_encodings!r}")
        response.is_chunked = True
    if framing.lengths:
        if len(framing.lengths) > 1 or LENGTH_VALUE.fullmatch(framing.lengths[0]) is None:
            raise ResponseError(f"expected one Content-Length, got {framing.lengths!r}")
        response.content_length = int(framing.lengths[0])
    if not framing.connection.isdisjoint(_NOT_CONNECTION_OPTIONS):
        raise ResponseError("framing among the options of Connection")
    options = response.connection_options = framing.connection
    response.keep_alive = b"close" not in options and (not is_1_0 or b"keep-alive" in options)
    response.upgrade = framing.protocol
    if (status < 200 or status == 204) and (response.is_chunked or response.content_length > 0):
        # RFC 9112 6.3: neither has a body, but this peer announces one and may send it.
        if status < 200 and status != 101:
            raise ResponseError(f"expected no body of a {status}")
        response.keep_alive = False
    return response


_EXPECTATIONS: Final = frozenset({b"", b"100-continue"})
"""The only one that exists (RFC 9110 10.1.1), and none."""
_NO_HOST: Final = Field(b"host", b"", b"Host:")
"""For HTTP/1.0, which need not say it; we speak HTTP/1.1 to the peer, where one must be (RFC 9112 3.2)."""
_NOT_CONNECTION_OPTIONS: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})
"""Whatever `Connection` lists is taken off on the way; the body would then be read as the next message."""


class _Framing:
    """The lines of a head that decide about its framing and its connection, gathered in one pass."""

    __slots__ = ("connection", "expectations", "hosts", "lengths", "marks", "transfer_encodings", "upgrades")

    def __init__(self, fields: list[Field]) -> None:
        self.lengths: list[bytes] = []
        self.transfer_encodings: list[bytes] = []
        self.hosts: list[bytes] = []
        self.connection: frozenset[bytes] = frozenset()
        self.upgrades: list[bytes] = []
        self.expectations: frozenset[bytes] = frozenset()
        """In lower case."""
        self.marks = 0
        for field in fields:
            marks = field.marks
            if not marks:
                continue
            self.marks |= marks
            if marks & HOST:
                self.hosts.append(field.value)
            elif marks & LENGTH:
                self.lengths.append(field.value)
            elif marks & CODING:
                self.transfer_encodings.append(field.value)
            elif marks & CONNECTION:
                options = (option.strip(b" \t").lower() for option in field.value.split(b","))
                self.connection |= frozenset(option for option in options if option)
            elif marks & UPGRADE:
                self.upgrades.append(field.value)
            elif marks & EXPECT:
                self.expectations |= {field.value.lower()}

    @property
    def protocol(self) -> bytes:
        """The one protocol that is asked for or switched to; empty when `Connection` does not confirm it."""
        upgrades = self.upgrades
        is_one = len(upgrades) == 1 and b"upgrade" in self.connection and _PROTOCOL.fullmatch(upgrades[0]) is not None
        return upgrades[0] if is_one else b""


def _fields(lines: list[bytes], field_of: Callable[[bytes], Field | None]) -> list[Field]:
    """Return the fields of a head, whose first line is the start line. Raises `ValueError`."""
    fields: list[Field] = []
    for index in range(1, len(lines)):
        line = lines[index]
        field = field_of(line)
        if field is None:
            raise ValueError(f"expected a header line, got {line[:64]!r}")
        fields.append(field)
    return fields


def parse_field(line: bytes) -> Field | None:
    """Return the field of a line, or None when it is no header line."""
    match = FIELD_LINE.fullmatch(line)
    if match is None:
        return None
    name, value = match.groups()
    field = Field(name.lower(), value.strip(b" \t"), line)
    if field.marks & KNATIVE and field.name == _ORIGINAL_HOST and HOST_VALUE.fullmatch(field.value) is None:
        return None
    return field


def _origin_form(method: bytes, target: bytes, fields: list[Field]) -> tuple[bytes, list[Field]]:
    """Return target and fields with an absolute target taken apart: its authority is the host (RFC 9112 3.2.2)."""
    if target.startswith(b"/") or method == b"CONNECT" or (target == b"*" and method == b"OPTIONS"):
        return target, fields
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RequestError(400, f"expected a path or an absolute URL, got {target[:64]!r}")
    authority, rest = match.groups()
    if not authority or HOST_VALUE.fullmatch(authority) is None:
        raise RequestError(400, f"expected a host in the target, got {target[:64]!r}")
    host = Field(b"host", authority, b"Host: " + authority)
    return (
        rest if rest.startswith(b"/") else b"/" + rest,
        [host, *(field for field in fields if field.name != b"host")],
    )


def _request_framing(framing: _Framing, *, is_1_0: bool) -> tuple[int, bool]:
    """Return (content length or -1, is chunked) of a request (RFC 9112 6.3)."""
    lengths = framing.lengths
    if framing.transfer_encodings:
        if lengths:
            raise RequestError(400, "expected one framing, got Content-Length and Transfer-Encoding")
        if is_1_0:
            raise RequestError(400, "expected no Transfer-Encoding in HTTP/1.0")
        if not _is_chunked(framing.transfer_encodings):
            raise RequestError(501, f"expected Transfer-Encoding chunked, got {framing.transfer_encodings!r}")
        return -1, True
    if not lengths:
        return 0, False
    if len(lengths) > 1 or LENGTH_VALUE.fullmatch(lengths[0]) is None:
        raise RequestError(400, f"expected one Content-Length, got {lengths!r}")
    return int(lengths[0]), False


def _is_chunked(transfer_encodings: list[bytes]) -> bool:
    return len(transfer_encodings) == 1 and transfer_encodings[0].lower() == b"chunked"
