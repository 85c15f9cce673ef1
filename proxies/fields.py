"""Header lines, each with a mark of what it is to a proxy.

A head is looked at many times: for its framing, for what a service wants to know, for what has to be dropped or changed
on the way. Most lines are nothing to any of them. A line carries its marks from the moment it is parsed, and a head the
marks of all its lines together, so that most questions are one `&` on a number.
"""

from typing import Final

__all__ = ["Field", "marks_of"]

HOST: Final = 1
LENGTH: Final = 2
CODING: Final = 4
"""`Transfer-Encoding`."""
CONNECTION: Final = 8
UPGRADE: Final = 16
EXPECT: Final = 32
TE: Final = 64
HOP: Final = 128
"""Any other hop-by-hop header."""
FORWARDED_FOR: Final = 256
"""`X-Forwarded-For`."""
FORWARDED_MORE: Final = 512
"""`X-Forwarded-Host`, `X-Forwarded-Proto`."""
FORWARDED: Final = 1024
KNATIVE: Final = 2048
"""Any header of Knative's own: `K-...`, `Knative-...`."""
PROBE_AGENT: Final = 4096
"""A `User-Agent` that may be a probe's."""
DATE: Final = 8192
TRAILER: Final = 16384
VOLATILE: Final = 32768
"""A request id, a trace context, what an event has for itself: hardly two requests have the same, and no proxy decides
by it."""

VOLATILE_NAMES: Final = (b"x-request-id", b"traceparent", b"ce-id", b"ce-time", b"ce-knativearrivaltime")

FRAMING: Final = LENGTH | CODING | CONNECTION | UPGRADE | EXPECT
"""A head with none of these has no body, and its connection stays open."""
DROPPED: Final = CODING | CONNECTION | UPGRADE | TE | HOP | TRAILER
"""Hop-by-hop (RFC 9110 7.6.1): goes no further as it is."""

_MARKS: Final = {
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    b"expect": EXPECT,
    b"te": TE,
    b"trailer": TRAILER,
    b"proxy-connection": HOP,
    b"keep-alive": HOP,
    b"proxy-authenticate": HOP,
    b"proxy-authorization": HOP,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-host": FORWARDED_MORE,
    b"x-forwarded-proto": FORWARDED_MORE,
    b"forwarded": FORWARDED,
    b"date": DATE,
    **dict.fromkeys(VOLATILE_NAMES, VOLATILE),
}
_KNATIVE_PREFIXES: Final = (b"k-", b"knative-")
_AGENT_PREFIXES: Final = (b"kube-probe", b"Knative-")


def marks_of(name: bytes, value: bytes) -> int:
    """Return the marks of a line; `name` in lower case."""
    marks = _MARKS.get(name, 0)
    if not marks:
        if name.startswith(_KNATIVE_PREFIXES):
            return KNATIVE
        if name == b"user-agent" and value.startswith(_AGENT_PREFIXES):
            return PROBE_AGENT
    return marks


class Field:
    """One header line."""

    __slots__ = ("line", "marks", "name", "value")

    def __init__(self, name: bytes, value: bytes, line: bytes) -> None:
        self.name = name
        """Lower case."""
        self.value = value
        """Without surrounding white space."""
        self.line = line
        """As it stood on the wire, without its line end: what is sent on when nothing edits it."""
        self.marks = marks_of(name, value)

    def __repr__(self) -> str:
        return f"Field({self.line!r})"
