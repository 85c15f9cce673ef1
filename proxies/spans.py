"""Spans of traces: where they hang, whether they are kept, how they leave the process. Loaded only when they are on.

A request's place in a trace comes in `traceparent` (W3C Trace Context) and goes on in another one, with a span of ours
in between. `Sampler` decides once per request; spans that are kept wait in a bounded `SpanQueue` and leave in batches,
to a collector (OTLP over HTTP) or as lines of JSON on standard output.

Source: spec queue-proxy.md 18; W3C Trace Context 3.2; opentelemetry-proto `trace/v1/trace.proto`; OpenTelemetry "Trace
SDK".
"""

import asyncio
import json
import re
import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import getrandbits
from typing import Final, NamedTuple

from proxies.logs import Logger
from proxies.metrics.export import attribute_fields
from proxies.otlp import Endpoint, Pusher
from proxies.stdout import StdoutLines
from proxies.wire.protobuf import bytes_field, fixed64_field, text_field, varint_field

__all__ = ["Place", "Sampler", "Span", "SpanKind", "SpanQueue", "new_span_id", "parse_traceparent"]

_SPANS_MAX: Final = 2048
_BATCH: Final = 512
_FLUSH_S: Final = 5.0
_BODIES_MAX: Final = 8

# Version ff is forbidden; a later version than 00 may have more fields behind ours.
_TRACEPARENT: Final = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
_SAMPLED: Final = 1


class Place(NamedTuple):
    """A place in a trace: ids in lower-case hexadecimal."""

    trace_id: str
    span_id: str
    is_sampled: bool

    @classmethod
    def root(cls) -> "Place":
        """Return the place of a trace that begins here; it has no parent."""
        return cls(f"{getrandbits(128) or 1:032x}", "", False)

    def traceparent(self, span_id: str) -> bytes:
        """Return the header's value for a peer whose parent is `span_id`."""
        return f"00-{self.trace_id}-{span_id}-{'01' if self.is_sampled else '00'}".encode()


def new_span_id() -> str:
    """Return the id of a new span."""
    return f"{getrandbits(64) or 1:016x}"


def parse_traceparent(value: bytes) -> Place | None:
    """Return the caller's place, or None when there is none that can be understood."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (match[1] == b"00" and match[5]):
        return None
    trace_id, span_id = match[2].decode(), match[3].decode()
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return Place(trace_id, span_id, bool(int(match[4], 16) & _SAMPLED))


class Sampler:
    """Whether the spans of a request are kept. `follows_parent`: a caller's decision is taken over."""

    __slots__ = ("_bound", "_follows_parent")

    def __init__(self, ratio: float, *, follows_parent: bool) -> None:
        """`ratio`: the share of traces that is kept, from 0 to 1, chosen by their ids."""
        self._follows_parent = follows_parent
        self._bound = int(min(max(ratio, 0.0), 1.0) * (1 << 63))

    @classmethod
    def named(cls, name: str, argument: str) -> "Sampler":
        """Return the sampler of `OTEL_TRACES_SAMPLER` and `..._ARG`. Raises `ValueError`."""
        follows_parent = name.startswith("parentbased_")
        kind = name.removeprefix("parentbased_")
        if kind not in ("always_on", "always_off", "traceidratio"):
            raise ValueError(
                f"expected always_on, always_off or traceidratio, alone or behind parentbased_, got {name!r}"
            )
        ratio = {"always_on": 1.0, "always_off": 0.0}.get(kind)
        if ratio is None:
            ratio = float(argument or 1.0)
            if not 0.0 <= ratio <= 1.0:
                raise ValueError(f"expected a ratio from 0 to 1, got {argument!r}")
        return cls(ratio, follows_parent=follows_parent)

    def keeps(self, place: Place, *, has_parent: bool) -> bool:
        """Decide for a request at `place`."""
        if self._follows_parent and has_parent:
            return place.is_sampled
        return int(place.trace_id[16:], 16) >> 1 < self._bound


class SpanKind:
    """Numbers of the protocol."""

    INTERNAL: Final = 1
    SERVER: Final = 2
    CLIENT: Final = 3


class Span(NamedTuple):
    """One span that has ended."""

    place: Place
    """Of its parent; without a `span_id` it is a root."""
    span_id: str
    name: str
    kind: int
    begin_ns: int
    """Unix time."""
    end_ns: int
    attributes: Mapping[str, str | int]
    is_error: bool = False
    trace_state: str = ""


