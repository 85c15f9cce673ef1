"""Heads from memory: equal bytes give the same object, and lines that are seen often are kept parsed.

`request_head` and `response_head` are `http1.parse_request` and `http1.parse_response` with a memo before them;
property tests hold them equal. A request that differs from others only in an id of its own shares what is known of the
rest. Everything that is kept is bounded, by number and by size.
"""

import re
from typing import Final

from proxies.fields import FRAMING, HOST, LENGTH, VOLATILE, VOLATILE_NAMES, Field
from proxies.http1 import (
    FIELDS_MAX,
    HOST_VALUE,
    LENGTH_VALUE,
    REQUEST_LINE,
    RequestError,
    ResponseError,
    parse_field,
    parse_request,
    parse_response,
)
from proxies.messages import RequestHead, ResponseHead

__all__ = ["request_head", "response_head", "without_volatile_lines"]

# A memo of heads pays when clients repeat themselves; beyond these bounds it is emptied and filled anew.
_HEADS_MAX: Final = 512
_RECENT_MAX: Final = 64
_HEAD_MEMO_BYTES_MAX: Final = 4096
_HEAD_MEMO_LINES_MAX: Final = 64
_LINES_MAX: Final = 2048
_LINE_MEMO_BYTES_MAX: Final = 256


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
        core, added = without_volatile_lines(head)
        if added:
            request = _requests.get(core) or _parsed(core)
            # Not if the options may list such a line, or if another one of the same name is left.
            if not request.connection_options and not request.marks & VOLATILE:
                request = request.with_lines(added)
                if _is_worth_remembering(head):
                    if len(_recent) >= _RECENT_MAX:
                        _recent.clear()
                    _recent[head] = request
                return request
        request = _parse(head) if added else _parsed(head)
    return request


def _parsed(head: bytes) -> RequestHead:
    request = _parse(head)
    if _is_worth_remembering(head):
        if len(_requests) >= _HEADS_MAX:
            _requests.clear()
        _requests[head] = request
    return request


def _is_worth_remembering(head: bytes) -> bool:
    return len(head) <= _HEAD_MEMO_BYTES_MAX and _sample.takes() and head.count(b"\n") <= _HEAD_MEMO_LINES_MAX


_VOLATILE_LINE: Final = re.compile(rb"\r\n((?i:%s): [!-~]{1,128})(?=\r\n|\Z)" % b"|".join(VOLATILE_NAMES))
"""One that is well formed in any case of its name: a space before its value, none in it, none behind it."""


def without_volatile_lines(head: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Return a head without its request id, trace context and what only this event has, and these lines.

    The memo then knows the rest. Such a line that is odd stays in the head.
    """
    parts = _VOLATILE_LINE.split(head)
    return (head, ()) if len(parts) == 1 else (b"".join(parts[::2]), tuple(parts[1::2]))


def response_head(head: bytes) -> ResponseHead:
    """Return the head of a response, from the memo when equal bytes were seen. Raises `ResponseError`."""
    response = _responses.get(head)
    if response is None:
        if len(head) > FIELDS_MAX and head.count(b"\n") > FIELDS_MAX:
            raise ResponseError(f"expected at most {FIELDS_MAX} header lines")
        response = parse_response(head, _field)
        if _is_worth_remembering(head):
            if len(_responses) >= _HEADS_MAX:
                _responses.clear()
            _responses[head] = response
    return response


def _parse(head: bytes) -> RequestHead:
    """`parse_request` for the common case, by marks and memos: HTTP/1.1, an origin-form target, one host, a length.

    `python -m loadtests.lab queue-proxy --only get-unique` measures what is left to do for heads that differ.
    """
    lines = head.split(b"\r\n")
    start = _starts.get(lines[0]) or _start(lines[0])
    if start is None:
        return parse_request(head, _field)
    memo = _lines
    fields: list[Field] = []
    marks = length = 0
    del lines[0]
    for line in lines:
        field = memo.get(line)
        if field is None:
            field = _new_field(line)
            if field is None or field.marks & HOST:
                return parse_request(head, _field)
        mark = field.marks
        if mark:
            if mark & FRAMING:
                if mark != LENGTH or marks & LENGTH or LENGTH_VALUE.fullmatch(field.value) is None:
                    return parse_request(head, _field)
                length = int(field.value)
            elif marks & mark & HOST:
                return parse_request(head, _field)
            marks |= mark
        fields.append(field)
    if not marks & HOST:
        return parse_request(head, _field)
    request = RequestHead(start[0], start[1], fields, marks)
    request.content_length = length
    return request


def _field(line: bytes) -> Field | None:
    """`parse_field` with a memo."""
    return _lines.get(line) or _new_field(line)


def _new_field(line: bytes) -> Field | None:
    """Return the field of a line that is not known, or None when it is no header line."""
    field = parse_field(line)
    if field is None or len(line) > _LINE_MEMO_BYTES_MAX or not _sample.takes():
        return field
    if field.marks & HOST and HOST_VALUE.fullmatch(field.value) is None:
        # What the memo holds is sound in itself, so that nobody has to look at it again.
        return field
    if len(_lines) >= _LINES_MAX:
        _lines.clear()
    _lines[line] = field
    return field


def _start(line: bytes) -> tuple[bytes, bytes] | None:
    """Return (method, target) of an ordinary request line of HTTP/1.1, or None."""
    match = REQUEST_LINE.fullmatch(line)
    if match is None or not line.endswith(b" HTTP/1.1") or not match[2].startswith(b"/"):
        return None
    start = (match[1], match[2])
    if len(line) <= _LINE_MEMO_BYTES_MAX and _sample.takes():
        if len(_starts) >= _LINES_MAX:
            _starts.clear()
        _starts[line] = start
    return start
