"""What queue-proxy measures of requests.

Requests that differ in nothing that is told about them belong to one class: method, host, version, route tag, how they
ended. A finished request is one look-up of its class and one row in a list; rows are handed to the histograms 512 at a
time, and when somebody reads. `python -m loadtests.lab metrics` says what both cost together: 0.6 us per request.

How an exchange ends decides what is told of it, as in the original:

| ended                           | server     | invocation | client       |
|---------------------------------|------------|------------|--------------|
| app's response complete         | its status | its status | its status   |
| refused by the breaker          | 503        | -          | -            |
| app unreachable, or broken      | 502        | 502        | `error.type` |
| client left, queued             | 500        | -          | -            |
| client left, before a response  | 200        | 200        | `error.type` |
| client left, within a response  | -          | 500        | its status   |
| timer fired, queued             | 504        | -          | -            |
| timer fired, before a response  | 504        | 200        | `error.type` |
| timer fired, within a response  | its status | 500        | its status   |
| app broke off its response      | -          | 500        | its status   |

Probes are not measured, nor is whatever else carries `K-Network-Probe`.

Source: spec queue-proxy.md 7.2, 17.2; knative/serving `pkg/queue/request_metric.go`; golden set `queue_headers`.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from proxies import headers
from proxies.exchange import Exchange, Outcome
from proxies.headers import Edits
from proxies.metrics.instruments import Registry
from queue_proxy.policy import APP_EDITS

__all__ = ["Facts", "Names", "RequestMetrics", "Sink", "route_tag"]

TEXT_MAX: Final = 100
"""Of a client's words only so much is kept."""
_CLASSES_MAX: Final = 1000
_ROWS_MAX: Final = 512

# What of a row a histogram is given.
TOTAL_S: Final = 1
INVOCATION_S: Final = 2
CLIENT_S: Final = 3
REQUEST_BYTES: Final = 4
RESPONSE_BYTES: Final = 5

_METHODS: Final = {
    method.encode(): method
    for method in ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
}
_COMPLETE: Final = Outcome.COMPLETE
_SWITCHING: Final = 101


class Facts(NamedTuple):
    """What the requests of a class have in common."""

    method: str
    """In upper case; `_OTHER` unless it is one of RFC 9110's, or PATCH."""
    authority: str
    """`Host` as received, shortened to `TEXT_MAX`."""
    version: str
    """Of HTTP."""
    route_tag: str
    server_status: int | None
    """What the client was told; None when its response was cut off."""
    invocation_status: int | None
    """What the app is taken to have answered; None when it was not asked."""
    client_result: int | str
    """Status of the app's response, or why there was none; empty when it was not asked."""


class Sink(Protocol):
    """What measurements are given to: a `Distribution`."""

    def record_all(self, values: Iterable[float]) -> None:
        """Take many measurements."""


class Names(Protocol):
    """A set of instruments."""

    def measurements(self, facts: Facts) -> Iterable[tuple[int, Sink]]:
        """Return the histograms for requests with these `facts`, and what of a row each is given."""


_Class: TypeAlias = list[tuple[int, Sink]]
_Row: TypeAlias = tuple[_Class, float, float, float, int, int]


