"""Heads of messages from header blocks, and header blocks from heads.

Reading, when the dynamic table has no room (`hpack`): equal blocks give the same head from a bounded memo. What is not
there is taken apart into its representations, which are remembered one by one; a request id or a trace context, which
hardly two requests share, is set aside, so that the rest may still be a head that is known. `parse_request` and
`parse_response` are the plain versions behind both, and a property test holds them equal.

Writing: what a proxy sends is edited in one place for all versions (`headers`), as lines of HTTP/1.1; `request_block`
and `response_block` translate these lines, and remember what they made of them.

Source: RFC 9113 sections 8.1 to 8.3, 8.5; spec queue-proxy.md 7.
"""

import re
from collections.abc import Iterable
from typing import Final

from proxies.fields import CODING, CONNECTION, HOP, HOST, KNATIVE, LENGTH, TE, UPGRADE, VOLATILE, Field
from proxies.headers import relayed_head
from proxies.http1 import FIELDS_MAX, HEAD_BYTES_MAX
from proxies.http2.errors import ListTooLarge, Malformed
from proxies.http2.hpack import ENTRY_BYTES, Pair, encode, field_of, split
from proxies.messages import REASONS, RequestHead, ResponseHead

__all__ = [
    "LIST_BYTES_MAX",
    "fields_of",
    "parse_request",
    "parse_response",
    "parse_trailers",
    "relayed_block",
    "request_block",
    "request_head",
    "response_block",
    "response_head",
    "trailers",
    "trailers_block",
]

LIST_BYTES_MAX: Final = HEAD_BYTES_MAX
"""Of a header list, counted as RFC 9113 6.5.2 does: Go's default limit with its slack (spec queue-proxy.md 3.2)."""

# A memo pays when peers repeat themselves; beyond these bounds it is emptied and filled anew.
_HEADS_MAX: Final = 512
_BLOCK_MEMO_BYTES_MAX: Final = 2048
_FIELDS_IN_MEMO_MAX: Final = 2048
_FIELD_MEMO_BYTES_MAX: Final = 256

# RFC 9113 8.2.1 with the token of RFC 9110 5.6.2, which is narrower: in lower case.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET: Final = re.compile(rb"/[\x21\x22\x24-\x7e\x80-\xff]*")
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*")
# RFC 3986 3.2 without user information (RFC 9113 8.3.1); names are not judged.
_AUTHORITY: Final = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]*")
_STATUS: Final = re.compile(rb"[1-9][0-9]{2}")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_ORDINARY_ID: Final = re.compile(rb"[0-9A-Za-z\-]{1,128}")

