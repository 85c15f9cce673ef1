"""The ends of connections and dials of HTTP/2: nothing is lost that was under way, and nobody does work for nothing."""

import asyncio
import gc
import itertools
import socket
import time
import weakref

import pytest

from proxies.exchange import Exchange, Outcome
from proxies.http2 import frames
from proxies.http2.errors import REFUSED_STREAM
from proxies.http2.frames import frame, settings_frame, window_update_frame
from proxies.messages import Answer
from proxies.timeouts import TimeoutLimits
from tests.proxies.test_http2_exchanges import OK, running_bench
from tests.proxies.test_server import EDITS
from tests.support.http import Client
from tests.support.http2 import App, Peer
from tests.support.processes import eventually


async def test_requests_that_wait_for_a_dial_are_sent_though_the_endpoint_is_closed_meanwhile() -> None:
    async with running_bench() as bench:

        def forward_and_close(exchange: Exchange) -> None:
            bench.policy.forward(exchange)
            bench.policy.endpoint.close()

        bench.policy.decide = forward_and_close
        client = await bench.client()
        client.request(1)
        app = await bench.app.accepted()
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK, done=True)
        assert await client.response(1) == (200, b"")
        await app.closed()
        assert len(bench.app.connections) == 1


async def test_what_is_sent_on_a_stream_that_a_drain_left_out_harms_no_other() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3)
        _, _, stream_id = await app.fields()
        stopping = asyncio.ensure_future(bench.server.stop())
        await client.next("GoAway")
        await client.next("GoAway")
        client.request(5, method="POST", done=False)
        for _ in range(3000):
            client.data(5, b"more")
        client.send(window_update_frame(5, 10))
        client.reset(5, 8)
        client.send(frame(frames.PING, 0, 0, b"12345678"))
        await client.next("Ping")
        app.head(stream_id, OK, done=True)
        assert await client.response(3) == (200, b"")
        client.close()
        await stopping


async def test_what_is_under_way_on_a_stream_that_was_answered_early_ends_no_connection() -> None:
    async with running_bench() as bench:
        bench.policy.decide = lambda exchange: exchange.answer(Answer(200))
        client = await bench.client()
        for stream_id in range(1, 41, 2):
            client.request(stream_id, method="POST", done=False)
            for _ in range(200):
                client.data(stream_id, b"more")
        client.request(41)
        assert await client.response(41) == (200, b"")


async def test_the_timer_of_a_request_that_takes_the_place_of_one_timed_out_is_kept() -> None:
    async with running_bench() as bench:
        limits = [TimeoutLimits(max_duration_s=60, response_start_s=0.2), TimeoutLimits(max_duration_s=0.1)]
        held: list[Exchange] = []

        def hold(exchange: Exchange) -> None:
            exchange.limit(limits[len(held)])
            held.append(exchange)

        def ended(exchange: Exchange) -> None:
            if exchange is held[1]:
                held[0].forward(bench.policy.endpoint, EDITS)

        bench.policy.decide = hold
        bench.policy.ended = ended  # type: ignore[method-assign]
        client = await bench.client()
        client.request(1)
        client.request(3)
        assert (await client.response(3))[0] == 504
        began_s = time.monotonic()
        assert (await client.response(1))[0] == 504
        assert time.monotonic() - began_s < 20


async def test_a_large_upload_is_no_message_that_does_not_end() -> None:
    async with running_bench() as bench:
        bench.server.head_timeout_s = 0.3
        client, app = await bench.pair()
        client.request(3, method="POST", done=False)
        client.send(settings_frame({}))
        await client.next("Settings")
        await app.fields()
        whole = frame(frames.DATA, 0, 3, bytes(100))
        client.send(whole[:50])
        for _ in range(10):  # each read ends within a frame
            await asyncio.sleep(0.06)
            client.send(whole[50:] + whole[:50])
        client.send(whole[50:])
        client.data(3, b"end", done=True)
        app.head(3, OK, done=True)
        assert await client.response(3) == (200, b"")


async def test_a_message_that_does_not_end_is_cut_off() -> None:
    async with running_bench() as bench:
        bench.server.head_timeout_s = 0.1
        client, _ = await bench.pair()
        client.send(frame(frames.DATA, 0, 3, bytes(100))[:50])
        await client.next("GoAway")
        await client.closed()


async def test_a_stop_serves_what_was_sent_before_the_client_heard_of_it() -> None:
    async with running_bench() as bench:
        client, _ = await bench.pair()
        bench.policy.decide = lambda exchange: exchange.answer(Answer(200, b"late"))
        client.request(3)
        stopping = asyncio.ensure_future(bench.server.stop())
        assert await client.response(3) == (200, b"late")
        client.close()
        await stopping


