"""Clients that vanish: their place, their memory and the app's work for them are given up at once."""

import asyncio
import socket
import statistics
import sys
import time
from collections.abc import Callable

import pytest

from tests.faults.support import CLOCK_TICKS, GET, KIB, MIB, Peer, TcpSocket, Vitals, fence, is_admitted, tcp_sockets
from tests.support.http import Call, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

HALF_SENT = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % MIB
REQUESTS = {
    "bodyless": GET,
    "a-little-of-a-body": HALF_SENT + b"x" * KIB,
    # A FIN stands behind what was sent before it: more than the kernel takes in, and it would not arrive.
    "more-of-a-body-than-is-held": HALF_SENT + b"x" * (32 * KIB),
    "pipelined": GET * 100,
}
LEAVE: dict[str, Callable[[Peer], None]] = {"FIN": Peer.close, "RST": Peer.reset}


async def until_admitted(proxy: QueueProxy) -> Peer:
    """The first newcomer that a queue which was full lets in."""
    async with asyncio.timeout(10):
        while True:
            newcomer = await Peer.open(proxy, GET)
            if await is_admitted(proxy, newcomer):
                return newcomer
            newcomer.close()


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("request_name", REQUESTS)
async def test_a_waiting_client_that_leaves_frees_its_place_at_once(request_name: str, how: str) -> None:
    async def hold(call: Call) -> None:
        await call.closed()

    async with running_app(hold) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        running = await Peer.open(proxy, GET)
        await app.call()
        waiting = [await Peer.open(proxy, REQUESTS[request_name]) for _ in range(10)]
        await fence(proxy)
        freed_s = []
        for leaving in waiting[:5]:
            assert not await is_admitted(proxy, await Peer.open(proxy, GET))
            left_s = time.monotonic()
            LEAVE[how](leaving)
            newcomer = await until_admitted(proxy)
            freed_s.append(time.monotonic() - left_s)
            waiting.append(newcomer)
        assert statistics.median(freed_s) < 1
        assert len(app.calls) == 1
        for peer in (running, *waiting):
            peer.close()


async def test_300_clients_that_leave_in_the_middle_of_a_body_leave_no_memory_and_no_descriptors() -> None:
    async def hold(call: Call) -> None:
        await call.closed()

    async with running_app(hold) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        vitals = Vitals(proxy.process.pid)
        running = await Peer.open(proxy, GET)
        await app.call()
        await fence(proxy)
        open_files = vitals.open_files()
        rss_bytes = []
        for _ in range(30):
            peers = [await Peer.open(proxy, HALF_SENT + b"x" * (32 * KIB)) for _ in range(10)]
            await fence(proxy)
            assert [peer.receive_now() for peer in peers] == [None] * 10
            for number, peer in enumerate(peers):
                LEAVE["RST" if number % 2 else "FIN"](peer)
            await eventually(lambda: vitals.open_files() <= open_files)
            rss_bytes.append(vitals.rss_bytes())
        # The first rounds fill what the allocator keeps for the next ones.
        assert rss_bytes[-1] - rss_bytes[2] < MIB
        assert len(app.calls) == 1
        running.close()


@pytest.mark.parametrize("how", LEAVE)
async def test_a_client_that_leaves_while_its_request_runs_cancels_it_and_the_next_one_runs(how: str) -> None:
    async def answer(call: Call) -> None:
        if call.target == "/held":
            await call.closed()
        await call.respond(200, call.target.encode())

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        for number in range(5):
            held = await Peer.open(proxy, b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n")
            await app.call(2 * number)
            LEAVE[how](held)
            assert (await proxy.fetch("/next")).body == b"/next"
        assert app.inside_max == 1


async def test_a_client_that_leaves_in_the_middle_of_an_upload_ends_it_for_the_app_as_not_whole() -> None:
    ended = asyncio.Event()
    received = 0

    async def answer(call: Call) -> None:
        nonlocal received
        try:
            await call.body()
        except asyncio.IncompleteReadError as error:
            received = len(error.partial)
            ended.set()
            raise

    async with running_app(answer) as app, running_queue_proxy(app.port) as proxy:
        peer = await Peer.open(proxy, HALF_SENT + b"x" * (300 * KIB))
        await app.call()
        peer.close()
        async with asyncio.timeout(5):
            await ended.wait()
        assert received <= 300 * KIB


async def test_a_client_that_shuts_down_its_half_has_left() -> None:
    """As with Go's server, and because nobody can tell a half-closed client from one that is gone.

    Statement 54 wants the place of a client that disconnects at once, and its FIN is all that there is to see.
    """
    closed = asyncio.Event()

    async def hold(call: Call) -> None:
        await call.closed()
        closed.set()

    async with running_app(hold) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        running = await Peer.open(proxy, GET)
        await app.call()
        waiting = await Peer.open(proxy, GET)
        waiting.half_close()
        assert await waiting.receive_all() == b""
        running.half_close()
        assert await running.receive_all() == b""
        async with asyncio.timeout(5):
            await closed.wait()
        assert len(app.calls) == 1
        probing = await Peer.open(
            proxy, b"GET / HTTP/1.1\r\nHost: h\r\nK-Network-Probe: probe\r\nK-Network-Hash: x\r\n\r\n"
        )
        probing.half_close()
        assert (await probing.receive_all()).startswith(b"HTTP/1.1 200 "), "what was answered before the FIN is sent"


async def test_a_client_that_vanishes_without_a_word_is_looked_for_by_the_kernel() -> None:
    """Power that fails sends no FIN. Accepted connections have keep-alive probes, as those of Go's server do."""
    async with running_queue_proxy() as proxy:
        client = await Peer.open(proxy)
        await fence(proxy)
        port = client.sock.getsockname()[1]
        local = f"{int.from_bytes(socket.inet_aton(proxy.host), sys.byteorder):08X}:{proxy.port:04X}"
        (accepted,) = [each for each in tcp_sockets() if each.remote_port == port and each.local == local]
        assert accepted.timer == TcpSocket.KEEP_ALIVE
        assert accepted.ticks <= 15 * CLOCK_TICKS
