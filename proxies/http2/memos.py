"""Heads from memory, for blocks in which the dynamic table has no room (`hpack`): equal blocks give the same head.

A request id or a trace context, which hardly two requests share, is cut out of a block, if the rest is a head that is
known. What remains is taken apart into its representations, which are remembered one by one. `heads` has the plain
versions behind all this, and a property test holds them equal.
"""

import re
from typing import Final

from proxies.fields import VOLATILE, Field
from proxies.http1 import FIELDS_MAX, HEAD_BYTES_MAX
from proxies.http2 import huffman
from proxies.http2.errors import ListTooLarge, Malformed
from proxies.http2.heads import field_from, parse_request, parse_response, parse_trailers
from proxies.http2.hpack import ENTRY_BYTES, field_of, split
from proxies.messages import RequestHead, ResponseHead

__all__ = ["LIST_BYTES_MAX", "request_head", "response_head", "trailers"]

LIST_BYTES_MAX: Final = HEAD_BYTES_MAX
"""Of a header list, counted as RFC 9113 6.5.2 does: Go's default limit with its slack (spec queue-proxy.md 3.2)."""

# A memo pays when peers repeat themselves; beyond these bounds it is emptied and filled anew.
_HEADS_MAX: Final = 512
_BLOCK_MEMO_BYTES_MAX: Final = 2048
_FIELDS_IN_MEMO_MAX: Final = 2048
_FIELD_MEMO_BYTES_MAX: Final = 256

_ORDINARY_ID: Final = re.compile(rb"[0-9A-Za-z\-]{1,128}")

# Name as a literal, plain or in the Huffman code, behind the first byte of its representation.
_VOLATILE_STARTS: Final = (
    (b"x-request-id", b"\x0cx-request-id"),
    (b"x-request-id", b"\x89" + bytes.fromhex("f2b585ed6950958d27")),
    (b"traceparent", b"\x0btraceparent"),
    (b"traceparent", b"\x88" + bytes.fromhex("4d83216b1d85a93f")),
)
_LITERALS: Final = b"\x00\x10\x40"
"""First bytes of a literal with a literal name."""


class _Core:
    """A head that was met with a request id or a trace context in it, without these."""

    __slots__ = ("cuts", "head")

    def __init__(self, head: RequestHead, cuts: bytes) -> None:
        self.head = head
        self.cuts = cuts
        """1 for each place in its block where a header may be put in: representations begin or end there."""


_whole_requests: dict[bytes, RequestHead] = {}
_open_requests: dict[bytes, RequestHead] = {}
"""Those whose stream goes on, with a body or trailers."""
_whole_cores: dict[bytes, _Core] = {}
_open_cores: dict[bytes, _Core] = {}
_responses: dict[bytes, ResponseHead] = {}
_trailers: dict[bytes, list[Field]] = {}
_fields: dict[bytes, Field] = {}
"""By their representation."""


def request_head(block: bytes, is_done: bool) -> RequestHead:
    """Return the head of a request from a block in which the dynamic table has no room; `is_done`: nothing follows.

    Raises `Malformed`, `ListTooLarge`, `CompressionFault`.
    """
    memo = _whole_requests if is_done else _open_requests
    head = memo.get(block)
    if head is None:
        cores = _whole_cores if is_done else _open_cores
        head = _by_core(block, cores)
        if head is None:
            fields, core, lines = _taken_apart(block)
            if lines:
                fields = [field for field in fields if not field.marks & VOLATILE]
                core_head = parse_request(fields, is_done)
                if len(core) <= _BLOCK_MEMO_BYTES_MAX:
                    if len(cores) >= _HEADS_MAX:
                        cores.clear()
                    cores[core] = _Core(core_head, _cuts(core, sum(not field.line for field in fields)))
                return core_head.with_lines(lines)
            head = parse_request(fields, is_done)
            if len(block) <= _BLOCK_MEMO_BYTES_MAX:
                if len(memo) >= _HEADS_MAX:
                    memo.clear()
                memo[block] = head
    return head


def _by_core(block: bytes, cores: dict[bytes, _Core]) -> RequestHead | None:
    """Return the head if it is a known one with a request id or a trace context added; None is no verdict.

    Bytes that look like such a header may stand anywhere, so they count only where the rest, read by itself, has a
    seam: what is put in between two representations changes neither.
    """
    core = block
    found: list[tuple[int, int, bytes, bytes]] = []
    for name, start in _VOLATILE_STARTS:
        begin = core.find(start) - 1
        if begin < 0:
            continue
        at = begin + 1 + len(start)
        end = at + 1 + (core[at] & 0x7F) if at < len(core) else at + 1
        if core[begin] not in _LITERALS or end > len(core) or core[at] & 0x7F == 0x7F:
            return None
        found.append((begin, end, name, core[at:end]))
        core = core[:begin] + core[end:]
    if not found or len(found) > 2:
        return None
    known = cores.get(core)
    if known is None:
        return None
    begin, end, name, _ = found[-1]
    if not known.cuts[begin]:
        return None
    if len(found) == 2:
        first, _, first_name, _ = found[0]
        if first_name == name:
            return None  # which of the two came first counts
        if begin < first < end or not known.cuts[first if first <= begin else first - (end - begin)]:
            return None
    lines = []
    for _, _, name, literal in found:
        value = huffman.decode(literal[1:]) if literal[0] & 0x80 else literal[1:]
        if _ORDINARY_ID.fullmatch(value) is None:
            return None
        lines.append(name + b": " + value)
    return known.head.with_lines(tuple(lines))


def _cuts(core: bytes, pseudo: int) -> bytes:
    """Return the seams of a block behind its so many pseudo-headers: 1 for each, 0 for other places."""
    cuts = bytearray(len(core) + 1)
    parts = split(core, FIELDS_MAX)
    position = len(core) - sum(map(len, parts))
    for index, part in enumerate(parts):
        if index >= pseudo:
            cuts[position] = 1
        position += len(part)
    cuts[position] = 1
    return bytes(cuts)


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
    fields = _trailers.get(block)
    if fields is None:
        fields = parse_trailers(_taken_apart(block)[0])
        if len(block) <= _FIELD_MEMO_BYTES_MAX:
            if len(_trailers) >= _HEADS_MAX:
                _trailers.clear()
            _trailers[block] = fields
    return fields


def _taken_apart(block: bytes) -> tuple[list[Field], bytes, tuple[bytes, ...]]:
    """Return the fields of a block; the block without request id and trace context, and these as lines.

    The lines are empty, and then the block without them too, when one of them is odd or comes too early.
    """
    fields: list[Field] = []
    marks = 0
    room = LIST_BYTES_MAX
    parts = split(block, FIELDS_MAX)
    for part in parts:
        field = _fields.get(part)
        if field is None:
            try:
                field = field_from(*field_of(part))
            except Malformed:
                # A broken representation is worse, wherever it stands.
                for each in parts:
                    field_of(each)
                raise
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
    if not all(_ORDINARY_ID.fullmatch(field.value) for field in volatile):
        return fields, b"", ()
    if any(not field.line for field in fields[fields.index(volatile[0]) :]):
        return fields, b"", ()
    core = b"".join(part for part, field in zip(parts, fields, strict=True) if not field.marks & VOLATILE)
    return fields, core, tuple(field.line for field in volatile)
