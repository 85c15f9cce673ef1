"""How a connection ends whose client still sends (RFC 9112 9.6): it can read its answer, and cannot stay for ever."""

import asyncio
import time

import pytest

from tests.support.http import Call, Client, running_app
from tests.support.processes import LATE_S
from tests.support.queue_proxy import ACTIVATOR_PROBE, running_queue_proxy

KIB = 1024
MIB = 1024 * KIB


def upload(*headers: str, length: int = 100 * MIB) -> str:
    return "\r\n".join(["POST / HTTP/1.1", "Host: h", f"Content-Length: {length}", *headers, "", ""])


EARLY = [
    ("400", "GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
    ("417", upload("Expect: x"), 417),
    ("431", "GET / HTTP/1.1\r\nHost: h\r\n" + "X: y\r\n" * 1000 + "\r\n", 431),
    ("501", "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: x\r\n\r\n", 501),
    ("502", upload(), 502),
    ("probe", upload(*ACTIVATOR_PROBE), 200),
]


@pytest.mark.parametrize(("head", "status"), [row[1:] for row in EARLY], ids=[row[0] for row in EARLY])
async def test_a_client_that_sends_200_kib_more_before_it_reads_gets_its_answer(head: str, status: int) -> None:
    async with running_queue_proxy(1) as proxy:
        for pieces in (1, 50):
            client = await proxy.open()
            await client.send(head)
            for _ in range(pieces):
                await client.send(b"x" * (200 * KIB // pieces))
                await asyncio.sleep(0)
            response = await client.response()
            assert (response.status, response.is_whole, response.value("connection")) == (status, True, "close")
            assert await client.eof() == b""


async def test_the_answer_of_an_app_that_does_not_want_the_body_reaches_the_client_that_sends_it() -> None:
    async def answer(call: Call) -> None:
        await call.respond(413, b"too much", "Connection: close")
        await call.closed()

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        client = await proxy.open()
        await client.send(upload())
        await client.send(b"x" * (200 * KIB))
        response = await client.response()
        assert (response.status, response.body, response.value("connection")) == (413, b"too much", "close")


async def test_a_response_reaches_a_client_that_goes_on_behind_its_last_request() -> None:
    async def answer(call: Call) -> None:
        await call.body()
        await call.respond(200, b"last words")

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        for last in (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
        ):
            for _ in range(20):
                client = await proxy.open()
                await client.send(last)
                for _ in range(50):
                    await client.send(b"\r\n")
                    await asyncio.sleep(0)
                assert (await client.response()).body == b"last words"


async def swallowed(client: Client, piece: bytes, *, pause_s: float = 0.0) -> int:
    """Send until the proxy has had enough; return how many bytes that took, the kernel's buffers included."""
    sent = 0
    try:
        async with asyncio.timeout(10):
            while True:
                await client.send(piece)
                sent += len(piece)
                await asyncio.sleep(pause_s)
    except ConnectionError:
        return sent


async def test_a_client_that_never_stops_is_cut_off_after_a_few_hundred_kib() -> None:
    async with running_queue_proxy(1) as proxy:
        client = await proxy.open()
        await client.send(upload())
        assert await swallowed(client, b"x" * (16 * KIB)) < 20 * MIB


async def test_a_client_that_never_leaves_is_cut_off_after_two_seconds() -> None:
    async with running_queue_proxy(1) as proxy:
        client = await proxy.open()
        await client.send(upload())
        assert (await client.response()).status == 502
        # Our half is closed at once; theirs stays open, and is cut off some time later: then sending fails.
        assert await client.eof() == b""
        ended_s = time.monotonic()
        await swallowed(client, b"x", pause_s=0.05)
        assert 0.5 < time.monotonic() - ended_s < 2 + LATE_S
