"""What an autoscaler tells of its revisions (spec autoscaler.md 12), scraped and pushed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.autoscaler.world import METRICS_PORT, NAMESPACE, Revision, World, autoscaler
from tests.support.otlp import ExportMetricsServiceRequest
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCOPE = "knative.dev/serving/pkg/autoscaler"
SCRAPED = {"metrics-protocol": "prometheus"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    config = {"stable-window": "6s", "panic-window-percentage": "50"}
    async with autoscaler(config=config, config_observability=SCRAPED) as world:
        yield world


async def scrape(ip: str, port: int = METRICS_PORT) -> dict[str, list[tuple[dict[str, str], float]]]:
    """(labels, value) of each series by name."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{ip}:{port}/metrics") as response:
        text = await response.text()
        assert response.status == 200
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


async def gauges_of(world: World, revision: Revision) -> dict[str, float]:
    """Gauges of one revision."""
    found = {}
    for name, series in (await scrape(world.ip)).items():
        for labels, value in series:
            if labels.get("kn_revision_name") == revision.name:
                assert labels["otel_scope_name"] == SCOPE
                assert (labels["k8s_namespace_name"], labels["kn_service_name"]) == (NAMESPACE, "hello")
                assert labels["kn_configuration_name"] == "hello"
                found[name] = value
    return found


async def test_gauges_of_a_revision_that_scales_by_concurrency(world: World) -> None:
    revision = await world.revision(ready=1, load=5, active=("True", 100), max_scale="1")
    await revision.add_pod(phase="Pending", conditions=[])
    await revision.decided(1)
    assert await gauges_of(world, revision) == {
        "kn_revision_pods_desired": 1,
        "kn_revision_capacity_excess": -116,
        "kn_revision_panic_mode": 0,
        "kn_revision_concurrency_stable": 5,
        "kn_revision_concurrency_panic": 5,
        "kn_revision_concurrency_target": 70,
        "kn_revision_pods_requested": 1,
        "kn_revision_pods_count": 1,
        "kn_revision_pods_not_ready_count": 1,
        "kn_revision_pods_pending_count": 1,
        "kn_revision_pods_terminating_count": 0,
    }


async def test_gauges_of_a_revision_that_scales_by_requests(world: World) -> None:
    revision = await world.revision(ready=2, load=5, active=("True", 100), metric="rps")
    await revision.decided(2)
    gauges = await gauges_of(world, revision)
    assert gauges["kn_revision_rps_stable_per_second"] == 10
    assert gauges["kn_revision_rps_panic_per_second"] == 10
    assert gauges["kn_revision_rps_target_per_second"] == pytest.approx(140)
    assert not [name for name in gauges if name.startswith("kn_revision_concurrency")]
    # Two ready pods at the beginning are a panic.
    assert gauges["kn_revision_panic_mode"] == 1


async def test_what_is_not_known_is_not_told(world: World) -> None:
    revision = await world.revision(active=("False", 5))
    await revision.reconciled()
    gauges = await gauges_of(world, revision)
    assert "kn_revision_pods_desired" not in gauges
    assert "kn_revision_pods_requested" not in gauges
    assert "kn_revision_concurrency_stable" not in gauges
    assert gauges["kn_revision_concurrency_target"] == 70
    assert gauges["kn_revision_pods_count"] == 0


async def test_the_requested_scale_stays_while_a_new_one_is_unknown(world: World) -> None:
    revision = await world.revision(active=("True", 100), desired_scale=4)
    await revision.reconciled()
    assert (await gauges_of(world, revision))["kn_revision_pods_requested"] == 4


async def test_a_deleted_revision_is_told_no_more(world: World) -> None:
    revision = await world.revision(ready=1, active=("True", 100))
    await revision.decided(0)
    assert await gauges_of(world, revision)
    await world.client.delete(type(revision.autoscaler), revision.name, NAMESPACE)

    async def is_gone() -> bool:
        return await gauges_of(world, revision) == {}

    gone: bool = await eventually(is_gone)
    assert gone


