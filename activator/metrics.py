"""What one activator tells, for dashboards. Imported only when metrics are on.

    kn.revision.request.*       looked up in the revisions when somebody reads
    kn.activator.stats.conn.*   looked up in the stat reporter
    http.server.*, http.client.*  recorded as requests end; of probes and unknown revisions nothing is
    knuv.cold_start             recorded once for each cold start, when its first response begins

A revision's series are there from its first request until it is deleted.

Source: knative/serving `pkg/activator/{metrics,handler/metrics}.go`; spec activator.md 13.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from activator.active_revision import ActiveRevision, ColdStart
from activator.loads import Load, RevisionKey
from activator.stat_reporter import StatReporter
from proxies.exchange import Exchange, Outcome
from proxies.metrics.instruments import Attributes, Distribution, Instrument, Observations, Registry

__all__ = ["ActivatorMetrics"]

_SCOPE: Final = "knative.dev/serving/pkg/activator"
_HTTP_SCOPE: Final = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
_HTTP_SCOPE_VERSION: Final = "0.69.0"
_DURATION_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_SIZE_BOUNDS: Final = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
_COLD_START_BOUNDS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_CLASSES_MAX: Final = 5000
"""Classes of requests that are remembered; then all are looked up anew."""
_METHODS: Final = frozenset([b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"])

_Class = tuple[tuple[Distribution, Distribution, Distribution], tuple[Distribution, Distribution] | None]


class ActivatorMetrics:
    """Adds its instruments to a registry and is told of requests, reports and cold starts."""

    def __init__(
        self, registry: Registry, *, revisions: Mapping[RevisionKey, ActiveRevision], reporter: StatReporter
    ) -> None:
        self._revisions = revisions
        self._concurrency: dict[RevisionKey, float] = {}
        self._classes: dict[object, _Class] = {}
        scope = registry.scope(_SCOPE)

        def gauge(name: str, description: str, observe: Callable[[], Observations], unit: str = "{request}") -> None:
            scope.gauge(name, unit=unit, description=description).observe(observe)

        gauge("kn.revision.request.concurrency", "Concurrency as reported to the autoscaler.", self._concurrencies)
        gauge(
            "kn.revision.request.queued",
            "Requests that wait for capacity.",
            lambda: self._counts(lambda revision: revision.throttler.waiting),
        )
        gauge(
            "kn.revision.request.active",
            "Requests that are forwarded.",
            lambda: self._counts(lambda revision: revision.throttler.running),
        )
        peer = {"peer": "autoscaler"}
        gauge(
            "kn.activator.stats.conn.reachable",
            "1 while the autoscaler is connected.",
            lambda: [(peer, reporter.is_connected)] if reporter.is_connected or reporter.losses else [],
            unit="{reachable}",
        )
        scope.counter("kn.activator.stats.conn.errors", unit="{error}", description="Connections lost.").observe(
            lambda: [(peer, reporter.losses)] if reporter.losses else []
        )
        self._cold_starts = registry.scope("knuv").histogram(
            "knuv.cold_start",
            _COLD_START_BOUNDS_S,
            unit="s",
            description="Phases of cold starts, of their first requests.",
        )
        http = registry.scope(_HTTP_SCOPE, version=_HTTP_SCOPE_VERSION)

        def histogram(name: str, unit: str, description: str) -> Instrument[Distribution]:
            return http.histogram(
                name, _DURATION_BOUNDS_S if unit == "s" else _SIZE_BOUNDS, unit=unit, description=description
            )

        self._served = (
            histogram("http.server.request.duration", "s", "Duration of requests."),
            histogram("http.server.request.body.size", "By", "Size of request bodies."),
            histogram("http.server.response.body.size", "By", "Size of response bodies."),
        )
        self._called = (
            histogram("http.client.request.duration", "s", "From the hand-over to the head of a response."),
            histogram("http.client.request.body.size", "By", "Size of request bodies."),
        )

    # What the service calls.

    def reported(self, loads: Iterable[Load]) -> None:
        """These loads go to the autoscaler."""
        for load in loads:
            if load.key in self._revisions:
                self._concurrency[load.key] = load.concurrency

    def ended(self, exchange: Exchange, revision: ActiveRevision | None, now_s: float) -> None:
        """An exchange is over; `revision`: None if it is not known, or sleeps on."""
        request = exchange.request
        outcome = exchange.outcome
        name = None if revision is None else revision.key
        key = (name, request.method, request.version, exchange.status, outcome, exchange.responded_s > 0)
        found = self._classes.get(key)
        if found is None:
            if len(self._classes) >= _CLASSES_MAX:
                self._classes.clear()
            found = self._classes[key] = self._class_of(exchange, revision)
        (duration, request_size, response_size), called = found
        duration.record(now_s - exchange.arrived_s)
        request_size.record(exchange.request_bytes)
        response_size.record(exchange.response_bytes)
        if called is not None:
            client_duration, client_size = called
            client_duration.record((exchange.responded_s or now_s) - exchange.forwarded_s)
            client_size.record(exchange.request_bytes)

    def cold_started(self, cold_start: ColdStart) -> None:
        """The first response of a cold start has begun."""
        for phase, seconds in cold_start.phases_s.items():
            self._cold_starts.series({"phase": phase}).record(seconds)

    # Inside.

    def _concurrencies(self) -> Observations:
        for key, concurrency in list(self._concurrency.items()):
            revision = self._revisions.get(key)
            if revision is None:
                del self._concurrency[key]
            else:
                yield revision.attributes, concurrency

    def _counts(self, count: Callable[[ActiveRevision], int]) -> Observations:
        for key, revision in self._revisions.items():
            number = count(revision)
            if number or key in self._concurrency:
                namespace, name = key.namespace.decode(), key.name.decode()
                yield {"k8s.namespace.name": namespace, "kn.revision.name": name}, number

    def _class_of(self, exchange: Exchange, revision: ActiveRevision | None) -> _Class:
        request = exchange.request
        common: Attributes = {
            "http.request.method": request.method.decode() if request.method in _METHODS else "_OTHER",
            "url.scheme": "http",
            "network.protocol.name": "http",
            "network.protocol.version": request.version,
            **({} if revision is None else revision.attributes),
        }
        status = exchange.status or _STATUS_OF_NOBODY
        served_as = {**common, "http.response.status_code": status}
        duration, request_size, response_size = (instrument.series(served_as) for instrument in self._served)
        if not exchange.forwarded_s:
            return (duration, request_size, response_size), None
        called_as: Attributes
        if exchange.responded_s:
            called_as = {**common, "http.response.status_code": status}
        else:
            outcome = exchange.outcome or Outcome.ABORTED
            called_as = {**common, "error.type": outcome.value}
        client_duration, client_size = (instrument.series(called_as) for instrument in self._called)
        return (duration, request_size, response_size), (client_duration, client_size)


_STATUS_OF_NOBODY: Final = 500
"""What the original measures when the client has left before it was told a status."""
