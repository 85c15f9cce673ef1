"""HTTP/1.1 without I/O: heads from bytes, and where a message's body ends. Strict by RFC 9112.

Whatever two parsers might read differently is an error and never forwarded: both framings at once, a repeated or odd
`Content-Length`, a bad chunk, bare CR or LF, white space around a field name, folded lines, NUL, no or two hosts.

Heads: `request_head` and `response_head` take the bytes before the empty line. Equal bytes give the same object from a
bounded memo, and lines that are seen often are kept parsed; `parse_request` and `parse_response` are the plain versions
that the memo stands before, and a property test holds them equal.

Bodies are spliced, not decoded: a body reader's `scan` says how many of the bytes at hand belong to the message and are
well formed, and those are handed on as they are. What `scan` leaves (part of a chunk's size line, say) is to be given
again with the bytes that follow it.
"""

import re
from enum import Enum
from typing import Final, TypeAlias

from proxies.fields import (
    CODING,
    CONNECTION,
    DROPPED,
    EXPECT,
    FORWARDED,
    FORWARDED_FOR,
    FORWARDED_MORE,
    FRAMING,
    HOST,
    KNATIVE,
    LENGTH,
    UPGRADE,
    VOLATILE,
    VOLATILE_NAMES,
    Field,
    marks_of,
)
from proxies.messages import RequestHead, ResponseHead

__all__ = [
    "HEAD_BYTES_MAX",
    "BodyReader",
    "ChunkedBody",
    "HttpError",
    "LengthBody",
    "RequestError",
    "ResponseError",
    "UntilCloseBody",
    "parse_request",
    "parse_response",
    "request_head",
    "response_head",
]

HEAD_BYTES_MAX: Final = (1 << 20) + 4096
"""Go's default limit with its slack (spec queue-proxy.md 3.2)."""

FIELDS_MAX: Final = 1000
"""Lines of a head. Each costs a few hundred bytes once it is parsed, so a head of tiny ones would grow twentyfold."""
_CHUNK_LINE_BYTES_MAX: Final = 4096
_TRAILER_BYTES_MAX: Final = 64 * 1024

# A memo of heads pays when clients repeat themselves; beyond these bounds it is emptied and filled anew.
_HEADS_MAX: Final = 512
_RECENT_MAX: Final = 64
_HEAD_MEMO_BYTES_MAX: Final = 4096
_HEAD_MEMO_LINES_MAX: Final = 64
_LINES_MAX: Final = 2048
_LINE_MEMO_BYTES_MAX: Final = 256
_SIZES_MAX: Final = 1024
_SIZE_MEMO_BYTES_MAX: Final = 8


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
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELD: Final = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)")
# RFC 9112 3.2: a request's target has no fragment. What else no URL may have is passed on, as the original does.
_REQUEST_LINE: Final = re.compile(rb"(" + _TOKEN + rb") ([\x21\x22\x24-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?#]*)(.*)", re.DOTALL)
# RFC 3986 3.2.2 loosely: what cannot stand in a host or port at all is refused, names are not judged.
_HOST: Final = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]*")
# RFC 9110 7.8: one protocol. A list is a choice that the peer would make for both of us.
_PROTOCOL: Final = re.compile(_TOKEN + rb"(?:/" + _TOKEN + rb")?")
_ORIGINAL_HOST: Final = b"k-original-host"
"""Becomes `Host` on its way to the user container, so it has to be one (spec queue-proxy.md 7)."""
# 18 digits fit any counter; more is an attempt to overflow one.
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;"
    + _TOKEN
    + rb"(?:=(?:"
    + _TOKEN
    + rb'|"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t -~])*"))?)*\r\n'
)

# RFC 9110 6.5.1: a trailer must not say what a recipient has to know before the body. One that merges trailers into the
# head would read these as ours: framing, routing, who asks and from where, how the body is encoded.
_FORBIDDEN_TRAILERS: Final = frozenset(
    [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"max-forwards",
        b"pragma",
        b"range",
        b"set-cookie",
        b"www-authenticate",
    ]
)
_FORBIDDEN_TRAILER_MARKS: Final = DROPPED | FORWARDED | FORWARDED_FOR | FORWARDED_MORE | KNATIVE


