"""Promises whose time is 20 s or more: all of them run side by side, and each test awaits its own.

dial          20 s     drain's quiet period   30 s     tunnels' grace behind it   60 s
a head        60 s     a response that its client does not take, once it is over   60 s
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from tests.faults.support import EXCHANGE_BYTES_MAX, KIB, MIB, Peer, Vitals, fence
from tests.faults.test_apps_that_do_not_accept import dials, full_backlog
from tests.support.http import Call, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import running_queue_proxy

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

CLOSE_1001 = b"\x88\x02\x03\xe9"


async def dial_until_it_is_given_up() -> None:
    with full_backlog() as (_, port):
        async with running_queue_proxy(port) as proxy:
            began_s = time.monotonic()
            client = await proxy.open()
            await client.request()
            await eventually(lambda: dials(port))
            response = await client.response()
            assert 19.5 < time.monotonic() - began_s < 30
            assert response.status == 502
            assert response.body.startswith(b"timed out dialing 127.0.0.1:%d after 2" % port)
            await eventually(lambda: not dials(port))


async def drain_500_requests_in_flight() -> None:
    release = asyncio.Event()

    async def hold(call: Call) -> None:
        await call.body()
        await release.wait()
        await call.respond(200, call.target.encode())

    async with running_app(hold) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="100") as proxy:
        # 100 of them run, 400 wait; every tenth has sent only half of its body.
        clients = [await proxy.open() for _ in range(500)]
        for number, client in enumerate(clients):
            half = ["Content-Length: 8"] if number % 10 == 0 else []
            await client.request(f"/{number}", method="POST" if half else "GET", headers=half)
            if half:
                await client.send(b"1234")
        await app.call(99)
        await fence(proxy)
        idle = await Peer.open(proxy)
        began_s = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        await eventually(lambda: any(event["message"] == "drained" for event in proxy.events), timeout_s=40)
        assert 29.5 < time.monotonic() - began_s < 40
        assert await idle.receive() == b"", "an idle connection is closed"
        await eventually(lambda: not proxy.accepts(proxy.port))
        release.set()
        for client in clients[::10]:
            await client.send(b"5678")
        for number, client in enumerate(clients):
            response = await client.response()
            assert (response.status, response.body) == (200, b"/%d" % number)
            assert response.values("connection") == ["close"]
            assert await client.eof() == b""
        async with asyncio.timeout(20):
            assert await proxy.process.wait() == 0


async def drain_with_tunnels() -> None:
    """One WebSocket between two frames, one in the middle of one, one that said goodbye, and something else."""
    said: dict[str, bytes] = {
        "between-frames": b"\x81\x02hi",
        "in-a-frame": b"\x81\x05he",
        "closed": b"\x81\x02hi" + CLOSE_1001,
        "no-websocket": b"hi",
    }

    async def answer(call: Call) -> None:
        (protocol,) = call.values("upgrade")
        await call.send(
            f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()
            + said[call.target[1:]]
        )
        await asyncio.Event().wait()

    async with running_app(answer) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="600") as proxy:
        peers: dict[str, Peer] = {}
        for name in said:
            protocol = "websocket" if name != "no-websocket" else "echo"
            ask = f"GET /{name} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
            peers[name] = await Peer.open(proxy, ask.encode())
            received = b""
            while not received.endswith(b"\r\n\r\n" + said[name]):
                received += await peers[name].receive()
        began_s = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        ends = await asyncio.gather(*(peer.receive_all(timeout_s=100) for peer in peers.values()))
        assert 89 < time.monotonic() - began_s < 105
        farewells = {"between-frames": CLOSE_1001, "in-a-frame": b"", "closed": b"", "no-websocket": b""}
        assert dict(zip(peers, ends, strict=True)) == farewells
        async with asyncio.timeout(20):
            assert await proxy.process.wait() == 0


async def drip_heads_for_a_minute() -> None:
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        vitals = Vitals(proxy.process.pid)
        kept = await proxy.open()
        await kept.request()
        assert (await kept.response()).status == 200
        open_files = vitals.open_files()
        openings = (b"", b"GET / HTTP/1.1\r\nHost: h\r\nX-", b"GET / HTTP/1.1\r\nHost: h\r\nX-")
        # Each clock begins before its connection does: behind it, a busy machine may let the test wait.
        peers = [(time.monotonic(), await Peer.open(proxy, opening)) for opening in openings for _ in range(100)]
        dripping = [peer for _, peer in peers[200:]]

        async def drip() -> None:
            while True:
                for peer in dripping:
                    try:
                        peer.send_some(b"x")
                    except OSError:
                        return
                await asyncio.sleep(0.5)

        drips = asyncio.create_task(drip())
        lived_s = await asyncio.gather(*(life_of(*each) for each in peers))
        drips.cancel()
        assert 59.5 < min(lived_s) < max(lived_s) < 75
        await eventually(lambda: vitals.open_files() <= open_files)
        await kept.request()
        assert (await kept.response()).status == 200, "a connection that was used may idle on"


async def life_of(opened_s: float, peer: Peer) -> float:
    """Seconds until the connection ended, without an answer."""
    with suppress(ConnectionResetError):
        assert await peer.receive(timeout_s=100) == b""
    return time.monotonic() - opened_s


async def leave_responses_unread() -> None:
    """After max duration each is ended; the client is given another minute to take what is left."""
    block = bytes(MIB)

    async def answer(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (16 * MIB))
        for _ in range(16):
            await call.send(block)

    async with running_app(answer) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="3") as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        open_files, rss_bytes = vitals.open_files(), vitals.rss_bytes()
        for _ in range(50):
            await Peer.open(proxy, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", receive_bytes=4 * KIB)
        await app.call(49)
        await fence(proxy)
        assert vitals.open_files() >= open_files + 50
        await eventually(lambda: vitals.open_files() <= open_files, timeout_s=70)
        assert vitals.rss_bytes() - rss_bytes < 50 * EXCHANGE_BYTES_MAX


SCENARIOS = (
    dial_until_it_is_given_up,
    drain_500_requests_in_flight,
    drain_with_tunnels,
    drip_heads_for_a_minute,
    leave_responses_unread,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """All scenarios, started together."""
    tasks = {scenario.__name__: asyncio.create_task(scenario()) for scenario in SCENARIOS}
    try:
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


Running = dict[str, asyncio.Task[None]]


async def test_an_app_that_never_accepts_is_dialled_for_20_s_and_then_a_502_that_says_so(running: Running) -> None:
    await running["dial_until_it_is_given_up"]


async def test_sigterm_with_500_requests_in_flight_loses_none_and_exits_0(running: Running) -> None:
    await running["drain_500_requests_in_flight"]


async def test_a_drain_tells_websockets_1001_after_its_grace_and_just_closes_other_tunnels(running: Running) -> None:
    await running["drain_with_tunnels"]


async def test_heads_that_drip_in_are_ended_after_a_minute(running: Running) -> None:
    await running["drip_heads_for_a_minute"]


async def test_responses_that_their_clients_do_not_take_are_given_up_a_minute_after_their_end(running: Running) -> None:
    await running["leave_responses_unread"]
