"""Traffic through an activator that goes on while something breaks, and a second activator beside the first."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from pathlib import Path

from tests.conformance.activator.world import DEADLINE_S, Message, World, read_message

__all__ = ["Second", "SlowGate", "Traffic", "flowing", "rss_bytes", "traffic"]

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: rev.example.com\r\nKnative-Serving-Namespace: ns\r\nKnative-Serving-Revision: rev\r\n\r\n"
)


class Second(World):
    """Another activator in the surroundings of a first one."""

    @classmethod
    def beside(cls, first: World) -> "Second":
        """Not started yet."""
        address = f"{first.subnet}.3"
        environ = {**first.environ, "POD_NAME": "activator-2", "POD_IP": address, "KNUV_BIND_ADDRESS": address}
        second = cls(first.client, first.subnet, first.stack, environ, autoscaler=first.autoscaler)
        first.stack.push_async_callback(second.end)
        return second

    @property
    def address(self) -> str:
        return f"{self.subnet}.3"


class SlowGate(asyncio.Event):
    """A pod's gate that opens for each request after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def wait(self) -> bool:  # type: ignore[override]
        await asyncio.sleep(self._seconds)
        return True


class Traffic:
    """What became of the requests of some clients, which send at a common rate, each on a connection of its own."""

    def __init__(self, host: str, port: int = 8012, requests: Sequence[bytes] = (REQUEST,)) -> None:
        """`requests`: what clients send, one after another."""
        self._address = host, port
        self._requests = requests
        self.answers: Counter[str] = Counter()
        """By status and body, or by what went wrong."""
        self._changed = asyncio.Condition()

    @property
    def failed(self) -> dict[str, int]:
        """Everything that is no 200."""
        return {text: count for text, count in self.answers.items() if not text.startswith("200 ")}

    async def until(self, more: int, is_one: Callable[[str], bool] = lambda text: True) -> None:
        """Wait for so many more answers of which `is_one` is true."""
        wanted = self._count(is_one) + more
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: self._count(is_one) >= wanted)

    def _count(self, is_one: Callable[[str], bool]) -> int:
        return sum(count for text, count in self.answers.items() if is_one(text))

    async def client(self, every_s: float) -> None:
        """Send a request every so many seconds, or when the last one is answered if that is later; for ever."""
        writer = None
        requests = cycle(self._requests)
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        try:
            while True:
                try:
                    if writer is None:
                        reader, writer = await asyncio.open_connection(*self._address)
                    writer.write(next(requests))
                    answer: Message = await read_message(reader)
                    text = f"{answer.status} {answer.body.decode()}"
                except (OSError, asyncio.IncompleteReadError) as error:
                    text = type(error).__name__
                    if writer is not None:
                        writer.transport.abort()
                    writer = None
                async with self._changed:
                    self.answers[text] += 1
                    self._changed.notify_all()
                due_s = max(due_s + every_s, loop.time())
                await asyncio.sleep(due_s - loop.time())
        finally:
            if writer is not None:
                writer.transport.abort()


@asynccontextmanager
async def traffic(world: World, *, clients: int = 10, rate: float = 100.0) -> AsyncIterator[Traffic]:
    """Requests for `rev` from so many clients, together `rate` a second, until the end of the block."""
    async with flowing(Traffic(world.address), clients=clients, rate=rate) as seen:
        yield seen


@asynccontextmanager
async def flowing(seen: Traffic, *, clients: int, rate: float) -> AsyncIterator[Traffic]:
    """The same for any traffic."""
    tasks = [asyncio.get_running_loop().create_task(seen.client(clients / rate)) for _ in range(clients)]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def rss_bytes(world: World) -> int:
    """Resident memory of the activator."""
    assert world.process is not None
    status = Path(f"/proc/{world.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
