"""Load that lasts: event streams, and bodies too large for any memory."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from loadtests.lab.queue_proxy.apps import BLOCK, content_length
from loadtests.lab.queue_proxy.clients import Client, Load, request
from loadtests.lab.queue_proxy.subjects import HOST, PORT, LabError

__all__ = ["download", "event_streams", "upload"]

_STARTED_S: Final = 10.0
_BODY_S: Final = 120.0
_WRITE_HIGH_BYTES: Final = 1024 * 1024


class EventsClient(Client):
    """Reads server-sent events; each tells when it was sent."""

    _is_started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(self._load.next_request())

    def data_received(self, data: bytes) -> None:
        now_s = time.perf_counter()
        if not self._is_started:
            if not data.startswith(b"HTTP/1.1 200 "):
                self.fail(f"expected 200, got {data[:120]!r}")
                return
            self._is_started = True
            self._load.waiting -= 1
        data = self._partial + data
        lines = data.split(b"\n\n")
        self._partial = lines.pop()
        for line in lines:
            sent = line.partition(b"data: ")[2].partition(b" ")[0]
            self._load.latencies_s.append(now_s - float(sent))


@asynccontextmanager
async def event_streams(count: int, spread_s: float) -> AsyncIterator[Load]:
    """Open `count` streams, evenly over `spread_s` seconds, so that their events do not come in step.

    Yields when all have begun. `latencies_s` has an entry for each event: its way from the app to here.
    """
    text = request(target="/events")
    load = Load(lambda: text)
    load.waiting = count
    loop = asyncio.get_running_loop()
    clients: list[EventsClient] = []
    try:
        began_s = loop.time()
        for number in range(count):
            await asyncio.sleep(max(0.0, began_s + number * spread_s / count - loop.time()))
            _, client = await loop.create_connection(lambda: EventsClient(load), HOST, PORT)
            clients.append(client)
        end_s = loop.time() + _STARTED_S
        while load.waiting and not load.problems:
            if loop.time() > end_s:
                raise LabError(f"{load.waiting} of {count} streams have not begun within {_STARTED_S:.0f} s")
            await asyncio.sleep(0.005)
        yield load
    finally:
        for client in clients:
            client.close()


class _BodyClient(Client):
    """Moves one large body."""

    def __init__(self, load: Load, size: int) -> None:
        super().__init__(load)
        self._size = self._missing = size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Set when the body is over, `LabError` when it did not get there whole."""

    def fail(self, text: str) -> None:
        super().fail(text)
        if not self.done.done():
            self.done.set_exception(LabError(text))


class _UploadClient(_BodyClient):
    """Sends it as fast as it is taken."""

    _is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        self._transport.write(request("POST", "/upload", length=self._size))
        self._write()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._write()

    def answered(self) -> None:
        self.done.set_result(None)

    def _write(self) -> None:
        while self._missing and not self._is_paused:
            block = BLOCK[: self._missing]
            self._missing -= len(block)
            self._transport.write(block)


class _DownloadClient(_BodyClient):
    """Reads it."""

    _is_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(request(target=f"/?bytes={self._size}"))

    def data_received(self, data: bytes) -> None:
        if not self._is_body:
            head, _, data = data.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 ") or content_length(head) != self._size:
                self.fail(f"expected 200 with a body of {self._size} bytes, got {head[:200]!r}")
                return
            self._is_body = True
        self._missing -= len(data)
        if self._missing == 0:
            self.done.set_result(None)


async def upload(size: int) -> float:
    """Send a body of `size` bytes; return bytes per second. Raises `LabError` when it is not taken whole."""
    return await _transfer(_UploadClient, size)


async def download(size: int) -> float:
    """Fetch a body of `size` bytes; return bytes per second. Raises `LabError` when it does not come whole."""
    return await _transfer(_DownloadClient, size)


async def _transfer(kind: type[_BodyClient], size: int) -> float:
    began_s = time.perf_counter()
    _, client = await asyncio.get_running_loop().create_connection(lambda: kind(Load(lambda: b""), size), HOST, PORT)
    try:
        async with asyncio.timeout(_BODY_S):
            await client.done
    except TimeoutError as error:
        raise LabError(f"a body of {size} bytes did not get through within {_BODY_S:.0f} s") from error
    finally:
        client.close()
    return size / (time.perf_counter() - began_s)
