"""Tunnels whose ends vanish or do not read. What a drain does with them is waited out in `test_long_waits.py`."""

import asyncio
from collections.abc import Callable

import pytest

from tests.faults.support import EXCHANGE_BYTES_MAX, KIB, MIB, PATIENCE_S, Peer, Vitals, fence, reset, run_watched
from tests.support.http import Call, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

ASK = b"GET /tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
LEAVE: dict[str, Callable[[Peer], None]] = {"FIN": Peer.close, "RST": Peer.reset}


async def open_tunnel(proxy: QueueProxy, *, receive_bytes: int = 0) -> Peer:
    peer = await Peer.open(proxy, ASK, receive_bytes=receive_bytes)
    head = await peer.receive(len(ACCEPT))
    assert head.startswith(b"HTTP/1.1 101 ")
    return peer


@pytest.mark.parametrize("how", LEAVE)
async def test_a_client_that_vanishes_ends_the_tunnel_and_frees_its_place(how: str) -> None:
    async def answer(call: Call) -> None:
        if call.target != "/tunnel":
            await call.respond(200, b"next")
            return
        await call.send(ACCEPT)
        await call.closed()

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        for _ in range(5):
            peer = await open_tunnel(proxy)
            LEAVE[how](peer)
            assert (await proxy.fetch("/next")).body == b"next"


@pytest.mark.parametrize("how", LEAVE)
async def test_an_app_that_vanishes_ends_the_tunnel_and_frees_its_place(how: str) -> None:
    async def answer(call: Call) -> None:
        if call.target != "/tunnel":
            await call.respond(200, b"next")
            return
        await call.send(ACCEPT + b"hello")
        await call.reader.readexactly(3)
        if how == "RST":
            reset(call.writer.get_extra_info("socket"))
        call.close()
        raise ConnectionResetError

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        for _ in range(5):
            peer = await open_tunnel(proxy)
            assert await peer.receive() == b"hello"
            await peer.send(b"bye")
            assert await peer.receive() == b""
            peer.close()
            assert (await proxy.fetch("/next")).body == b"next"


@pytest.mark.parametrize("reader", ["client", "app"])
async def test_a_tunnel_whose_one_end_does_not_read_holds_256_kib_at_most_and_others_do_not_wait(reader: str) -> None:
    tunnels = 20

    async def answer(call: Call) -> None:
        await call.send(ACCEPT)
        if reader == "client":
            while True:
                await call.send(bytes(MIB))
        await asyncio.Event().wait()

    async with running_app(answer, read_ahead_bytes=4 * KIB) as app, running_queue_proxy(app.port) as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy) as watch:
            peers = [await open_tunnel(proxy, receive_bytes=4 * KIB) for _ in range(tunnels)]
            for _ in range(100):
                for peer in peers:
                    assert await peer.receive(KIB) if reader == "client" else peer.send_some(bytes(MIB)) >= 0
                await fence(proxy)
        assert watch.rss_bytes_max - before_bytes < tunnels * EXCHANGE_BYTES_MAX
        assert watch.slowest_s < PATIENCE_S


@pytest.mark.parametrize("end", ["client-resets", "client-closes", "max-duration"])
async def test_a_tunnel_that_is_over_leaves_nothing_even_when_its_app_does_not_read(end: str) -> None:
    async def answer(call: Call) -> None:
        await call.send(ACCEPT)
        await asyncio.Event().wait()

    # Time enough to fill them all on a busy machine.
    timeout_s = "8" if end != "client-resets" else "60"
    async with (
        running_app(answer, read_ahead_bytes=4 * KIB) as app,
        running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS=timeout_s) as proxy,
    ):
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        open_files = vitals.open_files()
        peers = [await open_tunnel(proxy) for _ in range(10)]
        # More than any kernel takes: something has to stay behind in the proxy.
        sent = -1
        while sent:
            await fence(proxy)
            sent = sum(peer.send_some(bytes(MIB)) for peer in peers)
        for peer in peers:
            if end == "client-resets":
                peer.reset()
            elif end == "client-closes":
                peer.close()
        await eventually(lambda: vitals.open_files() <= open_files)
