"""HTTP/2 from a client to an app through server, exchange and pool, over real sockets and frame by frame."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxies import downstream_http2
from proxies.dialling import Unanswered, Unreachable
from proxies.exchange import Exchange, Outcome
from proxies.http2 import frames
from proxies.http2.errors import CANCEL, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM
from proxies.http2.frames import go_away_frame, settings_frame, window_update_frame
from proxies.messages import Answer
from proxies.pool import Pool
from proxies.server import Server
from proxies.timeouts import TimeoutLimits
from tests.proxies.diallers import RefusedOnce, SettingsFirst
from tests.proxies.test_server import EDITS, Policy, settled
from tests.support.http import Call, Client
from tests.support.http import running_app as http_app
from tests.support.http2 import App, Peer, running_app
from tests.support.processes import eventually

OK = (":status", "200")
SMALL_WINDOW = {4: 1000}


class Bench:
    """A proxy between frame-level peers."""

    def __init__(self, server: Server, pool: Pool, policy: Policy, app: App) -> None:
        self.server, self.pool, self.policy, self.app = server, pool, policy, app
        self.port = 0
        self.peers: list[Peer] = []

    async def client(self, settings: dict[int, int] | None = None) -> Peer:
        self.peers.append(await Peer.connect("127.0.0.1", self.port, settings=settings))
        return self.peers[-1]

    async def pair(self) -> tuple[Peer, Peer]:
        """A client, and the app's end of the connection that its first request (stream 1) made."""
        client = await self.client()
        client.request(1)
        app = await self.app.accepted()
        _, is_done, stream_id = await app.fields()
        assert is_done
        app.head(stream_id, OK, done=True)
        assert await client.response(1) == (200, b"")
        return client, app


@asynccontextmanager
async def running_bench(settings: dict[int, int] | None = None, **pool_options: float) -> AsyncIterator[Bench]:
    loop = asyncio.get_running_loop()
    async with running_app(settings) as app:
        pool = Pool(loop, **pool_options)  # type: ignore[arg-type]
        policy = Policy(pool.endpoint("127.0.0.1", app.port))
        bench = Bench(Server(loop, policy, takes_http2=True), pool, policy, app)
        bench.port = await bench.server.listen("127.0.0.1", 0)
        try:
            yield bench
        finally:
            for peer in bench.peers:
                peer.close()
            await bench.server.stop(tunnel_grace_s=1.0)
            await pool.close()
            await asyncio.sleep(0)


async def test_a_request_reaches_the_app_as_http2_with_both_bodies_and_their_trailers() -> None:
    async with running_bench() as bench:
        client = await bench.client()
        client.request(1, ("te", "trailers"), ("content-type", "application/grpc"), method="POST", done=False)
        client.data(1, b"ask")
        client.head(1, ("x-sum", "3"), done=True)
        app = await bench.app.accepted()
        asked, is_done, stream_id = await app.fields()
        assert not is_done
        assert asked[":method"] == "POST"
        assert asked[":authority"] == "h"
        assert asked["te"] == "trailers"
        assert "transfer-encoding" not in asked
        assert (await app.next("Data")).data == b"ask"
        assert await app.fields() == ({"x-sum": "3"}, True, stream_id)
        app.head(stream_id, OK, ("content-type", "application/grpc"))
        app.data(stream_id, b"answer")
        app.head(stream_id, ("grpc-status", "0"), done=True)
        fields, is_done, _ = await client.fields(1)
        assert fields[":status"] == "200"
        assert "date" in fields
        assert not is_done
        assert (await client.next("Data", 1)).data == b"answer"
        assert await client.fields(1) == ({"grpc-status": "0"}, True, 1)
        assert bench.policy.ended_with == [Outcome.COMPLETE]


async def test_a_response_of_a_head_alone_ends_the_stream() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3, method="POST", done=False)
        client.data(3, done=True)
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK, ("grpc-status", "12"), done=True)
        fields, is_done, _ = await client.fields(3)
        assert fields["grpc-status"] == "12"
        assert is_done


async def test_informational_responses_come_before_the_final_one() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3)
        _, _, stream_id = await app.fields()
        app.head(stream_id, (":status", "103"), ("link", "</a>"))
        app.head(stream_id, OK, done=True)
        assert (await client.fields(3))[0] == {":status": "103", "link": "</a>"}
        assert (await client.fields(3))[0][":status"] == "200"


