"""The stat push: pauses between attempts, and what becomes of messages when the connection is slow, lost or absent."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import Server, ServerConnection, serve

from activator.stat_reporter import StatReporter, reconnect_delays_s
from proxies.logs import Logger
from proxies.wire.stat import StatMessage, encode_messages
from tests.support.processes import eventually

DEADLINE_S = 30.0


@given(st.integers())
def test_pauses_grow_with_jitter_and_begin_again_after_twenty(seed: int) -> None:
    delays_s = list(islice(reconnect_delays_s(random.Random(seed)), 41))
    for attempt, delay_s in enumerate(delays_s):
        least_s = 0.1 * 1.3 ** (attempt % 20)
        assert least_s <= delay_s < 1.5 * least_s * 1.000001


class Fixed:
    """A resolver that knows one address."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        return [("127.0.0.1", self._port)]


@asynccontextmanager
async def reporter(server: Server) -> AsyncIterator[StatReporter]:
    """A reporter whose autoscaler is `server`."""
    port = next(iter(server.sockets)).getsockname()[1]
    running = StatReporter(
        Fixed(port),  # type: ignore[arg-type]  # a fake
        "autoscaler.test",
        Logger("test", write=lambda line: None),
        connected=lambda: None,
    )
    running.start()
    try:
        yield running
    finally:
        await running.stop()


def message(name: str) -> list[StatMessage]:
    return [StatMessage(namespace="ns", name=name)]


async def test_a_message_is_sent_and_knows_when() -> None:
    received: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def take(connection: ServerConnection) -> None:
        received.put_nowait(await connection.recv())

    async with serve(take, "127.0.0.1", 0) as server, reporter(server) as running, asyncio.timeout(DEADLINE_S):
        lost = running.push(message("lost"))
        await eventually(lambda: running.is_connected)
        push = running.push(message("rev"))
        assert await received.get() == encode_messages(message("rev"))
        assert push.sent_at is not None
        assert lost.sent_at is None


async def test_what_a_slow_connection_did_not_take_is_not_sent_over_the_next() -> None:
    received: asyncio.Queue[str | bytes] = asyncio.Queue()
    stuck: asyncio.Queue[ServerConnection] = asyncio.Queue()

    async def take(connection: ServerConnection) -> None:
        if stuck.empty() and received.empty():
            # Reads nothing, until it is cut off.
            stuck.put_nowait(connection)
            await connection.wait_closed()
            return
        received.put_nowait(await connection.recv())

    serving = serve(take, "127.0.0.1", 0, max_queue=1)
    async with serving as server, reporter(server) as running, asyncio.timeout(DEADLINE_S):
        await eventually(lambda: running.is_connected)
        big = message("x" * (1 << 20))
        pushes = [running.push(big) for _ in range(40)]
        await eventually(lambda: pushes[0].sent_at is not None)
        connection = stuck.get_nowait()
        stuck.put_nowait(connection)
        connection.transport.abort()
        await eventually(lambda: not running.is_connected)
        assert pushes[-1].sent_at is None
        await eventually(lambda: running.is_connected)
        running.push(message("rev"))
        assert await received.get() == encode_messages(message("rev"))


async def test_connections_that_end_at_once_are_made_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def delays_s(_chance: random.Random) -> Iterator[float]:
        taken.append(0)
        number = len(taken) - 1
        while True:
            taken[number] += 1
            yield 0.0

    async def end(connection: ServerConnection) -> None:
        await connection.close()

    monkeypatch.setattr("activator.stat_reporter.reconnect_delays_s", delays_s)
    async with serve(end, "127.0.0.1", 0) as server, reporter(server):
        # Not each pause the first of its kind.
        await eventually(lambda: max(taken, default=0) >= 4)
