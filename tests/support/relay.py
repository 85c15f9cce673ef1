"""A TCP relay that can fall silent, or be slow: what a partition or a long way looks like from both sides."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Relay", "running_relay"]


class Relay:
    """Passes bytes between its clients and one address, each after `delay_s`; once silent, nothing moves any more."""

    def __init__(self, port: int, host: str = "127.0.0.1", *, delay_s: float = 0.0) -> None:
        self._host = host
        self._delay_s = delay_s
        self._target = port
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self._port

    def fall_silent(self) -> None:
        """Hold everything back from now on, in both directions."""
        self._flows.clear()

    def recover(self) -> None:
        """Pass on what was held back, and everything after it."""
        self._flows.set()

    async def start(self) -> None:
        """Listen; on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._flows.wait()
            their_reader, their_writer = await asyncio.open_connection(self._host, self._target)
            with contextlib.closing(their_writer):
                await asyncio.gather(self._pump(reader, their_writer), self._pump(their_reader, writer))
        except (OSError, asyncio.CancelledError):
            return  # either side went away, or the test is over
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._flows.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def running_relay(port: int, host: str = "127.0.0.1", *, delay_s: float = 0.0) -> AsyncIterator[Relay]:
    """A relay to `host`:`port`."""
    relay = Relay(port, host, delay_s=delay_s)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
