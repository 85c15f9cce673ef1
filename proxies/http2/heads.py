"""What a header list says: the head of a request or a response, or trailers. Strict by RFC 9113.

Whatever a message must not have, and whatever two readers might read differently, makes it malformed: names that are
not in lower case, headers of a connection, pseudo-headers that are unknown, late or repeated, two authorities, a
repeated or odd `content-length`. The heads are those of HTTP/1, with version 2; `memos` remembers them by their blocks.

Source: RFC 9113 sections 8.1 to 8.3, 8.5; spec queue-proxy.md 7.
"""

import re
from collections.abc import Iterable
from typing import Final

from proxies.fields import CODING, CONNECTION, HOP, HOST, KNATIVE, LENGTH, TE, UPGRADE, Field
from proxies.http2.errors import Malformed
from proxies.http2.hpack import Pair
from proxies.messages import REASONS, RequestHead, ResponseHead

__all__ = ["CONNECTION_SPECIFIC", "field_from", "fields_of", "parse_request", "parse_response", "parse_trailers"]

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

_PSEUDO: Final = frozenset([b":method", b":scheme", b":path", b":authority", b":status"])
CONNECTION_SPECIFIC: Final = frozenset(
    [b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"]
)
"""Have no meaning in HTTP/2 (RFC 9113 8.2.2)."""
_MAYBE_CONNECTION_SPECIFIC: Final = CODING | CONNECTION | UPGRADE | HOP
_ORIGINAL_HOST: Final = b"k-original-host"
"""Becomes the authority on its way to the user container, so it has to be one (spec queue-proxy.md 7)."""


def fields_of(pairs: Iterable[Pair]) -> list[Field]:
    """Return the fields of a header list, pseudo-headers included. Raises `Malformed`."""
    return [field_from(name, value) for name, value in pairs]


def field_from(name: bytes, value: bytes) -> Field:
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
        if marks & _MAYBE_CONNECTION_SPECIFIC and name in CONNECTION_SPECIFIC:
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
