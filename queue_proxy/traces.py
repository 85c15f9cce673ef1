"""The spans that queue-proxy adds to a request's trace, and the trace's way on to the app. Loaded only when it is on.

    server  GET                      from arrival to the end
    +- proxy  kn.queueproxy.proxy    the same
       +- wait  kn.queueproxy.wait   until a place was free; only with a breaker
          +- client  HTTP GET        from the hand-over to the end; the app sees this one as its parent

Requests that are not sampled go on in their trace, too, with a span id of their own that is told to nobody. Probes, and
whatever else carries `K-Network-Probe`, have no spans.

Source: spec queue-proxy.md 18; OpenTelemetry semantic conventions for HTTP.
"""

import asyncio
import time
from typing import Final

from proxies import fields, headers
from proxies.exchange import Exchange, Outcome
from proxies.headers import Edits, HeadEdits, HostRule
from proxies.logs import Logger
from proxies.messages import RequestHead
from proxies.otlp import Endpoint
from proxies.spans import Place, Sampler, Span, SpanKind, SpanQueue, new_span_id, parse_traceparent
from proxies.stdout import StdoutLines
from queue_proxy.observability import Protocol, Tracing
from queue_proxy.policy import APP_EDITS
from queue_proxy.request_metrics import route_tag

__all__ = ["Traces", "sampler_of"]