async def test_many_streams_share_one_connection_to_the_app() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        for stream_id in range(3, 203, 2):
            client.request(stream_id, path=f"/{stream_id}")
        for _ in range(100):
            fields, _, stream_id = await app.fields()
            app.head(stream_id, OK)
            app.data(stream_id, fields[":path"].encode(), done=True)
        for stream_id in range(3, 203, 2):
            assert await client.response(stream_id) == (200, f"/{stream_id}".encode())
        assert len(bench.app.connections) == 1


async def test_requests_that_come_during_the_dial_share_it_and_more_than_the_app_takes_get_another_connection() -> None:
    async with running_bench({3: 2, 4: 65535}) as bench:
        client = await bench.client()
        client.request(1)
        app = await bench.app.accepted()
        await app.next("Settings")
        await app.fields()
        for stream_id in (3, 5):
            client.request(stream_id)
        await app.fields()
        second = await bench.app.accepted()
        await second.fields()
        assert len(bench.app.connections) == 2


async def test_an_app_that_takes_no_streams_is_502_if_it_says_so_at_once() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(settings_frame({3: 0}))
        await reader.read()
        writer.close()

    async with running_bench() as bench, await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        bench.policy.endpoint = bench.pool.endpoint(*server.sockets[0].getsockname())
        bench.policy.endpoint.dialler = SettingsFirst(bench.policy.endpoint.dialler)  # type: ignore[assignment]
        client = await bench.client()
        client.request(1)
        status, text = await client.response(1)
        assert (status, text.partition(b": ")[2]) == (502, b"the peer takes no streams\n")
        await eventually(lambda: not bench.pool.connections)


async def test_a_connection_on_which_the_app_takes_no_further_streams_is_closed_behind_the_last() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3)
        client.request(5)
        streams = [(await app.fields())[2], (await app.fields())[2]]
        app.send(settings_frame({3: 0}))
        for stream_id in streams:
            app.head(stream_id, OK, done=True)
        assert [(await client.response(stream_id))[0] for stream_id in (3, 5)] == [200, 200]
        await app.closed()


async def test_a_stream_that_the_client_resets_is_reset_for_the_app() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3)
        _, _, stream_id = await app.fields()
        client.reset(3, CANCEL)
        assert (await app.next("RstStream", stream_id)).error_code == CANCEL
        assert bench.policy.ended_with[-1] is Outcome.CLIENT_GONE


async def test_all_streams_of_a_client_that_leaves_are_reset_for_the_app() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3)
        client.request(5, method="POST", done=False)
        streams = {(await app.fields())[2], (await app.fields())[2]}
        client.close()
        assert {(await app.next("RstStream")).stream_id for _ in range(2)} == streams
        await eventually(lambda: bench.server.active == 0)


async def test_a_stream_that_the_app_resets_before_its_response_is_502_and_later_a_reset() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3)
        app.reset((await app.fields())[2], INTERNAL_ERROR)
        status, text = await client.response(3)
        assert status == 502
        assert b"INTERNAL_ERROR" in text
        client.request(5)
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK)
        await client.fields(5)
        app.reset(stream_id, INTERNAL_ERROR)
        assert (await client.next("RstStream", 5)).error_code == INTERNAL_ERROR
        assert bench.policy.ended_with[-2:] == [Outcome.UNREACHABLE, Outcome.ABORTED]


async def test_an_app_that_is_lost_is_502_and_the_next_request_finds_it_again() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3, method="POST", done=False)
        await app.fields()
        app.close()
        assert (await client.response(3))[0] == 502
        client.request(5)
        app = await bench.app.accepted()
        app.head((await app.fields())[2], OK, done=True)
        assert await client.response(5) == (200, b"")


async def test_a_request_that_the_app_refuses_unprocessed_is_sent_again_whatever_its_method() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3, method="POST")
        app.reset((await app.fields())[2], REFUSED_STREAM)
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK, done=True)
        assert await client.response(3) == (200, b"")


async def test_a_request_whose_body_is_gone_is_not_sent_again() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3, method="POST", done=False)
        client.data(3, b"gone", done=True)
        _, _, stream_id = await app.fields()
        await app.next("Data", stream_id)
        app.reset(stream_id, REFUSED_STREAM)
        assert (await client.response(3))[0] == 502


