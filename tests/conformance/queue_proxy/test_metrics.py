"""Statements 5, 6 and 88 to 91: which metrics are told, where, and of which requests."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.certificates import Authority
from tests.support.http import App, Call, Client, fetch, running_app
from tests.support.otlp import ExportMetricsServiceRequest
from tests.support.processes import LATE_S, eventually
from tests.support.queue_proxy import ACTIVATOR_PROBE, QueueProxy, environment, exit_of, running_queue_proxy

METRICS_PORT = 9091
PROMETHEUS = json.dumps({"requestMetrics": {"protocol": "prometheus"}})
INVOCATIONS = "kn_serving_invocation_duration_seconds_count"
REQUESTS = "http_server_request_duration_seconds_count"
CALLS = "http_client_request_duration_seconds_count"
DEPTH = "kn_serving_queue_depth"

Samples = list[tuple[dict[str, str], float]]


class Scraped:
    """What one scrape said."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = [sample for family in self.families.values() for sample in family.samples]

    def samples(self, name: str) -> Samples:
        """(labels, value) of each series of that name, without the scope's labels."""
        return [
            ({key: value for key, value in sample.labels.items() if not key.startswith("otel_scope_")}, sample.value)
            for sample in self._samples
            if sample.name == name
        ]

    def by(self, label: str, name: str) -> dict[str, float]:
        """Values by one label."""
        return {labels.get(label, ""): value for labels, value in self.samples(name)}


async def scrape(proxy: QueueProxy) -> Scraped:
    response = await fetch(proxy.host, METRICS_PORT, "/metrics")
    assert response.status == 200
    return Scraped(response.body.decode())


@asynccontextmanager
async def measured(app: App, **variables: str) -> AsyncIterator[QueueProxy]:
    """A queue-proxy that is scraped, with room for five requests unless told otherwise."""
    settings = {"CONTAINER_CONCURRENCY": "5", "OBSERVABILITY_CONFIG": PROMETHEUS, **variables}
    async with running_queue_proxy(app.port, **settings) as proxy:
        yield proxy


# Where.


@pytest.mark.parametrize("settings", ["", "{}", '{"metrics": {"protocol": "prometheus"}}'])
async def test_05_nothing_listens_on_9091_unless_request_metrics_are_scraped(settings: str) -> None:
    async with running_queue_proxy(OBSERVABILITY_CONFIG=settings) as proxy:
        assert not proxy.accepts(METRICS_PORT)
        assert proxy.accepts(8022)
        assert proxy.accepts(9090)


async def test_06_get_and_head_of_metrics_are_answered_and_nothing_else() -> None:
    async with running_app() as app, measured(app) as proxy:
        found = await fetch(proxy.host, METRICS_PORT, "/metrics?format=x")
        assert (found.status, found.value("content-type")) == (200, "text/plain; version=0.0.4; charset=utf-8")
        head = await fetch(proxy.host, METRICS_PORT, "/metrics", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        refused = await fetch(proxy.host, METRICS_PORT, "/metrics", method="POST", body=b"x")
        assert (refused.status, refused.value("allow")) == (405, "GET, HEAD")
        assert (await fetch(proxy.host, METRICS_PORT, "/")).status == 404


async def test_06_a_scraper_has_five_seconds_for_its_head() -> None:
    async with running_app() as app, measured(app) as proxy:
        started_s = time.monotonic()
        client = await Client.open(proxy.host, METRICS_PORT)
        await client.send("GET /metrics HTTP/1.1\r\n")
        assert await client.eof() == b""
        assert 4.9 < time.monotonic() - started_s < 5 + LATE_S
        client.close()


async def test_06_the_port_may_be_moved_by_the_environment() -> None:
    async with running_app() as app, measured(app, METRICS_PROMETHEUS_PORT="9095") as proxy:
        assert not proxy.accepts(METRICS_PORT)
        assert (await fetch(proxy.host, 9095, "/metrics")).status == 200


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"METRICS_PROMETHEUS_PORT": "80"}, "METRICS_PROMETHEUS_PORT"),
        ({"METRICS_PROMETHEUS_TLS_CERT": "/c"}, "METRICS_PROMETHEUS_TLS_KEY"),
        (
            {
                "METRICS_PROMETHEUS_TLS_CERT": "/no/c",
                "METRICS_PROMETHEUS_TLS_KEY": "/no/k",
                "KNUV_BIND_ADDRESS": "127.7.7.7",
            },
            "METRICS_PROMETHEUS_TLS_CERT=/no/c",
        ),
        ({"KNUV_METRICS_COMPAT": "x"}, "KNUV_METRICS_COMPAT"),
        ({"OBSERVABILITY_CONFIG": '{"requestMetrics": {"protocol": "x"}}'}, "requestMetrics.protocol"),
        ({"OBSERVABILITY_CONFIG": '{"requestMetrics": {"protocol": "http/protobuf"}}'}, "expected an endpoint"),
    ],
)
async def test_settings_that_cannot_be_end_it_and_are_named(variables: dict[str, str], named: str) -> None:
    code, stderr = await exit_of(environment(**{"OBSERVABILITY_CONFIG": PROMETHEUS, **variables}))
    assert code == 1
    assert named in stderr


