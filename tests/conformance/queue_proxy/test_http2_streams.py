"""Statements 50 to 77 for HTTP/2: a stream is what waits, is refused, runs out of time, is counted and is drained."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from proxies.wire.stat import Stat, decode_stat
from tests.support.h2_peers import Http2App, Http2Call, Http2Client, Http2Response, running_http2_app
from tests.support.http import fetch
from tests.support.processes import LATE_S, eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

CANCEL = 8


class World(NamedTuple):
    """An app that answers when it is let, behind a queue-proxy; one client connection."""

    app: Http2App
    proxy: QueueProxy
    client: Http2Client
    release: asyncio.Semaphore


@asynccontextmanager
async def running_world(**variables: str) -> AsyncIterator[World]:
    release = asyncio.Semaphore(0)

    async def answer(call: Http2Call) -> None:
        if not call.values("k-kubelet-probe"):
            await release.acquire()
        await call.respond(200, b"done")

    async with running_http2_app(answer) as app, running_queue_proxy(app.port, **variables) as proxy:
        client = await Http2Client.open(proxy.host, proxy.port)
        proxy.clients.append(client)
        yield World(app, proxy, client, release)


async def full(world: World) -> list[Http2Response]:
    """11 streams of one connection: one runs, ten wait."""
    streams = [await world.client.start(f"/{number}") for number in range(11)]
    await world.app.call(0)
    return streams


# Breaker


async def test_50_one_stream_runs_ten_wait_and_the_twelfth_is_refused_at_once() -> None:
    async with running_world(CONTAINER_CONCURRENCY="1") as world:
        await full(world)
        response = await world.client.fetch("/late")
        assert (response.status, response.body) == (503, b"pending request queue full\n")
        assert [call.target for call in world.app.calls] == ["/0"]


async def test_51_each_answer_lets_one_more_in_in_their_order() -> None:
    async with running_world(CONTAINER_CONCURRENCY="1") as world:
        streams = await full(world)
        for number, stream in enumerate(streams):
            await world.app.call(number)
            assert len(world.app.calls) == number + 1
            world.release.release()
            assert (await world.client.finish(stream)).body == b"done"
        assert [call.target for call in world.app.calls] == [f"/{number}" for number in range(11)]


async def test_54_a_waiting_stream_that_is_reset_frees_its_place_and_never_reaches_the_app() -> None:
    async with running_world(CONTAINER_CONCURRENCY="1") as world:
        streams = await full(world)
        await world.client.reset(streams[5].stream_id, CANCEL)
        # It has its place by the time that the proxy has read one frame more.
        last = await world.client.start("/last")
        for _ in range(11):
            world.release.release()
        assert (await world.client.finish(last)).body == b"done"
        assert [call.target for call in world.app.calls] == [f"/{n}" for n in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10)] + [
            "/last"
        ]


async def test_55_probes_pass_a_full_breaker() -> None:
    async with running_world(CONTAINER_CONCURRENCY="1") as world:
        await full(world)
        probe = await world.client.fetch("/", ("user-agent", "kube-probe/1.34"), ("k-network-probe", "queue"))
        assert (probe.status, probe.body) == (200, b"queue")
        assert (await world.client.fetch("/", ("k-kubelet-probe", "x"))).body == b"done"


# Timeouts


async def silent(call: Http2Call) -> None:
    await call.cancelled()


async def test_56_and_62_total_time_ends_the_stream_with_504_and_the_app_is_told() -> None:
    async with running_http2_app(silent) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="1") as proxy:
        client = await Http2Client.open(proxy.host, proxy.port)
        proxy.clients.append(client)
        began_s = time.monotonic()
        responses = [await client.start() for _ in range(3)]
        for response in responses:
            await client.finish(response)
            assert (response.status, response.body, response.is_ended) == (504, b"request timeout", True)
        assert 0.95 < time.monotonic() - began_s < 1 + LATE_S
        for call in app.calls:
            assert await call.cancelled() == CANCEL


async def test_59_a_pause_beyond_idle_ends_the_body_with_the_text_and_well() -> None:
    async def answer(call: Http2Call) -> None:
        await call.start(200)
        await call.send(b"part ")
        await call.cancelled()

    variables = {"REVISION_IDLE_TIMEOUT_SECONDS": "1"}
    async with running_http2_app(answer) as app, running_queue_proxy(app.port, **variables) as proxy:
        client = await Http2Client.open(proxy.host, proxy.port)
        proxy.clients.append(client)
        response = await client.fetch()
        assert (response.status, response.body, response.is_ended) == (200, b"part request timeout", True)


async def test_61_total_time_ends_a_stream_in_progress_and_leaves_its_neighbour() -> None:
    async def answer(call: Http2Call) -> None:
        await call.start(200)
        while not call.is_over or call.reset_code is None:
            await call.send(b".")
            await asyncio.sleep(0.05)

    variables = {"REVISION_TIMEOUT_SECONDS": "3"}
    async with running_http2_app(answer) as app, running_queue_proxy(app.port, **variables) as proxy:
        client = await Http2Client.open(proxy.host, proxy.port)
        proxy.clients.append(client)
        first = await client.start()
        await asyncio.sleep(1.5)
        second = await client.start()
        await client.finish(first)
        assert not second.is_over
        await client.finish(second)
        for response in (first, second):
            assert re.fullmatch(rb"\.+request timeout", response.body)
            assert response.is_ended


# Stats


async def test_67_and_69_each_stream_counts_and_counts_as_proxied_by_its_own_header() -> None:
    async with running_world() as world:
        for number in range(6):
            fields = (("k-proxy-request", "activator"),) if number % 3 == 0 else ()
            await world.client.start("/", *fields)
        await eventually(lambda: len(world.app.calls) == 6)

        async def settled() -> Stat | None:
            stat = decode_stat((await world.proxy.stat()).body)
            return stat if stat.average_concurrent_requests > 5.95 and not stat.request_count else None

        stat = await eventually(settled)
        assert abs(stat.average_concurrent_requests - 6) < 0.05
        assert abs(stat.average_proxied_concurrent_requests - 2) < 0.05


# Telemetry


async def test_91_the_version_is_2_in_the_metrics() -> None:
    prometheus = '{"requestMetrics":{"protocol":"prometheus"}}'
    async with running_world(OBSERVABILITY_CONFIG=prometheus) as world:
        world.release.release()
        assert (await world.client.fetch()).body == b"done"
        text = (await fetch(world.proxy.host, 9091, "/metrics")).body.decode()
        (line,) = re.findall(r"^http_server_request_duration_seconds_count\{(.*)\} 1", text, re.MULTILINE)
        assert 'network_protocol_version="2.0"' in line
