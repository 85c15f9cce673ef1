"""`proxies/calls.py`: requests of our own, over real sockets."""

import asyncio
import gc
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxies.calls import Call, Caller
from proxies.pool import Endpoint, Pool
from tests.support.http import App, Handler, running_app
from tests.support.http import Call as Asked
from tests.support.processes import eventually

REQUEST = b"POST /x HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\n\r\nhello"


class Bench:
    """A caller and one endpoint."""

    def __init__(self, caller: Caller, pool: Pool, endpoint: Endpoint, app: App) -> None:
        self.caller, self.pool, self.endpoint, self.app = caller, pool, endpoint, app

    def start(self, timeout_s: float = math.inf, room: int = 1 << 20) -> tuple[Call, "asyncio.Future[Call]"]:
        future: asyncio.Future[Call] = asyncio.get_running_loop().create_future()
        call = self.caller.begin(future.set_result, timeout_s=timeout_s, response_bytes_max=room)
        return call, future

    async def post(self, timeout_s: float = math.inf, room: int = 1 << 20, request: bytes = REQUEST) -> Call:
        call, future = self.start(timeout_s, room)
        call.send(self.endpoint, request)
        return await asyncio.wait_for(future, 20)


async def hello(call: Asked) -> None:
    await call.body()
    await call.respond(201, b"hello", "X-One: 1")


@asynccontextmanager
async def running(handler: Handler = hello) -> AsyncIterator[Bench]:
    loop = asyncio.get_running_loop()
    async with running_app(handler) as app:
        pool = Pool(loop)
        caller = Caller(loop)
        try:
            yield Bench(caller, pool, pool.endpoint("127.0.0.1", app.port, version=1), app)
        finally:
            await pool.close()
            caller.close()
        assert caller.under_way == 0


async def test_the_whole_response_comes_and_the_connection_is_kept() -> None:
    async with running() as bench:
        for _ in range(3):
            call = await bench.post()
            assert (call.status, call.body, call.get(b"x-one"), call.reason) == (201, b"hello", b"1", "")
        assert bench.app.connections == 1
        assert bench.app.calls[0].raw_head + b"hello" == REQUEST


async def half_of_much(call: Asked) -> None:
    await call.body()
    size = int(call.target.rpartition("/")[2])
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * size) + bytes(size))


async def test_responses_that_never_end_share_a_bounded_room() -> None:
    async with running(half_of_much) as bench:
        bench.caller.kept_max = 1 << 20

        def start(size: int) -> tuple[Call, "asyncio.Future[Call]"]:
            call, future = bench.start(room=4 << 20)
            call.send(bench.endpoint, REQUEST.replace(b"/x", b"/%d" % size))
            return call, future

        large = [start(500_000) for _ in range(10)]
        await eventually(lambda: sum(future.done() for _, future in large) >= 7)
        assert all(call.is_cut for call, future in large if future.done())
        assert bench.caller.kept_bytes <= 2 << 20
        small, future = start(30_000)
        await eventually(lambda: len(small.body) == 30_000)
        assert not future.done()
        for call, _ in [*large, (small, future)]:
            call.cancel()
        assert bench.caller.kept_bytes == 0


async def chunked(call: Asked) -> None:
    await call.start_chunked(200)
    for part in (b"one ", b"two", b""):
        await call.chunk(part)


async def until_close(call: Asked) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\n\r\none ")
    await call.send(b"two")
    call.close()


async def interim(call: Asked) -> None:
    await call.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    await call.respond(200, b"one two")


@pytest.mark.parametrize("handler", [chunked, until_close, interim])
async def test_the_body_comes_without_its_framing(handler: Handler) -> None:
    async with running(handler) as bench:
        call = await bench.post()
        assert (call.status, call.body, call.reason, call.is_cut) == (200, b"one two", "", False)


async def test_a_redirect_is_the_answer() -> None:
    async def redirect(call: Asked) -> None:
        await call.body()
        await call.respond(302, b"", "Location: /elsewhere")

    async with running(redirect) as bench:
        assert (await bench.post()).status == 302
        assert len(bench.app.calls) == 1


async def test_a_large_response_is_cut_and_its_connection_dropped() -> None:
    async def flood(call: Asked) -> None:
        await call.body()
        await call.start_chunked(200)
        while True:
            await call.chunk(bytes(65536))

    async with running(flood) as bench:
        call = await bench.post(room=100_000)
        assert (call.status, len(call.body), call.is_cut) == (200, 100_000, True)
        await eventually(lambda: not bench.pool.connections)