class _Sample:
    """Chooses one in eight of what a memo did not hold to be put into it.

    What never comes again (a trace id in each head) then seldom displaces what does, which gets in after a few times.
    By chance and not by counting: requests that miss equally often would choose the same of their lines for ever.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = 1

    def takes(self) -> bool:
        """Whether to remember this one."""
        self._state = state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return state < 0x10000000


_sample: Final = _Sample()

_requests: dict[bytes, RequestHead] = {}
_recent: dict[bytes, RequestHead] = {}
"""Heads with an id of their own, which need not be different each time: a load generator may send one for ever."""
_responses: dict[bytes, ResponseHead] = {}
_lines: dict[bytes, Field] = {}
_starts: dict[bytes, tuple[bytes, bytes]] = {}


def request_head(head: bytes) -> RequestHead:
    """Return the head of a request, from the memo when equal bytes were seen. Raises `RequestError`."""
    request = _requests.get(head) or _recent.get(head)
    if request is None:
        if len(head) > FIELDS_MAX and head.count(b"\n") > FIELDS_MAX:
            raise RequestError(431, f"expected at most {FIELDS_MAX} header lines")
        core, added = _without_volatile_lines(head)
        if added:
            request = request_head(core)
            # Not if the options may list such a line, or if another one of the same name is left.
            if not request.connection_options and not request.marks & VOLATILE:
                request = request.with_lines(added)
                if _is_worth_remembering(head):
                    if len(_recent) >= _RECENT_MAX:
                        _recent.clear()
                    _recent[head] = request
                return request
        request = _parse_request(head)
        if not added and _is_worth_remembering(head):
            if len(_requests) >= _HEADS_MAX:
                _requests.clear()
            _requests[head] = request
    return request


def _is_worth_remembering(head: bytes) -> bool:
    return len(head) <= _HEAD_MEMO_BYTES_MAX and _sample.takes() and head.count(b"\n") <= _HEAD_MEMO_LINES_MAX


# As Envoy and as Go write them; what is written otherwise is merely slower.
_VOLATILE_STARTS: Final = tuple((b"\r\n%s: " % name, b"\r\n%s: " % name.title()) for name in VOLATILE_NAMES)
_VOLATILE_LINE: Final = re.compile(rb"[A-Za-z\-]+: [0-9A-Za-z\-]{1,128}")


def _without_volatile_lines(head: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Return a head without its request id and trace context, and these lines.

    The memo then knows the rest. Such a line that is odd, or the second of its name, stays in the head.
    """
    added: tuple[bytes, ...] = ()
    core = head
    for spellings in _VOLATILE_STARTS:
        for start in spellings:
            begin = core.find(start)
            if begin < 0:
                continue
            end = core.find(b"\r\n", begin + 2)
            if end < 0:
                end = len(core)
            line = core[begin + 2 : end]
            if _VOLATILE_LINE.fullmatch(line) is None:
                return head, ()
            core = core[:begin] + core[end:]
            added += (line,)
            break
    return core, added


def response_head(head: bytes) -> ResponseHead:
    """Return the head of a response, from the memo when equal bytes were seen. Raises `ResponseError`."""
    response = _responses.get(head)
    if response is None:
        if len(head) > FIELDS_MAX and head.count(b"\n") > FIELDS_MAX:
            raise ResponseError(f"expected at most {FIELDS_MAX} header lines")
        response = parse_response(head)
        if _is_worth_remembering(head):
            if len(_responses) >= _HEADS_MAX:
                _responses.clear()
            _responses[head] = response
    return response


def _parse_request(head: bytes) -> RequestHead:
    """`parse_request` for the common case, by marks and memos: HTTP/1.1, an origin-form target, one host, no framing.

    `python -m loadtests.lab queue-proxy --unique-heads` measures it: no two heads are equal there.
    """
    lines = head.split(b"\r\n")
    start = _starts.get(lines[0]) or _start(lines[0])
    if start is None:
        return parse_request(head)
    memo = _lines
    fields: list[Field] = []
    marks = 0
    del lines[0]
    for line in lines:
        field = memo.get(line)
        if field is None:
            field = _field(line)
            if field is None or field.marks & HOST:
                return parse_request(head)
        mark = field.marks
        if mark:
            if mark & FRAMING or marks & mark & HOST:
                return parse_request(head)
            marks |= mark
        fields.append(field)
    if not marks & HOST:
        return parse_request(head)
    return RequestHead(start[0], start[1], fields, marks)


def parse_request(head: bytes) -> RequestHead:
    """Return the head of a request from its bytes, without the empty line that ends it. Raises `RequestError`."""
    lines = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise RequestError(400, f"expected a request line, got {lines[0][:64]!r}")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise RequestError(505, f"expected HTTP/1.x, got HTTP/{major.decode()}.{minor.decode()}")
    try:
        fields = _fields(lines)
    except ValueError as error:
        raise RequestError(400, str(error)) from None
    framing = _Framing(fields)
    is_1_0 = minor == b"0"
    if len(framing.hosts) != 1 and (framing.hosts or not is_1_0):
        raise RequestError(400, f"expected one Host, got {len(framing.hosts)}")
    if framing.hosts and _HOST.fullmatch(framing.hosts[0]) is None:
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