async def test_an_app_that_goes_away_finishes_its_streams_and_the_next_request_finds_a_new_connection() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        for stream_id in (3, 5):
            client.request(stream_id)
        _, _, first = await app.fields()
        await app.fields()
        app.send(go_away_frame(first, NO_ERROR))  # the second was not looked at
        second = await bench.app.accepted()
        second.head((await second.fields())[2], OK, done=True)
        assert await client.response(5) == (200, b"")
        app.head(first, OK, done=True)
        assert await client.response(3) == (200, b"")
        await app.closed()


async def test_a_slow_reader_holds_up_its_stream_alone_and_nothing_is_lost() -> None:
    data = bytes(range(256)) * 4000
    async with running_bench() as bench:
        client = await bench.client(SMALL_WINDOW)
        client.request(1)
        app = await bench.app.accepted()
        _, _, slow = await app.fields()
        app.head(slow, OK)
        sent = 0
        window = 65535

        async def send_all() -> None:
            nonlocal sent, window
            while sent < len(data):
                while not window:
                    window += (await app.next("WindowUpdate", slow)).window_increment
                size = min(window, 16384, len(data) - sent)
                app.data(slow, data[sent : sent + size], done=sent + size == len(data))
                window -= size
                sent += size

        sending = asyncio.ensure_future(send_all())
        await settled(lambda: sent)
        assert sent <= 256 * 1024
        client.request(3)
        _, _, quick = await app.fields()
        app.head(quick, OK)
        app.data(quick, b"quick", done=True)
        assert await client.response(3) == (200, b"quick")
        client.send(window_update_frame(1, 1 << 30))
        assert await client.response(1) == (200, data)
        await sending


async def test_a_slow_app_holds_up_the_client_and_nothing_is_lost() -> None:
    data = bytes(range(256)) * 4000
    async with running_bench(SMALL_WINDOW) as bench:
        client = await bench.client()
        client.request(1, method="POST", done=False)
        app = await bench.app.accepted()
        _, _, stream_id = await app.fields()
        sent = 0
        window = 65535

        async def send_all() -> None:
            nonlocal sent, window
            while sent < len(data):
                while not window:
                    window += (await client.next("WindowUpdate", 1)).window_increment
                size = min(window, 16384, len(data) - sent)
                client.data(1, data[sent : sent + size], done=sent + size == len(data))
                window -= size
                sent += size

        sending = asyncio.ensure_future(send_all())
        await settled(lambda: sent)
        assert sent <= 256 * 1024
        app.send(window_update_frame(stream_id, 1 << 30))
        assert await app.body(stream_id) == data
        await sending


async def test_the_body_of_a_held_request_is_not_read_beyond_its_first_window() -> None:
    async with running_bench() as bench:
        held: list[Exchange] = []
        bench.policy.decide = held.append
        client = await bench.client()
        client.request(1, method="POST", done=False)
        client.data(1, bytes(60_000))
        await eventually(lambda: bool(held) and held[0].pending_bytes == 60_000)
        assert not [each for each in client.frames if type(each).__name__ == "WindowUpdateFrame" and each.stream_id]
        bench.policy.forward(held[0])
        app = await bench.app.accepted()
        _, _, stream_id = await app.fields()
        await client.next("WindowUpdate", 1)
        client.data(1, b"end", done=True)
        assert len(await app.body(stream_id)) == 60_003


async def test_a_held_request_whose_stream_is_reset_is_cancelled() -> None:
    async with running_bench() as bench:
        held: list[Exchange] = []
        bench.policy.decide = held.append
        client = await bench.client()
        client.request(1)
        await eventually(lambda: bool(held))
        client.reset(1, CANCEL)
        await eventually(lambda: bench.policy.cancelled_count == 1)


async def test_an_answer_before_the_end_of_the_request_is_followed_by_a_reset_without_error() -> None:
    async with running_bench() as bench:
        bench.policy.decide = lambda exchange: exchange.answer(Answer.error(503, "full"))
        client = await bench.client()
        client.request(1, method="POST", done=False)
        assert await client.response(1) == (503, b"full\n")
        assert (await client.next("RstStream", 1)).error_code == NO_ERROR


