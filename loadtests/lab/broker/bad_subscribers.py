"""Subscribers that do all that can be done wrong, by name: in a process of their own (`run`), or in that of a test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import uvloop

__all__ = ["ANSWERS", "BEHAVIOURS", "Behaviour", "run", "subscriber_that"]

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
_DRIP_S: Final = 0.05
_HUGE_BLOCKS: Final = 1000
_HEAD_BYTES_MAX: Final = 1 << 16

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""What is done when a request is in."""


async def _hangs(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def _drips(writer: asyncio.StreamWriter) -> None:
    for byte in _HEAD + b"Content-Length: 1000\r\n\r\n":
        writer.write(bytes([byte]))
        await asyncio.sleep(_DRIP_S)


async def _asks_to_wait(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")


async def _says_html(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD.replace(b"plain", b"html") + b"Content-Length: 16\r\n\r\n<html>hm</html>\n")


async def _breaks_off(writer: asyncio.StreamWriter) -> None:
    writer.write(_HEAD + b"Content-Length: 1000\r\n\r\nhalf")
    await writer.drain()
    writer.close()


async def _says_nonsense(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


async def _replies_hugely(writer: asyncio.StreamWriter) -> None:
    kind = _HEAD.replace(b"text/plain", b"application/cloudevents+json")
    writer.write(kind + b"Content-Length: 1000000000\r\n\r\n")
    block = bytes(1 << 20)
    for _ in range(_HUGE_BLOCKS):
        writer.write(block)
        await writer.drain()


async def _answers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")


BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "asks-to-wait": _asks_to_wait,
    "says-html": _says_html,
    "breaks-off": _breaks_off,
    "says-nonsense": _says_nonsense,
    "replies-hugely": _replies_hugely,
    "hangs": _hangs,
    "drips": _drips,
}
ANSWERS: Final = "answers"
"""One that does nothing wrong, for comparison."""


@asynccontextmanager
async def subscriber_that(behaves: Behaviour) -> AsyncIterator[str]:
    """Serve requests with a Content-Length so while the context lasts; the URL."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0))
                await behaves(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError, RuntimeError):
            return  # uvloop's word for a transport that is closed is RuntimeError
        finally:
            serving.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_HEAD_BYTES_MAX, backlog=4096)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        tasks = list(serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def run(name: str) -> None:
    """Print the URL of one that does so, and serve until this process is ended."""
    uvloop.run(_serve(_answers if name == ANSWERS else BEHAVIOURS[name]))


async def _serve(behaves: Behaviour) -> None:
    async with subscriber_that(behaves) as url:
        print(url, flush=True)
        await asyncio.Event().wait()
