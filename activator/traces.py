"""The spans that the activator adds to a request's trace, and the trace's way on to the pod. Loaded only when it is on.

    server  GET                              from arrival to the end
    +- wait  throttler_try                   until the request was forwarded, or was not
    |  +- knuv.cold_start.report             until the autoscaler was told
    |  +- knuv.cold_start.capacity           until there was a pod
    +- proxy  activator_proxy                from there to the end
       +- knuv.cold_start.response           until the response began
       +- client  GET /path                  the same as the proxy's; the pod sees this one as its parent

Requests that waited for a first pod have the spans of a cold start. Probes have none at all.

Source: spec activator.md 14.
"""

import asyncio
from typing import Final

from activator.active_revision import ActiveRevision
from activator.endpoints import split_address
from kube.tracing_settings import TracingSettings
from proxies.exchange import Exchange
from proxies.headers import Edits
from proxies.logs import Logger
from proxies.otlp import Endpoint
from proxies.spans import SpanQueue
from proxies.stdout import StdoutLines
from proxies.traced import SpanTree, Traced, TraceEdits, attribute_text

__all__ = ["Traces"]

_SCOPE: Final = "knative.dev/serving/pkg/activator"


class Traces:
    """Finds the place of each exchange in its trace, and makes the spans of those that are kept."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: TracingSettings,
        log: Logger,
        *,
        destination: Endpoint | StdoutLines,
        resource: dict[str, str],
    ) -> None:
        """`destination`: of the spans."""
        self._sampler = settings.sampling(log)
        self._queue = SpanQueue(loop, log, resource, destination, scope=_SCOPE)

    async def stop(self) -> None:
        """Send what waits, within a few seconds."""
        await self._queue.close()

    def edits(self, exchange: Exchange, way: TraceEdits) -> Edits:
        """Return how the head of an exchange is edited on a way to a pod; on a second way its place is the same."""
        traced = exchange.span
        if not isinstance(traced, Traced):
            traced = exchange.span = Traced(exchange.request, self._sampler)
        traced.edits = way
        return traced

    def ended(self, exchange: Exchange, revision: ActiveRevision | None, now_s: float) -> None:
        """An exchange is over; `revision`: None if it is not known, or sleeps on."""
        traced = exchange.span
        if not isinstance(traced, Traced):
            # It never came to a pod.
            traced = Traced(exchange.request, self._sampler)
        if not traced.is_kept:
            return
        tree = SpanTree(exchange, traced, now_s)
        server_id = tree.server({} if revision is None else revision.attributes)
        if revision is not None:
            _add_phases(tree, exchange, revision, server_id)
        self._queue.add(tree.spans)


def _add_phases(tree: SpanTree, exchange: Exchange, revision: ActiveRevision, server_id: str) -> None:
    """What became of a request of a revision, beside the server's span."""
    arrived_s, forwarded_s = exchange.arrived_s, exchange.forwarded_s
    wait_id = tree.internal("throttler_try", server_id, end_s=forwarded_s, is_error=not forwarded_s)
    if not forwarded_s:
        return
    wakened = revision.wakened
    has_waited = wakened is not None and arrived_s < wakened.capacity_s <= forwarded_s
    if wakened is not None and has_waited:
        reported_s = max(wakened.reported_s, arrived_s)
        if reported_s > arrived_s:
            tree.internal("knuv.cold_start.report", wait_id, end_s=reported_s)
        tree.internal("knuv.cold_start.capacity", wait_id, reported_s, wakened.capacity_s)
    proxy_id = tree.internal("activator_proxy", server_id, forwarded_s)
    if has_waited and exchange.responded_s:
        tree.internal("knuv.cold_start.response", proxy_id, forwarded_s, exchange.responded_s)
    target = revision.throttler.target_of(exchange)
    peer: dict[str, str | int] = {}
    if target is not None:
        peer["server.address"], peer["server.port"] = split_address(target.address)
    path = attribute_text(exchange.request.target.partition(b"?")[0]) or "/"
    tree.client(f"{tree.method} {path}", proxy_id, peer)
