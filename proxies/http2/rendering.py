"""Header blocks from heads.

What a proxy sends is edited in one place for all versions (`proxies.headers`), as lines of HTTP/1.1. They are
translated here, and what was made of them is remembered.

Source: RFC 9113 sections 8.2.2, 8.3; RFC 7541.
"""

import re
from collections.abc import Iterable
from typing import Final

from proxies.fields import VOLATILE_NAMES, Field
from proxies.headers import relayed_head
from proxies.heads import without_volatile_lines
from proxies.http2.heads import CONNECTION_SPECIFIC
from proxies.http2.hpack import encode
from proxies.messages import ResponseHead

__all__ = ["lines_block", "relayed_block", "request_block", "response_block", "trailers_block"]

# A memo pays when the same is sent again and again; beyond these bounds it is emptied and filled anew.
_BLOCKS_MAX: Final = 512
_HEAD_BYTES_MAX: Final = 4096
"""Of the head, which is what is kept: its block may be far smaller, for it holds no padding."""
_LINES_MAX: Final = 2048
_LINE_BYTES_MAX: Final = 256

_NOT_IN_HTTP2: Final = CONNECTION_SPECIFIC | {b"host"}

_VOLATILE_STARTS: Final = {name: b"\0%c%s" % (len(name), name) for name in VOLATILE_NAMES}
"""What begins their representations: a literal with a literal name (RFC 7541 6.2.2)."""

_VOLATILE_NAME: Final = re.compile(rb"\r\n(?i:%s):" % b"|".join(VOLATILE_NAMES))

_request_blocks: dict[tuple[bytes, bytes], bytes] = {}
_response_blocks: dict[bytes, bytes] = {}
_lines: dict[bytes, bytes] = {}
"""Representations by the lines that they were made from; empty for lines that HTTP/2 does not have."""


def request_block(head: bytes, scheme: bytes, lines: Iterable[bytes] = ()) -> bytes:
    """Return the block of a request whose head in HTTP/1.1, up to its empty line, is `head` with `lines` added.

    They are what `headers.Edits.parts` returns: `head` is remembered, `lines` are not.
    """
    block = _request_blocks.get((head, scheme))
    if block is None:
        core, added = without_volatile_lines(head)
        if added and _VOLATILE_NAME.search(core):
            core, added = head, ()  # an odd one is left, which may have come behind others of its name
        block = _request_blocks.get((core, scheme)) or _translated(core, scheme)
        # Not into the memo of lines, where they would only displace others.
        block += b"".join([_part_of(line) for line in added])
    for line in lines:
        block += _volatile_part(line)
    return block


def _translated(head: bytes, scheme: bytes) -> bytes:
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
    if len(head) <= _HEAD_BYTES_MAX:
        if len(_request_blocks) >= _BLOCKS_MAX:
            _request_blocks.clear()
        _request_blocks[head, scheme] = block
    return block


def response_block(head: bytes) -> bytes:
    """Return the block of a response whose head in HTTP/1.1 is `head`: lines with their ends, none that is empty."""
    block = _response_blocks.get(head)
    if block is None:
        lines = head.split(b"\r\n")
        status = lines[0].split(b" ", 2)[1]
        block = encode(b":status", status) + b"".join(map(_line_part, lines[1:]))
        if len(head) <= _HEAD_BYTES_MAX:
            if len(_response_blocks) >= _BLOCKS_MAX:
                _response_blocks.clear()
            _response_blocks[head] = block
    return block


def relayed_block(head: ResponseHead) -> bytes:
    """Return the block of a response as it is relayed: what is hop-by-hop is gone, the framing is the stream's."""
    if not head.block:
        head.block = response_block(relayed_head(head))
    return head.block


def lines_block(lines: bytes) -> bytes:
    """Return the part of a block for header lines of HTTP/1.1, each with its end."""
    return b"".join([_lines.get(line) or _line_part(line) for line in lines.split(b"\r\n")])


def trailers_block(fields: Iterable[Field]) -> bytes:
    """Return the block of trailers."""
    return b"".join([_lines.get(field.line) or _line_part(field.line) for field in fields])


def _line_part(line: bytes) -> bytes:
    """Return the representation of a header line; empty for one that says nothing in HTTP/2."""
    part = _lines.get(line)
    if part is None:
        part = _part_of(line)
        if len(line) <= _LINE_BYTES_MAX:
            if len(_lines) >= _LINES_MAX:
                _lines.clear()
            _lines[line] = part
    return part


def _volatile_part(line: bytes) -> bytes:
    """`_part_of` for a well-formed line, mostly of a volatile name: no table has it, and none needs be asked."""
    name, _, value = line.partition(b": ")
    start = _VOLATILE_STARTS.get(name)
    if start is None or len(value) >= 0x7F:
        return _part_of(line)
    return b"%s%c%s" % (start, len(value), value)


def _part_of(line: bytes) -> bytes:
    name, _, value = line.partition(b":")
    name = name.lower()
    return b"" if not name or name in _NOT_IN_HTTP2 else encode(name, value.strip(b" \t"))
