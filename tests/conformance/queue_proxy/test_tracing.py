"""Statements 95 and 96 about tracing (spec queue-proxy.md 18, 23), `Server-Timing` and the profiling port."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.http import App, Call, fetch, running_app
from tests.support.processes import LATE_S, eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy
from tests.support.trace_collector import Collector

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"traceparent: 00-{TRACE}-{PARENT}-01"


@asynccontextmanager
async def traced(sampling_rate: float = 1.0, **variables: str) -> AsyncIterator[tuple[QueueProxy, App, Collector]]:
    collector = Collector()
    async with running_app(collector.take) as receiver, running_app() as app:
        config = {
            "tracing": {
                "protocol": "http/protobuf",
                "endpoint": f"http://127.0.0.1:{receiver.port}",
                "samplingRate": sampling_rate,
            }
        }
        variables = {"CONTAINER_CONCURRENCY": "5", "OBSERVABILITY_CONFIG": json.dumps(config)} | variables
        async with running_queue_proxy(app.port, **variables) as proxy:
            yield proxy, app, collector


async def test_95_without_tracing_a_traceparent_reaches_the_app_unchanged() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        await proxy.fetch(headers=[TRACEPARENT, "tracestate: a=b", "baggage: k=v"])
    assert app.calls[0].values("traceparent") == [TRACEPARENT.partition(" ")[2]]
    assert app.calls[0].values("tracestate") == ["a=b"]


@pytest.mark.parametrize("concurrency", ["5", "0"])
async def test_96_one_request_gives_its_spans_in_one_trace(concurrency: str) -> None:
    async with traced(CONTAINER_CONCURRENCY=concurrency) as (proxy, app, collector):
        await proxy.fetch("/work?x=1", headers=[TRACEPARENT, "tracestate: a=b"])
        await eventually(lambda: collector.bodies)
        spans = {span.name: span for span in collector.spans()}
    wait = [] if concurrency == "0" else ["kn.queueproxy.wait"]
    chain = ["GET", "kn.queueproxy.proxy", *wait, "HTTP GET"]
    assert list(spans) == chain
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    parents = [PARENT, *(spans[name].span_id.hex() for name in chain)]
    assert [spans[name].parent_span_id.hex() for name in chain] == parents[:-1]
    assert [spans[name].kind for name in chain] == [2, 1, *(1 for _ in wait), 3]
    assert {span.trace_state for span in spans.values()} == {"a=b"}
    begins = [spans[name].start_time_unix_nano for name in chain]
    assert begins == sorted(begins)
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano for span in spans.values())
    attributes = {each.key: each.value for each in spans["GET"].attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["kn.route.tag"].string_value == "kn:disabled"
    assert attributes["url.path"].string_value == "/work"
    # The app is the client span's child, and the state goes with it.
    assert app.calls[0].values("traceparent") == [f"00-{TRACE}-{spans['HTTP GET'].span_id.hex()}-01"]
    assert app.calls[0].values("tracestate") == ["a=b"]
    assert collector.paths == ["/v1/traces"]


async def test_probes_have_no_spans() -> None:
    async with traced() as (proxy, app, collector):
        await proxy.probe()
        await proxy.fetch(headers=["K-Kubelet-Probe: x", TRACEPARENT])
        await proxy.fetch(headers=["K-Network-Probe: queue", TRACEPARENT])
        await proxy.fetch("/only")
        await proxy.fetch("/only")
        await eventually(lambda: collector.bodies)
        names = [span.name for span in collector.spans()]
    chain = ["GET", "kn.queueproxy.proxy", "kn.queueproxy.wait", "HTTP GET"]
    assert names == chain * 2
    # What is not traced is passed on as it came.
    assert [call.values("traceparent") for call in app.calls[:2]] == [[TRACEPARENT.partition(" ")[2]]] * 2


async def test_a_refused_request_has_no_client_span_and_a_wait_without_success() -> None:
    async def hold(call: Call) -> None:
        await call.closed()

    async with (
        running_app(hold) as app,
        traced(CONTAINER_CONCURRENCY="1", USER_PORT=str(app.port)) as (
            proxy,
            _,
            collector,
        ),
    ):
        clients = [await proxy.open() for _ in range(11)]
        for client in clients:
            await client.request()
        await app.call(0)
        last = await proxy.open()
        await last.request(headers=[TRACEPARENT])
        assert (await last.response()).status == 503
        await eventually(lambda: collector.bodies)
        spans = {span.name: span for span in collector.spans() if span.trace_id.hex() == TRACE}
    assert list(spans) == ["GET", "kn.queueproxy.proxy", "kn.queueproxy.wait"]
    assert spans["GET"].status.code == 2


async def test_other_lines_go_on_beside_a_traceparent_of_ours() -> None:
    async with traced() as (proxy, app, _):
        for _ in range(3):
            await proxy.fetch(headers=["x-request-id: 1", "TraceParent: " + TRACEPARENT.partition(" ")[2], "a: b"])
    for call in app.calls:
        assert (call.values("x-request-id"), call.values("a")) == (["1"], ["b"])
        (sent,) = call.values("traceparent")
        assert sent.startswith(f"00-{TRACE}-")
        assert PARENT not in sent


async def test_of_several_traceparents_none_counts() -> None:
    async with traced() as (proxy, app, _):
        await proxy.fetch(headers=[TRACEPARENT, TRACEPARENT.replace(PARENT, "b" * 16), "tracestate: a=b"])
    (sent,) = app.calls[0].values("traceparent")
    assert TRACE not in sent
    assert app.calls[0].values("tracestate") == []


@pytest.mark.parametrize(
    ("rate", "variables", "flags", "sampled"),
    [
        (0.0, {}, "01", False),  # never, even with a sampled parent
        (1.0, {}, "00", True),  # always, whatever the parent says
        (0.5, {}, "01", True),
        (0.5, {}, "00", False),
        (0.0, {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "01", True),
        (1.0, {"OTEL_TRACES_SAMPLER": "always_off"}, "01", False),
        (0.0, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}, "00", True),
    ],
)
async def test_who_decides_about_sampling(rate: float, variables: dict[str, str], flags: str, sampled: bool) -> None:
    async with traced(rate, **variables) as (proxy, app, _):
        await proxy.fetch(headers=[f"traceparent: 00-{TRACE}-{PARENT}-{flags}"])
    (value,) = app.calls[0].values("traceparent")
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-{'01' if sampled else '00'}", value)
    assert PARENT not in value


@pytest.mark.parametrize("value", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"])
async def test_a_traceparent_that_says_nothing_begins_a_new_trace(value: str) -> None:
    async with traced() as (proxy, app, _):
        await proxy.fetch(headers=[f"traceparent: {value}", "tracestate: a=b"])
    (sent,) = app.calls[0].values("traceparent")
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", sent)
    assert TRACE not in sent
    assert app.calls[0].values("tracestate") == []


async def test_an_app_that_cannot_be_reached_is_an_error_in_both_spans() -> None:
    async with traced(USER_PORT="1") as (proxy, _, collector):
        assert (await proxy.fetch()).status == 502
        await eventually(lambda: collector.bodies)
        spans = {span.name: span for span in collector.spans()}
    assert (spans["GET"].status.code, spans["HTTP GET"].status.code) == (2, 2)
    assert {each.key: each.value.string_value for each in spans["HTTP GET"].attributes}["error.type"] == "unreachable"


async def test_grpc_is_accepted_and_told_to_record_nothing() -> None:
    config = json.dumps({"tracing": {"protocol": "grpc", "endpoint": "http://collector:4317", "samplingRate": 1}})
    async with running_app() as app, running_queue_proxy(app.port, OBSERVABILITY_CONFIG=config) as proxy:
        await proxy.fetch(headers=[TRACEPARENT])
        assert [each["message"] for each in proxy.events].count("traces_not_exported") == 1
    assert app.calls[0].values("traceparent") == [TRACEPARENT.partition(" ")[2]]


async def test_server_timing_tells_queue_and_app_apart() -> None:
    async def slow(call: Call) -> None:
        await asyncio.sleep(0.6)
        await call.respond(200, b"done", "Server-Timing: db;dur=5")

    variables = {"CONTAINER_CONCURRENCY": "1", "KNUV_SERVER_TIMING": "1"}
    async with running_app(slow) as app, running_queue_proxy(app.port, **variables) as proxy:
        responses = await asyncio.gather(proxy.fetch(), proxy.fetch())
    told = [response.values("server-timing") for response in responses]
    assert all(each[0] == "db;dur=5" for each in told)
    figures = sorted(tuple(float(part) for part in re.findall(r"dur=([0-9.]+)", each[1])) for each in told)
    assert figures[0][0] < 500 < 590 < figures[1][0] < 600 + 1000 * LATE_S
    assert all(590 < app_ms < 600 + 1000 * LATE_S for _, app_ms in figures)


async def test_without_the_switch_there_is_no_server_timing() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch()).values("server-timing") == []


async def test_the_profiling_port_shows_stacks_tasks_and_memory() -> None:
    config = json.dumps({"runtime": {"profiling": "enabled"}})
    async with running_queue_proxy(OBSERVABILITY_CONFIG=config, PROFILING_PORT="8009") as proxy:

        async def get(page: str) -> tuple[int, str]:
            response = await fetch(proxy.host, 8009, f"/debug/pprof/{page}")
            return response.status, response.body.decode()

        assert not proxy.accepts(8008)
        assert "heap" in (await get(""))[1]
        assert re.search(r"VmRSS: \d+ kB", (await get("heap"))[1])
        assert "thread MainThread" in (await get("tasks"))[1]
        taken, refused = sorted(await asyncio.gather(get("profile?seconds=1"), get("profile?seconds=1")))
        assert (taken[0], refused[0]) == (200, 503)
        assert (await get("profile?seconds=999"))[0] == 400
        assert (await get("profile?seconds=x"))[0] == 400
        assert (await get("cmdline"))[0] == 404
        assert (await fetch(proxy.host, 8009, "/debug/pprof/", method="POST")).status == 405


async def test_a_profile_shows_where_processor_time_goes() -> None:
    config = json.dumps({"runtime": {"profiling": "enabled"}})
    async with running_app() as app, running_queue_proxy(app.port, OBSERVABILITY_CONFIG=config) as proxy:

        async def profile(seconds: int) -> str:
            return (await fetch(proxy.host, 8008, f"/debug/pprof/profile?seconds={seconds}")).body.decode()

        idle = await profile(1)
        client = await proxy.open()
        counts: dict[str, int] = {}
        seconds = 1
        while sum(counts.values()) <= 10:  # a busy machine gives it little of the time
            seconds *= 2
            taking = asyncio.create_task(profile(seconds))
            while not taking.done():
                await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 50)
                for _ in range(50):
                    await client.response()
            counts = {
                stack: int(count) for stack, _, count in (line.rpartition(" ") for line in taking.result().splitlines())
            }
    assert sum(int(line.rpartition(" ")[2]) for line in idle.splitlines()) < 10
    ours = sum(count for stack, count in counts.items() if "stream.py:" in stack)
    assert ours > sum(counts.values()) / 5
    assert all(stack.startswith("<frozen runpy>:_run_module_as_main;") for stack in counts)
