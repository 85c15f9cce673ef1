"""Statements 92 to 94: what is written about requests on standard output."""

import asyncio
import fcntl
import json
import os
import select
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.http import App, Call, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import ACTIVATOR_PROBE, QueueProxy, running_queue_proxy

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"
B3 = "X-B3-TraceId: 80f198ee56343ba864fe8b2a57d3eff7"


@asynccontextmanager
async def logged(
    app: App, template: str | None = None, *, logs_probes: bool = False, **options: Any
) -> AsyncIterator[QueueProxy]:
    """A queue-proxy that logs requests; None: in the default template."""
    settings: dict[str, Any] = {"enableRequestLog": True, "enableProbeRequestLog": logs_probes}
    if template is not None:
        settings["requestLogTemplate"] = template
    async with running_queue_proxy(app.port, OBSERVABILITY_CONFIG=json.dumps(settings), **options) as proxy:
        yield proxy


async def lines(proxy: QueueProxy, count: int) -> list[str]:
    """Wait for that many."""
    await eventually(lambda: len(proxy.output) >= count)
    return proxy.output


def told(proxy: QueueProxy, event: str) -> list[dict[str, Any]]:
    return [each for each in proxy.events if each["message"] == event]


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [([], ""), ([B3], B3.partition(" ")[2]), ([B3, TRACEPARENT], TRACE), ([TRACEPARENT], TRACE)],
)
async def test_92_the_default_template_gives_a_line_of_json(headers: list[str], trace_id: str) -> None:
    async with running_app() as app, logged(app) as proxy:
        client = await proxy.open()
        host, port = client.writer.get_extra_info("sockname")
        await client.request(
            "/a?b='c'", method="POST", headers=[*headers, "User-Agent: x/1 <y>", "Referer: http://r/"], body=b"1234"
        )
        await client.response()
        (line,) = await lines(proxy, 1)
    # What Go's `js` makes of an apostrophe is not JSON; the original's lines have it too.
    record = json.loads(line.replace("\\'", "'"))
    latency = record["httpRequest"].pop("latency")
    assert 0 < float(latency.removesuffix("s")) < 10
    assert record == {
        "httpRequest": {
            "requestMethod": "POST",
            "requestUrl": "/a?b='c'",
            "requestSize": "4",
            "status": 200,
            "responseSize": "5",
            "userAgent": "x/1 <y>",
            "remoteIp": f"{host}:{port}",
            "serverIp": "10.0.0.9",
            "referer": "http://r/",
            "protocol": "HTTP/1.1",
        },
        "traceId": trace_id,
    }


async def test_92_nothing_is_written_unless_it_is_enabled() -> None:
    settings = json.dumps({"enableRequestLog": False, "requestLogTemplate": "{{.Request.Method}}"})
    async with running_app() as app, running_queue_proxy(app.port, OBSERVABILITY_CONFIG=settings) as proxy:
        await proxy.fetch()
        proxy.process.kill()
        await proxy.process.wait()
    assert proxy.output == []


async def test_92_a_line_is_written_when_the_response_has_ended() -> None:
    may_end = asyncio.Event()

    async def stream(call: Call) -> None:
        await call.start_chunked()
        await call.chunk(b"abc")
        await may_end.wait()
        await call.chunk(b"")

    async with running_app(stream) as app, logged(app, "{{.Response.Size}}") as proxy:
        client = await proxy.open()
        await client.request()
        response = await client.head()
        assert proxy.output == []
        may_end.set()
        await client.body(response)
        assert await lines(proxy, 1) == ["3"]


@pytest.mark.parametrize("logs_probes", [False, True])
async def test_93_probes_are_logged_only_if_that_is_enabled(logs_probes: bool) -> None:
    async with running_app() as app, logged(app, "{{.Request.RequestURI}}", logs_probes=logs_probes) as proxy:
        await proxy.fetch("/activator", headers=ACTIVATOR_PROBE)
        await proxy.fetch("/network", headers=["K-Network-Probe: probe", "K-Network-Hash: h"])
        await proxy.fetch("/kubelet", headers=["User-Agent: kube-probe/1.34", "K-Network-Probe: queue"])
        await proxy.fetch("/wrong", headers=["User-Agent: kube-probe/1.34"])
        await proxy.fetch("/legacy", headers=["K-Kubelet-Probe: x"])
        await proxy.fetch("/app", headers=["K-Network-Probe: queue"])
        await proxy.fetch("/request")
        probes = ["/activator", "/network", "/kubelet", "/wrong", "/legacy", "/app"]
        expected = [*(probes if logs_probes else []), "/request"]
        assert await lines(proxy, len(expected)) == expected


@pytest.mark.parametrize("end", ["", "\n"])
async def test_94_each_request_has_its_line_whether_or_not_the_template_ends_with_one(end: str) -> None:
    template = "{{.Revision.PodName}} {{.Revision.Name}} {{.Revision.PodIP}} {{.Response.Code}}" + end
    async with running_app() as app, logged(app, template) as proxy:
        for _ in range(3):
            await proxy.fetch()
        expected = "hello-00001-deployment-abc hello-00001 10.0.0.9 200"
        assert await lines(proxy, 3) == [expected] * 3


