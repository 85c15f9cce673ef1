"""Messages that are cheap to send and costly to take: bounded in memory, and nobody else waits for them."""

import asyncio

import pytest

from tests.faults.support import EXCHANGE_BYTES_MAX, KIB, MIB, PATIENCE_S, Peer, Vitals, fence, run_watched
from tests.support.http import Call, Client, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

PROBE = b"GET / HTTP/1.1\r\nHost: h\r\nK-Network-Probe: probe\r\nK-Network-Hash: x\r\n\r\n"
OPTIONS = b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"


async def hold(call: Call) -> None:
    await call.closed()


async def test_10000_pipelined_requests_of_a_client_that_does_not_read_wait_outside_and_are_answered_in_order() -> None:
    count = 10_000

    async def answer(call: Call) -> None:
        await call.respond(200, call.target.encode().ljust(KIB))

    async with running_app(answer) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy) as watch:
            peer = await Peer.open(proxy, receive_bytes=4 * KIB)
            requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(count))
            sending = asyncio.create_task(peer.send(requests))
            seen = -1
            while seen != len(app.calls):
                seen = len(app.calls)
                for _ in range(20):
                    await fence(proxy)
            assert 0 < seen < count, "the client's and the proxy's kernel take some of the answers, not all"
            client = Client(*await asyncio.open_connection(sock=peer.sock.dup()))
            proxy.clients.append(client)
            for number in range(count):
                response = await client.response()
                assert response.body.rstrip() == b"/%d" % number
            await sending
        assert app.inside_max == 1
        # Heads and lines that are remembered take their part.
        assert watch.rss_bytes_max - before_bytes < 2 * MIB
        assert watch.slowest_s < PATIENCE_S


@pytest.mark.parametrize("request_bytes", [PROBE, OPTIONS], ids=["probes", "options"])
async def test_200000_pipelined_requests_that_are_answered_here_do_not_make_others_wait(request_bytes: bytes) -> None:
    async with running_queue_proxy() as proxy, run_watched(proxy) as watch:
        peer = await Peer.open(proxy)

        async def read() -> None:
            while await peer.receive(MIB):
                continue

        reading = asyncio.create_task(read())
        await peer.send(request_bytes * 200_000)
        peer.half_close()
        await reading
    assert watch.slowest_s < PATIENCE_S


async def test_pipelined_requests_that_are_answered_here_wait_outside_while_their_clients_do_not_read() -> None:
    connections = 40
    requests = OPTIONS * 300_000
    async with running_queue_proxy() as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy) as watch:
            peers = [await Peer.open(proxy, receive_bytes=4 * KIB) for _ in range(connections)]
            sent = [0] * connections
            for _ in range(100):
                for number, peer in enumerate(peers):
                    sent[number] += peer.send_some(requests[sent[number] : sent[number] + MIB])
                await fence(proxy)
        assert max(sent) < len(requests)
        # And what the process loads once, when it has served for a while (proxies/allocator.py).
        assert watch.rss_bytes_max - before_bytes < connections * EXCHANGE_BYTES_MAX + MIB
        assert watch.slowest_s < PATIENCE_S


async def test_one_byte_chunks_hold_no_more_than_the_bytes_that_they_are() -> None:
    exchanges = 10
    upload = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200_000
    async with running_app(hold, read_ahead_bytes=4 * KIB) as app, running_queue_proxy(app.port) as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy) as watch:
            peers = [await Peer.open(proxy) for _ in range(exchanges)]
            sent = [0] * exchanges
            for _ in range(50):
                for number, peer in enumerate(peers):
                    sent[number] += peer.send_some(upload[sent[number] : sent[number] + MIB])
                await fence(proxy)
        assert min(sent) > 256 * KIB
        assert watch.rss_bytes_max - before_bytes < exchanges * EXCHANGE_BYTES_MAX
        assert watch.slowest_s < PATIENCE_S


