"""The place of an exchange in a trace, its head on the way on, and its spans when it is over. Loaded only with tracing.

A proxy gives the server's span, spans of its own, and the client's span, which the peer sees as its parent. Requests
that are not sampled go on in their trace, too, with a span id that is told to nobody.

Source: spec queue-proxy.md 18, activator.md 14; W3C Trace Context; OpenTelemetry semantic conventions for HTTP.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from proxies import headers
from proxies.exchange import Exchange, Outcome
from proxies.headers import HeadEdits
from proxies.logs import Logger
from proxies.messages import RequestHead
from proxies.spans import Place, Sampler, Span, SpanKind, new_span_id, parse_traceparent

__all__ = ["SpanTree", "TraceEdits", "Traced", "attribute_text", "sampler_of"]

_TRACEPARENT: Final = b"traceparent"
_TRACESTATE: Final = b"tracestate"
_TEXT_MAX: Final = 256
_METHODS: Final = frozenset([b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"])


class TraceEdits:
    """Edits of heads that make room for our `traceparent`. Make it once for each editing and use it again."""

    __slots__ = ("begins", "goes_on")

    def __init__(self, base: HeadEdits) -> None:
        self.goes_on = base.without(_TRACEPARENT)
        self.begins = base.without(_TRACEPARENT, _TRACESTATE)
        """What a caller says about a trace that nobody can find is not passed on (W3C Trace Context 4.3)."""


class Traced:
    """The place of one exchange in its trace; edits its head."""

    __slots__ = ("client_id", "edits", "has_parent", "is_kept", "place")

    def __init__(self, request: RequestHead, sampler: Sampler, edits: TraceEdits | None = None) -> None:
        """`edits`: also to be set later; None for what is never sent on."""
        self.edits = edits
        parent = _parent(request)
        self.has_parent = has_parent = parent is not None
        place = parent or Place.root()
        self.is_kept = is_kept = sampler.keeps(place, has_parent=has_parent)
        self.place = Place(place.trace_id, place.span_id, is_kept)
        self.client_id = new_span_id()

    def apply(self, head: RequestHead, peer: bytes) -> bytes:
        """Return the edited head with our `traceparent`."""
        rendered, lines = self.parts(head, peer)
        return b"%s%s\r\n\r\n" % (rendered[:-2], b"\r\n".join(lines))

    def parts(self, head: RequestHead, peer: bytes) -> tuple[bytes, Sequence[bytes]]:
        """Return `apply` in two parts: the head, as many requests may have it; and lines to add, without their ends."""
        assert self.edits is not None, "what is sent on is edited"
        edits = self.edits.goes_on if self.has_parent else self.edits.begins
        ours = b"traceparent: %s" % self.place.traceparent(self.client_id)
        if head.core is None:
            return edits.apply(head, peer), (ours,)
        # What heads share is edited once; a caller's `traceparent` is mostly among the lines beside it.
        own = edits.own
        kept = [line for line in head.lines if line.partition(b":")[0].lower() not in own]
        return edits.apply(head.core, peer), (*kept, ours)


class SpanTree:
    """The spans of one exchange that has ended. Times are put on the clock of the moment, so that its steps do no harm.

    `server` comes first; what has no times of its own lasts as long as the exchange.
    """

    __slots__ = ("_common", "_exchange", "_now_ns", "_now_s", "_state", "_traced", "method", "spans")

    def __init__(self, exchange: Exchange, traced: Traced, now_s: float) -> None:
        """`now_s`: when it ended, monotonic."""
        request = exchange.request
        self._exchange = exchange
        self._traced = traced
        self._now_s = now_s
        self._now_ns = time.time_ns()
        self._state = request.get(_TRACESTATE).decode("latin-1") if traced.has_parent else ""
        is_known = request.method in _METHODS
        self.method = request.method.decode() if is_known else "HTTP"
        """As names of spans have it."""
        self._common: dict[str, str | int] = {
            "http.request.method": self.method if is_known else "_OTHER",
            "url.scheme": "http",
            "url.path": attribute_text(request.target.partition(b"?")[0]),
            "network.protocol.version": request.version,
        }
        self.spans: list[Span] = []

    def server(self, attributes: Mapping[str, str | int]) -> str:
        """Add the server's span, which also has these attributes; return its id."""
        exchange, request = self._exchange, self._exchange.request
        told = {
            "server.address": attribute_text(request.host),
            "client.address": attribute_text(exchange.peer),
            "user_agent.original": attribute_text(request.get(headers.USER_AGENT)),
            "http.response.status_code": exchange.status,
            **attributes,
        }
        return self._add(
            self._traced.place,
            new_span_id(),
            self.method,
            SpanKind.SERVER,
            attributes=self._common | {key: value for key, value in told.items() if value},
            is_error=exchange.status >= 500,
        )

    def internal(
        self, name: str, parent_id: str, begin_s: float = 0.0, end_s: float = 0.0, *, is_error: bool = False
    ) -> str:
        """Add a span of ours; return its id. Times: monotonic."""
        parent = Place(self._traced.place.trace_id, parent_id, True)
        return self._add(parent, new_span_id(), name, SpanKind.INTERNAL, begin_s, end_s, is_error=is_error)

    def client(self, name: str, parent_id: str, attributes: Mapping[str, str | int]) -> None:
        """Add the span that the peer sees as its parent, of an exchange that was sent on."""
        exchange = self._exchange
        told = {**self._common, **attributes}
        if exchange.responded_s:
            told["http.response.status_code"] = exchange.status
        elif exchange.outcome is not None:
            told["error.type"] = exchange.outcome.value
        self._add(
            Place(self._traced.place.trace_id, parent_id, True),
            self._traced.client_id,
            name,
            SpanKind.CLIENT,
            exchange.forwarded_s,
            attributes=told,
            is_error=exchange.outcome is not Outcome.COMPLETE or exchange.status >= 400,
        )

    def _add(
        self,
        parent: Place,
        span_id: str,
        name: str,
        kind: int,
        begin_s: float = 0.0,
        end_s: float = 0.0,
        *,
        attributes: Mapping[str, str | int] = {},
        is_error: bool = False,
    ) -> str:
        begin_ns = self._now_ns - int((self._now_s - (begin_s or self._exchange.arrived_s)) * 1e9)
        end_ns = self._now_ns - int((self._now_s - end_s) * 1e9) if end_s else self._now_ns
        self.spans.append(Span(parent, span_id, name, kind, begin_ns, end_ns, attributes, is_error, self._state))
        return span_id


