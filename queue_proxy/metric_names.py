"""The instruments of queue-proxy: OpenTelemetry's, and those of before.

`docs/metrics.md` lists them; a test holds the page and this module together.

Source: spec queue-proxy.md 17.2; knative.dev "Service metrics" for the names of before.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from proxies.metrics.instruments import Attributes, Distribution, Instrument, Observations, Registry
from queue_proxy.request_metrics import (
    CLIENT_S,
    INVOCATION_S,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    TOTAL_S,
    Facts,
    Sink,
)

__all__ = ["OpenCensusNames", "OpenTelemetryNames"]

QUEUE_SCOPE: Final = "knative.dev/serving/pkg/queue"
HTTP_SCOPE: Final = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
HTTP_SCOPE_VERSION: Final = "0.69.0"
"""Whose names, attributes and buckets these are: queries that select by scope go on working."""

_DURATION_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_SIZE_BOUNDS: Final = (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)
"""OpenTelemetry's default for histograms."""
_LATENCY_BOUNDS_MS: Final = (
    *(5, 10, 20, 40, 60, 80, 100, 150, 200, 250, 300, 350, 400, 450, 500, 600, 700, 800, 900, 1000),
    *(2000, 5000, 10000, 20000, 50000, 100000),
)

SERIES_MAX: Final = 200
"""Where a client's words are attributes: a flood of hosts must not make scrapes long (10 ms with all series taken)."""


class OpenTelemetryNames:
    """`kn.serving.*`, `http.server.*` and `http.client.*`."""

    def __init__(self, registry: Registry, *, user_port: str, queue_depth: Callable[[], int]) -> None:
        """`queue_depth`: see `_depth`."""
        self._target: Attributes = {
            "server.address": "127.0.0.1",
            "server.port": int(user_port) if user_port.isdecimal() else 0,
        }
        queue = registry.scope(QUEUE_SCOPE)
        self._invocation = queue.histogram(
            "kn.serving.invocation.duration",
            _DURATION_BOUNDS_S,
            unit="s",
            description="From admission to the end of the user container's response.",
        )
        queue.gauge(
            "kn.serving.queue.depth",
            unit="{request}",
            description="Requests inside the breaker, running and waiting, when one was admitted last.",
        ).observe(_depth(queue_depth, {}))
        http = registry.scope(HTTP_SCOPE, version=HTTP_SCOPE_VERSION)

        def histogram(name: str, unit: str, description: str) -> Instrument[Distribution]:
            bounds = _DURATION_BOUNDS_S if unit == "s" else _SIZE_BOUNDS
            return http.histogram(name, bounds, unit=unit, description=description, series_max=SERIES_MAX)

        self._served = (
            (TOTAL_S, histogram("http.server.request.duration", "s", "Duration of requests.")),
            (REQUEST_BYTES, histogram("http.server.request.body.size", "By", "Size of request bodies.")),
            (RESPONSE_BYTES, histogram("http.server.response.body.size", "By", "Size of the app's response bodies.")),
        )
        self._called = (
            (CLIENT_S, histogram("http.client.request.duration", "s", "From admission to the head of a response.")),
            (REQUEST_BYTES, histogram("http.client.request.body.size", "By", "Size of request bodies.")),
        )

    def measurements(self, facts: Facts) -> Iterable[tuple[int, Sink]]:
        """Return the histograms for requests with these `facts`, and what of a row each is given."""
        common = {
            "http.request.method": facts.method,
            "url.scheme": "http",
            "network.protocol.name": "http",
            "network.protocol.version": facts.version,
            "kn.route.tag": facts.route_tag,
        }
        if facts.server_status is not None:
            served = {**common, **_address(facts.authority), "http.response.status_code": facts.server_status}
            for column, instrument in self._served:
                yield column, instrument.series(served)
        if facts.client_result:
            key = "error.type" if isinstance(facts.client_result, str) else "http.response.status_code"
            called = {
                **common,
                **self._target,
                "network.protocol.version": "2.0" if facts.version == "2.0" else "1.1",
                key: facts.client_result,
            }
            for column, instrument in self._called:
                yield column, instrument.series(called)
        if facts.invocation_status is not None:
            yield INVOCATION_S, self._invocation.series({"http.response.status_code": facts.invocation_status})


class OpenCensusNames:
    """`revision_*`: plain names, times in milliseconds, and the pod in each label."""

    def __init__(self, registry: Registry, *, labels: Mapping[str, str], queue_depth: Callable[[], int]) -> None:
        """`labels`: `namespace_name` and the like, on every series. `queue_depth`: see `_depth`."""
        self._labels = labels
        scope = registry.scope("knuv/opencensus", is_plain=True)

        def latencies(name: str, description: str) -> Instrument[Distribution]:
            return scope.histogram(name, _LATENCY_BOUNDS_MS, unit="ms", description=description, series_max=SERIES_MAX)

        self._total = latencies("revision_request_latencies", "Duration of requests in milliseconds.")
        self._app = latencies(
            "revision_app_request_latencies", "From admission to the end of the response, in milliseconds."
        )
        for name, instrument, description in (
            ("revision_request_count", self._total, "Requests to queue-proxy."),
            ("revision_app_request_count", self._app, "Requests to the user container."),
        ):
            scope.counter(name, description=description, series_max=SERIES_MAX).observe(_counts(instrument))
        scope.gauge(
            "revision_queue_depth",
            description="Requests inside the breaker, running and waiting, when one was admitted last.",
        ).observe(_depth(queue_depth, labels))

    def measurements(self, facts: Facts) -> Iterable[tuple[int, Sink]]:
        """Return the histograms for requests with these `facts`, and what of a row each is given."""
        status = 500 if facts.server_status is None else facts.server_status
        tag = _OLD_TAGS.get(facts.route_tag, facts.route_tag)
        yield TOTAL_S, _Milliseconds(self._total.series({**self._status(status), "route_tag": tag}))
        if facts.invocation_status is not None:
            yield INVOCATION_S, _Milliseconds(self._app.series(self._status(facts.invocation_status)))

    def _status(self, status: int) -> dict[str, str]:
        return {**self._labels, "response_code": str(status), "response_code_class": f"{status // 100}xx"}


class _Milliseconds:
    """A histogram that is given seconds and counts whole milliseconds, as it always did."""

    __slots__ = ("_series",)

    def __init__(self, series: Distribution) -> None:
        self._series = series

    def record_all(self, values: Iterable[float]) -> None:
        """Take many measurements."""
        self._series.record_all([int(value_s * 1000) for value_s in values])


_OLD_TAGS: Final = {"kn:disabled": "DISABLED", "kn:default": "DEFAULT", "kn:undefined": "UNDEFINED"}


def _address(authority: str) -> Attributes:
    """Return `server.address`, and `server.port` unless it is HTTP's own."""
    host, colon, port = authority.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()):
        host, port = authority, "80"
    address = {"server.address": host.removeprefix("[").removesuffix("]")}
    return address if int(port) == 80 else {**address, "server.port": int(port)}


def _depth(queue_depth: Callable[[], int], labels: Attributes) -> Callable[[], Observations]:
    """`queue_depth`: requests inside the breaker when one was admitted last, itself included.

    It is 0 before the first, and for good where there is no breaker: then there is nothing to tell.
    """
    return lambda: [(labels, depth)] if (depth := queue_depth()) else []


def _counts(instrument: Instrument[Distribution]) -> Callable[[], Observations]:
    """Each measurement is one request."""
    return lambda: [(series.attributes, series.count) for series in instrument.all_series()]
