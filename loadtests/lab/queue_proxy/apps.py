"""What stands behind the proxy: apps that do one thing, as cheaply as a loop allows.

They run in the load's process. Both share a core anyway, and so the load can ask what arrived.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

__all__ = ["EVENT_BYTES", "OK_END", "DownloadApp", "EventsApp", "OkApp", "SlowApp", "UploadApp", "serving"]

BLOCK: Final = bytes(256 * 1024)
EVENT_BYTES: Final = 100
OK_END: Final = b"\r\n\r\nok"
"""How the answer of an app that says `ok` ends, wherever the proxy puts its own header lines."""
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_EVENTS: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_HEAD_END: Final = b"\r\n\r\n"


@asynccontextmanager
async def serving(app: Callable[[], asyncio.Protocol]) -> AsyncIterator[int]:
    """Listen on a free port of 127.0.0.1 and yield it."""
    server = await asyncio.get_running_loop().create_server(app, "127.0.0.1", 0, backlog=4096)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class _App(asyncio.Protocol):
    """One connection. Requests come one at a time: no proxy pipelines."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = cast("asyncio.Transport", transport)


class OkApp(_App):
    """Answers requests without a body: `ok`."""

    _partial = b""

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        if data.endswith(_HEAD_END):
            self._partial = b""
            self._transport.write(_OK)
        else:
            self._partial = data


class SlowApp(OkApp):
    """Answers after `delay_s`."""

    delay_s = 0.1

    def data_received(self, data: bytes) -> None:
        if data.endswith(_HEAD_END):
            asyncio.get_running_loop().call_later(self.delay_s, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_OK)


class UploadApp(_App):
    """Takes bodies with a Content-Length and says `ok` when the last byte is here."""

    _partial = b""
    _missing = 0

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            data = self._partial + data
            head, end, data = data.partition(_HEAD_END)
            if not end:
                self._partial = head
                return
            self._partial = b""
            self._missing = content_length(head)
        self._missing -= len(data)
        if self._missing <= 0:
            assert self._missing == 0, "the proxy sent more than the request's body"
            self._transport.write(_OK)


class DownloadApp(_App):
    """Answers with a body of as many bytes as the request's target says: `/?bytes=N`."""

    _missing = 0
    _is_paused = False

    def data_received(self, data: bytes) -> None:
        self._missing = int(data.partition(b"bytes=")[2].partition(b" ")[0])
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._missing)
        self._write()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._write()

    def _write(self) -> None:
        while self._missing and not self._is_paused:
            block = BLOCK[: self._missing]
            self._missing -= len(block)
            self._transport.write(block)


class EventsApp(_App):
    """Server-sent events until the connection ends: one every `every_s` seconds, each with the time of its sending.

    Streams start where their requests fell, so that they do not send in step.
    """

    every_s = 0.1

    def data_received(self, data: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport.write(_EVENTS)
        self._due_s = self._loop.time() + self.every_s
        self._timer = self._loop.call_at(self._due_s, self._send)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()

    def _send(self) -> None:
        event = (b"data: %.6f " % time.perf_counter()).ljust(EVENT_BYTES - 2, b"x") + b"\n\n"
        self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        self._due_s += self.every_s
        self._timer = self._loop.call_at(self._due_s, self._send)


def content_length(head: bytes) -> int:
    """What a head says of its body's length; 0 when nothing."""
    _, name, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if name else 0
