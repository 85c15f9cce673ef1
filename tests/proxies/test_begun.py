"""`proxies/begun.py`: responses that begin while their request waits, over real sockets."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxies.exchange import Exchange, Outcome
from proxies.http1 import parse_response
from proxies.messages import Answer, ResponseHead
from proxies.timeouts import TimeoutLimits
from tests.proxies.test_http2_exchanges import OK, Bench, running_bench
from tests.proxies.test_server import EDITS, Policy, running_proxy
from tests.support.http import Call, Response, running_app
from tests.support.processes import eventually

HEAD = parse_response(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked")
STREAM = "Content-Type: text/event-stream"
Respond = Callable[[Call], Awaitable[None]]


class Rest:
    """Takes event streams."""

    def accepts(self, head: ResponseHead) -> bool:
        return head.status == 200 and head.get(b"content-type") == b"text/event-stream"

    def failure(self, status: int) -> bytes:
        return b"failed %d" % status


async def chunks(call: Call) -> None:
    await call.start_chunked(200, STREAM)
    await call.chunk(b"one ")
    await call.chunk(b"two")
    await call.send(b"0\r\n\r\n")


async def whole(call: Call) -> None:
    await call.respond(200, b"one two", STREAM)


async def pieces(call: Call) -> None:
    await call.send(f"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n{STREAM}\r\n\r\none ".encode())
    await call.send(b"two")


async def until_close(call: Call) -> None:
    await call.send(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{STREAM}\r\n\r\none two".encode())
    call.writer.close()


async def empty(call: Call) -> None:
    await call.respond(200, b"", STREAM)


async def html(call: Call) -> None:
    await call.respond(200, b"<html>", "Content-Type: text/html")


async def endless_html(call: Call) -> None:
    await call.start_chunked(200, "Content-Type: text/html")
    await call.reader.read()


async def unavailable(call: Call) -> None:
    await call.respond(503, b"no")


async def hints(call: Call) -> None:
    await call.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    await whole(call)


def begun(held: list[tuple[Exchange, Callable[[bytes], None]]]) -> Callable[[Exchange], None]:
    """A policy's decision: begin, and keep."""

    def decide(exchange: Exchange) -> None:
        write = exchange.begin(HEAD, Rest())
        assert write is not None
        held.append((exchange, write))

    return decide


async def asked(respond: Respond, *, timeout_s: float = 60.0) -> tuple[Response, Policy]:
    """One request whose response begins before it is forwarded, and then another one on the same connection."""
    async with running_app(respond) as app, running_proxy(app.port) as proxy:
        held: list[tuple[Exchange, Callable[[bytes], None]]] = []
        proxy.policy.decide = begun(held)
        client = await proxy.open()
        await client.request()
        head = await client.head()
        assert head.status == 200
        exchange, write = held[0]
        write(b": wait\n")
        exchange.limit(TimeoutLimits(max_duration_s=timeout_s))
        exchange.forward(proxy.policy.endpoint, EDITS)
        response = await client.body(head)
        proxy.policy.decide = lambda exchange: exchange.answer(Answer(204))
        await client.request()
        assert (await client.response()).status == 204
        return response, proxy.policy


@pytest.mark.parametrize("respond", [chunks, whole, pieces, until_close, hints])
async def test_the_targets_body_goes_on_in_the_one_begun(respond: Respond) -> None:
    response, policy = await asked(respond)
    assert response.body == b": wait\none two"
    assert response.value("content-type") == "text/event-stream"
    assert policy.ended_with == [Outcome.COMPLETE, Outcome.ANSWERED]


@pytest.mark.parametrize(
    ("respond", "end"),
    [(empty, b""), (html, b"failed 200"), (endless_html, b"failed 200"), (unavailable, b"failed 503")],
)
async def test_another_response_ends_the_body_well(respond: Respond, end: bytes) -> None:
    response, _ = await asked(respond)
    assert response.body == b": wait\n" + end


async def test_a_timer_ends_the_body_well() -> None:
    async def silent(call: Call) -> None:
        await call.reader.read()

    response, policy = await asked(silent, timeout_s=0.1)
    assert response.body == b": wait\nfailed 504"
    assert policy.ended_with[0] is Outcome.TIMED_OUT


async def test_a_timer_within_a_body_of_declared_length_ends_it_well() -> None:
    async def slow(call: Call) -> None:
        await call.send(f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{STREAM}\r\n\r\none ".encode())
        await call.reader.read()

    response, _ = await asked(slow, timeout_s=0.2)
    assert response.body == b": wait\none request timeout"


async def test_an_answer_of_the_policy_and_a_target_that_cannot_be_reached_end_the_body_well() -> None:
    async with running_proxy(1) as proxy:
        held: list[tuple[Exchange, Callable[[bytes], None]]] = []
        proxy.policy.decide = begun(held)
        for status in (429, 502):
            client = await proxy.open()
            await client.request()
            head = await client.head()
            exchange, _ = held[-1]
            if status == 429:
                exchange.answer(Answer(429))
            else:
                exchange.forward(proxy.policy.endpoint, EDITS)
            assert (await client.body(head)).body == b"failed %d" % status


async def test_an_app_that_breaks_off_is_seen_to_break_off() -> None:
    async def broken(call: Call) -> None:
        await call.send(f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{STREAM}\r\n\r\none ".encode())
        call.writer.transport.abort()

    with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
        await asked(broken)


async def test_a_client_that_leaves_ends_the_wait() -> None:
    async with running_proxy(1) as proxy:
        held: list[tuple[Exchange, Callable[[bytes], None]]] = []
        proxy.policy.decide = begun(held)
        client = await proxy.open()
        await client.request()
        await client.head()
        client.close()
        await eventually(lambda: proxy.policy.cancelled_count == 1)


async def test_bodies_cannot_be_left_open_for_head_and_http_1_0() -> None:
    async with running_proxy(1) as proxy:

        def decide(exchange: Exchange) -> None:
            assert exchange.begin(HEAD, Rest()) is None
            exchange.answer(Answer(204))

        proxy.policy.decide = decide
        for request in (b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
            client = await proxy.open()
            await client.send(request)
            assert (await client.response(method="HEAD")).status == 204


async def http2_begun(bench: Bench) -> tuple[Exchange, Callable[[bytes], None]]:
    held: list[tuple[Exchange, Callable[[bytes], None]]] = []
    bench.policy.decide = begun(held)
    client = await bench.client()
    client.request(1)
    fields, is_done, _ = await client.fields(1)
    assert not is_done
    assert fields["content-type"] == "text/event-stream"
    assert "transfer-encoding" not in fields
    return held[0]


async def test_streams_of_http2_are_begun_and_go_on_alike() -> None:
    async with running_bench() as bench:
        exchange, write = await http2_begun(bench)
        write(b": wait\n")
        exchange.forward(bench.policy.endpoint, EDITS)
        app = await bench.app.accepted()
        _, _, stream_id = await app.fields()
        app.head(stream_id, OK, ("content-type", "text/event-stream"))
        app.data(stream_id, b"one ")
        app.data(stream_id, b"two", done=True)
        assert await bench.peers[0].body(1) == b": wait\none two"


async def test_streams_of_http2_that_were_begun_end_well() -> None:
    async with running_bench() as bench:
        exchange, _ = await http2_begun(bench)
        exchange.forward(bench.policy.endpoint, EDITS)
        app = await bench.app.accepted()
        _, _, stream_id = await app.fields()
        app.head(stream_id, (":status", "500"))
        assert await bench.peers[0].body(1) == b"failed 500"
        await app.next("RstStream", stream_id)
