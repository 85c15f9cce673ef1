"""OTLP's message for metrics, `ExportMetricsServiceRequest`, written by hand.

Sums and histograms are cumulative since the start of the process. Field numbers stand beside each field.

Source: opentelemetry-proto `collector/metrics/v1/metrics_service.proto`, `metrics/v1/metrics.proto`,
`common/v1/common.proto`, `resource/v1/resource.proto`.
"""

import struct
from collections.abc import Iterable
from typing import Final

from proxies.metrics.instruments import Attributes, Distribution, Instrument, Kind, Number, Registry, Scope
from proxies.metrics.slices import Steps, finish
from proxies.wire.protobuf import bytes_field, double_field, fixed64_field, text_field, varint_field

__all__ = ["attribute_fields", "request", "steps"]

_CUMULATIVE: Final = 2
_STEP_SERIES: Final = 64


def request(registry: Registry, *, started_unix_ns: int, now_unix_ns: int) -> bytes:
    """Return everything that `registry` knows as the body of a POST. Times are nanoseconds since 1970."""
    return finish(steps(registry, started_unix_ns=started_unix_ns, now_unix_ns=now_unix_ns))


def steps(registry: Registry, *, started_unix_ns: int, now_unix_ns: int) -> Steps[bytes]:
    """Do the same in steps of some dozens of series."""
    registry.collect()
    times = fixed64_field(2, started_unix_ns) + fixed64_field(3, now_unix_ns)
    resource = bytes_field(1, attribute_fields(1, registry.resource))
    content = resource
    for scope in registry.scopes:
        content += bytes_field(2, (yield from _scope_metrics(scope, times)))
    return bytes_field(1, content)


def attribute_fields(number: int, attributes: Attributes) -> bytes:
    """Return a repeated `KeyValue` {key = 1, value = 2}; other signals have the same in their messages."""
    return b"".join(
        bytes_field(number, text_field(1, key) + bytes_field(2, _any_value(value))) for key, value in attributes.items()
    )


def _any_value(value: str | int | float | bool) -> bytes:
    """`AnyValue` {string = 1, bool = 2, int = 3, double = 4}."""
    if isinstance(value, str):
        return text_field(1, value)
    if isinstance(value, bool):
        return varint_field(2, value)
    return varint_field(3, value) if isinstance(value, int) else double_field(4, value)


def _scope_metrics(scope: Scope, times: bytes) -> Steps[bytes]:
    """`ScopeMetrics` {scope = 1 {name = 1, version = 2}, metrics = 2}."""
    about = text_field(1, scope.name) + (text_field(2, scope.version) if scope.version else b"")
    metrics = []
    for instrument in scope.instruments:
        metric = yield from _metric(instrument, times)
        if metric:
            metrics.append(bytes_field(2, metric))
    return bytes_field(1, about) + b"".join(metrics)


def _metric(instrument: Instrument[Number] | Instrument[Distribution], times: bytes) -> Steps[bytes]:
    """`Metric` {name = 1, description = 2, unit = 3, gauge = 5 | sum = 7 | histogram = 9}; empty without series.

    Each of the last three holds its points as field 1; sum and histogram have their temporality as field 2, and sum
    says as field 3 that it is monotonic.
    """
    encoded: list[bytes] = []
    all_series: Iterable[Number | Distribution] = instrument.all_series()
    for count, series in enumerate(all_series, start=1):
        point = _distribution(series, times) if isinstance(series, Distribution) else _number(series, times)
        encoded.append(bytes_field(1, point))
        if count % _STEP_SERIES == 0:
            yield
    if not encoded:
        return b""
    points = b"".join(encoded)
    if instrument.kind is Kind.GAUGE:
        data = bytes_field(5, points)
    elif instrument.kind is Kind.COUNTER:
        data = bytes_field(7, points + varint_field(2, _CUMULATIVE) + varint_field(3, 1))
    else:
        data = bytes_field(9, points + varint_field(2, _CUMULATIVE))
    texts = ((1, instrument.name), (2, instrument.description), (3, instrument.unit))
    return b"".join(text_field(number, text) for number, text in texts if text) + data


def _number(series: Number, times: bytes) -> bytes:
    """`NumberDataPoint` {start = 2, time = 3, as_double = 4 | as_int = 6, attributes = 7}."""
    value = series.value
    number = fixed64_field(6, value) if isinstance(value, int) else double_field(4, value)
    if not series.encoded:
        series.encoded = attribute_fields(7, series.attributes)
    return times + number + series.encoded


def _distribution(series: Distribution, times: bytes) -> bytes:
    """`HistogramDataPoint` {start = 2, time = 3, count = 4, sum = 5, counts = 6, bounds = 7, attributes = 9,
    min = 11, max = 12}."""
    counts, bounds = series.counts, series.bounds
    if not series.encoded:
        series.encoded = attribute_fields(9, series.attributes)
    return b"".join(
        (
            times,
            fixed64_field(4, sum(counts)),
            double_field(5, series.total),
            bytes_field(6, struct.pack(f"<{len(counts)}Q", *counts)),
            bytes_field(7, struct.pack(f"<{len(bounds)}d", *bounds)),
            series.encoded,
            double_field(11, series.least),
            double_field(12, series.most),
        )
    )