async def test_what_an_operator_may_write_in_a_template() -> None:
    template = (
        '{{with .Request.Header.Get "x-user"}}user={{js .}} {{end -}}'
        "{{- if ge .Response.Code 500}}bad{{else if eq .Response.Code 200 204}}good{{else}}other{{end}} "
        '{{printf "%06.3f" .Response.Latency | len}} {{index .Request.Header "X-Tag"}}'
        '{{range $i, $tag := .Request.Header.Values "x-tag"}}{{if $i}},{{end}}{{$tag | printf "%q"}}{{end}}'
    )
    async with running_app() as app, logged(app, template) as proxy:
        await proxy.fetch(headers=["X-User: <a>", "x-tag: 1", "X-Tag: 2"])
        await proxy.fetch(headers=["K-Original-Host: h"])
        assert await lines(proxy, 2) == [r'user=\u003Ca\u003E good 6 [1 2]"1","2"', "good 6 []"]


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{.Request.Method", "line 1, column 1: expected }} at the end of the action"),
        ("a\n{{nofunc .Request}}", "line 2, column 3: nofunc is no function"),
        ('{{template "x"}}', "line 1, column 3: template is not supported"),
    ],
)
async def test_what_is_no_template_disables_the_log_and_nothing_else(template: str, problem: str) -> None:
    async with running_app() as app, logged(app, template) as proxy:
        assert (await proxy.fetch()).status == 200
        (event,) = told(proxy, "request_log_disabled")
        assert (event["severity"], event["problem"]) == ("ERROR", problem)
    assert proxy.output == []


async def test_a_template_that_fails_says_so_in_each_line_and_why_once() -> None:
    async with running_app() as app, logged(app, "{{.Request.Method}} {{.Request.Nope}}") as proxy:
        for _ in range(2):
            await proxy.fetch("/a?b")
        found = await lines(proxy, 2)
        (event,) = told(proxy, "request_log_template_fails")
    start = "Invalid request log template: method: GET, response code: 200, latency: "
    assert all(line.startswith(start) and line.endswith(", url: /a?b") for line in found)
    assert event["problem"].startswith("line 1, column 21: *http.Request has no field Nope")


async def test_responses_that_were_not_the_apps_and_those_that_broke_off() -> None:
    async def break_off(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        call.close()

    template = "{{.Response.Code}} {{.Response.Size}}"
    async with running_app(break_off) as app, logged(app, template) as proxy:
        await proxy.fetch()
        assert await lines(proxy, 1) == ["500 0"]
    async with running_app() as app, logged(app, "{{.Response.Code}}", USER_PORT="1") as proxy:
        await proxy.fetch()
        assert await lines(proxy, 1) == ["502"]


async def test_lines_that_wait_are_written_at_the_end() -> None:
    async with running_app() as app, logged(app, "{{.Request.RequestURI}}") as proxy:
        client = await proxy.open()
        for number in range(50):
            await client.send(f"GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")
        for _ in range(50):
            await client.response()
        assert await lines(proxy, 50) == [f"/{number}" for number in range(50)]


async def test_a_reader_that_stops_costs_lines_and_no_request() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    template = "{{.Request.RequestURI}} {{range 200}}{{printf `%100d` .}}{{end}}"
    try:
        async with running_app() as app, logged(app, template, stdout=writer) as proxy:
            client = await proxy.open()
            for number in range(80):  # of 20 kB each, where a megabyte may wait
                await client.request(f"/{number}")
                assert (await client.response()).status == 200
            await eventually(lambda: told(proxy, "stdout_full"))

            found = b""

            async def drained() -> list[dict[str, Any]]:
                nonlocal found
                # Nothing more may come before the event does.
                if select.select([reader], [], [], 0.05)[0]:
                    found += os.read(reader, 1 << 16)
                return told(proxy, "stdout_lines_dropped")

            (event,) = await eventually(drained, timeout_s=30)
            await client.request("/last")
            await client.response()
            while b"/last" not in found or not found.endswith(b"\n"):
                found += await asyncio.to_thread(os.read, reader, 1 << 16)
    finally:
        os.close(reader)
        os.close(writer)
    logged_lines = found.decode().splitlines()
    assert len(logged_lines) + event["count"] == 81
    assert {len(line) - len(line.split(" ")[0]) for line in logged_lines} == {20_001}
    assert logged_lines[0].startswith("/0 ")
    assert len(told(proxy, "stdout_full")) == 1


async def test_a_reader_that_is_gone_is_told_once_and_harms_nobody() -> None:
    reader, writer = os.pipe()
    try:
        async with running_app() as app, logged(app, stdout=writer) as proxy:
            os.close(reader)
            for _ in range(3):
                assert (await proxy.fetch()).status == 200
            await eventually(lambda: told(proxy, "stdout_broken"))
            assert len(told(proxy, "stdout_broken")) == 1
    finally:
        os.close(writer)


async def test_spans_and_request_log_share_standard_output_line_by_line() -> None:
    settings = {"tracing": {"protocol": "stdout"}, "enableRequestLog": True, "requestLogTemplate": "{{.TraceID}}"}
    async with running_app() as app:
        variables = {"OBSERVABILITY_CONFIG": json.dumps(settings), "CONTAINER_CONCURRENCY": "1"}
        async with running_queue_proxy(app.port, **variables) as proxy:
            await proxy.fetch(headers=[TRACEPARENT])
            found = await lines(proxy, 5)
            proxy.process.send_signal(signal.SIGKILL)
    spans = [json.loads(line) for line in found if line.startswith("{")]
    assert found.count(TRACE) == 1
    assert {span["name"] for span in spans} == {"GET", "kn.queueproxy.proxy", "kn.queueproxy.wait", "HTTP GET"}
    assert {span["traceId"] for span in spans} == {TRACE}
