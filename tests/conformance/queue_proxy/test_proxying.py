"""Statements 30 to 63 but for HTTP/2: how requests and responses pass, wait, and are cut off."""

import asyncio
import gzip
import os
import time

import pytest

from tests.support.http import Call, Client, Response, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy


async def seen_by_app(*headers: str, target: str = "/") -> Call:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch(target, headers=headers)).status == 200
        return app.calls[0]


async def test_30_to_33_host_and_knative_headers() -> None:
    call = await seen_by_app("Host: app.example:8080", "K-Proxy-Request: activator")
    assert call.values("host") == ["app.example:8080"]
    assert call.values("k-proxy-request") == ["activator"]
    call = await seen_by_app(
        "Host: 10.0.0.1:8012",
        "K-Original-Host: a.example",
        "Knative-Serving-Revision: r",
        "Knative-Serving-Namespace: n",
    )
    assert call.values("host") == ["a.example"]
    for gone in ("k-original-host", "knative-serving-revision", "knative-serving-namespace"):
        assert call.values(gone) == []


async def test_34_the_peer_is_told_and_forwarded_is_not_made_up() -> None:
    call = await seen_by_app()
    assert call.values("x-forwarded-for") == ["127.0.0.1"]
    assert call.values("forwarded") == []


async def test_35_to_37_forwarded_is_made_from_x_forwarded() -> None:
    call = await seen_by_app("X-Forwarded-For: 127.0.0.1, ::1", "X-Forwarded-Host: h", "X-Forwarded-Proto: p")
    assert call.values("forwarded") == ['for=127.0.0.1;host=h;proto=p, for="[::1]"']
    assert call.values("x-forwarded-for") == ["127.0.0.1, ::1, 127.0.0.1"]
    assert (await seen_by_app("Forwarded: for=x", "X-Forwarded-Proto: p")).values("forwarded") == ["for=x"]
    assert (await seen_by_app("X-Forwarded-Proto: p")).values("forwarded") == ["proto=p"]


async def test_38_to_41_what_is_dropped_and_what_is_left_alone() -> None:
    call = await seen_by_app(
        "Connection: close, X-Drop", "X-Drop: 1", "Keep-Alive: x", "Proxy-Authorization: x", "TE: gzip"
    )
    for gone in ("connection", "x-drop", "keep-alive", "proxy-authorization", "te", "user-agent", "accept-encoding"):
        assert call.values(gone) == []
    call = await seen_by_app("TE: trailers", target="/a//b%2Fc?x=1;y")
    assert (call.values("te"), call.target) == (["trailers"], "/a//b%2Fc?x=1;y")


async def test_40_a_compressed_body_arrives_byte_for_byte() -> None:
    packed = gzip.compress(b"x" * 1000)

    async def answer(call: Call) -> None:
        await call.respond(200, packed, "Content-Encoding: gzip")

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch()).body == packed