@pytest.mark.parametrize("client_auth", ["none", "optional", "require"])
async def test_the_port_speaks_tls_and_knows_its_scrapers(client_auth: str, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    host = "127.77.0.1"
    cert, key = authority.issue(host)
    variables = {
        "KNUV_BIND_ADDRESS": host,
        "METRICS_PROMETHEUS_TLS_CERT": str(cert),
        "METRICS_PROMETHEUS_TLS_KEY": str(key),
        "METRICS_PROMETHEUS_TLS_CLIENT_AUTH": client_auth,
    }
    if client_auth != "none":
        variables["METRICS_PROMETHEUS_TLS_CLIENT_CA_FILE"] = str(authority.ca_file)

    async def status(identity: tuple[Path, Path] | None, **versions: Any) -> int:
        """What a scraper with that certificate gets; 0: no connection."""
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        for name, version in versions.items():
            setattr(context, name, version)
        if identity is not None:
            context.load_cert_chain(*identity)
        try:
            client = Client(*await asyncio.open_connection(host, METRICS_PORT, ssl=context))
        except OSError:
            return 0
        try:
            await client.request("/metrics")
            return (await client.response()).status
        except (OSError, asyncio.IncompleteReadError):
            return 0
        finally:
            client.close()

    async with running_app() as app, measured(app, **variables):
        assert await status(authority.issue("127.0.0.1", "scraper")) == 200
        assert await status(None) == (0 if client_auth == "require" else 200)
        assert await status(stranger.issue("127.0.0.1", "other")) == (200 if client_auth == "none" else 0)
        assert await status(None, maximum_version=ssl.TLSVersion.TLSv1_2) == 0


async def test_metrics_are_told_while_the_pod_drains() -> None:
    async with running_app() as app, measured(app) as proxy:
        proxy.process.terminate()

        async def is_draining() -> bool:
            return (await proxy.probe()).status == 503

        await eventually(is_draining)
        await proxy.fetch()
        assert (await scrape(proxy)).by("http_response_status_code", INVOCATIONS) == {"200": 1}


# What.


async def test_88_one_request_is_one_invocation_in_the_buckets_of_the_original() -> None:
    async with running_app() as app, measured(app) as proxy:
        assert (await proxy.fetch()).status == 200
        found = await scrape(proxy)
    assert found.samples(INVOCATIONS) == [({"http_response_status_code": "200"}, 1)]
    bounds = [labels["le"] for labels, _ in found.samples("kn_serving_invocation_duration_seconds_bucket")]
    assert bounds == [
        *("0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1", "2.5", "5", "7.5", "10"),
        "+Inf",
    ]


async def test_88_queueing_is_not_part_of_an_invocation() -> None:
    async def slow(call: Call) -> None:
        await asyncio.sleep(0.3)
        await call.respond(200)

    async with running_app(slow) as app, measured(app, CONTAINER_CONCURRENCY="1") as proxy:
        await asyncio.gather(proxy.fetch(), proxy.fetch())
        found = await scrape(proxy)
    assert found.samples("kn_serving_invocation_duration_seconds_sum")[0][1] == pytest.approx(0.6, abs=0.2)
    assert found.samples("http_server_request_duration_seconds_sum")[0][1] == pytest.approx(0.9, abs=0.25)


async def test_88_a_timed_out_request_is_504_to_the_client_and_an_invocation_with_200() -> None:
    async with running_app(lambda call: call.closed()) as app, measured(app, REVISION_TIMEOUT_SECONDS="1") as proxy:
        assert (await proxy.fetch()).status == 504
        found = await scrape(proxy)
    assert found.by("http_response_status_code", INVOCATIONS) == {"200": 1}
    assert found.by("http_response_status_code", REQUESTS) == {"504": 1}
    assert found.by("error_type", CALLS) == {"timed-out": 1}


async def test_88_an_abandoned_request_is_an_invocation_with_200() -> None:
    async with running_app(lambda call: call.closed()) as app, measured(app) as proxy:
        client = await proxy.open()
        await client.request()
        await (await app.call(0)).body()
        client.close()

        async def told() -> bool:
            return (await scrape(proxy)).by("http_response_status_code", INVOCATIONS) == {"200": 1}

        await eventually(told)


async def test_88_a_broken_off_response_is_an_invocation_with_500_and_no_request() -> None:
    async def break_off(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        call.close()

    async with running_app(break_off) as app, measured(app) as proxy:
        assert not (await proxy.fetch()).is_whole
        found = await scrape(proxy)
    assert found.by("http_response_status_code", INVOCATIONS) == {"500": 1}
    assert found.samples(REQUESTS) == []


async def test_88_a_refused_request_is_no_invocation() -> None:
    async with running_app(lambda call: call.closed()) as app, measured(app, CONTAINER_CONCURRENCY="1") as proxy:
        clients = [await proxy.open() for _ in range(12)]
        for client in clients:
            await client.request()
        answers = [asyncio.create_task(client.head()) for client in clients]
        done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        found = await scrape(proxy)
        for answer in waiting:
            answer.cancel()
    assert [answer.result().status for answer in done] == [503]
    assert found.samples(INVOCATIONS) == []
    assert found.by("http_response_status_code", REQUESTS) == {"503": 1}


@pytest.mark.parametrize("headers", [ACTIVATOR_PROBE, ("K-Network-Probe: probe", "K-Network-Hash: h")])
async def test_89_probes_are_not_measured(headers: tuple[str, ...]) -> None:
    async with running_app() as app, measured(app) as proxy:
        assert (await proxy.fetch(headers=headers)).status == 200
        # Neither are a kubelet's own and those with another agent, which reach the app.
        assert (await proxy.fetch(headers=["K-Kubelet-Probe: x"])).body == b"hello"
        assert (await proxy.fetch(headers=["K-Network-Probe: queue"])).body == b"hello"
        found = await scrape(proxy)
    assert found.samples(INVOCATIONS) == []
    assert found.samples(REQUESTS) == []
    assert found.samples(CALLS) == []


async def test_90_without_a_breaker_there_is_no_queue_depth() -> None:
    async with running_app() as app, measured(app, CONTAINER_CONCURRENCY="0") as proxy:
        await proxy.fetch()
        assert (await scrape(proxy)).samples(DEPTH) == []


async def test_90_the_queue_depth_counts_the_request_itself_and_those_that_run() -> None:
    may_answer = asyncio.Event()

    async def held(call: Call) -> None:
        await may_answer.wait()
        await call.respond(200)

    async with running_app(held) as app, measured(app, CONTAINER_CONCURRENCY="2") as proxy:
        assert (await scrape(proxy)).samples(DEPTH) == []
        first, second = await proxy.open(), await proxy.open()
        await first.request()
        await app.call(0)
        assert (await scrape(proxy)).samples(DEPTH) == [({}, 1)]
        await second.request()
        await app.call(1)
        assert (await scrape(proxy)).samples(DEPTH) == [({}, 2)]
        may_answer.set()
        for client in (first, second):
            assert (await client.response()).status == 200
        for _ in range(2):
            await proxy.fetch()
            assert (await scrape(proxy)).samples(DEPTH) == [({}, 1)]


@pytest.mark.parametrize(
    ("headers", "tag"),
    [
        ((), "kn:disabled"),
        (("Knative-Serving-Default-Route: true",), "kn:default"),
        (("Knative-Serving-Default-Route: true", "Knative-Serving-Tag: canary"), "kn:undefined"),
        (("Knative-Serving-Tag: canary",), "canary"),
    ],
)
async def test_91_the_route_tag(headers: tuple[str, ...], tag: str) -> None:
    async with running_app() as app, measured(app) as proxy:
        await proxy.fetch(headers=headers)
        found = await scrape(proxy)
    assert found.by("kn_route_tag", REQUESTS) == {tag: 1}
    assert found.by("kn_route_tag", CALLS) == {tag: 1}


async def test_91_every_label_of_a_request() -> None:
    async with running_app() as app, measured(app) as proxy:
        await proxy.fetch(method="POST", headers=["Host: app.example:8012"], body=b"0123456789")
        found = await scrape(proxy)
    common = {
        "http_request_method": "POST",
        "http_response_status_code": "200",
        "kn_route_tag": "kn:disabled",
        "network_protocol_name": "http",
        "network_protocol_version": "1.1",
        "url_scheme": "http",
    }
    server = {**common, "server_address": "app.example", "server_port": "8012"}
    client = {**common, "server_address": "127.0.0.1", "server_port": str(app.port)}
    for name, labels, value in (
        ("http_server_request_body_size_bytes_sum", server, 10),
        ("http_server_response_body_size_bytes_sum", server, len(b"hello")),
        ("http_client_request_body_size_bytes_sum", client, 10),
        (REQUESTS, server, 1),
        (CALLS, client, 1),
    ):
        assert found.samples(name) == [(labels, value)], name
    scopes = {
        sample.labels["otel_scope_name"]
        for name in ("http_server_request_duration_seconds", "kn_serving_invocation_duration_seconds")
        for sample in found.families[name].samples
    }
    assert scopes == {
        "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
        "knative.dev/serving/pkg/queue",
    }


async def test_who_reports_is_told_once() -> None:
    async with running_app() as app, measured(app, POD_NAME="pod-1", SERVING_SERVICE="svc") as proxy:
        found = await scrape(proxy)
    assert found.samples("target_info") == [
        (
            {
                "service_name": "svc",
                "service_version": "unknown",
                "service_instance_id": "pod-1",
                "k8s_pod_name": "pod-1",
                "k8s_namespace_name": "default",
                "container_name": "queue-proxy",
                "kn_service_name": "svc",
                "kn_configuration_name": "hello",
                "kn_revision_name": "hello-00001",
            },
            1,
        )
    ]


async def test_the_process_is_told_as_python_and_not_as_go() -> None:
    async with running_app() as app, measured(app) as proxy:
        found = await scrape(proxy)
    names = set(found.families)
    assert {
        "process_cpu_seconds",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    } <= names
    assert {"cpython_gc_collections", "process_thread_count", "process_memory_usage_bytes"} <= names
    assert not any(name.startswith("go_") for name in names)
    assert 10e6 < found.samples("process_resident_memory_bytes")[0][1] < 200e6


# The names of before.


@pytest.mark.parametrize("compat", ["opencensus", "opencensus,otel"])
async def test_dashboards_of_before_opentelemetry_find_their_names(compat: str) -> None:
    async with running_app() as app, measured(app, KNUV_METRICS_COMPAT=compat) as proxy:
        await proxy.fetch(headers=["Knative-Serving-Tag: canary"])
        found = await scrape(proxy)
    labels = {
        "namespace_name": "default",
        "service_name": "unknown",
        "configuration_name": "hello",
        "revision_name": "hello-00001",
        "pod_name": "hello-00001-deployment-abc",
        "container_name": "queue-proxy",
    }
    app_labels = {**labels, "response_code": "200", "response_code_class": "2xx"}
    request_labels = {**app_labels, "route_tag": "canary"}
    for counter, its_labels in (("revision_request_count", request_labels), ("revision_app_request_count", app_labels)):
        # Prometheus' parser calls every counter a total; what stood on the wire did not.
        assert found.samples(f"{counter}_total") == [(its_labels, 1)]
        assert f"\n{counter}{{" in found.text
    assert found.samples("revision_request_latencies_count") == [(request_labels, 1)]
    assert found.samples("revision_app_request_latencies_count") == [(app_labels, 1)]
    assert found.samples("revision_queue_depth") == [(labels, 1)]
    bounds = [labels["le"] for labels, _ in found.samples("revision_app_request_latencies_bucket")]
    assert bounds == [
        *("5", "10", "20", "40", "60", "80", "100", "150", "200", "250", "300", "350", "400", "450", "500", "600"),
        *("700", "800", "900", "1000", "2000", "5000", "10000", "20000", "50000", "100000", "+Inf"),
    ]
    assert bool(found.samples(INVOCATIONS)) == ("otel" in compat.split(","))


# Pushed.


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[App, list[ExportMetricsServiceRequest]]]:
    """A collector and what it was sent."""
    received: list[ExportMetricsServiceRequest] = []

    async def take(call: Call) -> None:
        body, _ = await call.body()
        received.append(ExportMetricsServiceRequest.FromString(body))
        await call.respond(200)

    async with running_app(take) as app:
        yield app, received


def push_to(endpoint: str, interval_s: float = 60) -> str:
    metrics = {"protocol": "http/protobuf", "endpoint": endpoint, "exportInterval": int(interval_s * 1e9)}
    return json.dumps({"requestMetrics": metrics})


async def test_metrics_are_pushed_at_their_interval_and_9091_stays_closed() -> None:
    async with collector() as (sink, received), running_app() as app:
        settings = push_to(f"http://127.0.0.1:{sink.port}", 0.2)
        async with running_queue_proxy(app.port, OBSERVABILITY_CONFIG=settings, POD_NAME="pod-1") as proxy:
            assert not proxy.accepts(METRICS_PORT)
            await proxy.fetch()

            def counted() -> dict[str, int]:
                (resource_metrics,) = received[-1].resource_metrics if received else (None,)
                if resource_metrics is None:
                    return {}
                return {
                    metric.name: metric.histogram.data_points[0].count
                    for scope in resource_metrics.scope_metrics
                    for metric in scope.metrics
                    if metric.HasField("histogram")
                }

            await eventually(lambda: counted().get("kn.serving.invocation.duration") == 1)
            assert counted()["http.server.request.duration"] == 1
            before = len(received)
            await eventually(lambda: len(received) > before + 1)
    attributes = {each.key: each.value.string_value for each in received[0].resource_metrics[0].resource.attributes}
    assert attributes["k8s.pod.name"] == "pod-1"
    assert {call.target for call in sink.calls} == {"/v1/metrics"}


async def test_the_environment_says_where_to_push_and_how_often() -> None:
    async with collector() as (sink, received):
        variables = {
            "OBSERVABILITY_CONFIG": push_to("http://127.0.0.1:1"),
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{sink.port}/own",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }
        async with running_queue_proxy(**variables):
            await eventually(lambda: received)
    assert sink.calls[0].target == "/own"


async def test_a_collector_that_is_away_is_told_once_and_harms_nobody() -> None:
    async with running_app() as app:
        settings = push_to("http://127.0.0.1:1", 0.02)
        async with running_queue_proxy(app.port, OBSERVABILITY_CONFIG=settings) as proxy:
            await eventually(lambda: any(event["message"] == "otlp_export_failed" for event in proxy.events))
            for _ in range(20):
                assert (await proxy.fetch()).status == 200
    assert [event["message"] for event in proxy.events].count("otlp_export_failed") == 1


async def test_grpc_is_accepted_and_what_is_missing_is_said_once() -> None:
    settings = {"requestMetrics": {"protocol": "grpc", "endpoint": "collector:4317"}}
    async with running_app() as app, running_queue_proxy(app.port, OBSERVABILITY_CONFIG=json.dumps(settings)) as proxy:
        assert (await proxy.fetch()).status == 200
        assert not proxy.accepts(METRICS_PORT)
    (event,) = [event for event in proxy.events if event["message"] == "metrics_not_exported"]
    assert event["severity"] == "WARN"
    assert "http/protobuf" in event["remedy"]