_PSEUDO: Final = frozenset([b":method", b":scheme", b":path", b":authority", b":status"])
_CONNECTION_SPECIFIC: Final = frozenset(
    [b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"]
)
"""Have no meaning in HTTP/2 (RFC 9113 8.2.2)."""
_MAYBE_CONNECTION_SPECIFIC: Final = CODING | CONNECTION | UPGRADE | HOP
_ORIGINAL_HOST: Final = b"k-original-host"
"""Becomes the authority on its way to the user container, so it has to be one (spec queue-proxy.md 7)."""

_whole_requests: dict[bytes, RequestHead] = {}
_open_requests: dict[bytes, RequestHead] = {}
"""Those whose stream goes on, with a body or trailers."""
_responses: dict[bytes, ResponseHead] = {}
_fields: dict[bytes, Field] = {}
"""By their representation."""


def request_head(block: bytes, is_done: bool) -> RequestHead:
    """Return the head of a request from a block in which the dynamic table has no room; `is_done`: nothing follows.

    Raises `Malformed`, `ListTooLarge`, `CompressionFault`.
    """
    memo = _whole_requests if is_done else _open_requests
    head = memo.get(block)
    if head is None:
        fields, core, lines = _taken_apart(block)
        if lines:
            known = memo.get(core)
            if known is None:
                known = parse_request([field for field in fields if not field.marks & VOLATILE], is_done)
                _remember(memo, core, known)
            return known.with_lines(lines)
        head = parse_request(fields, is_done)
        _remember(memo, block, head)
    return head


def response_head(block: bytes) -> ResponseHead:
    """Return the head of a response from a block in which the dynamic table has no room. Raises as `request_head`."""
    head = _responses.get(block)
    if head is None:
        head = parse_response(_taken_apart(block)[0])
        if len(block) <= _BLOCK_MEMO_BYTES_MAX:
            if len(_responses) >= _HEADS_MAX:
                _responses.clear()
            _responses[block] = head
    return head


def trailers(block: bytes) -> list[Field]:
    """Return trailers from a block in which the dynamic table has no room. Raises as `request_head`."""
    return parse_trailers(_taken_apart(block)[0])


def _remember(memo: dict[bytes, RequestHead], block: bytes, head: RequestHead) -> None:
    if len(block) <= _BLOCK_MEMO_BYTES_MAX:
        if len(memo) >= _HEADS_MAX:
            memo.clear()
        memo[block] = head


def _taken_apart(block: bytes) -> tuple[list[Field], bytes, tuple[bytes, ...]]:
    """Return the fields of a block; the block without request id and trace context, and these as lines.

    The lines are empty, and then the block without them too, when one of them is odd or comes twice.
    """
    fields: list[Field] = []
    marks = 0
    room = LIST_BYTES_MAX
    parts = split(block, FIELDS_MAX)
    for part in parts:
        field = _fields.get(part)
        if field is None:
            field = _field(*field_of(part))
            if len(part) <= _FIELD_MEMO_BYTES_MAX:
                if len(_fields) >= _FIELDS_IN_MEMO_MAX:
                    _fields.clear()
                _fields[part] = field
        room -= len(field.name) + len(field.value) + ENTRY_BYTES
        marks |= field.marks
        fields.append(field)
    if room < 0:
        raise ListTooLarge(f"expected a header list of at most {LIST_BYTES_MAX} bytes")
    if not marks & VOLATILE:
        return fields, b"", ()
    volatile = [field for field in fields if field.marks & VOLATILE]
    names = {field.name for field in volatile}
    if len(names) < len(volatile) or not all(_ORDINARY_ID.fullmatch(field.value) for field in volatile):
        return fields, b"", ()
    core = b"".join(part for part, field in zip(parts, fields, strict=True) if not field.marks & VOLATILE)
    return fields, core, tuple(field.line for field in volatile)


def fields_of(pairs: Iterable[Pair]) -> list[Field]:
    """Return the fields of a header list, pseudo-headers included. Raises `Malformed`."""
    return [_field(name, value) for name, value in pairs]


def _field(name: bytes, value: bytes) -> Field:
    """Return a field that may stand in a head by itself. Raises `Malformed` (RFC 9113 8.2)."""
    if _VALUE.fullmatch(value) is None:
        raise Malformed(f"expected a value of {name[:64]!r} without control characters or space around it")
    if name[:1] == b":":
        if name not in _PSEUDO:
            raise Malformed(f"expected a pseudo-header, got {name[:64]!r}")
        return Field(name, value, b"")
    if _NAME.fullmatch(name) is None:
        raise Malformed(f"expected a header name in lower case, got {name[:64]!r}")
    field = Field(name, value, name + b": " + value)
    marks = field.marks
    if marks:
        if marks & _MAYBE_CONNECTION_SPECIFIC and name in _CONNECTION_SPECIFIC:
            raise Malformed(f"expected no header of a connection, got {name!r}")
        if marks & TE and value.lower() != b"trailers":
            raise Malformed(f"expected no te but trailers, got {value[:64]!r}")
        if (marks & HOST or (marks & KNATIVE and name == _ORIGINAL_HOST)) and _AUTHORITY.fullmatch(value) is None:
            raise Malformed(f"expected a host in {name!r}, got {value[:64]!r}")
        if marks & LENGTH and _LENGTH.fullmatch(value) is None:
            raise Malformed(f"expected a content-length, got {value[:64]!r}")
    return field


def parse_request(fields: list[Field], is_done: bool) -> RequestHead:
    """Return the head of a request; `is_done`: the stream ends with it. Raises `Malformed` (RFC 9113 8.3.1)."""
    pseudo, fields = _parted(fields)
    method = pseudo.pop(b":method", b"")
    authority = pseudo.pop(b":authority", None)
    scheme = pseudo.pop(b":scheme", None)
    target = pseudo.pop(b":path", None)
    if pseudo or _METHOD.fullmatch(method) is None:
        raise Malformed(f"expected one :method and no {b' '.join(pseudo)!r}, got {method[:64]!r}")
    if method == b"CONNECT":
        if not authority or scheme is not None or target is not None:
            raise Malformed("expected :authority alone besides CONNECT")
        target = authority
    elif scheme is None or target is None or _SCHEME.fullmatch(scheme) is None:
        raise Malformed("expected :scheme and :path")
    elif _TARGET.fullmatch(target) is None and not (target == b"*" and method == b"OPTIONS"):
        raise Malformed(f"expected a path, got {target[:64]!r}")
    fields, marks, length = _joined(fields)
    if authority is not None and _AUTHORITY.fullmatch(authority) is None:
        raise Malformed(f"expected an authority, got {authority[:64]!r}")
    fields = _with_host(fields, marks, authority)
    if is_done and length > 0:
        raise Malformed(f"expected a body of {length} bytes, got the end of the stream")
    head = RequestHead(method, target, fields, marks | HOST)
    head.major = 2
    head.content_length = 0 if is_done else length
    head.is_chunked = head.content_length < 0
    return head


def parse_response(fields: list[Field]) -> ResponseHead:
    """Return the head of a response, informational ones included. Raises `Malformed` (RFC 9113 8.3.2)."""
    pseudo, fields = _parted(fields)
    digits = pseudo.pop(b":status", b"")
    if pseudo or _STATUS.fullmatch(digits) is None:
        raise Malformed(f"expected one :status and no {b' '.join(pseudo)!r}, got {digits[:64]!r}")
    status = int(digits)
    if status == 101:
        raise Malformed("expected no 101: HTTP/2 has no upgrade")
    fields, marks, length = _joined(fields)
    if marks & HOST:
        raise Malformed("expected no host in a response")
    head = ResponseHead(status, REASONS.get(status, b""), fields, marks)
    head.content_length = length
    head.is_chunked = length < 0
    return head


def parse_trailers(fields: list[Field]) -> list[Field]:
    """Return `fields` if they may be trailers. Raises `Malformed` (RFC 9113 8.1)."""
    pseudo, fields = _parted(fields)
    if pseudo:
        raise Malformed(f"expected no pseudo-headers in trailers, got {b' '.join(pseudo)!r}")
    return fields


def _parted(fields: list[Field]) -> tuple[dict[bytes, bytes], list[Field]]:
    """Return the pseudo-headers, each at most once and before all others, and the others."""
    pseudo: dict[bytes, bytes] = {}
    count = 0
    for field in fields:
        if field.line:
            continue
        if field is not fields[count] or field.name in pseudo:
            raise Malformed(f"expected {field.name.decode()} once and before the headers")
        pseudo[field.name] = field.value
        count += 1
    return pseudo, fields[count:]


def _joined(fields: list[Field]) -> tuple[list[Field], int, int]:
    """Return the fields with the pieces of a cookie joined (RFC 9113 8.2.3); their marks; the declared length or -1."""
    marks = 0
    length = -1
    cookies = 0
    for field in fields:
        marks |= field.marks
        if field.marks & LENGTH:
            if length >= 0:
                raise Malformed("expected one content-length")
            length = int(field.value)
        elif field.name == b"cookie":
            cookies += 1
    if cookies > 1:
        value = b"; ".join(field.value for field in fields if field.name == b"cookie")
        fields = [field for field in fields if field.name != b"cookie"]
        fields.append(Field(b"cookie", value, b"cookie: " + value))
    return fields, marks, length


def _with_host(fields: list[Field], marks: int, authority: bytes | None) -> list[Field]:
    """Return the fields with the request's authority as their one host."""
    if not marks & HOST:
        if authority is None:
            raise Malformed("expected :authority or host")
        return [Field(b"host", authority, b"Host: " + authority), *fields]
    hosts = [field.value for field in fields if field.marks & HOST]
    if len(hosts) > 1 or (authority is not None and hosts[0].lower() != authority.lower()):
        raise Malformed(f"expected one authority, got {authority!r} and {hosts!r}")
    return fields


# Writing.

_NOT_IN_HTTP2: Final = _CONNECTION_SPECIFIC | {b"host"}

_request_blocks: dict[tuple[bytes, bytes], bytes] = {}
_response_blocks: dict[bytes, bytes] = {}
_lines: dict[bytes, bytes] = {}
"""Representations by the lines that they were made from; empty for lines that HTTP/2 does not have."""


def request_block(head: bytes, scheme: bytes) -> bytes:
    """Return the block of a request whose head in HTTP/1.1, up to its empty line, is `head` (`headers.Edits`)."""
    key = (head, scheme)
    block = _request_blocks.get(key)
    if block is None:
        lines = head[:-4].split(b"\r\n")
        method, _, rest = lines[0].partition(b" ")
        target = rest[: -len(b" HTTP/1.1")]
        parts = [encode(b":method", method)]
        host = next((line for line in lines if line[:5].lower() == b"host:"), b"host:")[5:].strip(b" \t")
        if method == b"CONNECT":
            parts.append(encode(b":authority", host or target))
        else:
            parts += (encode(b":scheme", scheme), encode(b":path", target))
            if host:
                parts.append(encode(b":authority", host))
        parts.extend(map(_line_part, lines[1:]))
        block = b"".join(parts)
        if len(block) <= _BLOCK_MEMO_BYTES_MAX:
            if len(_request_blocks) >= _HEADS_MAX:
                _request_blocks.clear()
            _request_blocks[key] = block
    return block


def response_block(head: bytes) -> bytes:
    """Return the block of a response whose head in HTTP/1.1 is `head`: lines with their ends, none that is empty."""
    block = _response_blocks.get(head)
    if block is None:
        lines = head.split(b"\r\n")
        status = lines[0].split(b" ", 2)[1]
        block = encode(b":status", status) + b"".join(map(_line_part, lines[1:]))
        if len(block) <= _BLOCK_MEMO_BYTES_MAX:
            if len(_response_blocks) >= _HEADS_MAX:
                _response_blocks.clear()
            _response_blocks[head] = block
    return block


def relayed_block(head: ResponseHead) -> bytes:
    """Return the block of a response as it is relayed: what is hop-by-hop is gone, the framing is the stream's."""
    if not head.block:
        head.block = response_block(relayed_head(head))
    return head.block


def trailers_block(fields: Iterable[Field]) -> bytes:
    """Return the block of trailers."""
    return b"".join([_line_part(field.line) for field in fields])


def _line_part(line: bytes) -> bytes:
    """Return the representation of a header line; empty for one that says nothing in HTTP/2."""
    part = _lines.get(line)
    if part is None:
        name, _, value = line.partition(b":")
        name = name.lower()
        part = b"" if not name or name in _NOT_IN_HTTP2 else encode(name, value.strip(b" \t"))
        if len(part) <= _FIELD_MEMO_BYTES_MAX:
            if len(_lines) >= _FIELDS_IN_MEMO_MAX:
                _lines.clear()
            _lines[line] = part
    return part
