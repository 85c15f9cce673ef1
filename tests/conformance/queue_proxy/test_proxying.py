"""Statements 42 to 49: how requests and responses pass. 42 and 43 for HTTP/1.1."""

import asyncio
import os
import time

import pytest

from tests.conformance.queue_proxy.tunnels import echo_tunnel, open_tunnel
from tests.support.http import Call, fetch, running_app
from tests.support.processes import LATE_S
from tests.support.queue_proxy import MAIN_PORT, running_queue_proxy


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


async def test_43_http_1_on_either_main_port_reaches_the_app_as_http_1() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        for port in (MAIN_PORT, 8013):
            assert (await fetch(proxy.host, port)).body == b"hello"
        assert [call.version for call in app.calls] == ["HTTP/1.1"] * 2


async def test_44_an_app_that_is_down_is_a_quick_502() -> None:
    async with running_queue_proxy(1) as proxy:
        started_s = time.monotonic()
        response = await proxy.fetch()
        assert time.monotonic() - started_s < LATE_S
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
