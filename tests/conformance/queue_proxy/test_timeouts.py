"""Statements 56 to 63: the three timers, and which one a client is told of."""

import asyncio
import time

import pytest

from tests.conformance.queue_proxy.tunnels import echo_tunnel, open_tunnel
from tests.support.http import Call, Response, running_app
from tests.support.processes import LATE_S, eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy


async def silent(call: Call) -> None:
    await call.closed()


async def timed(proxy: QueueProxy, target: str = "/") -> tuple[Response, float]:
    """The response, and the seconds until it was whole."""
    began_s = time.monotonic()
    response = await proxy.fetch(target)
    return response, time.monotonic() - began_s


async def test_56_total_time_ends_an_app_that_never_answers() -> None:
    async with running_app(silent) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="2") as proxy:
        response, took_s = await timed(proxy)
        assert 1.95 < took_s < 2 + LATE_S
        assert (response.status, response.body) == (504, b"request timeout")
        assert response.value("content-type") == "text/plain; charset=utf-8"
        assert response.value("x-knuv-timeout") == "max-duration"


async def test_57_time_in_the_queue_counts_towards_the_total() -> None:
    options = {"CONTAINER_CONCURRENCY": "1", "REVISION_TIMEOUT_SECONDS": "3"}
    async with running_app(silent) as app, running_queue_proxy(app.port, **options) as proxy:
        first = await proxy.open()
        await first.request("/first")
        await app.call(0)
        await asyncio.sleep(0.5)
        response, took_s = await timed(proxy, "/queued")
        # It waited for two and a half seconds, then ran for half a second, not for three.
        assert 2.95 < took_s < 5
        assert (response.status, response.body) == (504, b"request timeout")
        assert [call.target for call in app.calls] == ["/first", "/queued"]


async def test_58_response_start_ends_silence_and_is_satisfied_by_the_first_byte() -> None:
    async def answer(call: Call) -> None:
        if call.target == "/silent":
            await silent(call)
            return
        await asyncio.sleep(0.5)
        await call.start_chunked()
        await asyncio.sleep(2)
        await call.chunk(b"late")
        await call.chunk(b"")

    options = {"REVISION_RESPONSE_START_TIMEOUT_SECONDS": "2", "REVISION_TIMEOUT_SECONDS": "20"}
    async with running_app(answer) as app, running_queue_proxy(app.port, **options) as proxy:
        (ended, took_s), (late, _) = await asyncio.gather(timed(proxy, "/silent"), timed(proxy, "/late"))
        assert (ended.status, ended.value("x-knuv-timeout")) == (504, "response-start")
        assert 1.95 < took_s < 2 + LATE_S
        assert (late.status, late.body) == (200, b"late")


async def test_59_idle_ends_a_pause_but_not_a_stream_that_goes_on() -> None:
    async def answer(call: Call) -> None:
        await call.start_chunked(201)
        for _ in range(6 if call.target == "/steady" else 2):
            await call.chunk(b"x")
            await asyncio.sleep(0.5 if call.target == "/steady" else 4)
        await call.chunk(b"")

    options = {"REVISION_IDLE_TIMEOUT_SECONDS": "2", "REVISION_TIMEOUT_SECONDS": "10"}
    async with running_app(answer) as app, running_queue_proxy(app.port, **options) as proxy:
        steady, pausing = await asyncio.gather(proxy.fetch("/steady"), proxy.fetch("/pausing"))
        assert (steady.status, steady.body) == (201, b"xxxxxx")
        assert (pausing.status, pausing.body, pausing.is_whole) == (201, b"xrequest timeout", True)


async def test_60_idle_ends_an_app_that_writes_nothing() -> None:
    options = {"REVISION_IDLE_TIMEOUT_SECONDS": "1", "REVISION_TIMEOUT_SECONDS": "10"}
    async with running_app(silent) as app, running_queue_proxy(app.port, **options) as proxy:
        response, took_s = await timed(proxy)
        assert (response.status, response.body, response.value("x-knuv-timeout")) == (504, b"request timeout", "idle")
        assert 0.95 < took_s < 1 + LATE_S