class RequestMetrics:
    """A `queue_proxy.policy.Telemetry` that measures."""

    def __init__(self, registry: Registry, names: Sequence[Names]) -> None:
        self._names = names
        self._classes: dict[object, _Class] = {}
        self._rows: list[_Row] = []
        registry.before_collection(self._hand_over)

    # What the policy calls.

    def edits(self, exchange: Exchange) -> Edits:
        """Nothing is added to a request."""
        return APP_EDITS

    def ended(self, exchange: Exchange, now_s: float) -> None:
        """A counted exchange is over."""
        measured: _Class | None = None
        if exchange.outcome is _COMPLETE:
            # Everything that tells these apart is in the head, or is the status.
            by_status = exchange.request.derived.measured
            if by_status is None:
                by_status = exchange.request.derived.measured = {}
            measured = by_status.get(exchange.status)  # type: ignore[assignment]
            if measured is None:
                measured = by_status[exchange.status] = self._class_of(exchange)
        else:
            measured = self._class_of(exchange)
        forwarded_s = exchange.forwarded_s
        body = exchange.request_body
        rows = self._rows
        rows.append(
            (
                measured,
                now_s - exchange.arrived_s,
                now_s - forwarded_s,
                (exchange.responded_s or now_s) - forwarded_s,
                0 if body is None else body.size,
                exchange.response_bytes,
            )
        )
        if len(rows) >= _ROWS_MAX:
            self._hand_over()

    def probe_ended(self, exchange: Exchange, now_s: float) -> None:
        """Probes are not measured."""

    # Inside.

    def _hand_over(self) -> None:
        """Give the rows to their histograms, class by class."""
        rows, self._rows = self._rows, []
        by_class: dict[int, list[_Row]] = {}
        for row in rows:
            key = id(row[0])
            if key in by_class:
                by_class[key].append(row)
            else:
                by_class[key] = [row]
        for its_rows in by_class.values():
            columns = list(zip(*its_rows, strict=True))
            for column, series in its_rows[0][0]:
                series.record_all(columns[column])

    def _class_of(self, exchange: Exchange) -> _Class:
        host = exchange.request.host
        key = _whole_key(exchange, host)
        known = self._classes.get(key)
        if known is not None:
            return known
        if len(self._classes) >= _CLASSES_MAX:
            self._classes.clear()
        measured: _Class = []
        self._classes[key] = measured
        if not exchange.request.get(headers.PROBE):
            facts = _facts(exchange, host)
            for names in self._names:
                measured.extend(names.measurements(facts))
        return measured


def route_tag(tag: bytes, default_route: bytes) -> str:
    """Return the attribute `kn.route.tag` for `Knative-Serving-Tag` and `Knative-Serving-Default-Route`."""
    if not tag:
        return "kn:default" if default_route else "kn:disabled"
    return "kn:undefined" if default_route == b"true" else tag.decode("utf-8", "replace")


def _whole_key(exchange: Exchange, host: bytes) -> tuple[object, ...]:
    """Return everything that `_facts` looks at."""
    request = exchange.request
    return (
        request.method[:TEXT_MAX],
        host[:TEXT_MAX],
        exchange.status,
        request.version,
        request.get(headers.TAG)[:TEXT_MAX],
        request.get(headers.DEFAULT_ROUTE)[:TEXT_MAX],
        bool(request.get(headers.PROBE)),
        exchange.outcome and exchange.outcome.value,
        exchange.forwarded_s > 0,
        exchange.responded_s > 0,
    )


def _facts(exchange: Exchange, host: bytes) -> Facts:
    request, outcome, status = exchange.request, exchange.outcome, exchange.status
    was_forwarded = exchange.forwarded_s > 0
    had_response = exchange.responded_s > 0 or status == _SWITCHING
    server_status: int | None = status
    invocation_status = status if was_forwarded else None
    if status == _SWITCHING:
        pass
    elif outcome is Outcome.TIMED_OUT and was_forwarded:
        invocation_status = 500 if had_response else 200
    elif outcome is Outcome.CLIENT_GONE and not had_response:
        server_status, invocation_status = (200, 200) if was_forwarded else (500, None)
    elif outcome in (Outcome.CLIENT_GONE, Outcome.ABORTED) and had_response:
        server_status, invocation_status = None, 500
    return Facts(
        method=_METHODS.get(request.method.upper(), "_OTHER"),
        authority=host[:TEXT_MAX].decode("utf-8", "replace"),
        version=request.version,
        route_tag=route_tag(request.get(headers.TAG)[:TEXT_MAX], request.get(headers.DEFAULT_ROUTE)),
        server_status=server_status,
        invocation_status=invocation_status,
        client_result="" if not was_forwarded else status if had_response else outcome.value if outcome else "_OTHER",
    )
