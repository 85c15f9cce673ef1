"""Events of 1 KiB, connections that send them, and a subscriber that takes them. On pre-built bytes, in one process."""

import asyncio
import re
import time
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

from loadtests.lab.queue_proxy.subjects import LabError

__all__ = ["Accepting", "Load", "events", "open_loop", "sending", "subscriber"]

_ACCEPTED: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: (\d+)")
_ANSWER_S: Final = 30.0


def events(
    target: str, host: str, *more: str, kind: str = "lab.event", data_bytes: int = 1024
) -> Callable[[int], bytes]:
    """Return what makes the binary event of a number, posted to `target`; `more` are header lines.

    No two have the same id, as in life; all else is the same.
    """
    data = b'{"lab":"%b"}' % (b"x" * (data_bytes - 10))
    first = (f"POST {target} HTTP/1.1", f"Host: {host}", "User-Agent: lab/1", "Content-Type: application/json")
    last = (
        "Ce-Specversion: 1.0",
        "Ce-Source: /lab/source",
        f"Ce-Type: {kind}",
        "Ce-Subject: a/subject",
        "Ce-Time: 2026-01-02T03:04:05.678901Z",
        *more,
        f"Content-Length: {len(data)}",
    )
    begin = "\r\n".join([*first, "Ce-Id: 5f0c2c9e-8c5f-4f6e-9a36-"]).encode()
    end = "\r\n".join(["", *last]).encode() + _END + data
    return lambda number: b"%b%012x%b" % (begin, number, end)


class Load:
    """What senders have seen."""

    def __init__(self, next_event: Callable[[int], bytes]) -> None:
        """`next_event` makes the event of a number."""
        self._next_event = next_event
        self.sent = 0
        self.latencies_s = array("d")
        """Of those that were accepted, in the order of their answers."""
        self.problems: list[str] = []

    def take(self) -> bytes:
        """Return the next event."""
        self.sent += 1
        return self._next_event(self.sent)


class _Sender(asyncio.Protocol):
    """One connection that sends its next event when it has the last answer; or, with `is_free`, when it is told."""

    def __init__(self, load: Load, idle: "list[_Sender] | None" = None) -> None:
        self._load = load
        self._idle = idle
        self._transport: asyncio.Transport
        self._due_s = 0.0
        self._is_ours_to_close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = cast("asyncio.Transport", transport)
        if self._idle is None:
            self.send(time.perf_counter())

    def send(self, due_s: float) -> None:
        """Send an event that should have been sent at `due_s`."""
        self._due_s = due_s
        self._transport.write(self._load.take())

    def data_received(self, data: bytes) -> None:
        # Answers are so small that they come in one piece.
        if not data.startswith((b"HTTP/1.1 202 ", b"HTTP/1.1 200 ")):
            self._load.problems.append(f"expected 202, got {data[:120]!r}")
            self.close()
            return
        now_s = time.perf_counter()
        self._load.latencies_s.append(now_s - self._due_s)
        if self._idle is None:
            self.send(now_s)
        else:
            self._idle.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_ours_to_close:
            self._load.problems.append(f"the connection was closed: {error or 'in order'}")

    def close(self) -> None:
        """Be done with it."""
        self._is_ours_to_close = True
        self._transport.abort()


@asynccontextmanager
async def sending(connections: int, host: str, port: int, next_event: Callable[[int], bytes]) -> AsyncIterator[Load]:
    """Keep so many events under way, each on a connection of its own."""
    load = Load(next_event)
    loop = asyncio.get_running_loop()
    senders = [(await loop.create_connection(lambda: _Sender(load), host, port))[1] for _ in range(connections)]
    try:
        yield load
    finally:
        for sender in senders:
            sender.close()


async def open_loop(rate: int, seconds: float, host: str, port: int, next_event: Callable[[int], bytes]) -> Load:
    """Send `rate` events a second at equal distances, whatever becomes of them; a latency counts from the intended time
    of sending. Raises `LabError` when some are not answered."""
    load = Load(next_event)
    loop = asyncio.get_running_loop()
    idle: list[_Sender] = []
    senders: list[_Sender] = []
    began_s = time.perf_counter()
    count = int(rate * seconds)
    for number in range(count):
        due_s = began_s + number / rate
        # Timers are whole milliseconds here and may be early.
        while (wait_s := due_s - time.perf_counter()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait_s)
        if not idle:
            _, sender = await loop.create_connection(lambda: _Sender(load, idle), host, port)
            senders.append(sender)
            idle.append(sender)
        idle.pop().send(due_s)
    end_s = time.perf_counter() + _ANSWER_S
    while len(load.latencies_s) + len(load.problems) < count:
        if time.perf_counter() > end_s:
            raise LabError(f"{count - len(load.latencies_s)} events were not answered within {_ANSWER_S:g} s")
        await asyncio.sleep(0.005)
    for sender in senders:
        sender.close()
    return load


class Accepting(asyncio.Protocol):
    """One connection of a subscriber: takes events with a Content-Length, says 202."""

    count = 0
    """Events of all connections since it was set to 0."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._partial = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
            self._partial = b""
        end = data.find(_END)
        # Nobody pipelines.
        if end < 0 or len(data) < end + 4 + _length(data[:end]):
            self._partial = data
            return
        Accepting.count += 1
        self._transport.write(_ACCEPTED)


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    return int(found[1]) if found else 0


@asynccontextmanager
async def subscriber() -> AsyncIterator[str]:
    """A subscriber on a free port of 127.0.0.1; its URL."""
    server = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0, backlog=4096)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