def parse_response(head: bytes) -> ResponseHead:
    """Return the head of a response from its bytes, without the empty line that ends it. Raises `ResponseError`."""
    lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise ResponseError(f"expected a status line, got {lines[0][:64]!r}")
    minor, digits, reason = match.groups()
    status = int(digits)
    try:
        fields = _fields(lines)
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
        if len(framing.lengths) > 1 or _LENGTH.fullmatch(framing.lengths[0]) is None:
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


def _fields(lines: list[bytes]) -> list[Field]:
    """Return the fields of a head, whose first line is the start line. Raises `ValueError`."""
    fields: list[Field] = []
    memo = _lines
    for index in range(1, len(lines)):
        line = lines[index]
        field = memo.get(line) or _field(line)
        if field is None:
            raise ValueError(f"expected a header line, got {line[:64]!r}")
        fields.append(field)
    return fields


def _field(line: bytes) -> Field | None:
    """Return the field of a line, or None when it is no header line."""
    match = _FIELD.fullmatch(line)
    if match is None:
        return None
    name, value = match.groups()
    field = Field(name.lower(), value.strip(b" \t"), line)
    if field.marks & KNATIVE and field.name == _ORIGINAL_HOST and _HOST.fullmatch(field.value) is None:
        return None
    if len(line) <= _LINE_MEMO_BYTES_MAX and _sample.takes():
        if field.marks & HOST and _HOST.fullmatch(field.value) is None:
            # What the memo holds is sound in itself, so that nobody has to look at it again.
            return field
        if len(_lines) >= _LINES_MAX:
            _lines.clear()
        _lines[line] = field
    return field


