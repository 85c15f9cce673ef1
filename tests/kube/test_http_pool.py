"""Connections that are kept, bounded, and broken while they are kept."""

import asyncio
import contextlib
import socket

import pytest

from kube.http_connection import BrokenConnection, render_request
from kube.http_pool import HttpPool
from tests.kube.scripted_server import Peer, serving
from tests.support.processes import eventually

GET = render_request("GET", "/", {"Host": "h"})


async def fetch(pool: HttpPool, *, is_repeatable: bool = False) -> bytes:
    connection, _ = await pool.ask(GET, is_repeatable=is_repeatable)
    try:
        return await connection.read_all()
    finally:
        pool.give_back(connection)


async def hello(peer: Peer, _request: bytes) -> None:
    await peer.answer(b"hello %d" % peer.number)


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with serving(hello) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=4)
        assert [await fetch(pool) for _ in range(3)] == [b"hello 0"] * 3
        await pool.close()


async def test_there_are_never_more_connections_than_allowed_and_all_get_their_turn() -> None:
    under_way = most = 0

    async def script(peer: Peer, _request: bytes) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        await peer.answer(b"")

    async with serving(script) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=3)
        await asyncio.gather(*(fetch(pool) for _ in range(30)))
        assert (most, server.connections) == (3, 3)
        await pool.close()


async def test_a_place_is_given_back_whatever_became_of_the_request() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        if peer.number == 0:
            await peer.left()
        elif peer.number == 1:
            raise EOFError
        await peer.answer(b"fine")

    async with serving(script) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await fetch(pool)
        with pytest.raises(BrokenConnection):
            await fetch(pool)
        assert await fetch(pool) == b"fine"
        await pool.close()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = HttpPool(f"http://127.0.0.1:{closed.getsockname()[1]}", None, connections_max=1)
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await fetch(nowhere)


@pytest.mark.parametrize("is_repeatable", [True, False])
async def test_a_kept_connection_that_its_peer_closes_is_tried_once_more_if_that_does_no_harm(
    is_repeatable: bool,
) -> None:
    together = asyncio.Barrier(2)

    async def script(peer: Peer, request: bytes) -> None:
        if server.requests.count(request) > 2 and peer.number < 2:
            raise EOFError  # without an answer
        if peer.number < 2:
            await together.wait()
        await peer.answer(b"%d" % peer.number)

    async with serving(script) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=4)
        assert sorted(await asyncio.gather(fetch(pool), fetch(pool))) == [b"0", b"1"]
        if is_repeatable:
            assert await fetch(pool, is_repeatable=True) == b"2"  # not the other one that was kept
        else:
            with pytest.raises(BrokenConnection):
                await fetch(pool)
        await pool.close()


async def test_a_request_that_was_begun_to_be_answered_is_not_repeated() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        if len(server.requests) == 2:
            await peer.send(b"HTTP/1.1 200 OK\r\nConte")
            raise EOFError
        await peer.answer(b"")

    async with serving(script) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=4)
        await fetch(pool, is_repeatable=True)
        with pytest.raises(BrokenConnection):
            await fetch(pool, is_repeatable=True)
        assert len(server.requests) == 2
        await pool.close()


async def test_a_response_that_was_not_read_to_its_end_costs_the_connection() -> None:
    async with serving(hello) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=1)
        connection, _ = await pool.ask(GET, is_repeatable=False)
        pool.give_back(connection)
        assert await fetch(pool) == b"hello 1"
        await pool.close()


async def test_idle_connections_are_closed_after_a_while() -> None:
    async with serving(hello) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=1, idle_s=0.02)
        connection, _ = await pool.ask(GET, is_repeatable=False)
        await connection.read_all()
        pool.give_back(connection)
        await connection.lost
        assert await fetch(pool) == b"hello 1"
        await pool.close()


async def test_closing_ends_what_is_under_way() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.left()

    async with serving(script) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=2)
        asking = asyncio.get_running_loop().create_task(fetch(pool))
        await eventually(lambda: len(server.requests) == 1)
        await pool.close()
        with pytest.raises(BrokenConnection):
            await asking


async def test_a_close_that_is_given_up_harms_nothing() -> None:
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))
    async with serving(hello) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=2)
        await fetch(pool)
        (connection,) = pool._open
        closing = asyncio.get_running_loop().create_task(pool.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        await pool.close()
        assert connection.lost.done()
    assert problems == []


async def test_who_waits_for_a_place_is_not_served_after_the_end() -> None:
    async def script(peer: Peer, _request: bytes) -> None:
        await peer.left()

    async with serving(script) as server, asyncio.timeout(10):
        pool = HttpPool(server.url, None, connections_max=1)
        asking = [asyncio.get_running_loop().create_task(fetch(pool)) for _ in range(4)]
        await eventually(lambda: len(server.requests) == 1)
        await pool.close()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(answer) for answer in answers] == [BrokenConnection] * 4
        assert server.connections == 1


@pytest.mark.parametrize("is_silent", [True, False])
async def test_an_address_where_nobody_answers_is_not_in_the_way_of_another(
    monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    async def addresses(_host: str, _port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    monkeypatch.setattr("kube.http_pool._addresses", addresses)
    monkeypatch.setattr("kube.http_pool._CONNECT_S", 1.0)
    async with serving(hello) as server, contextlib.AsyncExitStack() as stack, asyncio.timeout(20):
        if is_silent:
            # Whose queue is full: what comes besides is dropped without a word.
            full = stack.enter_context(socket.socket())
            full.bind(("127.0.0.2", server.port))
            full.listen(0)
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.2", server.port))
        pool = HttpPool(f"http://api.test:{server.port}", None, connections_max=2)
        first = None
        while first is None:
            with contextlib.suppress(TimeoutError):  # on a machine that is busy the other one may be late, too
                first, _ = await pool.ask(GET, is_repeatable=True)
        monkeypatch.setattr("kube.http_pool._CONNECT_S", 1e9)
        second, _ = await pool.ask(GET, is_repeatable=True)  # where somebody answered is asked first
        for connection in (first, second):
            pool.give_back(connection)
        await pool.close()
