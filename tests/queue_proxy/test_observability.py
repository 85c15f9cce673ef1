"""`queue_proxy/observability.py`: what is read, over which defaults, and how errors are named."""

import json
from typing import Any

import pytest

from proxies.environment import ConfigError
from proxies.metrics.scraped import Listener
from proxies.request_log.line_writer import DEFAULT_TEMPLATE
from queue_proxy.config import Config
from queue_proxy.observability import (
    NOTHING,
    Observability,
    Protocol,
    resource_attributes,
)
from tests.support.queue_proxy import environment

PROMETHEUS = {"requestMetrics": {"protocol": "prometheus"}}
PUSH = {"requestMetrics": {"protocol": "http/protobuf", "endpoint": "http://collector:4318"}}


def read(settings: object = None, **variables: str) -> Observability:
    text = "" if settings is None else json.dumps(settings)
    return Config.from_env(environment(OBSERVABILITY_CONFIG=text, **variables)).observability


def problem_of(settings: object, **variables: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(settings, **variables)
    (problem,) = raised.value.problems
    return str(problem)


def without_identity(observability: Observability) -> Observability:
    return observability._replace(service_name="", pod_name="")


@pytest.mark.parametrize(
    "settings",
    [None, {}, {"tracing": None}, {"tracing": {}, "metrics": {}, "runtime": {}, "requestMetrics": {}}, {"other": 1}],
)
def test_everything_is_off_unless_it_is_asked_for(settings: object) -> None:
    assert without_identity(read(settings)) == NOTHING
    assert without_identity(Config.from_env(environment()).observability) == NOTHING


def test_every_key_is_read() -> None:
    read_all = read(
        {
            "tracing": {"protocol": "http/protobuf", "endpoint": "http://t:1/x", "samplingRate": 0.25},
            "metrics": {"protocol": "grpc", "endpoint": "ignored"},
            "runtime": {"profiling": "enabled", "exportInterval": 30_000_000_000},
            "requestMetrics": {"protocol": "http/protobuf", "endpoint": "m:1", "exportInterval": 5_500_000_000},
            "enableRequestLog": True,
            "requestLogTemplate": "{{.Request.Host}}",
            "enableProbeRequestLog": True,
            "EnableVarLogCollection": True,
            "LoggingURLTemplate": "http://logs",
        }
    )
    tracing, metrics = read_all.tracing, read_all.request_metrics
    assert (tracing.protocol, tracing.endpoint, tracing.sampling_rate) == (Protocol.HTTP, "http://t:1/x", 0.25)
    assert tracing.otlp is not None
    assert tracing.otlp.url == "http://t:1/x"
    assert (metrics.protocol, metrics.endpoint, metrics.interval_s) == (Protocol.HTTP, "m:1", 5.5)
    assert metrics.otlp is not None
    assert metrics.otlp.url == "https://m:1/v1/metrics"
    assert read_all.profiling
    assert (read_all.request_log, read_all.probe_request_log) == (True, True)
    assert read_all.request_log_template == "{{.Request.Host}}"


def test_keys_count_in_any_case_as_go_reads_them() -> None:
    assert read({"REQUESTMETRICS": {"Protocol": "prometheus"}}).request_metrics.protocol is Protocol.PROMETHEUS


def test_the_default_template_gives_a_line_of_json() -> None:
    template = DEFAULT_TEMPLATE
    assert template.endswith("}\n")
    assert template.count("\n") == 1
    line = template.replace("{{.Response.Code}}", "200")
    for part in ("{{", "}}"):
        line = line.replace(part, "")
    assert set(json.loads(line)["httpRequest"]) == {
        *("requestMethod", "requestUrl", "requestSize", "status", "responseSize", "userAgent", "remoteIp", "serverIp"),
        *("referer", "latency", "protocol"),
    }


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("x", "expected an object"),
        ({"tracing": "x"}, "tracing: expected an object"),
        ({"metrics": 5}, "metrics: expected an object"),
        (
            {"tracing": {"protocol": "prometheus"}},
            "tracing.protocol: expected one of none, grpc, http/protobuf, stdout",
        ),
        ({"tracing": {"samplingRate": "1"}}, "tracing.samplingRate: expected a number"),
        ({"requestMetrics": {"protocol": "stdout"}}, "requestMetrics.protocol: expected one of none, prometheus, grpc"),
        ({"requestMetrics": {"exportInterval": "60s"}}, "requestMetrics.exportInterval: expected a whole number"),
        ({"requestMetrics": {"exportInterval": 1.5}}, "requestMetrics.exportInterval: expected a whole number"),
        ({"requestMetrics": {"exportInterval": -1}}, "requestMetrics.exportInterval: expected nanoseconds"),
        ({"runtime": {"profiling": "on"}}, "runtime.profiling: expected enabled or disabled"),
        ({"runtime": {"exportInterval": True}}, "runtime.exportInterval: expected a whole number"),
        ({"enableRequestLog": "true"}, "enableRequestLog: expected true or false"),
        ({"requestLogTemplate": 5}, "requestLogTemplate: expected a text"),
    ],
)
def test_what_is_wrong_in_the_json_is_named_by_its_path(settings: object, named: str) -> None:
    problem = problem_of(settings)
    assert problem.startswith("OBSERVABILITY_CONFIG=")
    assert named in problem


