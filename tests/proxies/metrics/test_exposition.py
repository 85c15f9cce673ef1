"""`proxies/metrics/exposition.py`, read back by Prometheus' own parser."""

import math
import re

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from proxies.metrics.exposition import render
from proxies.metrics.instruments import Kind, Registry

SCOPE_LABELS = {"otel_scope_name": "scope", "otel_scope_version": "1.2", "otel_scope_schema_url": ""}


def families(registry: Registry) -> dict[str, Metric]:
    text = render(registry).decode()
    assert text == "" or text.endswith("\n")
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_a_histogram_has_cumulative_buckets_with_scope_and_attributes_as_labels() -> None:
    registry = Registry()
    histogram = registry.scope("scope", version="1.2").histogram(
        "http.server.request.duration", (0.005, 1, 10), unit="s", description="How long."
    )
    histogram.series({"http.response.status_code": 200}).record_all([0.001, 0.005, 2, 20])
    family = families(registry)["http_server_request_duration_seconds"]
    labels = {"http_response_status_code": "200", **SCOPE_LABELS}
    assert (family.type, family.documentation) == ("histogram", "How long.")
    assert [(sample.name, sample.labels, sample.value) for sample in family.samples] == [
        ("http_server_request_duration_seconds_bucket", {**labels, "le": "0.005"}, 2),
        ("http_server_request_duration_seconds_bucket", {**labels, "le": "1"}, 2),
        ("http_server_request_duration_seconds_bucket", {**labels, "le": "10"}, 3),
        ("http_server_request_duration_seconds_bucket", {**labels, "le": "+Inf"}, 4),
        ("http_server_request_duration_seconds_sum", labels, pytest.approx(22.006)),
        ("http_server_request_duration_seconds_count", labels, 4),
    ]


@pytest.mark.parametrize(
    ("kind", "name", "unit", "want"),
    [
        (Kind.COUNTER, "cpython.gc.collections", "{collection}", "cpython_gc_collections_total"),
        (Kind.COUNTER, "process.cpu.time", "s", "process_cpu_time_seconds_total"),
        (Kind.COUNTER, "some.seconds", "s", "some_seconds_total"),
        (Kind.GAUGE, "kn.serving.queue.depth", "{request}", "kn_serving_queue_depth"),
        (Kind.GAUGE, "process.memory.usage", "By", "process_memory_usage_bytes"),
        (Kind.GAUGE, "cache.use", "1", "cache_use_ratio"),
        (Kind.GAUGE, "revision.rps", "{request}/s", "revision_rps_per_second"),
        (Kind.GAUGE, "disk.written", "By/s", "disk_written_bytes_per_second"),
        (Kind.GAUGE, "plain-name", "", "plain_name"),
    ],
)
def test_names_carry_their_unit(kind: Kind, name: str, unit: str, want: str) -> None:
    registry = Registry()
    scope = registry.scope("scope")
    instrument = scope.counter(name, unit=unit) if kind is Kind.COUNTER else scope.gauge(name, unit=unit)
    instrument.series().add(3)
    (family,) = families(registry).values()
    assert [(sample.name, sample.value) for sample in family.samples] == [(want, 3)]


def test_names_of_a_plain_scope_are_left_alone_and_its_series_do_not_name_it() -> None:
    registry = Registry()
    scope = registry.scope("scope", is_plain=True)
    scope.histogram("revision_request_latencies", (5,), unit="ms").series().record_all([1])
    scope.counter("revision_request_count").series({"response_code": "200"}).add()
    lines = render(registry).decode().splitlines()
    assert 'revision_request_latencies_bucket{le="5"} 1' in lines
    assert "revision_request_latencies_sum 1" in lines
    assert 'revision_request_count{response_code="200"} 1' in lines


def test_bounds_are_written_as_go_writes_them_and_what_was_recorded_one_by_one_is_in_them() -> None:
    registry = Registry()
    series = registry.scope("scope").histogram("h", (0.005, 1.0, 10000.0)).series()
    series.record(0.5)
    text = render(registry).decode()
    assert re.findall(r'le="([^"]*)"} (\d)', text) == [("0.005", "0"), ("1", "1"), ("10000", "1"), ("+Inf", "1")]


@pytest.mark.parametrize("value", ['quo"te', "back\\slash", "new\nline", "ümlaut", "", "}", "a=b,"])
def test_label_values_survive(value: str) -> None:
    registry = Registry({"service.name": value})
    registry.scope("scope").gauge("g").series({"key": value}).set(1)
    found = families(registry)
    assert found["g"].samples[0].labels["key"] == value
    assert found["target_info"].samples[0].labels == {"service_name": value}


@pytest.mark.parametrize("value", [0, 1.5, -2, 1e20, 12345678, math.inf, -math.inf, 1e-7, 0.1 + 0.2])
def test_values_survive(value: float) -> None:
    registry = Registry()
    registry.scope("scope").gauge("g").series().set(value)
    assert families(registry)["g"].samples[0].value == value


def test_not_a_number_and_truth_are_written_as_prometheus_reads_them() -> None:
    registry = Registry()
    registry.scope("scope").gauge("g").series({"is": True}).set(math.nan)
    (sample,) = families(registry)["g"].samples
    assert math.isnan(sample.value)
    assert sample.labels["is"] == "true"


def test_an_instrument_without_series_is_not_shown() -> None:
    registry = Registry()
    registry.scope("scope").gauge("g")
    assert render(registry) == b""


def test_families_come_in_alphabetical_order_and_descriptions_on_one_line() -> None:
    registry = Registry()
    for name in ("b", "a"):
        registry.scope(name).gauge(name, description="one\ntwo \\").series().set(1)
    lines = render(registry).decode().splitlines()
    assert lines[0] == r"# HELP a one\ntwo \\"
    assert [line for line in lines if "TYPE" in line] == ["# TYPE a gauge", "# TYPE b gauge"]