def _start(line: bytes) -> tuple[bytes, bytes] | None:
    """Return (method, target) of an ordinary request line of HTTP/1.1, or None."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None or not line.endswith(b" HTTP/1.1") or not match[2].startswith(b"/"):
        return None
    start = (match[1], match[2])
    if len(line) <= _LINE_MEMO_BYTES_MAX and _sample.takes():
        if len(_starts) >= _LINES_MAX:
            _starts.clear()
        _starts[line] = start
    return start


def _origin_form(method: bytes, target: bytes, fields: list[Field]) -> tuple[bytes, list[Field]]:
    """Return target and fields with an absolute target taken apart: its authority is the host (RFC 9112 3.2.2)."""
    if target.startswith(b"/") or method == b"CONNECT" or (target == b"*" and method == b"OPTIONS"):
        return target, fields
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise RequestError(400, f"expected a path or an absolute URL, got {target[:64]!r}")
    authority, rest = match.groups()
    if not authority or b"@" in authority or _HOST.fullmatch(authority) is None:
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
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise RequestError(400, f"expected one Content-Length, got {lengths!r}")
    return int(lengths[0]), False


def _is_chunked(transfer_encodings: list[bytes]) -> bool:
    return len(transfer_encodings) == 1 and transfer_encodings[0].lower() == b"chunked"


class LengthBody:
    """A body of a declared length."""

    __slots__ = ("_length", "is_done", "remaining")

    def __init__(self, length: int) -> None:
        self._length = length
        self.remaining = length
        self.is_done = length == 0

    @property
    def size(self) -> int:
        """Bytes of the body so far."""
        return self._length - self.remaining

    def scan(self, data: bytes) -> int:
        """Return how many bytes of `data` belong to the body."""
        take = min(len(data), self.remaining)
        self.remaining -= take
        self.is_done = self.remaining == 0
        return take


class UntilCloseBody:
    """A body that ends with its connection."""

    __slots__ = ("is_done", "size")

    def __init__(self) -> None:
        self.is_done = False
        self.size = 0
        """Bytes of the body so far."""

    def scan(self, data: bytes) -> int:
        """Return how many bytes of `data` belong to the body: all of them."""
        self.size += len(data)
        return len(data)


class _Expect(Enum):
    """What a chunked body goes on with."""

    SIZE = "size line"
    DATA = "chunk data"
    DATA_END = "line end behind chunk data"
    TRAILER = "trailer line or the empty line"


_SIZE: Final = _Expect.SIZE
_DATA: Final = _Expect.DATA

_sizes: dict[bytes, int] = {}
"""Sizes by their lines, for lines that are short."""


def _chunk_size(line: bytes) -> int:
    match = _CHUNK_SIZE.fullmatch(line) if len(line) <= _CHUNK_LINE_BYTES_MAX else None
    if match is None:
        raise HttpError(f"expected a chunk size, got {line[:64]!r}")
    size = int(match[1], 16)
    if len(line) <= _SIZE_MEMO_BYTES_MAX:
        if len(_sizes) >= _SIZES_MAX:
            _sizes.clear()
        _sizes[line] = size
    return size


class ChunkedBody:
    """A chunked body (RFC 9112 7.1), trailers included.

    With `keeps_spans`, `spans` holds after each `scan` the (begin, end) of payload within the bytes that it took.
    """

    __slots__ = ("_expect", "_keeps_spans", "_left", "_trailer_bytes", "chunks", "is_done", "size", "spans")

    def __init__(self, *, keeps_spans: bool = False) -> None:
        self._keeps_spans = keeps_spans
        self._expect = _Expect.SIZE
        self._left = 0
        self._trailer_bytes = 0
        self.is_done = False
        self.size = 0
        """Bytes of payload so far."""
        self.chunks = 0
        """Chunks that the last `scan` met: what it cost."""
        self.spans: list[tuple[int, int]] = []

    def scan(self, data: bytes) -> int:
        """Return how many bytes of `data` are well-formed and belong to the body; give the rest again with more.

        Raises `HttpError`. What was left is at most one line: bounded.
        """
        if self._keeps_spans:
            self.spans = []
        chunks = position = 0
        length = len(data)
        while position < length and not self.is_done:
            expect = self._expect
            if expect is _DATA:
                end = position + self._left
                if end > length:
                    end = length
                self.size += end - position
                if self._keeps_spans:
                    self.spans.append((position, end))
                self._left -= end - position
                position = end
                if self._left:
                    break
                if data.startswith(b"\r\n", position):
                    position += 2
                    self._expect = _SIZE
                else:
                    self._expect = _Expect.DATA_END
                continue
            end = data.find(b"\n", position) + 1
            if not end:
                self._check_partial_line(data, position)
                break
            line = data[position:end]
            position = end
            if expect is _SIZE:
                chunks += 1
                left = self._left = _sizes.get(line) or _chunk_size(line)
                self._expect = _DATA if left else _Expect.TRAILER
            else:
                self._line(line)
        self.chunks = chunks
        return position

    def closing(self, text: bytes) -> bytes | None:
        """Return bytes that append `text` to what was taken and end the body well, or None in the middle of a chunk."""
        if self._expect is _Expect.SIZE or self._expect is _Expect.DATA_END:
            end = b"\r\n" if self._expect is _Expect.DATA_END else b""
            return b"%s%x\r\n%s\r\n0\r\n\r\n" % (end, len(text), text)
        return None

    def _line(self, line: bytes) -> None:
        """Take a whole line behind a chunk's data, or of the trailers, with its end."""
        if self._expect is _Expect.DATA_END:
            if line != b"\r\n":
                raise HttpError(f"expected a line end behind a chunk, got {line[:64]!r}")
            self._expect = _Expect.SIZE
        elif line == b"\r\n":
            self.is_done = True
        else:
            self._trailer(line)

    def _trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _TRAILER_BYTES_MAX:
            raise HttpError(f"expected at most {_TRAILER_BYTES_MAX} bytes of trailers")
        match = _FIELD.fullmatch(line[:-2]) if line.endswith(b"\r\n") else None
        if match is None or not _may_trail(match[1].lower()):
            raise HttpError(f"expected a trailer that may stand there, got {line[:64]!r}")

    def _check_partial_line(self, data: bytes, position: int) -> None:
        limit = _TRAILER_BYTES_MAX if self._expect is _Expect.TRAILER else _CHUNK_LINE_BYTES_MAX
        if len(data) - position > limit:
            raise HttpError(f"expected a {self._expect.value} of at most {limit} bytes")
        if self._expect is _Expect.DATA_END and not b"\r\n".startswith(data[position:]):
            raise HttpError(f"expected a line end behind a chunk, got {data[position : position + 64]!r}")


def _may_trail(name: bytes) -> bool:
    is_forbidden = name in _FORBIDDEN_TRAILERS or marks_of(name, b"") & _FORBIDDEN_TRAILER_MARKS
    return not is_forbidden and not name.startswith(b"if-")


BodyReader: TypeAlias = LengthBody | ChunkedBody | UntilCloseBody
