"""Tracing of the activator (spec activator.md 14; 7.2 for the headers)."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.activator.world import DEADLINE_S, World, surroundings
from tests.support.http import running_app
from tests.support.processes import eventually
from tests.support.trace_collector import Collector

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{PARENT}-01")
SENT_S = 15.0
"""Spans leave in batches, five seconds after the first at the latest."""


@asynccontextmanager
async def traced(rate: str = "1", **environ: str) -> AsyncIterator[tuple[World, Collector]]:
    collector = Collector()
    async with running_app(collector.take) as receiver:
        data = {
            "tracing-protocol": "http/protobuf",
            "tracing-endpoint": f"http://127.0.0.1:{receiver.port}",
            "tracing-sampling-rate": rate,
        }
        async with surroundings(network={}, observability=data, **environ) as world:
            await world.revision()
            await world.start()
            yield world, collector


async def end_orderly(world: World) -> None:
    """Let the activator end, which sends what waits."""
    assert world.process is not None
    world.process.terminate()
    async with asyncio.timeout(DEADLINE_S):
        await world.process.wait()


async def spans_of(world: World, collector: Collector) -> dict[str, Any]:
    """By name. The activator ends for it, which sends all that waits, at once."""
    await end_orderly(world)
    return {span.name: span for span in collector.spans()}


def attributes_of(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def test_14_a_request_gives_its_spans_in_the_callers_trace() -> None:
    async with traced() as (world, collector):
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await pod.until(lambda pod: len(pod.probes) > 0, "a probe")
        response = await world.get(path="/work?x=1", headers=[TRACEPARENT, ("tracestate", "a=b"), ("baggage", "k=v")])
        assert response.status == 200
        # It does not wait for its end, and not for a full batch.
        await eventually(lambda: collector.bodies, timeout_s=SENT_S)
        spans = await spans_of(world, collector)
    assert [name for name in spans if not name.startswith("knuv.")] == [
        *("GET", "throttler_try", "activator_proxy", "GET /work")
    ]
    server, wait, proxy, client = (spans[name] for name in ("GET", "throttler_try", "activator_proxy", "GET /work"))
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert {span.trace_state for span in spans.values()} == {"a=b"}
    assert [span.kind for span in (server, wait, proxy, client)] == [2, 1, 1, 3]
    assert server.parent_span_id.hex() == PARENT
    assert (wait.parent_span_id, proxy.parent_span_id) == (server.span_id, server.span_id)
    assert client.parent_span_id == proxy.span_id
    assert server.start_time_unix_nano == wait.start_time_unix_nano <= wait.end_time_unix_nano
    assert wait.end_time_unix_nano == proxy.start_time_unix_nano <= proxy.end_time_unix_nano
    told = attributes_of(server)
    assert told["http.response.status_code"] == 200
    assert told["url.path"] == "/work"
    names = {"kn.service.name": "svc", "kn.configuration.name": "conf", "kn.revision.name": "rev"}
    assert {**told, **names, "k8s.namespace.name": "ns"} == told
    assert (attributes_of(client)["server.address"], attributes_of(client)["server.port"]) == (pod.host, pod.port)
    # The pod is the client span's child; the state and the baggage go with it.
    (request,) = pod.requests
    assert request.all("traceparent") == [f"00-{TRACE}-{client.span_id.hex()}-01"]
    assert (request.all("tracestate"), request.all("baggage")) == (["a=b"], ["k=v"])


async def test_phases_of_a_cold_start_are_spans() -> None:
    async with traced() as (world, collector):
        waiting = world.start_get(headers=[TRACEPARENT])
        await world.autoscaler.heard_of(1)
        await world.endpoints(ready=[await world.pod(10)])
        assert (await waiting).status == 200
        spans = await spans_of(world, collector)
    wait, proxy = spans["throttler_try"], spans["activator_proxy"]
    report, capacity = spans["knuv.cold_start.report"], spans["knuv.cold_start.capacity"]
    response = spans["knuv.cold_start.response"]
    assert (report.parent_span_id, capacity.parent_span_id) == (wait.span_id, wait.span_id)
    assert response.parent_span_id == proxy.span_id
    times = [report.start_time_unix_nano, report.end_time_unix_nano, capacity.end_time_unix_nano]
    assert times == sorted(times)
    assert report.start_time_unix_nano == wait.start_time_unix_nano
    assert capacity.start_time_unix_nano == report.end_time_unix_nano
    assert capacity.end_time_unix_nano <= wait.end_time_unix_nano == response.start_time_unix_nano
    assert response.end_time_unix_nano <= proxy.end_time_unix_nano


async def test_a_warm_request_has_no_phases_of_a_cold_start() -> None:
    async with traced() as (world, collector):
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get(headers=[TRACEPARENT])
        await world.get(path="/warm", headers=[("traceparent", f"00-{'a' * 32}-{PARENT}-01")])
        await spans_of(world, collector)
        warm = [span.name for span in collector.spans() if span.trace_id.hex() == "a" * 32]
    assert warm == ["GET", "throttler_try", "activator_proxy", "GET /warm"]


async def test_a_wait_without_success_is_an_error_and_has_no_client_span() -> None:
    async with traced() as (world, collector):
        await world.revision("hurried", timeoutSeconds=1)
        assert (await world.get(revision=("ns", "hurried"))).status == 504
        spans = await spans_of(world, collector)
    assert list(spans) == ["GET", "throttler_try"]
    assert [span.status.code for span in spans.values()] == [2, 2]


async def test_unknown_revisions_have_the_servers_span_alone_and_probes_none() -> None:
    async with traced() as (world, collector):
        assert (await world.get(headers=[("K-Network-Probe", "activator"), TRACEPARENT])).status == 200
        assert (await world.get(headers=[("User-Agent", "kube-probe/1.34")])).status == 200
        assert (await world.get(revision=("ns", "unknown"))).status == 404
        await spans_of(world, collector)
        (span,) = collector.spans()
    told = attributes_of(span)
    assert told["http.response.status_code"] == 404
    assert not [name for name in told if name.startswith("kn.")]


@pytest.mark.parametrize(
    ("rate", "flags", "is_kept"), [("0", "01", False), ("1", "00", True), ("0.5", "01", True), ("0.5", "00", False)]
)
async def test_14_sampling_is_as_in_queue_proxy(rate: str, flags: str, is_kept: bool) -> None:
    async with traced(rate) as (world, collector):
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get(headers=[("traceparent", f"00-{TRACE}-{PARENT}-{flags}")])
        await end_orderly(world)
        assert bool(collector.bodies) is is_kept
    (request,) = pod.requests
    assert request.get("traceparent").startswith(f"00-{TRACE}-")
    assert request.get("traceparent").endswith("-01" if is_kept else "-00")


async def test_7_2_without_tracing_a_traceparent_reaches_the_pod_unchanged() -> None:
    async with surroundings(network={}) as world:
        await world.revision()
        await world.start()
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        await world.get(headers=[TRACEPARENT, ("tracestate", "a=b")])
    (request,) = pod.requests
    assert (request.all("traceparent"), request.all("tracestate")) == ([TRACEPARENT[1]], ["a=b"])


async def test_a_request_that_goes_to_a_second_pod_keeps_its_place() -> None:
    async with traced() as (world, collector):
        gone, pod = await world.pod(10), await world.pod(11)
        await world.endpoints(ready=[gone, pod])
        await gone.until(lambda pod: len(pod.probes) > 0, "a probe")
        await pod.until(lambda pod: len(pod.probes) > 0, "a probe")
        await gone.stop()
        for _ in range(4):
            assert (await world.get(headers=[TRACEPARENT])).status == 200
        await spans_of(world, collector)
        clients = {span.span_id.hex() for span in collector.spans() if span.kind == 3}
    assert [request.get("traceparent") for request in gone.requests] == []
    assert {request.get("traceparent").split("-")[2] for request in pod.requests} == clients
    assert len(clients) == 4


async def test_spans_on_standard_output() -> None:
    reader, writer = os.pipe()
    try:
        async with surroundings(network={}, observability={"tracing-protocol": "stdout"}) as world:
            world.stdout = writer
            await world.revision()
            await world.endpoints(ready=[await world.pod(10)])
            await world.start()
            await world.get()
            await end_orderly(world)
        lines = os.read(reader, 1 << 16).decode().splitlines()
    finally:
        os.close(reader)
        os.close(writer)
    names = [json.loads(line)["name"] for line in lines]
    assert [name for name in names if not name.startswith("knuv.")] == [
        *("GET", "throttler_try", "activator_proxy", "GET /")
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"tracing-protocol": "smoke"}, "tracing-protocol: expected one of none, grpc, http/protobuf, stdout"),
        ({"tracing-protocol": "http/protobuf"}, "tracing-endpoint: expected one"),
        ({"tracing-endpoint": "http://c:4318"}, "tracing-endpoint: expected none"),
        ({"tracing-sampling-rate": "1.5"}, "tracing-sampling-rate: expected a number from 0 to 1"),
    ],
)
async def test_what_is_wrong_is_told_and_ends_the_start(data: dict[str, str], told: str) -> None:
    async with surroundings(network={}, observability=data) as world:
        process = await world.spawn()
        assert await process.wait() != 0
        await world.end()
        said = "".join(world.stderr) + json.dumps(world.log)
    assert "config-observability" in said
    assert told in said