class SpanQueue:
    """Spans on their way out: at most `_SPANS_MAX`, handed over `_BATCH` at a time or after `_FLUSH_S`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        logger: Logger,
        resource: Mapping[str, str],
        destination: Endpoint | StdoutLines,
        *,
        scope: str,
    ) -> None:
        """`destination`: a collector, or standard output. `scope`: the instrumentation's name."""
        self._loop = loop
        self._logger = logger
        self._resource = dict(resource)
        self._scope = scope
        self._out = (
            destination
            if isinstance(destination, StdoutLines)
            else Pusher(loop, destination, logger, bodies_max=_BODIES_MAX)
        )
        self._spans: list[Span] = []
        self._timer: asyncio.TimerHandle | None = None
        self._dropped = 0

    def add(self, spans: Sequence[Span]) -> None:
        """Take spans of one trace; drop them when too many wait."""
        if len(self._spans) + len(spans) > _SPANS_MAX:
            self._dropped += len(spans)
            return
        self._spans.extend(spans)
        if self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_S, self._flush)
        elif len(self._spans) >= _BATCH:
            self._timer.cancel()
            self._timer = self._loop.call_later(0.0, self._flush)

    async def close(self) -> None:
        """Send what waits, within a few seconds."""
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
        if isinstance(self._out, Pusher):
            await self._out.close()

    def _flush(self) -> None:
        self._timer = None
        spans, self._spans = self._spans, []
        if self._dropped:
            self._logger.warning("spans_dropped", count=self._dropped)
            self._dropped = 0
        if isinstance(self._out, Pusher):
            self._out.push(_request(spans, self._resource, self._scope))
        else:
            for span in spans:
                self._out.write(_as_json(span, self._resource))


def _as_json(span: Span, resource: Mapping[str, str]) -> bytes:
    return json.dumps(
        {
            "name": span.name,
            "traceId": span.place.trace_id,
            "spanId": span.span_id,
            "parentSpanId": span.place.span_id,
            "kind": span.kind,
            "startTimeUnixNano": span.begin_ns,
            "endTimeUnixNano": span.end_ns,
            "attributes": dict(span.attributes),
            "isError": span.is_error,
            "resource": resource,
        }
    ).encode() + b"\n"  # fmt: skip


def _request(spans: Sequence[Span], resource: Mapping[str, str], scope_name: str) -> bytes:
    """`ExportTraceServiceRequest` {resource_spans = 1 {resource = 1, scope_spans = 2 {scope = 1, spans = 2}}}."""
    scope = bytes_field(1, text_field(1, scope_name)) + b"".join(bytes_field(2, _message(span)) for span in spans)
    return bytes_field(1, bytes_field(1, attribute_fields(1, resource)) + bytes_field(2, scope))


_FLAGS: Final = b"\x85\x01" + struct.pack("<I", _SAMPLED)
"""`flags`, field 16 of type fixed32."""
_ERROR: Final = bytes_field(15, varint_field(3, 2))


def _message(span: Span) -> bytes:
    """`Span` {trace_id = 1, span_id = 2, trace_state = 3, parent_span_id = 4, name = 5, kind = 6, start = 7, end = 8,
    attributes = 9, status = 15 {code = 3}, flags = 16}."""
    place = span.place
    parts: list[bytes] = [
        bytes_field(1, bytes.fromhex(place.trace_id)),
        bytes_field(2, bytes.fromhex(span.span_id)),
        text_field(3, span.trace_state) if span.trace_state else b"",
        bytes_field(4, bytes.fromhex(place.span_id)) if place.span_id else b"",
        _name_and_kind(span.name, span.kind),
        fixed64_field(7, span.begin_ns),
        fixed64_field(8, span.end_ns),
        *[_attribute(key, value) for key, value in span.attributes.items()],
        _ERROR if span.is_error else b"",
        _FLAGS,
    ]
    return b"".join(parts)


# Names, methods and addresses come again and again: their encoding is most of a span's cost.


@lru_cache(maxsize=256)
def _name_and_kind(name: str, kind: int) -> bytes:
    return text_field(5, name) + varint_field(6, kind)


@lru_cache(maxsize=1024)
def _attribute(key: str, value: str | int) -> bytes:
    return attribute_fields(9, {key: value})