async def test_61_a_stream_that_takes_too_long_ends_well_formed_and_a_declared_length_does_not() -> None:
    async def answer(call: Call) -> None:
        if call.target == "/chunks":
            await call.start_chunked()
            while True:
                await call.chunk(b"abc")
                await asyncio.sleep(0.3)
        length = 100 if call.target == "/length" else 10
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nabc" % length)
        await silent(call)

    async with running_app(answer) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="2") as proxy:
        (chunked, took_s), (length, _), (short, _) = await asyncio.gather(
            timed(proxy, "/chunks"), timed(proxy, "/length"), timed(proxy, "/short")
        )
        assert 1.95 < took_s < 2 + LATE_S
        assert (chunked.status, chunked.is_whole) == (200, True)
        assert chunked.body.removesuffix(b"request timeout").replace(b"abc", b"") == b""
        assert chunked.body.endswith(b"abcrequest timeout")
        assert (length.body, length.is_whole) == (b"abcrequest timeout", False)
        # Where the text does not fit into what was declared, nothing is added.
        assert (short.body, short.is_whole) == (b"abc", False)


async def test_62_behind_a_504_the_app_sees_its_request_cancelled() -> None:
    cancelled = asyncio.Event()

    async def answer(call: Call) -> None:
        await call.closed()
        cancelled.set()

    async with running_app(answer) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="1") as proxy:
        assert (await proxy.fetch()).status == 504
        async with asyncio.timeout(LATE_S):
            await cancelled.wait()


# 63 deliberately differs (docs/differences.md, "timers on upgraded connections"): the original cuts a tunnel after the
# smallest of its timers, however busy it is. Here the 101 is the start of the response, and idle means idle.


@pytest.mark.parametrize("talks", ["client", "app"])
async def test_63_a_tunnel_with_traffic_in_either_direction_outlives_idle_and_response_start(talks: str) -> None:
    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
        while talks == "app":
            await call.send(b"tick")
            await asyncio.sleep(0.3)
        while data := await call.reader.read(100):
            received.append(data)

    received: list[bytes] = []
    options = {"REVISION_IDLE_TIMEOUT_SECONDS": "2", "REVISION_RESPONSE_START_TIMEOUT_SECONDS": "1"}
    async with running_app(answer) as app, running_queue_proxy(app.port, **options) as proxy:
        client = await open_tunnel(proxy)
        for turn in range(9):
            if talks == "app":
                assert await client.reader.readexactly(4) == b"tick"
            else:
                await client.send(b"tick")
                await eventually(lambda turn=turn: len(b"".join(received)) == 4 * (turn + 1))  # type: ignore[misc]
                await asyncio.sleep(0.3)


async def test_63_a_quiet_tunnel_is_closed_by_the_idle_timer() -> None:
    options = {"REVISION_IDLE_TIMEOUT_SECONDS": "1", "REVISION_TIMEOUT_SECONDS": "10"}
    async with running_app(echo_tunnel) as app, running_queue_proxy(app.port, **options) as proxy:
        opened_s = time.monotonic()  # what comes through it is seen later than the proxy sees it
        client = await open_tunnel(proxy)
        assert await client.eof() == b""
        assert 0.95 < time.monotonic() - opened_s < 1 + LATE_S


async def test_63_max_duration_closes_any_tunnel() -> None:
    async with running_app(echo_tunnel) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="1") as proxy:
        opened_s = time.monotonic()
        client = await open_tunnel(proxy)
        echoed = asyncio.create_task(client.eof())
        while not echoed.done():
            await client.send(b"x")
            await asyncio.sleep(0.05)
        assert 0.95 < time.monotonic() - opened_s < 1 + LATE_S
        assert set(await echoed) == set(b"x")