def test_only_whole_json_is_json() -> None:
    for text in ("{", "{} {}", "NaN", '{"tracing": {"samplingRate": NaN}}'):
        with pytest.raises(ConfigError, match="OBSERVABILITY_CONFIG"):
            Config.from_env(environment(OBSERVABILITY_CONFIG=text))


# Metrics.


def test_where_metrics_are_scraped() -> None:
    settings = {"requestMetrics": {"protocol": "prometheus", "endpoint": "10.0.0.1:9095"}}
    assert read(settings).request_metrics.listener == Listener("10.0.0.1", 9095)
    assert read(PROMETHEUS).request_metrics.listener == Listener("", 9091)
    assert problem_of(PROMETHEUS, METRICS_PROMETHEUS_PORT="80").startswith("METRICS_PROMETHEUS_PORT: ")
    endpoint = {"requestMetrics": {"protocol": "prometheus", "endpoint": ":80"}}
    assert problem_of(endpoint).startswith("OBSERVABILITY_CONFIG: requestMetrics.endpoint: ")


@pytest.mark.parametrize(
    ("interval_ns", "variable", "want_s"),
    [(0, "", 60.0), (5_000_000_000, "", 5.0), (5_000_000_000, "2500", 2.5), (5_000_000_000, "0", 5.0)],
)
def test_the_interval_of_pushes(interval_ns: int, variable: str, want_s: float) -> None:
    settings = {"requestMetrics": {**PUSH["requestMetrics"], "exportInterval": interval_ns}}
    variables = {"OTEL_METRIC_EXPORT_INTERVAL": variable} if variable else {}
    assert read(settings, **variables).request_metrics.interval_s == want_s


def test_an_endpoint_is_required_somewhere() -> None:
    settings = {"requestMetrics": {"protocol": "http/protobuf"}}
    assert "expected an endpoint for metrics" in problem_of(settings)
    otlp = read(settings, OTEL_EXPORTER_OTLP_ENDPOINT="http://c:1").request_metrics.otlp
    assert otlp is not None
    assert otlp.url == "http://c:1/v1/metrics"


def test_grpc_is_accepted_with_any_endpoint() -> None:
    settings = {"requestMetrics": {"protocol": "grpc", "endpoint": "collector:4317"}}
    metrics = read(settings).request_metrics
    assert (metrics.protocol, metrics.otlp) == (Protocol.GRPC, None)


@pytest.mark.parametrize(
    ("text", "want"),
    [(None, (True, False)), ("otel", (True, False)), ("opencensus", (False, True)), ("opencensus, otel", (True, True))],
)
def test_which_names_are_told(text: str | None, want: tuple[bool, bool]) -> None:
    variables = {} if text is None else {"KNUV_METRICS_COMPAT": text}
    metrics = read(PROMETHEUS, **variables).request_metrics
    assert (metrics.has_opentelemetry_names, metrics.has_opencensus_names) == want


@pytest.mark.parametrize("text", ["", "prometheus", "otel,"])
def test_other_names_are_not_known(text: str) -> None:
    assert problem_of(PROMETHEUS, KNUV_METRICS_COMPAT=text).startswith("KNUV_METRICS_COMPAT=")


def test_variables_of_what_is_off_are_not_looked_at() -> None:
    variables = {"METRICS_PROMETHEUS_PORT": "x", "KNUV_METRICS_COMPAT": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": "x y"}
    assert without_identity(read({}, **variables)) == NOTHING


# Tracing.


def test_samplers_of_the_environment() -> None:
    settings = {"tracing": {"protocol": "stdout"}}
    tracing = read(settings, OTEL_TRACES_SAMPLER="always_off", OTEL_TRACES_SAMPLER_ARG="x").tracing
    assert (tracing.sampler, tracing.sampler_argument) == ("always_off", "x")
    assert read(settings, OTEL_TRACES_SAMPLER_ARG="0.5").tracing.sampler_argument == "0.5"
    assert problem_of(settings, OTEL_TRACES_SAMPLER_ARG="x").startswith("OTEL_TRACES_SAMPLER_ARG=")


# Who reports.


@pytest.mark.parametrize(
    ("variables", "want"),
    [
        ({}, ("hello", "")),
        ({"SERVING_SERVICE": "svc", "POD_NAME": "pod", "HOSTNAME": "host"}, ("svc", "pod")),
        ({"OTEL_SERVICE_NAME": "otel", "SERVING_SERVICE": "svc", "HOSTNAME": "host"}, ("otel", "host")),
        ({"SERVING_CONFIGURATION": ""}, ("hello-00001", "")),
        ({"SERVING_CONFIGURATION": "", "SERVING_REVISION": "", "POD_NAME": "pod"}, ("pod", "pod")),
    ],
)
def test_who_reports(variables: dict[str, str], want: tuple[str, str]) -> None:
    observability = read(None, **variables)
    assert (observability.service_name, observability.pod_name) == want


def test_resource_attributes_leave_out_what_is_empty() -> None:
    who: dict[str, Any] = {"namespace": "ns", "service": "", "configuration": "c", "revision": "r"}
    assert resource_attributes(NOTHING._replace(service_name="s", pod_name="p"), **who) == {
        "service.name": "s",
        "service.version": "unknown",
        "service.instance.id": "p",
        "k8s.pod.name": "p",
        "k8s.namespace.name": "ns",
        "container.name": "queue-proxy",
        "kn.configuration.name": "c",
        "kn.revision.name": "r",
    }