def sampler_of(rate: float, *, name: str, argument: str, is_always_on: bool, logger: Logger) -> Sampler:
    """Return the sampler that the settings come to (spec queue-proxy.md 18).

    `rate`: of the configuration; `name`, `argument`: `OTEL_TRACES_SAMPLER` and `..._ARG`, the latter a number or empty
    where there is no name; `is_always_on`: unless there is a name, as spans go to standard output.
    """
    if name:
        try:
            return Sampler.named(name, argument)
        except ValueError as error:
            logger.warning(
                "sampler_unknown", variable="OTEL_TRACES_SAMPLER", problem=str(error), used="parentbased_always_on"
            )
            return Sampler(1.0, follows_parent=True)
    if is_always_on or (float(argument) if argument else rate) >= 1.0:
        return Sampler(1.0, follows_parent=False)
    if rate <= 0.0:
        return Sampler(0.0, follows_parent=False)
    return Sampler(rate, follows_parent=True)


def attribute_text(value: bytes) -> str:
    """Return what a header says as an attribute's value, which is bounded."""
    return value[:_TEXT_MAX].decode("utf-8", "replace")


def _parent(request: RequestHead) -> Place | None:
    """Return the caller's place; of several that it names none counts (W3C Trace Context 4.3)."""
    value = request.get(_TRACEPARENT)
    if not value or len(request.get_all(_TRACEPARENT)) > 1:
        return None
    return parse_traceparent(value)