async def test_an_app_that_answers_early_ends_the_upload_on_both_sides() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3, method="POST", done=False)
        _, _, stream_id = await app.fields()
        app.head(stream_id, (":status", "413"), done=True)
        assert await client.response(3) == (413, b"")
        assert (await client.next("RstStream", 3)).error_code == NO_ERROR
        assert (await app.next("RstStream", stream_id)).error_code == CANCEL


async def test_a_head_request_and_204_and_304_have_no_body_whatever_they_declare() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        for stream_id, method, status in ((3, "HEAD", "200"), (5, "GET", "304")):
            client.request(stream_id, method=method)
            app.head((await app.fields())[2], (":status", status), ("content-length", "10"), done=True)
            fields, is_done, _ = await client.fields(stream_id)
            assert fields[":status"] == status
            assert fields["content-length"] == "10"
            assert is_done


async def test_a_timer_answers_504_and_ends_a_response_under_way() -> None:
    async with running_bench() as bench:

        def decide(exchange: Exchange) -> None:
            exchange.limit(TimeoutLimits(max_duration_s=60, response_start_s=0.05, idle_s=0.2))
            exchange.forward(bench.policy.endpoint, EDITS)

        client, app = await bench.pair()
        bench.policy.decide = decide
        client.request(3)
        status, text = await client.response(3)
        assert (status, text) == (504, b"request timeout")
        assert (await app.next("RstStream", (await app.fields())[2])).error_code == CANCEL
        client.request(5)
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK)
        app.data(stream_id, b"so far ")
        assert await client.response(5) == (200, b"so far request timeout")
        assert (await app.next("RstStream", stream_id)).error_code == CANCEL


async def test_a_response_of_declared_length_that_a_timer_ends_is_reset() -> None:
    async with running_bench() as bench:

        def decide(exchange: Exchange) -> None:
            exchange.limit(TimeoutLimits(max_duration_s=60, idle_s=0.05))
            exchange.forward(bench.policy.endpoint, EDITS)

        client, app = await bench.pair()
        bench.policy.decide = decide
        client.request(3)
        app.head((await app.fields())[2], OK, ("content-length", "5"))
        await client.fields(3)
        assert (await client.next("RstStream", 3)).error_code == INTERNAL_ERROR


async def test_a_stop_lets_streams_finish_and_says_which_is_the_last() -> None:
    async with running_bench() as bench:
        client, app = await bench.pair()
        client.request(3)
        _, _, stream_id = await app.fields()
        stopping = asyncio.ensure_future(bench.server.stop())
        assert (await client.next("GoAway")).last_stream_id == frames.STREAM_ID_MAX
        assert (await client.next("GoAway")).last_stream_id == 3
        assert not stopping.done()
        app.head(stream_id, OK, done=True)
        assert await client.response(3) == (200, b"")
        await client.closed()
        await stopping


async def test_a_stop_waits_for_the_end_of_a_response_that_waits_for_room() -> None:
    async with running_bench() as bench:
        client = await bench.client(SMALL_WINDOW)
        client.request(1)
        app = await bench.app.accepted()
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK)
        app.data(stream_id, bytes(5000), done=True)
        await client.fields(1)
        await eventually(lambda: bench.policy.ended_with == [Outcome.COMPLETE])
        stopping = asyncio.ensure_future(bench.server.stop())
        await client.next("GoAway")
        assert not stopping.done()
        client.send(window_update_frame(1, 10_000))
        assert len(await client.body(1)) == 5000
        await client.closed()
        await stopping


async def test_a_client_that_opens_no_window_loses_its_stream_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream_http2, "_LINGER_S", 0.05)
    async with running_bench() as bench:
        client = await bench.client(SMALL_WINDOW)
        client.request(1)
        app = await bench.app.accepted()
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK)
        app.data(stream_id, bytes(5000), done=True)
        assert (await client.next("RstStream", 1)).error_code == CANCEL
        await eventually(lambda: bench.server.active == 0)


async def test_a_preface_in_pieces_and_one_that_is_never_whole() -> None:
    async with running_bench() as bench:
        bench.policy.decide = lambda exchange: exchange.answer(Answer(200))
        whole = frames.PREFACE + settings_frame({})
        for cut in range(1, len(whole)):
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
            peer = Peer(reader, writer)
            bench.peers.append(peer)
            peer.start()
            peer.send(whole[:cut])
            await asyncio.sleep(0)
            peer.send(whole[cut:])
            peer.request(1)
            assert await peer.response(1) == (200, b"")