@pytest.mark.parametrize("lines", [1, 900, 130_000])
async def test_heads_of_1_mib_hold_no_more_than_a_few_times_the_bytes_that_they_are(lines: int) -> None:
    """Also while their requests wait. So many lines that what is made of them would be a multiple are refused."""
    pad_bytes = max(0, MIB // lines - 8)
    heads = [
        b"GET / HTTP/1.1\r\nHost: h\r\n"
        + b"".join(b"%x:%s\r\n" % (0x10000 + number, b"x" * pad_bytes) for number in range(client, lines + client))
        + b"\r\n"
        for client in range(10)
    ]
    async with running_app(hold) as app, running_queue_proxy(app.port, CONTAINER_CONCURRENCY="1") as proxy:
        vitals = Vitals(proxy.process.pid)
        running = await Peer.open(proxy, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await app.call()
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy) as watch:
            peers = [await Peer.open(proxy, head) for head in heads]
            await fence(proxy)
        refused = [peer for peer in peers if (peer.receive_now() or b"").startswith(b"HTTP/1.1 431 ")]
        assert len(refused) == (len(peers) if lines > 1000 else 0)
        assert watch.rss_bytes_max - before_bytes < 4 * sum(map(len, heads))
        assert watch.slowest_s < PATIENCE_S
        running.close()


async def growth_bytes(proxy: QueueProxy, requests: list[bytes], *, times: int, addresses: int) -> int:
    """What the process grows by when `requests` come `times` each from one address and once each from the others."""
    vitals = Vitals(proxy.process.pid)

    async def send_all(address: int, times: int) -> None:
        streams = await asyncio.open_connection(proxy.host, proxy.port, local_addr=(f"127.0.2.{address}", 0))
        client = Client(*streams)
        proxy.clients.append(client)
        for request in requests:
            for _ in range(times):
                await client.send(request)
                assert (await client.response()).status == 200

    await fence(proxy)
    before_bytes = vitals.rss_bytes()
    await send_all(0, times)
    await asyncio.gather(*(send_all(address, 1) for address in range(1, addresses)))
    return vitals.rss_bytes() - before_bytes


async def test_repeated_heads_from_many_addresses_are_remembered_within_bounds() -> None:
    """What is seen often is remembered; the first address sees to that, the others make variants of it."""
    requests = [b"GET /%d HTTP/1.1\r\nHost: h\r\nX-Pad: %04000d\r\n\r\n" % (number, 0) for number in range(400)]
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        assert await growth_bytes(proxy, requests, times=12, addresses=31) < 12 * MIB


async def test_repeated_heads_of_many_lines_are_remembered_within_bounds() -> None:
    """A line takes far more than its bytes. No two heads have one in common here, or they would share it."""
    requests = [
        PROBE[:-2]
        + b"".join(b"%x:\r\n" % line for line in range(0x10000 + 450 * head, 0x10000 + 450 * (head + 1)))
        + b"\r\n"
        for head in range(400)
    ]
    async with running_queue_proxy() as proxy:
        assert await growth_bytes(proxy, requests, times=12, addresses=1) < 12 * MIB


async def test_long_forwarding_headers_are_not_remembered() -> None:
    requests = [b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: %0500000d\r\n\r\n" % number for number in range(100)]
    async with running_app() as app, running_queue_proxy(app.port) as proxy:
        assert await growth_bytes(proxy, requests, times=1, addresses=1) < 12 * MIB


async def test_100_informational_responses_pass_and_a_storm_of_them_is_a_502_and_others_do_not_wait() -> None:
    async def storm(call: Call) -> None:
        for _ in range(int(call.target[1:]) // 100):
            await call.send(b"HTTP/1.1 103 \r\n\r\n" * 100)
        await call.respond(200, b"after the storm")

    async with running_app(storm) as app, running_queue_proxy(app.port) as proxy, run_watched(proxy) as watch:
        for count, end in ((100, b"after the storm"), (1_000_000, b"informational responses\n")):
            peer = await Peer.open(proxy, b"GET /%d HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % count)
            received = await peer.receive_all()
            assert received.count(b"HTTP/1.1 103 ") == 100
            assert received.endswith(end)
    assert watch.slowest_s < PATIENCE_S


async def test_informational_responses_to_a_client_that_does_not_read_are_held_back() -> None:
    exchanges = 10
    head_bytes = 64 * KIB

    async def storm(call: Call) -> None:
        for _ in range(100):
            await call.send(b"HTTP/1.1 103 Early Hints\r\nX-Pad: %s\r\n\r\n" % (b"x" * head_bytes))

    async with running_app(storm) as app, running_queue_proxy(app.port, REVISION_TIMEOUT_SECONDS="5") as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        async with run_watched(proxy) as watch:
            for _ in range(exchanges):
                await Peer.open(proxy, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", receive_bytes=4 * KIB)
            await eventually(lambda: len(app.calls) == exchanges and not app.inside)
        # A head is taken in whole before it is passed on, and it is copied a few times on its way.
        assert watch.rss_bytes_max - before_bytes < exchanges * (EXCHANGE_BYTES_MAX + 4 * head_bytes)
        assert watch.slowest_s < PATIENCE_S