async def test_the_duration_of_scrapes(world: World) -> None:
    revision = await world.revision(ready=1, load=1, active=("True", 100))
    await world.revision(ready=0, active=("True", 100))
    await revision.decided(1)
    samples = await scrape(world.ip)
    name = "kn_autoscaler_scrape_duration_seconds"
    ((labels, count),) = samples[f"{name}_count"]
    assert count >= 1
    told = {key: value for key, value in labels.items() if not key.startswith("otel_")}
    assert told == {"k8s_namespace_name": NAMESPACE, "kn_service_name": "hello", "kn_configuration_name": "hello"}
    bounds = [bucket["le"] for bucket, _ in samples[f"{name}_bucket"]]
    assert bounds == [
        *("0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75"),
        *("1", "2.5", "5", "7.5", "10", "+Inf"),
    ]


async def test_who_tells_and_what_the_process_uses(world: World) -> None:
    samples = await scrape(world.ip)
    ((resource, _),) = samples["target_info"]
    assert resource["service_name"] == "autoscaler"
    assert (resource["k8s_namespace_name"], resource["k8s_pod_name"]) == ("knative-serving", "autoscaler-0")
    assert samples["process_resident_memory_bytes"][0][1] > 1e6
    assert "cpython_gc_collections_total" in samples


async def test_it_is_off_unless_it_is_asked_for() -> None:
    for config in ({}, {"metrics-protocol": "none"}):
        async with autoscaler(config_observability=config) as world:
            with pytest.raises(aiohttp.ClientConnectorError):
                await scrape(world.ip)


async def test_the_endpoint_and_the_variables_say_where() -> None:
    config = {"metrics-protocol": "prometheus", "metrics-endpoint": "127.0.0.1:9464"}
    environ = {"METRICS_PROMETHEUS_PORT": "9465", "OTEL_SERVICE_NAME": "scaler"}
    async with autoscaler(config_observability=config, environ=environ) as world:
        samples = await scrape("127.0.0.1", 9465)
        assert samples["target_info"][0][0]["service_name"] == "scaler"
        with pytest.raises(aiohttp.ClientConnectorError):
            await scrape(world.ip)


async def test_grpc_is_refused_in_one_line() -> None:
    config = {"metrics-protocol": "grpc", "metrics-endpoint": "http://127.0.0.1:1"}
    async with autoscaler(config_observability=config) as world:
        await world.until(lambda: world.logged("metrics_off"), "told")
        (line,) = world.logged("metrics_off")
        assert (line["protocol"], line["severity"]) == ("grpc", "WARN")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"metrics-protocol": "statsd"}, 'unsupported protocol "statsd"'),
        ({"metrics-protocol": "http/protobuf"}, 'endpoint should be set when protocol is "http/protobuf"'),
        ({"metrics-endpoint": "here"}, 'endpoint should not be set when protocol is "none"'),
        ({"metrics-export-interval": "soon"}, "metrics-export-interval: expected a duration"),
        ({"metrics-protocol": "prometheus", "metrics-endpoint": ":80"}, "expected a port from 1024 to 65535, got '80'"),
    ],
)
async def test_what_cannot_be_used_ends_the_start(config: dict[str, str], problem: str) -> None:
    with pytest.raises(AssertionError, match="the autoscaler ended") as ended:
        async with autoscaler(config_observability=config):
            pass
    assert "autoscaler: ConfigMap config-observability: " in str(ended.value)
    assert problem in str(ended.value).replace("\\'", "'")


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[ExportMetricsServiceRequest]]]:
    """A collector: its URL, and what it received."""
    received: list[ExportMetricsServiceRequest] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                received.append(ExportMetricsServiceRequest.FromString(await reader.readexactly(size)))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received
    finally:
        server.close()


async def test_they_can_be_pushed_instead() -> None:
    async with collector() as (url, received):
        config = {
            "metrics-protocol": "http/protobuf",
            "metrics-endpoint": url,
            "metrics-export-interval": "100ms",
        }
        async with autoscaler(config={"stable-window": "6s"}, config_observability=config) as world:
            revision = await world.revision(ready=1, load=5, active=("True", 100))
            await revision.decided(1)

            def desired() -> list[int]:
                return [
                    point.as_int
                    for request in received
                    for resource in request.resource_metrics
                    for scope in resource.scope_metrics
                    for metric in scope.metrics
                    if (scope.scope.name, metric.name) == (SCOPE, "kn.revision.pods.desired")
                    for point in metric.gauge.data_points
                ]

            found: list[int] = await eventually(desired)
            assert found[-1] == 1
        resource = received[-1].resource_metrics[0].resource
        names = {attribute.key: attribute.value.string_value for attribute in resource.attributes}
        assert (names["service.name"], names["k8s.pod.name"]) == ("autoscaler", "autoscaler-0")