async def test_a_peer_that_never_acknowledges_the_settings_is_cut_off() -> None:
    async with running_bench() as bench:
        bench.server.head_timeout_s = 0.05
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(frames.PREFACE + settings_frame({}))
        assert await reader.read(-1)
        writer.close()


async def test_http2_is_not_taken_where_it_is_not_meant_to_be_nor_behind_a_request_of_http1() -> None:
    async with running_bench() as bench:
        bench.policy.decide = lambda exchange: exchange.answer(Answer(200))
        client = await Client.open("127.0.0.1", bench.port)
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.response()).status == 200
        await client.send(frames.PREFACE)
        assert (await client.response()).status in (400, 505)
        client.close()
        bench.server.takes_http2 = False
        client = await Client.open("127.0.0.1", bench.port)
        await client.send(frames.PREFACE)
        assert (await client.response()).status in (400, 505)
        client.close()


OFFER = b"Host: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAQAAP__\r\n"


async def test_an_offer_of_h2c_is_taken_and_its_response_comes_on_stream_1() -> None:
    async with running_bench() as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        writer.write(b"POST /up HTTP/1.1\r\n" + OFFER + b"Content-Length: 4\r\n\r\nbody")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        client = Peer(reader, writer)
        bench.peers.append(client)
        client.start()
        client.send(frames.PREFACE + settings_frame({}))
        app = await bench.app.accepted()
        fields, _, stream_id = await app.fields()
        assert fields[":path"] == "/up"
        assert not {"upgrade", "connection", "http2-settings"} & set(fields)
        assert await app.body(stream_id) == b"body"
        app.head(stream_id, OK)
        app.data(stream_id, b"up", done=True)
        assert await client.response(1) == (200, b"up")
        client.request(3)
        app.head((await app.fields())[2], OK, done=True)
        assert await client.response(3) == (200, b"")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.0\r\n" + OFFER,
        b"GET / HTTP/1.1\r\n" + OFFER.replace(b"AAQAAP__", b"AAQAAP_"),
        b"GET / HTTP/1.1\r\n" + OFFER.replace(b"AAQAAP__", b"AAQAA!__"),
        b"GET / HTTP/1.1\r\n" + OFFER + b"HTTP2-Settings: AAQAAP__\r\n",
        b"GET / HTTP/1.1\r\n" + OFFER.replace(b"Upgrade: h2c\r\n", b"Upgrade: h2c, echo\r\n"),
        b"POST / HTTP/1.1\r\n" + OFFER + b"Content-Length: 4\r\n",
        b"POST / HTTP/1.1\r\n" + OFFER + b"Transfer-Encoding: chunked\r\n",
    ],
)
async def test_an_odd_offer_of_h2c_is_passed_over(head: bytes) -> None:
    async with running_bench() as bench:
        bench.policy.decide = lambda exchange: exchange.answer(Answer(200, exchange.request.version.encode()))
        client = await Client.open("127.0.0.1", bench.port)
        await client.send(head + b"\r\n")
        response = await client.response()
        client.close()
        assert response.status == 200
        assert response.body[:2] == b"1."


async def test_an_idle_connection_to_the_app_is_closed_after_its_time() -> None:
    async with running_bench(idle_s=0.1) as bench:
        _, app = await bench.pair()
        await app.closed()
        assert not bench.pool.connections


async def test_an_app_that_cannot_be_reached_is_502_for_all_that_wait() -> None:
    async with running_bench() as bench:
        policy = bench.policy
        policy.endpoint = bench.pool.endpoint("127.0.0.1", 1)
        client = await bench.client()
        for stream_id in (1, 3):
            client.request(stream_id)
        for stream_id in (1, 3):
            status, text = await client.response(stream_id)
            assert status == 502
            assert b"connection refused" in text


@pytest.mark.parametrize(
    ("error", "later"), [(Unreachable("refused"), 200), (Unanswered("timed out"), 502)], ids=["refused", "unanswered"]
)
async def test_a_request_that_came_during_a_dial_that_is_refused_has_another_one(
    error: Unreachable, later: int
) -> None:
    async with running_bench() as bench:
        endpoint = bench.policy.endpoint
        dialler = RefusedOnce(endpoint.dialler, error)
        endpoint.dialler = dialler  # type: ignore[assignment]
        client = await bench.client()
        client.request(1)
        await dialler.began.wait()
        client.request(3)
        await eventually(lambda: bench.server.active == 2)
        dialler.may_end.set()
        assert (await client.response(1))[0] == 502
        if later == 200:
            app = await bench.app.accepted()
            app.head((await app.fields())[2], OK, done=True)
        assert (await client.response(3))[0] == later