async def test_42_trailers_reach_the_client_and_the_app() -> None:
    async def answer(call: Call) -> None:
        body, trailers = await call.body()
        await call.start_chunked()
        await call.chunk(body)
        await call.send(b"0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in trailers) + b"\r\n")

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.send(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n"
        )
        response = await client.response()
        assert (response.body, response.trailers) == (b"abc", [("X-Sum", "7")])


async def test_44_an_app_that_is_down_is_a_quick_502() -> None:
    async with running_queue_proxy(1) as proxy:
        started_s = time.monotonic()
        response = await proxy.fetch()
        assert time.monotonic() - started_s < 1
        assert (response.status, response.value("content-type")) == (502, "text/plain; charset=utf-8")
        assert response.body == b"dial tcp 127.0.0.1:1: connect: connection refused\n"


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_45_a_body_that_the_app_cuts_off_does_not_end_well(framing: str) -> None:
    async def answer(call: Call) -> None:
        await call.send(
            f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nabcde".encode()[: -5 if "Length" in framing else None]
        )
        call.close()

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        response = await proxy.fetch()
        assert (response.status, response.is_whole) == (200, False)


async def test_46_events_reach_the_client_one_by_one() -> None:
    seen = asyncio.Semaphore(0)

    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            await call.send(b"data: %d\n\n" % number)
            await seen.acquire()
        call.close()

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request()
        assert (await client.head()).values("connection") == ["close"]
        for number in range(3):
            assert await client.reader.readuntil(b"\n\n") == b"data: %d\n\n" % number
            seen.release()
        assert await client.eof() == b""


async def echo_tunnel(call: Call) -> None:
    await call.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
    while data := await call.reader.read(1024):
        await call.send(data)


async def open_tunnel(proxy: QueueProxy) -> Client:
    client = await proxy.open()
    await client.request(headers=["Connection: Upgrade", "Upgrade: echo"])
    response = await client.head()
    assert (response.status, response.value("upgrade"), response.value("connection")) == (101, "echo", "Upgrade")
    assert await client.reader.readexactly(6) == b"hello "
    return client


async def test_47_a_tunnel_carries_bytes_both_ways_and_holds_a_slot() -> None:
    async with running_app(echo_tunnel) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        client = await open_tunnel(proxy)
        await client.send(b"ping")
        assert await client.reader.readexactly(4) == b"ping"
        waiter = await proxy.open()
        await waiter.request(headers=["Connection: Upgrade", "Upgrade: echo"])
        await client.send(b"pong")
        assert await client.reader.readexactly(4) == b"pong"
        assert len(app.calls) == 1
        client.writer.write_eof()
        assert await client.eof() == b""
        assert (await waiter.head()).status == 101


async def test_47_an_upgrade_to_something_else_is_a_502() -> None:
    async with running_app(echo_tunnel) as app, running_queue_proxy(app.port) as proxy:
        response = await proxy.fetch(headers=["Connection: Upgrade", "Upgrade: websocket"])
        assert response.status == 502


async def test_48_interim_responses_pass_and_the_final_status_is_the_true_one() -> None:
    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await call.respond(404, b"gone")

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request()
        early = await client.head()
        assert (early.status, early.value("link")) == (103, "</x>")
        final = await client.response()
        assert (final.status, final.body) == (404, b"gone")


async def test_48_expect_continue_is_the_apps_to_answer() -> None:
    async def answer(call: Call) -> None:
        assert call.values("expect") == ["100-continue"]
        await call.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, _ = await call.body()
        await call.respond(200, body)

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.request(method="POST", headers=["Expect: 100-continue", "Content-Length: 4"])
        assert (await client.head()).status == 100
        await client.send(b"data")
        assert (await client.response()).body == b"data"


async def test_49_a_head_of_1_mib_passes_and_a_larger_one_is_refused() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch(headers=["X-Big: " + "x" * (1 << 20)])).status == 200
        response = await proxy.fetch(headers=["X-Big: " + "x" * ((1 << 20) + 8192)])
        assert (response.status, response.value("connection")) == (431, "close")
        assert len(app.calls) == 1


async def test_malformed_requests_never_reach_the_app() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        for bad in (
            b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\nHost: h\n\n",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
        ):
            client = await proxy.open()
            await client.send(bad + b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
            response = await client.response()
            assert (response.status, response.value("connection")) == (400, "close")
            assert await client.eof() == b""
        assert app.calls == []


async def test_connect_and_options_asterisk_are_answered_here() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        response = await proxy.fetch("h:443", method="CONNECT")
        assert (response.status, response.body) == (502, b"client sent unsupported CONNECT request\n")
        response = await proxy.fetch("*", method="OPTIONS")
        assert (response.status, response.body) == (200, b"")
        assert app.calls == []


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def answer(call: Call) -> None:
        await call.respond(200, call.target.encode())

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.send("".join(f"GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n" for number in range(50)))
        assert [(await client.response()).body for _ in range(50)] == [b"/%d" % number for number in range(50)]
        assert app.inside_max == 1


async def test_a_large_body_passes_both_ways() -> None:
    async def answer(call: Call) -> None:
        body, _ = await call.body()
        await call.respond(200, body)

    data = os.urandom(3_000_000)
    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch(method="POST", body=data)).body == data


