"""`relay.py`: what one side sends, the other gets, whole and in order, and so does its end."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp.test_utils import unused_port

from local_cluster.node.relay import RelayServer
from tests.support.processes import eventually

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything back, and an end after the client's."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write(b"end")
    writer.close()


@asynccontextmanager
async def relayed(handler: Handler) -> AsyncIterator[int]:
    """A relay to a server with `handler`; its port."""
    backend = await asyncio.start_server(handler, "127.0.0.1", 0)  # type: ignore[arg-type]
    target = backend.sockets[0].getsockname()
    relay, port = RelayServer(lambda: target), unused_port()
    await relay.start(host="127.0.0.1", port=port)
    try:
        yield port
    finally:
        relay.stop()
        backend.close()
        await backend.wait_closed()


async def test_bytes_and_ends_pass_both_ways() -> None:
    async with relayed(echo) as port:
        data = os.urandom(3 << 20)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)  # at once: before the way on is open
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(-1), 10) == data + b"end"
        writer.close()


async def test_connections_that_ended_both_ways_are_let_go() -> None:
    async with relayed(echo) as port:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"x")
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(-1), 5) == b"xend"
            writer.close()
            await writer.wait_closed()
        await eventually(lambda: len(os.listdir("/proc/self/fd")) == before)


async def test_a_server_that_speaks_first_is_heard() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async with relayed(greet) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(-1), 5) == b"hello"
        writer.close()


async def test_a_slow_reader_holds_the_sender() -> None:
    sent = 0
    held = asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(1 << 16))
                try:
                    await asyncio.wait_for(writer.drain(), 0.3)
                except TimeoutError:
                    held.set()
                    break
                sent += 1 << 16
        writer.transport.abort()

    async with relayed(flood) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        await asyncio.wait_for(held.wait(), 10)
        assert sent < 64 << 20
        writer.transport.abort()


async def test_no_backend_and_a_dead_one_close_the_connection() -> None:
    dead = unused_port()
    for target in (None, ("127.0.0.1", dead)):
        relay, port = RelayServer(lambda target=target: target), unused_port()  # type: ignore[misc]
        await relay.start(host="127.0.0.1", port=port)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        finally:
            relay.stop()


async def test_stopping_cuts_what_is_open() -> None:
    async with relayed(echo) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