async def test_a_stop_leaves_a_slow_client_what_it_was_sent() -> None:
    size = 300_000
    async with running_bench() as bench:
        bench.policy.decide = lambda exchange: exchange.answer(Answer(200, bytes(size)))
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", bench.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        writer.write(frames.PREFACE + settings_frame({4: 1 << 30}) + window_update_frame(0, 1 << 30))
        writer.write(frame(frames.SETTINGS, frames.ACK, 0))
        client = Peer(reader, writer)
        bench.peers.append(client)
        client._table_update = b"\x20"
        client.request(1)
        await eventually(lambda: bench.policy.ended_with == [Outcome.ANSWERED])
        stopping = asyncio.ensure_future(bench.server.stop())
        for _ in range(20):  # the steps of the drain, and updates of windows behind them
            writer.write(frame(frames.PING, frames.ACK, 0, b"draining") if not _ else window_update_frame(0, 1))
            await asyncio.sleep(0.01)
        client.start()
        assert await client.response(1) == (200, bytes(size))
        await client.closed()
        client.close()
        await stopping


async def test_those_that_wait_behind_others_of_their_connection_are_not_sent_when_it_is_lost() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        waiting: list[Exchange] = []
        running: list[Exchange] = []

        def admit(exchange: Exchange) -> None:
            if running:
                waiting.append(exchange)
            else:
                running.append(exchange)
                bench.policy.forward(exchange)

        def ended(exchange: Exchange) -> None:
            if exchange in running:
                running.clear()
                if waiting:
                    admit(waiting.pop(0))

        bench.policy.decide = admit
        bench.policy.cancelled = waiting.remove  # type: ignore[method-assign, assignment]
        bench.policy.ended = ended  # type: ignore[method-assign]
        for stream_id in range(3, 43, 2):
            client.request(stream_id)
        await app.fields()
        await eventually(lambda: len(waiting) == 19)
        client.close()
        await app.next("RstStream")
        await eventually(lambda: bench.server.active == 0)
        app.send(frame(frames.PING, 0, 0, b"12345678"))
        await app.next("Ping")
        assert not [each for each in app.frames if type(each).__name__ == "HeadersFrame"]


async def test_a_connection_that_is_lost_leaves_no_garbage_behind() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        kept = [weakref.ref(each) for each in (*bench.server._connections, *bench.pool.connections)]
        assert len(kept) == 2
        gc.collect()
        gc.disable()
        try:
            app.close()
            client.close()
            await eventually(lambda: not bench.server._connections and not bench.pool.connections)
            await eventually(lambda: [each() for each in kept] == [None, None])
        finally:
            gc.enable()


async def test_a_burst_for_an_app_that_takes_few_streams_is_shared_out_and_not_refused_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few, count = 5, 40

    async def serve(self: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.connections.append(peer)
        await reader.readexactly(len(frames.PREFACE))
        first = b""
        while len(first) < 100:  # its settings, and a request
            first += await reader.read(65536)
        peer.send(settings_frame(self.settings))  # as far away: the requests were sent before this comes
        peer.start(first)
        self._accepted.put_nowait(peer)

    monkeypatch.setattr(App, "serve", serve)
    async with running_bench({3: few}) as bench:
        client = await bench.client()
        taken: list[tuple[Peer, int]] = []

        async def take(app: Peer) -> None:
            for number in itertools.count():
                _, _, stream_id = await app.fields()
                if number < few:
                    taken.append((app, stream_id))
                else:
                    app.reset(stream_id, REFUSED_STREAM)

        async def take_all() -> None:
            async with asyncio.TaskGroup() as group:
                while True:
                    group.create_task(take(await bench.app.accepted()))

        for stream_id in range(1, 2 * count, 2):
            client.request(stream_id, method="POST")
        taking = asyncio.ensure_future(take_all())
        await eventually(lambda: len(taken) == count)
        taking.cancel()
        for app, stream_id in taken:
            app.head(stream_id, OK, done=True)
        for stream_id in range(1, 2 * count, 2):
            assert await client.response(stream_id) == (200, b"")


@pytest.mark.parametrize("body", [b"", b"hello"])
async def test_what_a_client_of_http1_is_told_of_an_http2_response_counts_without_its_chunks(body: bytes) -> None:
    async with running_bench() as bench:
        bench.policy.endpoint = bench.pool.endpoint("127.0.0.1", bench.app.port, version=2)
        counted: list[int] = []

        def ended(exchange: Exchange) -> None:
            counted.append(exchange.response_bytes)

        bench.policy.ended = ended  # type: ignore[method-assign]
        client = await Client.open("127.0.0.1", bench.port)
        await client.request()
        app = await bench.app.accepted()
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK, done=not body)
        if body:
            app.data(stream_id, body, done=True)
        response = await client.response()
        client.close()
        assert (response.values("transfer-encoding"), response.body, counted) == (["chunked"], body, [len(body)])
