"""Apps that stall, drip, reset, talk nonsense or do not accept: the client learns the truth, the proxy goes on."""

import asyncio
import os
import socket

import pytest

from tests.faults.support import GET, KIB, MIB, Peer, Vitals, reset
from tests.support.http import Call, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import running_queue_proxy


async def test_a_response_in_single_bytes_arrives_whole() -> None:
    body = os.urandom(200)
    response = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-One: 1\r\n\r\n"
        b"64;ext=1\r\n%s\r\n%x\r\n%s\r\n0\r\nX-Trailer: t\r\n\r\n" % (body[:100], 100, body[100:])
    )

    async def answer(call: Call) -> None:
        call.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(len(response)):
            await call.send(response[position : position + 1])
            # One turn of the loop each, so that no two bytes are sent together.
            await asyncio.sleep(0)

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await proxy.open()
        for _ in range(3):
            await client.request()
            assert (await client.head()).status == 103
            received = await client.response()
            assert (received.status, received.value("x-one"), received.body) == (201, "1", body)
            assert received.trailers == [("X-Trailer", "t")]
        assert app.connections == 1


@pytest.mark.parametrize(
    ("framing", "end"),
    [
        ("Content-Length: 100", b"request timeout"),
        ("Transfer-Encoding: chunked", b"f\r\nrequest timeout\r\n0\r\n\r\n"),
        ("X-Until: close", b"request timeout"),
    ],
)
async def test_a_response_that_never_ends_is_ended_by_max_duration(framing: str, end: bytes) -> None:
    async def answer(call: Call) -> None:
        await call.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        await call.send(b"3\r\nabc\r\n")
        await call.closed()

    async with running_app(answer) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="1") as proxy:
        peer = await Peer.open(proxy, GET)
        received = b""
        while not received.endswith(end):
            received += await peer.receive()
        await eventually(lambda: not app.inside)


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked", "X-Until: close"])
async def test_a_response_that_is_cut_off_does_not_look_whole(framing: str, how: str) -> None:
    async def answer(call: Call) -> None:
        await call.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n3\r\nabc\r\n".encode())
        await arrived.wait()
        if how == "RST":
            reset(call.writer.get_extra_info("socket"))
        call.close()
        raise ConnectionResetError

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        for _ in range(5):
            arrived = asyncio.Event()
            peer = await Peer.open(proxy, GET)
            received = await peer.receive()
            while not received.endswith(b"abc\r\n"):
                received += await peer.receive()
            arrived.set()
            if framing == "X-Until: close" and how == "RST":
                # The end of the connection is the end of the body, so only a reset says that it is not.
                with pytest.raises(ConnectionResetError):
                    await peer.receive_all()
            else:
                assert await peer.receive_all() == b""
        assert app.connections == 5


GARBAGE = {
    "nothing": b"",
    "not-http": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "http-2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    "version": b"HTTP/2.0 200 OK\r\n\r\n",
    "status": b"HTTP/1.1 20 OK\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "folded": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n",
    "length-and-chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative-length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "unasked-upgrade": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    "endless-line": b"HTTP/1.1 200 " + b"x" * (2 * MIB),
    "endless-fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (400 * KIB),
}


async def test_garbage_is_a_502_and_its_connection_is_not_used_again() -> None:
    async def answer(call: Call) -> None:
        await call.send(GARBAGE[call.target[1:]])
        if len(GARBAGE[call.target[1:]]) < 30:
            call.close()  # as what speaks something else does
        await call.closed()

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        vitals = Vitals(proxy.process.pid)
        client = await proxy.open()
        for name in GARBAGE:
            await client.request(f"/{name}")
            response = await client.response()
            assert (response.status, response.body[-1:]) == (502, b"\n"), name
        assert app.connections == len(app.calls) == len(GARBAGE)
        await eventually(lambda: not app.inside)
        assert vitals.rss_bytes() < 64 * MIB


async def test_bytes_behind_a_response_or_out_of_the_blue_are_nobodys_response() -> None:
    smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"

    async def answer(call: Call) -> None:
        body = call.target.encode()
        await call.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            + (smuggled if call.target == "/behind" else b"")
        )
        if call.target == "/later":
            await answered.wait()
            await call.send(smuggled)

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        client = await proxy.open()
        for turn, target in enumerate(("/behind", "/plain", "/later", "/plain") * 5):
            answered = asyncio.Event()
            await client.request(target)
            assert (await client.response()).body == target.encode()
            answered.set()
            if target != "/plain":
                # The connection is closed as soon as the bytes are seen, and that is waited for here.
                await eventually(app.calls[turn].reader.at_eof)
        assert app.connections == 11
