"""Envoy in front, as a gateway has it: HTTP/2 on both of its sides, one connection for many clients."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.calls import CALL_S, Echo, calling, failure
from tests.interop.grpc_app import numbered
from tests.interop.peers import grpc_app, proxy_by_envoy, run
from tests.support.h2_peers import Http2App, Http2Call, Http2Client, running_http2_app
from tests.support.http import running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import running_queue_proxy


@pytest.fixture
async def app() -> AsyncIterator[int]:
    async with grpc_app() as port:
        yield port


@pytest.fixture
async def echo(app: int, tmp_path: Path) -> AsyncIterator[Echo]:
    async with (
        running_queue_proxy(app) as proxy,
        proxy_by_envoy(proxy.host, proxy.port, tmp_path) as (host, port),
        calling(host, port) as echo,
    ):
        yield echo


async def test_calls_of_every_kind_pass(echo: Echo) -> None:
    messages = [numbered(number, 5000) for number in range(50)]
    assert await asyncio.gather(*(echo.unary(message, timeout=CALL_S) for message in messages)) == messages
    assert (await echo.gather(iter(messages), timeout=CALL_S)).startswith(b"50 ")
    assert [message async for message in echo.scatter(b"50 5000", timeout=CALL_S)] == messages
    assert [message async for message in echo.chat(iter(messages), timeout=CALL_S)] == messages
    assert await failure(echo.fail(b"5 no such thing", timeout=CALL_S)) == ("NOT_FOUND", "no such thing")


async def test_a_client_that_cancels_is_seen_by_the_app(app: int, echo: Echo) -> None:
    call = echo.hold(b"", timeout=CALL_S)
    assert await call.read() == b"held"
    call.cancel()
    async with calling("127.0.0.1", app) as direct:

        async def is_seen() -> bool:
            return bool((await direct.seen())["cancelled"])

        await eventually(is_seen)
    assert await echo.unary(b"go on", timeout=CALL_S) == b"go on"


async def _hello(call: Http2Call) -> None:
    await call.whole()
    await call.respond(200, b"hello")


async def _through_envoy(app: Http2App, folder: Path, *curl: str) -> str:
    async with (
        running_queue_proxy(app.port) as proxy,
        proxy_by_envoy(proxy.host, proxy.port, folder) as (host, port),
    ):
        return (await run("curl", "--silent", *curl, f"http://{host}:{port}/hello")).out


@pytest.mark.parametrize("flag", ["--http1.1", "--http2-prior-knowledge"])
async def test_what_envoy_forwards_as_http_2_reaches_the_app_as_http_2(tmp_path: Path, flag: str) -> None:
    async with running_http2_app(_hello) as app:
        assert await _through_envoy(app, tmp_path, flag) == "hello"
        assert app.calls[0].value("x-forwarded-proto") == "http"
        assert app.calls[0].value("x-forwarded-for").endswith(", 127.0.0.1")


async def test_envoy_reaches_an_app_of_http_1_whose_version_is_known(tmp_path: Path) -> None:
    async with (
        running_app() as app,
        running_queue_proxy(app.port, KNUV_USER_PROTOCOL="http1") as proxy,
        proxy_by_envoy(proxy.host, proxy.port, tmp_path) as (host, port),
    ):
        for flag in ("--http1.1", "--http2-prior-knowledge"):
            assert (await run("curl", "--silent", flag, f"http://{host}:{port}/hello")).out == "hello"
        assert {call.version for call in app.calls} == {"HTTP/1.1"}


async def test_envoys_connection_outlives_streams_that_its_clients_reset(tmp_path: Path) -> None:
    async def answer(call: Http2Call) -> None:
        await call.start(200)
        await call.cancelled() if call.target == "/hold" else await call.send(b"hello", is_done=True)

    async with (
        running_http2_app(answer) as app,
        running_queue_proxy(app.port) as proxy,
        proxy_by_envoy(proxy.host, proxy.port, tmp_path) as (host, port),
    ):
        client = await Http2Client.open(host, port)
        for _ in range(20):
            response = await client.start("/hold")
            await client.until(lambda response=response: response.fields)
            await client.reset(response.stream_id, 8)
            assert (await client.fetch("/")).body == b"hello"
        assert app.connections == 1
        for call in app.calls:
            await eventually(lambda call=call: call.is_over)
        client.close()