async def test_a_stale_connection_is_replaced_once_for_a_request_that_may_be_repeated() -> None:
    async def answer(call: Call) -> None:
        if call.connection == 0 and len(app.calls) > 1:
            call.close()
            return
        await call.respond(200, str(call.connection).encode())

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch()).body == b"0"
        assert (await proxy.fetch()).body == b"1"
        assert len(app.calls) == 3


async def test_a_post_on_a_stale_connection_is_not_repeated() -> None:
    async def answer(call: Call) -> None:
        if len(app.calls) > 1:
            call.close()
            return
        await call.respond(200)

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        assert (await proxy.fetch()).status == 200
        assert (await proxy.fetch(method="POST", body=b"x")).status == 502
        assert len(app.calls) == 2


async def hold(call: Call, release: asyncio.Event) -> None:
    await release.wait()
    await call.respond(200, b"done")


async def test_50_to_52_the_breaker_runs_1_holds_10_and_refuses_the_12th() -> None:
    release = asyncio.Semaphore(0)

    async def answer(call: Call) -> None:
        await release.acquire()
        await call.respond(200, b"done")

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        clients = []
        for number in range(11):
            clients.append(await proxy.open())
            await clients[-1].request(f"/{number}")
            if not number:
                await app.call(0)
        refused = await refusal(proxy)
        assert (refused.status, refused.body) == (503, b"pending request queue full\n")
        assert len(app.calls) == 1
        release.release()
        assert (await clients[0].response()).body == b"done"
        await app.call(1)
        assert len(app.calls) == 2
        for client in clients[1:]:
            release.release()
            assert (await client.response()).status == 200
        assert [call.target for call in app.calls] == [f"/{number}" for number in range(11)]
        assert app.inside_max == 1


async def refusal(proxy: QueueProxy) -> Response:
    """The answer to a request that finds the queue full; those that are let in before that give up at once."""

    async def once() -> Response | None:
        try:
            return await asyncio.wait_for(proxy.fetch("/late"), 0.2)
        except TimeoutError:
            return None

    return await eventually(once)


async def test_53_without_a_limit_all_requests_reach_the_app_at_once() -> None:
    release = asyncio.Event()

    async with (
        running_app(lambda call: hold(call, release)) as app,
        running_queue_proxy(app.port, CONTAINER_CONCURRENCY="0") as proxy,
    ):
        clients = [await proxy.open() for _ in range(500)]
        for client in clients:
            await client.request()
        await app.call(499)
        assert app.inside == 500
        release.set()
        assert {(await client.response()).status for client in clients} == {200}


async def test_54_a_client_that_leaves_frees_its_place() -> None:
    release = asyncio.Event()

    async with (
        running_app(lambda call: hold(call, release)) as app,
        running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy,
    ):
        clients = [await proxy.open() for _ in range(11)]
        for client in clients:
            await client.request()
        await app.call(0)
        assert (await refusal(proxy)).status == 503
        clients[5].close()
        newcomer = await proxy.open()
        await newcomer.request()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(newcomer.head(), 0.3)
        release.set()


async def test_56_total_time_ends_an_app_that_never_answers_and_62_cancels_its_request() -> None:
    cancelled = asyncio.Event()

    async def answer(call: Call) -> None:
        await call.closed()
        cancelled.set()

    async with running_app(answer) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="1") as proxy:
        started_s = time.monotonic()
        response = await proxy.fetch()
        assert 0.95 < time.monotonic() - started_s < 1.5
        assert (response.status, response.body) == (504, b"request timeout")
        assert response.value("content-type") == "text/plain; charset=utf-8"
        assert response.value("x-knuv-timeout") == "max-duration"
        async with asyncio.timeout(1):
            await cancelled.wait()