async def test_of_a_response_that_says_that_it_is_too_large_little_is_read() -> None:
    async def much(call: Asked) -> None:
        await call.body()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(900_000))

    async with running(much) as bench:
        call = await bench.post(room=800_000)
        assert (call.status, len(call.body), call.is_cut) == (200, 64 << 10, True)


async def test_a_large_response_that_fits_is_whole_and_lets_others_have_their_turn() -> None:
    data = bytes(range(256)) * 16_384

    async def much(call: Asked) -> None:
        await call.body()
        await call.start_chunked(200)
        for at in range(0, len(data), 1 << 20):
            await call.chunk(data[at : at + (1 << 20)])
        await call.chunk(b"")

    async with running(much) as bench:
        call = await bench.post(room=len(data))
        assert (call.body == data, call.is_cut, call.reason) == (True, False, "")


async def test_a_response_that_fits_exactly_is_not_cut() -> None:
    async with running() as bench:
        call = await bench.post(room=5)
        assert (call.body, call.is_cut) == (b"hello", False)


async def silent(call: Asked) -> None:
    await call.closed()


async def dripping(call: Asked) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
    await call.closed()


@pytest.mark.parametrize(("handler", "status"), [(silent, 0), (dripping, 200)])
async def test_time_bounds_the_whole_response(handler: Handler, status: int) -> None:
    async with running(handler) as bench:
        call = await bench.post(timeout_s=0.1)
        assert (call.status, call.is_timed_out) == (status, True)
        assert call.reason


async def test_time_runs_before_the_request_is_sent() -> None:
    async with running() as bench:
        call, future = bench.start(timeout_s=0.05)
        assert (await asyncio.wait_for(future, 20)).is_timed_out
        call.send(bench.endpoint, REQUEST)
        assert not bench.app.calls


async def test_a_cancelled_call_says_nothing_and_its_peer_sees_the_end() -> None:
    closed = asyncio.Event()

    async def wait(call: Asked) -> None:
        await call.closed()
        closed.set()

    async with running(wait) as bench:
        call, future = bench.start()
        call.send(bench.endpoint, REQUEST)
        await eventually(lambda: bench.app.calls)
        call.cancel()
        call.cancel()
        await asyncio.wait_for(closed.wait(), 20)
        assert not future.done()


async def test_a_peer_that_refuses_is_the_reason() -> None:
    async with running() as bench:
        endpoint = bench.pool.endpoint("127.0.0.1", 1, version=1)
        call, future = bench.start()
        call.send(endpoint, REQUEST)
        await asyncio.wait_for(future, 20)
        assert (call.status, call.reason) == (0, "dial tcp 127.0.0.1:1: connect: connection refused")


async def test_who_was_not_reached_may_be_replaced() -> None:
    async with running() as bench:
        call, future = bench.start()
        reasons: list[str] = []

        def unreached(lost: Call, reason: str) -> bool:
            reasons.append(reason)
            asyncio.get_running_loop().call_soon(lost.send_again, bench.endpoint)
            return True

        call.send(bench.pool.endpoint("127.0.0.1", 1, version=1), REQUEST, unreached)
        await asyncio.wait_for(future, 20)
        assert (call.status, len(reasons)) == (201, 1)


@pytest.mark.parametrize(
    ("sent", "status"), [(b"", 0), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", 200), (b"nonsense\r\n\r\n", 0)]
)
async def test_a_response_that_breaks_off_has_a_reason(sent: bytes, status: int) -> None:
    async def broken(call: Asked) -> None:
        await call.body()
        await call.send(sent)
        call.close()

    async with running(broken) as bench:
        call = await bench.post()
        assert call.status == status
        assert call.reason
        assert not call.is_timed_out


async def test_a_kept_connection_that_was_closed_meanwhile_loses_no_request() -> None:
    async def once(call: Asked) -> None:
        await call.body()
        await call.respond(200)
        if len(bench.app.calls) == 1:
            call.close()

    async with running(once) as bench:
        await bench.post()
        # No turn of the loop in between: the end of the connection is in the socket, and nobody has read it.
        assert (await bench.post()).status == 200


async def test_a_call_is_gone_without_the_collector() -> None:
    async with running() as bench:
        await bench.post()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await bench.post()
            calls = sum(isinstance(each, Call) for each in gc.get_objects())
        finally:
            gc.enable()
        assert calls <= 2
