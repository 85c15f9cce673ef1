"""Where the body of an HTTP/1.1 message ends, without I/O. Strict by RFC 9112.

Bodies are spliced, not decoded: a reader's `scan` says how many of the bytes at hand belong to the message and are well
formed, and those are handed on as they are. What `scan` leaves (part of a chunk's size line, say) is to be given again
with the bytes that follow it.
"""

import re
from enum import Enum
from typing import Final, TypeAlias

from proxies.fields import DROPPED, FORWARDED, FORWARDED_FOR, FORWARDED_MORE, KNATIVE, marks_of
from proxies.http1 import FIELD_LINE, TOKEN, HttpError

__all__ = ["BodyReader", "ChunkedBody", "LengthBody", "UntilCloseBody"]

_CHUNK_LINE_BYTES_MAX: Final = 4096
_TRAILER_BYTES_MAX: Final = 64 * 1024
_SIZES_MAX: Final = 1024
_SIZE_MEMO_BYTES_MAX: Final = 8

_CHUNK_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;"
    + TOKEN
    + rb"(?:=(?:"
    + TOKEN
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
        match = FIELD_LINE.fullmatch(line[:-2]) if line.endswith(b"\r\n") else None
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