_TRACEPARENT: Final = b"traceparent"
_TRACESTATE: Final = b"tracestate"
_TEXT_MAX: Final = 256
_METHODS: Final = frozenset([b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"])


def _edits(*removed: bytes) -> HeadEdits:
    return HeadEdits(remove=[*APP_EDITS.remove, *removed], host_rule=HostRule.RESTORE, add_forwarded=True)


_GOES_ON: Final = _edits(_TRACEPARENT)
_BEGINS: Final = _edits(_TRACEPARENT, _TRACESTATE)
"""What a caller says about a trace that nobody can find is not passed on (W3C Trace Context 4.3)."""


class _Traced:
    """The place of one exchange in its trace; edits its head."""

    __slots__ = ("client_id", "has_parent", "is_kept", "place")

    def __init__(self, request: RequestHead, sampler: Sampler) -> None:
        parent = _parent(request)
        self.has_parent = has_parent = parent is not None
        place = parent or Place.root()
        self.is_kept = is_kept = sampler.keeps(place, has_parent=has_parent)
        self.place = Place(place.trace_id, place.span_id, is_kept)
        self.client_id = new_span_id()

    def apply(self, head: RequestHead, peer: bytes) -> bytes:
        """Return the edited head with our `traceparent`."""
        edits = _GOES_ON if self.has_parent else _BEGINS
        lines, core = head.lines, head.core
        if core is None:
            rendered = edits.apply(head, peer)[:-2]
        else:
            # What heads share is edited once; a caller's `traceparent` is mostly among the lines beside it.
            kept = [line for line in lines if line[: len(_TRACEPARENT) + 1].lower() != _TRACEPARENT + b":"]
            rendered = b"\r\n".join((edits.apply(core, peer)[:-4], *kept, b""))
        return b"%straceparent: %s\r\n\r\n" % (rendered, self.place.traceparent(self.client_id))


def _is_probe(request: RequestHead) -> bool:
    """Counted, and yet not told of (spec queue-proxy.md 5, row 4)."""
    return bool(request.marks & fields.KNATIVE and request.get(headers.PROBE))


def _parent(request: RequestHead) -> Place | None:
    """Return the caller's place; of several that it names none counts (W3C Trace Context 4.3)."""
    value = request.get(_TRACEPARENT)
    if not value or len(request.get_all(_TRACEPARENT)) > 1:
        return None
    return parse_traceparent(value)


class Traces:
    """A `queue_proxy.policy.Telemetry` that traces."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        tracing: Tracing,
        logger: Logger,
        *,
        destination: Endpoint | StdoutLines,
        resource: dict[str, str],
        user_port: str,
        has_breaker: bool,
    ) -> None:
        """`destination`: of the spans."""
        self._sampler = sampler_of(tracing, logger)
        self._queue = SpanQueue(loop, logger, resource, destination)
        self._user_port = int(user_port) if user_port.isdecimal() else 0
        self._has_breaker = has_breaker

    async def stop(self) -> None:
        """Send what waits, within a few seconds."""
        await self._queue.close()

    # What the policy calls.

    def edits(self, exchange: Exchange) -> Edits:
        """Find the exchange's place; its edits add the trace on the way to the app."""
        if _is_probe(exchange.request):
            return APP_EDITS
        traced = exchange.span = _Traced(exchange.request, self._sampler)
        return traced

    def ended(self, exchange: Exchange, now_s: float) -> None:
        """A counted exchange is over: make its spans, if they are kept."""
        traced = exchange.span
        if not isinstance(traced, _Traced):
            if _is_probe(exchange.request):
                return
            # It never came to the app.
            traced = _Traced(exchange.request, self._sampler)
        if traced.is_kept:
            self._queue.add(self._spans(exchange, traced, now_s))

    def probe_ended(self, exchange: Exchange, now_s: float) -> None:
        """Probes have no spans."""

    # Inside.

    def _spans(self, exchange: Exchange, traced: _Traced, now_s: float) -> list[Span]:
        """Times are put on the clock of the moment, so that a step of it before the end does no harm."""
        now_ns = time.time_ns()

        def unix_ns(monotonic_s: float) -> int:
            return now_ns - int((now_s - monotonic_s) * 1e9)

        begin_ns = unix_ns(exchange.arrived_s)
        forwarded_ns = unix_ns(exchange.forwarded_s) if exchange.forwarded_s else now_ns
        request, place = exchange.request, traced.place
        method = request.method.decode("latin-1") if request.method in _METHODS else "HTTP"
        state = request.get(_TRACESTATE).decode("latin-1") if traced.has_parent else ""
        common = self._common(request, method)
        server_id, proxy_id = new_span_id(), new_span_id()
        status = exchange.status
        spans = [
            Span(
                place,
                server_id,
                method,
                SpanKind.SERVER,
                begin_ns,
                now_ns,
                common | _server(exchange),
                is_error=status >= 500,
                trace_state=state,
            )
        ]
        parent = Place(place.trace_id, server_id, True)
        spans.append(
            Span(parent, proxy_id, "kn.queueproxy.proxy", SpanKind.INTERNAL, begin_ns, now_ns, {}, trace_state=state)
        )
        parent = Place(place.trace_id, proxy_id, True)
        if self._has_breaker:
            wait_id = new_span_id()
            spans.append(
                Span(
                    parent,
                    wait_id,
                    "kn.queueproxy.wait",
                    SpanKind.INTERNAL,
                    begin_ns,
                    forwarded_ns,
                    {},
                    trace_state=state,
                )
            )
            parent = Place(place.trace_id, wait_id, True)
        if exchange.forwarded_s:
            attributes = common | {"server.address": "127.0.0.1", "server.port": self._user_port}
            if exchange.responded_s:
                attributes["http.response.status_code"] = status
            elif exchange.outcome is not None:
                attributes["error.type"] = exchange.outcome.value
            is_error = exchange.outcome is not Outcome.COMPLETE or status >= 400
            spans.append(
                Span(
                    parent,
                    traced.client_id,
                    f"HTTP {method}",
                    SpanKind.CLIENT,
                    forwarded_ns,
                    now_ns,
                    attributes,
                    is_error=is_error,
                    trace_state=state,
                )
            )
        return spans

    def _common(self, request: RequestHead, method: str) -> dict[str, str | int]:
        return {
            "http.request.method": method if method != "HTTP" else "_OTHER",
            "url.scheme": "http",
            "url.path": _text(request.target.partition(b"?")[0]),
            "network.protocol.version": request.version,
        }


def _server(exchange: Exchange) -> dict[str, str | int]:
    """What only the server's span has."""
    request = exchange.request
    attributes: dict[str, str | int] = {
        "server.address": _text(request.host),
        "client.address": _text(exchange.peer),
        "user_agent.original": _text(request.get(headers.USER_AGENT)),
        "http.response.status_code": exchange.status,
        "kn.route.tag": route_tag(request.get(headers.TAG)[:_TEXT_MAX], request.get(headers.DEFAULT_ROUTE)),
    }
    return {key: value for key, value in attributes.items() if value}


def _text(value: bytes) -> str:
    return value[:_TEXT_MAX].decode("utf-8", "replace")


def sampler_of(tracing: Tracing, logger: Logger) -> Sampler:
    """Return the sampler that the settings come to (spec queue-proxy.md 18)."""
    if tracing.sampler:
        try:
            return Sampler.named(tracing.sampler, tracing.sampler_argument)
        except ValueError as error:
            logger.warning(
                "sampler_unknown", variable="OTEL_TRACES_SAMPLER", problem=str(error), used="parentbased_always_on"
            )
            return Sampler(1.0, follows_parent=True)
    rate = float(tracing.sampler_argument) if tracing.sampler_argument else tracing.sampling_rate
    if tracing.protocol is Protocol.STDOUT or rate >= 1.0:
        return Sampler(1.0, follows_parent=False)
    if tracing.sampling_rate <= 0.0:
        return Sampler(0.0, follows_parent=False)
    return Sampler(tracing.sampling_rate, follows_parent=True)
