"""`proxies/intake.py`: whole bodies, over real sockets."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxies.exchange import Exchange, Outcome
from proxies.intake import Gatherer, Unread
from proxies.messages import Answer
from proxies.server import Server
from tests.support.http import Client, fetch
from tests.support.processes import eventually

KIB = 1024
STATUSES = {Unread.TOO_LARGE: 413, Unread.NO_ROOM: 503, Unread.TOO_SLOW: 408}


class Echo:
    """Answers with the body, or holds the exchange."""

    def __init__(self) -> None:
        self.gatherer: Gatherer
        self.holds = False
        self.held: list[Exchange] = []
        self.outcomes: list[Outcome | None] = []

    def admit(self, exchange: Exchange) -> None:
        self.gatherer.gather(exchange)

    def cancelled(self, exchange: Exchange) -> None:
        pass

    def ended(self, exchange: Exchange) -> None:
        self.gatherer.ended(exchange)
        self.outcomes.append(exchange.outcome)

    def whole(self, exchange: Exchange, body: bytes) -> None:
        if self.holds:
            self.held.append(exchange)
        else:
            exchange.answer(Answer(200, body))

    def failed(self, exchange: Exchange, why: Unread) -> None:
        exchange.answer(Answer(STATUSES[why], why.value.encode()))


class Bench:
    """A running server and its policy."""

    def __init__(self, policy: Echo, port: int) -> None:
        self.policy, self.port = policy, port
        self.clients: list[Client] = []

    async def post(self, body: bytes, *headers: str) -> tuple[int, bytes]:
        response = await fetch("127.0.0.1", self.port, method="POST", body=body, headers=headers)
        return response.status, response.body

    async def open(self) -> Client:
        self.clients.append(await Client.open("127.0.0.1", self.port))
        return self.clients[-1]


@asynccontextmanager
async def running(
    *, limit_s: float = 60.0, bytes_max: int = 8 << 20, total_max: int = 12 << 20
) -> AsyncIterator[Bench]:
    policy = Echo()
    server = Server(asyncio.get_running_loop(), policy)
    policy.gatherer = Gatherer(
        server.timers, policy.whole, policy.failed, bytes_max=bytes_max, total_max=total_max, limit_s=limit_s
    )
    port = await server.listen("127.0.0.1", 0)
    bench = Bench(policy, port)
    try:
        yield bench
        assert policy.gatherer.held_bytes == 0
    finally:
        for client in bench.clients:
            client.close()
        for exchange in policy.held:
            if exchange.is_held:
                exchange.answer(Answer(200))
        await server.stop(tunnel_grace_s=1.0)


@pytest.mark.parametrize("size", [0, 1, 4096, 300 * KIB, 5 << 20])
async def test_a_body_of_any_size_comes_whole(size: int) -> None:
    body = os.urandom(size)
    async with running() as bench:
        assert await bench.post(body) == (200, body)


async def test_a_body_in_chunks_comes_without_their_framing() -> None:
    async with running() as bench:
        client = await bench.open()
        await client.request(method="POST", headers=["Transfer-Encoding: chunked"])
        for part in (b"5\r\nhel", b"lo\r", b"\n6;x=y\r\n world\r\n0\r", b"\nX-Sum: 1\r\n\r\n"):
            await client.send(part)
            await asyncio.sleep(0)
        assert (await client.response()).body == b"hello world"
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert (await client.response()).body == b"abc"


async def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    async with running() as bench:
        client = await bench.open()
        await client.request(method="POST", headers=["Content-Length: 5", "Expect: 100-continue"])
        assert (await client.head()).status == 100
        await client.send(b"hello")
        assert (await client.response()).body == b"hello"


async def test_a_body_that_came_with_its_head_is_refused_as_well() -> None:
    async with running(bytes_max=10) as bench:
        assert (await bench.post(b"x" * 10))[0] == 200
        assert (await bench.post(b"x" * 11))[0] == 413


@pytest.mark.parametrize("framing", ["Content-Length: 8388609", "Transfer-Encoding: chunked"])
async def test_a_body_that_is_too_large_is_refused(framing: str) -> None:
    async with running() as bench:
        client = await bench.open()
        await client.request(method="POST", headers=[framing])
        if framing.startswith("Transfer"):
            await client.send(b"800001\r\n" + bytes(0x800001))
        assert (await client.response()).status == 413
        await eventually(lambda: bench.policy.outcomes == [Outcome.ANSWERED])


async def test_what_all_bodies_take_together_is_bounded() -> None:
    async with running() as bench:
        bench.policy.holds = True
        first = await bench.open()
        await first.request(method="POST", body=bytes(7 << 20))
        await eventually(lambda: len(bench.policy.held) == 1)
        assert bench.policy.gatherer.held_bytes == 7 << 20
        assert (await bench.post(bytes(6 << 20)))[0] == 503
        assert bench.policy.gatherer.held_bytes == 7 << 20
        bench.policy.held[0].answer(Answer(200))
        await eventually(lambda: bench.policy.gatherer.held_bytes == 0)


async def test_a_body_that_takes_too_long_is_given_up() -> None:
    async with running(limit_s=0.05) as bench:
        client = await bench.open()
        await client.request(method="POST", headers=["Content-Length: 5"])
        await client.send(b"hel")
        assert (await client.response()).status == 408


async def test_a_body_that_was_read_in_time_is_not_timed_afterwards() -> None:
    async with running(limit_s=0.05) as bench:
        bench.policy.holds = True
        client = await bench.open()
        await client.request(method="POST", headers=["Content-Length: 5"])
        await client.send(b"hello")
        await eventually(lambda: len(bench.policy.held) == 1)
        await asyncio.sleep(0.1)
        assert bench.policy.held[0].is_held
        bench.policy.held[0].answer(Answer(202))
        assert (await client.response()).status == 202


async def test_a_client_that_leaves_in_the_middle_gives_its_room_back() -> None:
    async with running() as bench:
        client = await bench.open()
        await client.request(method="POST", headers=["Content-Length: 500000"])
        await client.send(bytes(400_000))
        await eventually(lambda: bench.policy.gatherer.held_bytes == 400_000)
        client.close()
        await eventually(lambda: bench.policy.outcomes == [Outcome.CLIENT_GONE])


async def test_a_client_that_leaves_while_its_request_waits_is_noticed() -> None:
    async with running() as bench:
        bench.policy.holds = True
        client = await bench.open()
        await client.request(method="POST", body=b"hello")
        await eventually(lambda: len(bench.policy.held) == 1)
        client.close()
        await eventually(lambda: bench.policy.outcomes == [Outcome.CLIENT_GONE])


async def test_a_body_whose_framing_breaks_is_refused() -> None:
    async with running() as bench:
        client = await bench.open()
        await client.request(method="POST", headers=["Transfer-Encoding: chunked"])
        await client.send(b"5\r\nhello")
        await eventually(lambda: bench.policy.gatherer.held_bytes == 5)
        await client.send(b"no chunk\r\n")
        assert (await client.response()).status == 400
        await eventually(lambda: bench.policy.outcomes == [Outcome.ABORTED])
