"""The spans that queue-proxy adds to a request's trace, and the trace's way on to the app. Loaded only when it is on.

    server  GET                      from arrival to the end
    +- proxy  kn.queueproxy.proxy    the same
       +- wait  kn.queueproxy.wait   until a place was free; only with a breaker
          +- client  HTTP GET        from the hand-over to the end; the app sees this one as its parent

Probes, and whatever else carries `K-Network-Probe`, have no spans.

Source: spec queue-proxy.md 18.
"""

import asyncio
from typing import Final

from proxies import fields, headers
from proxies.exchange import Exchange
from proxies.headers import Edits
from proxies.logs import Logger
from proxies.messages import RequestHead
from proxies.otlp import Endpoint
from proxies.spans import Span, SpanQueue
from proxies.stdout import StdoutLines
from proxies.traced import SpanTree, Traced, TraceEdits, sampler_of
from queue_proxy.observability import Protocol, Tracing
from queue_proxy.policy import APP_EDITS
from queue_proxy.request_metrics import route_tag

__all__ = ["Traces"]

_SCOPE: Final = "knative.dev/serving/pkg/queue"
_EDITS: Final = TraceEdits(APP_EDITS)
_TAG_MAX: Final = 256


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
        self._sampler = sampler_of(
            tracing.sampling_rate,
            name=tracing.sampler,
            argument=tracing.sampler_argument,
            is_always_on=tracing.protocol is Protocol.STDOUT,
            logger=logger,
        )
        self._queue = SpanQueue(loop, logger, resource, destination, scope=_SCOPE)
        self._app: dict[str, str | int] = {
            "server.address": "127.0.0.1",
            "server.port": int(user_port) if user_port.isdecimal() else 0,
        }
        self._has_breaker = has_breaker

    async def stop(self) -> None:
        """Send what waits, within a few seconds."""
        await self._queue.close()

    # What the policy calls.

    def edits(self, exchange: Exchange) -> Edits:
        """Find the exchange's place; its edits add the trace on the way to the app."""
        if _is_probe(exchange.request):
            return APP_EDITS
        traced = exchange.span = Traced(exchange.request, self._sampler, _EDITS)
        return traced

    def ended(self, exchange: Exchange, now_s: float) -> None:
        """A counted exchange is over: make its spans, if they are kept."""
        traced = exchange.span
        if not isinstance(traced, Traced):
            if _is_probe(exchange.request):
                return
            # It never came to the app.
            traced = Traced(exchange.request, self._sampler)
        if traced.is_kept:
            self._queue.add(self._spans(exchange, traced, now_s))

    def probe_ended(self, exchange: Exchange, now_s: float) -> None:
        """Probes have no spans."""

    # Inside.

    def _spans(self, exchange: Exchange, traced: Traced, now_s: float) -> list[Span]:
        request = exchange.request
        tree = SpanTree(exchange, traced, now_s)
        tag = route_tag(request.get(headers.TAG)[:_TAG_MAX], request.get(headers.DEFAULT_ROUTE))
        parent_id = tree.internal("kn.queueproxy.proxy", tree.server({"kn.route.tag": tag}))
        if self._has_breaker:
            parent_id = tree.internal("kn.queueproxy.wait", parent_id, end_s=exchange.forwarded_s)
        if exchange.forwarded_s:
            tree.client(f"HTTP {tree.method}", parent_id, self._app)
        return tree.spans


def _is_probe(request: RequestHead) -> bool:
    """Counted, and yet not told of (spec queue-proxy.md 5, row 4)."""
    return bool(request.marks & fields.KNATIVE and request.get(headers.PROBE))