async def test_57_time_in_the_queue_counts_towards_the_total() -> None:
    release = asyncio.Event()
    async with (
        running_app(lambda call: hold(call, release)) as app,
        running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1", REVISION_TIMEOUT_SECONDS="1") as proxy,
    ):
        first = await proxy.open()
        await first.request()
        await app.call(0)
        started_s = time.monotonic()
        assert (await proxy.fetch()).status == 504
        assert 0.8 < time.monotonic() - started_s < 1.5
        release.set()


async def test_58_response_start_ends_silence_and_is_satisfied_by_the_first_byte() -> None:
    async def answer(call: Call) -> None:
        if call.target == "/silent":
            await call.closed()
            return
        await call.start_chunked()
        await asyncio.sleep(1.3)
        await call.chunk(b"late")
        await call.chunk(b"")

    options = {"REVISION_RESPONSE_START_TIMEOUT_SECONDS": "1", "REVISION_TIMEOUT_SECONDS": "10"}
    async with running_app(answer) as app, running_queue_proxy(app.port, **options) as proxy:
        silent, late = await asyncio.gather(proxy.fetch("/silent"), proxy.fetch("/late"))
        assert (silent.status, silent.value("x-knuv-timeout")) == (504, "response-start")
        assert (late.status, late.body) == (200, b"late")


async def test_59_and_60_idle_ends_a_pause_but_not_a_stream_that_goes_on() -> None:
    async def answer(call: Call) -> None:
        if call.target == "/silent":
            await call.closed()
            return
        await call.start_chunked(201)
        for _ in range(3):
            await call.chunk(b"x")
            await asyncio.sleep(0.5 if call.target == "/steady" else 3)
        await call.chunk(b"")

    options = {"REVISION_IDLE_TIMEOUT_SECONDS": "1", "REVISION_TIMEOUT_SECONDS": "10"}
    async with running_app(answer) as app, running_queue_proxy(app.port, **options) as proxy:
        steady, pausing, silent = await asyncio.gather(
            proxy.fetch("/steady"), proxy.fetch("/pausing"), proxy.fetch("/silent")
        )
        assert (steady.status, steady.body) == (201, b"xxx")
        assert (pausing.status, pausing.body, pausing.is_whole) == (201, b"xrequest timeout", True)
        assert (silent.status, silent.value("x-knuv-timeout")) == (504, "idle")


async def test_61_a_stream_that_takes_too_long_ends_well_formed_and_a_declared_length_does_not() -> None:
    async def answer(call: Call) -> None:
        if call.target == "/length":
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        else:
            await call.start_chunked()
            await call.chunk(b"abc")
        await call.closed()

    async with running_app(answer) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="1") as proxy:
        chunked, length = await asyncio.gather(proxy.fetch(), proxy.fetch("/length"))
        assert (chunked.body, chunked.is_whole) == (b"abcrequest timeout", True)
        assert (length.body, length.is_whole) == (b"abcrequest timeout", False)


async def test_63_a_quiet_tunnel_is_closed_by_the_idle_timer_and_a_busy_one_is_not() -> None:
    options = {"REVISION_IDLE_TIMEOUT_SECONDS": "1", "REVISION_RESPONSE_START_TIMEOUT_SECONDS": "1"}
    async with running_app(echo_tunnel) as app, running_queue_proxy(app.port, **options) as proxy:
        quiet, busy = await open_tunnel(proxy), await open_tunnel(proxy)
        started_s = time.monotonic()
        closing = asyncio.create_task(quiet.eof())
        while time.monotonic() - started_s < 1.6:
            await busy.send(b"x")
            assert await busy.reader.readexactly(1) == b"x"
            await asyncio.sleep(0.1)
        assert await asyncio.wait_for(closing, 1) == b""


async def test_63_max_duration_closes_any_tunnel() -> None:
    async with running_app(echo_tunnel) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="1") as proxy:
        client = await open_tunnel(proxy)
        assert await asyncio.wait_for(client.eof(), 2) == b""
