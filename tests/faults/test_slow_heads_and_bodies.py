"""Clients that drip bytes to tie up connections: cheap to bear, ended by timers, and nobody else notices.

The minute that a head may take is waited out in `test_long_waits.py`.
"""

import asyncio

from tests.faults.support import KIB, MIB, PATIENCE_S, Peer, Vitals, fence, run_watched
from tests.support.http import Call, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import running_queue_proxy

CONNECTIONS = 400
CONNECTION_BYTES_MAX = 16 * KIB
"""Of a connection whose request has not begun; with its exchange and upstream connection it may be twice that."""
QUICK = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n"


async def quick_or_all(call: Call) -> None:
    await call.body()
    await call.respond(200, call.target.encode())


async def test_400_heads_that_drip_in_cost_16_kib_each_at_most_and_others_do_not_wait() -> None:
    head = b"GET /dripped HTTP/1.1\r\nHost: h\r\nX-Pad: " + b"x" * 60 + b"\r\n\r\n"
    async with running_app(quick_or_all) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy, QUICK) as watch:
            peers = [await Peer.open(proxy) for _ in range(CONNECTIONS)]
            for position in range(len(head) - 1):
                for peer in peers:
                    assert peer.send_some(head[position : position + 1]) == 1
                await fence(proxy)
            await fence(proxy)
            dripped_bytes = vitals.rss_bytes() - before_bytes
            assert {call.target for call in app.calls} == {"/quick"}
            for peer in peers:
                # What was dripped in is a good request, and this proves that all of it was kept.
                await peer.send(head[-1:])
                assert (await peer.receive()).endswith(b"/dripped")
        assert dripped_bytes < CONNECTIONS * CONNECTION_BYTES_MAX
        assert watch.slowest_s < PATIENCE_S


async def test_400_bodies_that_drip_in_are_ended_by_max_duration_and_others_do_not_wait() -> None:
    cancelled = 0

    async def answer(call: Call) -> None:
        nonlocal cancelled
        try:
            await quick_or_all(call)
        except asyncio.IncompleteReadError:
            cancelled += 1
            raise

    async with running_app(answer) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="3") as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy, QUICK) as watch:
            peers = [
                await Peer.open(proxy, b"POST /dripped HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(CONNECTIONS)
            ]
            answers: list[bytes | None] = [None] * CONNECTIONS
            while None in answers:
                for number, peer in enumerate(peers):
                    if answers[number] is None:
                        answers[number] = peer.receive_now()
                    if answers[number] is None:
                        peer.send_some(b"x")
                await fence(proxy)
        assert all(answer is not None and answer.startswith(b"HTTP/1.1 504 ") for answer in answers)
        assert all(answer is not None and b"x-knuv-timeout: max-duration" in answer for answer in answers)
        await eventually(lambda: cancelled == CONNECTIONS)
        assert watch.rss_bytes_max - before_bytes < 2 * CONNECTIONS * CONNECTION_BYTES_MAX
        assert watch.slowest_s < PATIENCE_S


async def test_slow_bodies_that_wait_for_their_turn_do_not_take_the_place_of_those_that_run() -> None:
    """With a concurrency of 2 and 20 waiting bodies, what runs is what came first, and it runs at full speed."""
    async with running_app(quick_or_all) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="2") as proxy:
        running = [
            await Peer.open(proxy, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n1234") for _ in range(2)
        ]
        await app.call(1)
        waiting = [
            await Peer.open(proxy, b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n1234" % (number, MIB))
            for number in range(20)
        ]
        refused = await Peer.open(proxy, QUICK)
        await fence(proxy)
        assert (refused.receive_now() or b"").startswith(b"HTTP/1.1 503 ")
        for peer in running:
            await peer.send(b"5678")
            assert (await peer.receive()).endswith(b"\r\n\r\n/")
        await app.call(3)
        assert [call.target for call in app.calls] == ["/", "/", "/0", "/1"]
        for peer in waiting:
            peer.close()
        assert (await proxy.fetch("/after")).body == b"/after"


async def test_an_unwanted_body_that_drips_in_does_not_keep_its_connection() -> None:
    """The answer is given; the rest of the request is dropped for 2 s, then the connection is cut."""
    async with running_queue_proxy() as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        open_files = vitals.open_files()
        peers = [
            await Peer.open(proxy, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx") for _ in range(50)
        ]
        for peer in peers:
            assert (await peer.receive()).startswith(b"HTTP/1.1 502 ")

        def drip() -> bool:
            for peer in peers:
                try:
                    peer.send_some(b"x")
                except OSError:
                    peer.close()
                    peers.remove(peer)
                    break
            return not peers

        await eventually(drip)
        await eventually(lambda: vitals.open_files() <= open_files)