async def test_an_app_of_http1_gets_chunks_and_its_own_are_taken_off_for_a_client_of_http2() -> None:
    bodies: list[bytes] = []

    async def answer(call: Call) -> None:
        body, _ = await call.body()
        bodies.append(body)
        assert call.version == "HTTP/1.1"
        if call.target == "/chunked":
            await call.start_chunked()
            for piece in (b"one ", b"two"):
                await call.chunk(piece)
            await call.send(b"0\r\nX-Sum: 7\r\n\r\n")
        else:
            await call.respond(200, b"whole")

    async with http_app(answer) as app, running_bench() as bench:
        bench.policy.endpoint = bench.pool.endpoint("127.0.0.1", app.port, version=1)
        client = await bench.client()
        client.request(1, method="POST", path="/chunked", done=False)
        client.data(1, b"a" * 20_000)
        client.data(1, b"end")
        client.head(1, ("x-sum", "3"), done=True)
        assert await client.response(1) == (200, b"one two")
        client.request(3, ("content-length", "3"), method="POST", done=False)
        client.data(3, b"sum", done=True)
        assert await client.response(3) == (200, b"whole")
        client.request(5)
        assert await client.response(5) == (200, b"whole")
        assert bodies == [b"a" * 20_000 + b"end", b"sum", b""]
        assert len(app.calls) == 3
        assert len({call.connection for call in app.calls}) == 1


async def test_a_client_of_http1_gets_chunks_and_its_own_are_taken_off_for_an_app_of_http2() -> None:
    async with running_bench() as bench:
        bench.policy.endpoint = bench.pool.endpoint("127.0.0.1", bench.app.port, version=2)
        client = await Client.open("127.0.0.1", bench.port)
        await client.send(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"4;a=b\r\nbody\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n"
        )
        app = await bench.app.accepted()
        fields, is_done, stream_id = await app.fields()
        assert not is_done
        assert "transfer-encoding" not in fields
        assert await app.body(stream_id) == b"body!"
        app.head(stream_id, OK)
        app.data(stream_id, b"one ")
        app.data(stream_id, b"two")
        app.head(stream_id, ("x-sum", "7"), done=True)
        response = await client.response()
        assert response.value("transfer-encoding") == "chunked"
        assert response.body == b"one two"
        for pairs, done, body in (
            ((OK,), True, b""),
            ((OK, ("content-length", "2")), False, b"ok"),
            (((":status", "204"),), True, b""),
        ):
            await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            _, _, stream_id = await app.fields()
            app.head(stream_id, *pairs, done=done)
            if not done:
                app.data(stream_id, body, done=True)
            assert (await client.response()).body == body
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK)
        app.data(stream_id, b"old", done=True)
        assert (await client.response()).body == b"old"
        client.close()


@pytest.mark.parametrize(("status", "code"), [(502, "14"), (503, "14"), (504, "4")])
async def test_clients_of_grpc_get_our_errors_in_their_terms_where_that_is_wanted(status: int, code: str) -> None:
    async with running_bench() as bench:
        bench.policy.decide = lambda exchange: exchange.answer(Answer.error(status, "99 % full \u00e9"))
        client = await bench.client()
        client.request(1, ("content-type", "application/grpc+proto"), method="POST", done=False)
        assert (await client.response(1))[0] == status
        bench.server.grpc_errors = True
        client.request(3, ("content-type", "application/grpc+proto"), method="POST", done=False)
        fields, is_done, _ = await client.fields(3)
        assert is_done
        assert fields == {
            ":status": "200",
            "content-type": "application/grpc",
            "grpc-status": code,
            "grpc-message": "99 %25 full %C3%A9",
        }
        client.request(5)
        assert (await client.response(5))[0] == status
        bench.policy.decide = lambda exchange: exchange.answer(Answer.error(400, "bad"))
        client.request(7, ("content-type", "application/grpc"), method="POST", done=False)
        assert (await client.response(7))[0] == 400
