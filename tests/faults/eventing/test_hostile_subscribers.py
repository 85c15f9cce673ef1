"""Subscribers that do all that can be done wrong: they delay nobody else, and memory does not grow."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.faults.eventing.plant import PATIENT, Flow, Plant, all_arrived, plant
from tests.support.dispatcher import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def hangs(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def drips(writer: asyncio.StreamWriter) -> None:
    for byte in HEAD + b"Content-Length: 1000\r\n\r\n":
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def asks_to_wait(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")


async def says_html(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD.replace(b"plain", b"html") + b"Content-Length: 16\r\n\r\n<html>hm</html>\n")


async def breaks_off(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Length: 1000\r\n\r\nhalf")
    await writer.drain()
    writer.close()


async def says_nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


async def replies_hugely(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD.replace(b"text/plain", b"application/cloudevents+json") + b"Content-Length: 1000000000\r\n\r\n")
    block = bytes(1 << 20)
    for _ in range(1000):
        writer.write(block)
        await writer.drain()


BEHAVIOURS: tuple[Behaviour, ...] = (
    hangs,
    drips,
    asks_to_wait,
    says_html,
    breaks_off,
    says_nonsense,
    replies_hugely,
)


@asynccontextmanager
async def subscriber_that(behaves: Behaviour) -> AsyncIterator[str]:
    """Its URL."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                await behaves(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError, RuntimeError):
            return  # uvloop's word for a transport that is closed is RuntimeError
        finally:
            serving.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        tasks = list(serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(tmp_path_factory.mktemp("plant")) as world:
        yield world


@pytest.mark.parametrize("behaves", BEHAVIOURS)
async def test_a_subscriber_that_misbehaves_delays_nobody_else_and_takes_no_memory(
    world: Plant, behaves: Behaviour
) -> None:
    async with subscriber_that(behaves) as bad:
        good = await world.world.sink()
        path = await world.broker((good.url, PATIENT), (bad, {**PATIENT, "retry": 3, "timeout": "PT1S"}))
        # Each of the large replies keeps the filter, the dispatcher and this process busy.
        flow = Flow(world.address("ingress"), path, 5 if behaves is replies_hugely else 100)
        flow.start()
        await asyncio.sleep(0.5)
        before_mb = {name: process.rss_mb() for name, process in world.processes.items()}
        await asyncio.sleep(1.5)
        accepted = await flow.end()
        sent_s = time.monotonic()
        assert not flow.refused
        await all_arrived(good, accepted)
        assert time.monotonic() - sent_s < 10, "the good one is far behind"
        for name, process in world.processes.items():
            assert process.rss_mb() - before_mb[name] < 30, name


async def test_a_poison_event_ends_in_the_dead_letter_sink_and_tells_why(world: Plant) -> None:
    poisoned = await world.world.sink(Reply(422, (), b"poison"))
    dead = await world.world.sink()
    path = await world.broker((poisoned.url, {"retry": 2, "deadLetterSink": {"uri": dead.url}}))
    flow = Flow(world.address("ingress"), path, 20)
    flow.start()
    await asyncio.sleep(0.5)
    accepted = await flow.end()
    counts = await all_arrived(dead, accepted)
    assert set(counts.values()) == {1}
    for got in dead.got:
        assert got.get("ce-knativeerrordest") == poisoned.url
        assert got.get("ce-knativeerrorcode") == "422"
        assert base64.b64decode(got.get("ce-knativeerrordata") or "") == b"poison"
