"""Slow readers and slow apps: what one side does not take, the other side has to keep.

At most 256 KiB per exchange wait inside, whatever is sent, and nobody else notices.
"""

import asyncio
import os

import pytest

from tests.faults.support import EXCHANGE_BYTES_MAX, GET, KIB, MIB, PATIENCE_S, Peer, Vitals, fence, run_watched
from tests.support.http import Call, running_app
from tests.support.queue_proxy import running_queue_proxy

EXCHANGES = 40
LARGE = 64 * MIB
BLOCK = os.urandom(MIB)
QUICK = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n"
ROUNDS = 200


@pytest.mark.parametrize("framing", ["length", "chunked", "until-close"])
async def test_40_readers_of_64_mib_at_a_trickle_hold_256_kib_each_at_most(framing: str) -> None:
    lines = {"length": f"Content-Length: {LARGE}\r\n", "chunked": "Transfer-Encoding: chunked\r\n", "until-close": ""}

    async def answer(call: Call) -> None:
        if call.target == "/quick":
            await call.respond(200, b"quick")
            return
        await call.send(f"HTTP/1.1 200 OK\r\n{lines[framing]}\r\n".encode())
        for _ in range(LARGE // MIB):
            await (call.chunk(BLOCK) if framing == "chunked" else call.send(BLOCK))

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy, QUICK) as watch:
            peers = [await Peer.open(proxy, GET, receive_bytes=4 * KIB) for _ in range(EXCHANGES)]
            for _ in range(ROUNDS):
                for peer in peers:
                    assert await peer.receive(KIB)
        assert watch.rss_bytes_max - before_bytes < EXCHANGES * EXCHANGE_BYTES_MAX
        assert watch.slowest_s < PATIENCE_S


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("concurrency", ["0", "1"])
async def test_40_uploads_of_64_mib_to_an_app_that_reads_at_a_trickle_or_not_yet_hold_256_kib_each_at_most(
    framing: str, concurrency: str
) -> None:
    """With a concurrency of 1 most of them wait for their turn."""
    tick = asyncio.Event()

    async def answer(call: Call) -> None:
        while await call.reader.read(KIB):
            await tick.wait()

    exchanges = EXCHANGES if concurrency == "0" else 11
    lines = {
        "length": f"Content-Length: {LARGE}\r\n\r\n",
        "chunked": f"Transfer-Encoding: chunked\r\n\r\n{LARGE:x}\r\n",
    }
    head = f"POST / HTTP/1.1\r\nHost: h\r\n{lines[framing]}".encode()
    async with (
        running_app(answer, read_ahead_bytes=4 * KIB) as app,
        running_queue_proxy(app.port, CONTAINER_CONCURRENCY=concurrency) as proxy,
    ):
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy) as watch:
            peers = [await Peer.open(proxy, head) for _ in range(exchanges)]
            for _ in range(ROUNDS):
                for peer in peers:
                    peer.send_some(BLOCK)
                tick.set()
                tick.clear()
                await fence(proxy)
        assert watch.rss_bytes_max - before_bytes < exchanges * EXCHANGE_BYTES_MAX
        assert watch.slowest_s < PATIENCE_S


async def test_256_mib_down_and_up_pass_within_4_mib() -> None:
    blocks = 256

    async def answer(call: Call) -> None:
        if call.method == "GET":
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks * MIB))
            for _ in range(blocks):
                await call.send(BLOCK)
            return
        left = blocks * MIB
        while left:
            left -= len(await call.reader.read(MIB))
        await call.respond(200, b"all of it")

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy) as watch:
            down = await Peer.open(proxy, GET)
            head = await down.receive(KIB)
            received = len(head.partition(b"\r\n\r\n")[2])
            while received < blocks * MIB:
                received += len(await down.receive(MIB))
            up = await Peer.open(proxy, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (blocks * MIB))
            for _ in range(blocks):
                await up.send(BLOCK)
            assert (await up.receive()).endswith(b"all of it")
        assert watch.rss_bytes_max - before_bytes < 4 * MIB
        assert watch.slowest_s < PATIENCE_S
