"""`proxies/probe.py` against scripted apps."""

import asyncio
import socket

import pytest

from proxies.probe import ProbeResult, http_request, probe_http, probe_tcp
from tests.support.http import App, Call, running_app

REQUEST = http_request(b"/healthz", b"h:1", [(b"User-Agent", b"probe/1")])


async def ask(port: int, *, timeout_s: float = 5.0, body_bytes_max: int = 100) -> ProbeResult:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[ProbeResult] = loop.create_future()
    probe_http(
        loop,
        "127.0.0.1",
        port,
        request=REQUEST,
        timeout_s=timeout_s,
        done=result.set_result,
        body_bytes_max=body_bytes_max,
    )
    return await result


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nqueue",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nqu\r\n3\r\neue\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nqueue",
        b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nqueue",
    ],
    ids=["length", "chunked", "until close", "interim"],
)
async def test_a_response_in_any_framing_is_read(response: bytes) -> None:
    async def answer(call: Call) -> None:
        for byte in response:
            await call.send(bytes((byte,)))
        call.close()

    async with running_app(answer) as app:
        result = await ask(app.port)
    assert (result.status, result.body, result.error) == (200, b"queue", "")
    assert (app.calls[0].target, app.calls[0].values("user-agent")) == ("/healthz", ["probe/1"])
    assert app.calls[0].values("connection") == ["close"]


async def test_of_a_long_body_only_the_beginning_is_read() -> None:
    async def answer(call: Call) -> None:
        await call.respond(200, b"x" * 100_000)

    async with running_app(answer) as app:
        assert (await ask(app.port, body_bytes_max=7)).body == b"x" * 7


async def test_silence_refusal_and_nonsense_are_errors_with_a_reason() -> None:
    async def answer(call: Call) -> None:
        if len(app.calls) == 1:
            await call.send(b"SSH-2.0-nonsense\r\n\r\n")
        elif len(app.calls) == 2:
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nqu")
            call.close()
        else:
            await call.closed()

    app: App
    async with running_app(answer) as app:
        assert (await ask(app.port)).error.startswith("malformed HTTP response")
        cut_off = await ask(app.port)
        assert (cut_off.status, cut_off.error) == (200, "EOF")
        assert (await ask(app.port, timeout_s=0.05)).error == "no result within 0.05 s"
    assert "refused" in (await ask(closed_port())).error


async def test_a_tcp_probe_connects_and_leaves() -> None:
    loop = asyncio.get_running_loop()
    async with running_app() as app:
        result: asyncio.Future[ProbeResult] = loop.create_future()
        probe_tcp(loop, "127.0.0.1", app.port, timeout_s=1.0, done=result.set_result)
        assert (await result).error == ""
        assert app.calls == []
    refused: asyncio.Future[ProbeResult] = loop.create_future()
    probe_tcp(loop, "127.0.0.1", closed_port(), timeout_s=1.0, done=refused.set_result)
    assert "refused" in (await refused).error


async def test_a_cancelled_probe_says_nothing() -> None:
    loop = asyncio.get_running_loop()
    results: list[ProbeResult] = []
    gone = asyncio.Event()

    async def answer(call: Call) -> None:
        await call.closed()
        gone.set()

    async with running_app(answer) as app:
        probe = probe_http(loop, "127.0.0.1", app.port, request=REQUEST, timeout_s=5.0, done=results.append)
        await app.call(0)
        probe.cancel()
        async with asyncio.timeout(5):
            await gone.wait()
    assert results == []
