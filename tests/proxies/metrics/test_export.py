"""`proxies/metrics/export.py`, read back by the messages generated from OpenTelemetry's definitions."""

from google.protobuf.json_format import MessageToDict

from proxies.metrics.export import request
from proxies.metrics.instruments import Registry
from tests.support.otlp import ExportMetricsServiceRequest

STARTED_NS, NOW_NS = 1_700_000_000_000_000_000, 1_700_000_060_000_000_000
TIMES = {"startTimeUnixNano": str(STARTED_NS), "timeUnixNano": str(NOW_NS)}


def decoded(registry: Registry) -> ExportMetricsServiceRequest:
    body = request(registry, started_unix_ns=STARTED_NS, now_unix_ns=NOW_NS)
    return ExportMetricsServiceRequest.FromString(body)


def test_every_kind_of_instrument_and_attribute_arrives() -> None:
    registry = Registry({"service.name": "hello", "service.version": "ü"})
    first, second = registry.scope("one", version="1.0"), registry.scope("two")
    first.counter("count", unit="{request}", description="How many.").series({"ok": True, "code": 200}).add(2**40)
    first.gauge("gauge").series({"ratio": 0.5, "name": "x" * 300, "less": -1}).set(-2)
    second.histogram("duration", (0.5, 1), unit="s").series().record_all([0.25, 0.75, 3])
    (resource_metrics,) = MessageToDict(decoded(registry))["resourceMetrics"]
    assert resource_metrics["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "hello"}},
        {"key": "service.version", "value": {"stringValue": "ü"}},
    ]
    one, two = resource_metrics["scopeMetrics"]
    assert (one["scope"], two["scope"]) == ({"name": "one", "version": "1.0"}, {"name": "two"})
    count, gauge = one["metrics"]
    assert count == {
        "name": "count",
        "unit": "{request}",
        "description": "How many.",
        "sum": {
            "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
            "isMonotonic": True,
            "dataPoints": [
                {
                    **TIMES,
                    "asInt": str(2**40),
                    "attributes": [
                        {"key": "ok", "value": {"boolValue": True}},
                        {"key": "code", "value": {"intValue": "200"}},
                    ],
                }
            ],
        },
    }
    assert gauge["gauge"]["dataPoints"] == [
        {
            **TIMES,
            "asInt": "-2",
            "attributes": [
                {"key": "ratio", "value": {"doubleValue": 0.5}},
                {"key": "name", "value": {"stringValue": "x" * 300}},
                {"key": "less", "value": {"intValue": "-1"}},
            ],
        }
    ]
    assert two["metrics"][0]["histogram"] == {
        "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
        "dataPoints": [
            {
                **TIMES,
                "count": "3",
                "sum": 4.0,
                "bucketCounts": ["1", "1", "1"],
                "explicitBounds": [0.5, 1.0],
                "min": 0.25,
                "max": 3.0,
            }
        ],
    }


def test_a_sum_of_fractions_is_a_double() -> None:
    registry = Registry()
    registry.scope("s").counter("cpu", unit="s").series().add(0.5)
    (point,) = decoded(registry).resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
    assert point.as_double == 0.5


def test_an_instrument_without_series_is_left_out() -> None:
    registry = Registry()
    registry.scope("s").counter("none")
    assert not decoded(registry).resource_metrics[0].scope_metrics[0].metrics
