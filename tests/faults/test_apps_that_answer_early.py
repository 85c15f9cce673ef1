"""Apps that answer before they have read the request: the client gets that answer, and no body is read as a request."""

import asyncio
import socket
from contextlib import suppress

import pytest

from tests.faults.support import KIB, MIB, Peer, reset
from tests.support.http import Call, Client, running_app
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
UPLOAD = SMUGGLED * (32 * MIB // len(SMUGGLED))
"""More than the app reads ahead (8 MiB) and the kernel holds."""


async def upload_while_reading(proxy: QueueProxy, data: bytes) -> bytes:
    """What comes back while `data` is being sent, to the end of the connection."""
    peer = await Peer.open(proxy, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(data))

    async def send() -> None:
        try:
            await peer.send(data)
        except (BrokenPipeError, ConnectionResetError):
            return  # the answer came, and nobody wants the rest

    sending = asyncio.create_task(send())
    received = b""
    with suppress(ConnectionResetError):
        while part := await peer.receive():
            received += part
    await sending
    return received


@pytest.mark.parametrize("farewell", ["close", "reset", "linger"])
async def test_early_413_and_a_close_the_client_gets_the_413(farewell: str) -> None:
    async def refuse(call: Call) -> None:
        await call.respond(413, b"too much", "Connection: close")
        if farewell == "linger":
            call.writer.write_eof()
            await call.closed()
        elif farewell == "reset":
            reset(call.writer.get_extra_info("socket"))
        call.close()
        raise ConnectionResetError

    async with running_app(refuse) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="5") as proxy:
        for _ in range(20):
            received = await upload_while_reading(proxy, UPLOAD)
            assert received.startswith(b"HTTP/1.1 413 ")
            assert received.endswith(b"\r\n\r\ntoo much")
            assert b"\r\nConnection: close\r\n" in received
        assert {call.target for call in app.calls} == {"/"}


async def test_early_413_a_client_that_writes_before_it_reads_still_finds_the_answer() -> None:
    async def refuse(call: Call) -> None:
        await call.respond(413, b"too much", "Connection: close")
        await call.closed()

    def upload_then_read(proxy: QueueProxy) -> bytes:
        with socket.create_connection((proxy.host, proxy.port), timeout=20) as sock:
            with suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(UPLOAD) + UPLOAD)
            return sock.recv(64 * KIB)

    async with running_app(refuse) as app, running_queue_proxy(app.port) as proxy:
        for _ in range(5):
            received = await asyncio.to_thread(upload_then_read, proxy)
            assert received.startswith(b"HTTP/1.1 413 ")
            assert received.endswith(b"\r\n\r\ntoo much")


async def test_early_200_on_a_kept_connection_neither_connection_is_used_again_with_a_body_in_the_air() -> None:
    async def answer(call: Call) -> None:
        await call.respond(200, call.target.encode())
        if call.method == "POST":
            await call.body()

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        for _ in range(20):
            received = await upload_while_reading(proxy, UPLOAD)
            assert received.startswith(b"HTTP/1.1 200 ")
            assert received.endswith(b"\r\n\r\n/")
            assert b"\r\nConnection: close\r\n" in received
            assert (await proxy.fetch("/next")).body == b"/next"
        assert {call.target for call in app.calls} == {"/", "/next"}
        last_calls = {call.connection: call for call in app.calls}
        assert all(call in last_calls.values() for call in app.calls if call.method == "POST")


async def test_early_200_to_a_body_that_was_sent_whole_both_connections_live_on() -> None:
    async def answer(call: Call) -> None:
        await call.respond(200, call.target.encode())
        await call.body()

    async def exchange(client: Client, number: int) -> None:
        await client.request(f"/{number}", method="POST", body=SMUGGLED * 20)
        response = await client.response()
        assert (response.status, response.body, response.values("connection")) == (200, b"/%d" % number, [])

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        client = await proxy.open()
        for number in range(50):
            await exchange(client, number)
        assert [call.target for call in app.calls] == [f"/{number}" for number in range(50)]
        assert app.connections == 1


async def test_early_answer_to_a_stalled_upload_is_not_held_back_until_the_body_comes() -> None:
    async def answer(call: Call) -> None:
        await call.respond(401, b"who are you")
        await call.closed()

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        peer = await Peer.open(proxy, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nabc")
        received = await peer.receive_all()
        assert received.startswith(b"HTTP/1.1 401 ")
        assert received.endswith(b"who are you")
