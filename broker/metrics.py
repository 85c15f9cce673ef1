"""What the broker's processes tell, for dashboards. Imported only when metrics are on.

    kn.eventing.dispatch.duration      ingress: what its channel accepted; filter: each request to a subscriber
    kn.eventing.process.duration       filter: until that request was sent
                                       job-sink: each request
    http.server.*                      each request, probes included

A producer chooses the type of its events: beyond the bound of an instrument's series they count under `overflow`.

Source: spec eventing-broker.md 10.2; conformance statement 95; eventing-sources.md 9.
"""

from typing import Final

from broker.brokers import Place
from proxies.exchange import Exchange
from proxies.metrics.instruments import Distribution, Registry

__all__ = ["BOUNDS_S", "FILTER_SCOPE", "INGRESS_SCOPE", "DispatchMetrics", "HttpMetrics", "JobSinkMetrics"]

INGRESS_SCOPE: Final = "knative.dev/pkg/broker/ingress"
FILTER_SCOPE: Final = "knative.dev/pkg/broker/filter"
_JOB_SINK_SCOPE: Final = "knative.dev/cmd/jobsink"
_HTTP_SCOPE: Final = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
_HTTP_SCOPE_VERSION: Final = "0.69.0"
BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_SIZE_BOUNDS: Final = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
_CLASSES_MAX: Final = 5000
"""Combinations that are remembered; then all are looked up anew."""
_METHODS: Final = frozenset([b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PUT", b"TRACE"])


class DispatchMetrics:
    """Of one process."""

    def __init__(self, registry: Registry, scope: str) -> None:
        instruments = registry.scope(scope)
        self._dispatch = instruments.histogram(
            "kn.eventing.dispatch.duration", BOUNDS_S, unit="s", description="From sending an event to the response."
        )
        self._process = (
            instruments.histogram(
                "kn.eventing.process.duration", BOUNDS_S, unit="s", description="From an event's arrival to sending."
            )
            if scope == FILTER_SCOPE
            else None
        )
        self._dispatched: dict[tuple[Place, str, str, int], Distribution] = {}
        self._processed: dict[tuple[Place, str, str], Distribution] = {}

    def dispatched(self, place: Place, kind: str, scheme: str, status: int, seconds: float) -> None:
        """An event of type `kind`, which came by `scheme`, was answered with `status`; 0: not at all."""
        key = (place, kind, scheme, status)
        series = self._dispatched.get(key)
        if series is None:
            if len(self._dispatched) >= _CLASSES_MAX:
                self._dispatched.clear()
            attributes = _attributes(place, kind, scheme)
            if status:
                attributes["http.response.status_code"] = status
            series = self._dispatched[key] = self._dispatch.series(attributes)
        series.record(seconds)

    def processed(self, place: Place, kind: str, scheme: str, seconds: float) -> None:
        """An event is about to be sent, so long after it came."""
        assert self._process is not None, "only the filter tells this"
        key = (place, kind, scheme)
        series = self._processed.get(key)
        if series is None:
            if len(self._processed) >= _CLASSES_MAX:
                self._processed.clear()
            series = self._processed[key] = self._process.series(_attributes(place, kind, scheme))
        series.record(seconds)


class JobSinkMetrics:
    """Of the process that makes Jobs."""

    def __init__(self, registry: Registry) -> None:
        self._dispatch = registry.scope(_JOB_SINK_SCOPE).histogram(
            "kn.eventing.dispatch.duration", BOUNDS_S, unit="s", description="From a request's arrival to its answer."
        )
        self._series: dict[tuple[str, int], Distribution] = {}
        """Statuses and schemes are our own, so they are few."""

    def answered(self, scheme: str, status: int, seconds: float) -> None:
        """A request that came by `scheme` was answered with `status`; 0: not at all."""
        series = self._series.get((scheme, status))
        if series is None:
            attributes: dict[str, str | int | float | bool] = {"url.scheme": scheme}
            if status:
                attributes["http.response.status_code"] = status
            series = self._series[scheme, status] = self._dispatch.series(attributes)
        series.record(seconds)


class HttpMetrics:
    """Requests and responses of a port. `of` gives the same instruments for another one."""

    def __init__(self, registry: Registry, scheme: str) -> None:
        http = registry.scope(_HTTP_SCOPE, version=_HTTP_SCOPE_VERSION)
        self._instruments = (
            http.histogram("http.server.request.duration", BOUNDS_S, unit="s", description="Duration of requests."),
            http.histogram(
                "http.server.request.body.size", _SIZE_BOUNDS, unit="By", description="Size of request bodies."
            ),
            http.histogram(
                "http.server.response.body.size", _SIZE_BOUNDS, unit="By", description="Size of response bodies."
            ),
        )
        self._scheme = scheme
        self._classes: dict[tuple[bytes, str, int], tuple[Distribution, ...]] = {}

    def of(self, scheme: str) -> "HttpMetrics":
        """Return the same for another port."""
        other = HttpMetrics.__new__(HttpMetrics)
        other._instruments = self._instruments
        other._scheme = scheme
        other._classes = {}
        return other

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over."""
        request = exchange.request
        key = (request.method, request.version, exchange.status)
        found = self._classes.get(key)
        if found is None:
            if len(self._classes) >= _CLASSES_MAX:
                self._classes.clear()
            attributes: dict[str, str | int | float | bool] = {
                "http.request.method": request.method.decode() if request.method in _METHODS else "_OTHER",
                "url.scheme": self._scheme,
                "network.protocol.name": "http",
                "network.protocol.version": request.version,
            }
            if exchange.status:
                attributes["http.response.status_code"] = exchange.status
            found = self._classes[key] = tuple(each.series(attributes) for each in self._instruments)
        duration, request_size, response_size = found
        duration.record(exchange.clock() - exchange.arrived_s)
        request_size.record(exchange.request_bytes)
        response_size.record(exchange.response_bytes)


def _attributes(place: Place, kind: str, scheme: str) -> dict[str, str | int | float | bool]:
    return {
        "kn.broker.name": place.broker,
        "kn.broker.namespace": place.namespace,
        "cloudevents.type": kind,
        "url.scheme": scheme,
        "messaging.system": "knative",
        "messaging.destination.name": place.destination,
        "messaging.operation.name": "send",
    }
