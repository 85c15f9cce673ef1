"""`kube.telemetry`: where metrics go, from a ConfigMap's data and variables."""

import pytest

from kube.telemetry import MetricsExport, resource_attributes, telemetry_variables
from proxies.environment import ConfigError


def read(data: dict[str, str], **variables: str) -> MetricsExport:
    return MetricsExport.read(data, telemetry_variables(variables), config_map="config-observability")


def test_nothing_is_exported_unless_it_is_asked_for() -> None:
    for data in (
        {},
        {"metrics-protocol": ""},
        {"metrics-protocol": "none"},
        {"request-metrics-protocol": "prometheus"},
    ):
        assert read(data) == MetricsExport()
        assert not read(data).is_on


def test_prometheus_is_scraped_at_9090_unless_told_otherwise() -> None:
    listener = read({"metrics-protocol": "prometheus"}).listener
    assert listener is not None
    assert (listener.host, listener.port, listener.tls) == ("", 9090, None)
    data = {"metrics-protocol": "prometheus", "metrics-endpoint": "[::1]:9464"}
    listener = read(data, METRICS_PROMETHEUS_PORT="9465").listener
    assert listener is not None
    assert (listener.host, listener.port) == ("::1", 9465)


@pytest.mark.parametrize(
    ("configured", "variable", "interval_s"), [("", "", 60), ("0", "", 60), ("15s", "", 15), ("15s", "500", 0.5)]
)
def test_the_interval_of_pushes(configured: str, variable: str, interval_s: float) -> None:
    data = {"metrics-protocol": "http/protobuf", "metrics-endpoint": "http://collector:4318"}
    if configured:
        data["metrics-export-interval"] = configured
    export = read(data, **({"OTEL_METRIC_EXPORT_INTERVAL": variable} if variable else {}))
    assert export.otlp is not None
    assert (export.otlp.url, export.interval_s) == ("http://collector:4318/v1/metrics", interval_s)


def test_what_is_wrong_is_said_together_with_where() -> None:
    data = {"metrics-protocol": "statsd", "metrics-export-interval": "-1s"}
    with pytest.raises(ConfigError) as wrong:
        read(data, OTEL_METRIC_EXPORT_INTERVAL="x")
    assert wrong.value.problems[0] == 'ConfigMap config-observability: unsupported protocol "statsd"'
    assert wrong.value.problems[1].startswith("OTEL_METRIC_EXPORT_INTERVAL='x': ")
    assert len(wrong.value.problems) == 3


def test_only_its_own_variables_are_kept() -> None:
    environ = {"OTEL_SERVICE_NAME": "a", "METRICS_PROMETHEUS_PORT": "1", "PATH": "/bin", "KUBECONFIG": "k"}
    assert telemetry_variables(environ) == {"OTEL_SERVICE_NAME": "a", "METRICS_PROMETHEUS_PORT": "1"}


def test_who_reports() -> None:
    told = resource_attributes("autoscaler", namespace="knative-serving", pod_name="", variables={})
    assert told == {
        "service.name": "autoscaler",
        "service.version": "unknown",
        "k8s.namespace.name": "knative-serving",
    }
