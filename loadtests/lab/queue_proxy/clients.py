"""Load: connections in a closed loop, constant arrivals, a burst of connections. (`streams` has the long bodies.)

Protocols on pre-built bytes, cheap enough not to be the bottleneck. What goes wrong is collected in `Load.problems`.
"""

import asyncio
import itertools
import time
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Final, cast

from loadtests.lab.queue_proxy.apps import OK_END
from loadtests.lab.queue_proxy.subjects import HOST, PORT

__all__ = [
    "Client",
    "Load",
    "arrivals",
    "burst",
    "closed_loop",
    "connected",
    "open_loop",
    "request",
    "unique_requests",
]

_OK_START: Final = b"HTTP/1.1 200 "
_FIELDS: Final = (
    "Host: lab.default.example.com\r\nUser-Agent: lab/1\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"
    "X-Forwarded-For: 10.1.2.3\r\nX-Forwarded-Proto: http\r\n"
)
_REQUEST_ID: Final = "X-Request-Id: 5f0c2c9e-8c5f-4f6e-9a36-0f6c0c1f7a11\r\n"
ANSWER_S: Final = 10.0
"""How long an answer is waited for."""
WAITING_MAX: Final = 5000
"""Arrivals without an answer at one time."""
LATE_S: Final = 0.001
"""The resolution of timers; who is later has more to do than one arrival."""


def request(method: str = "GET", target: str = "/hello?name=lab", *, body: bytes = b"", length: int = 0) -> bytes:
    """A request as a client behind a gateway sends it. `length`: of a body that follows separately."""
    size = len(body) or length
    framing = f"Content-Length: {size}\r\n" if size else ""
    return f"{method} {target} HTTP/1.1\r\n{_FIELDS}{_REQUEST_ID}{framing}\r\n".encode() + body


def unique_requests() -> Iterator[bytes]:
    """GETs of which no two are equal: each has an `X-Request-Id` of its own, as Envoy sends."""
    prefix = f"GET /hello?name=lab HTTP/1.1\r\n{_FIELDS}X-Request-Id: ".encode()
    for number in itertools.count():
        yield prefix + b"%08x-8c5f-4f6e-9a36-%012x\r\n\r\n" % (number * 2654435761 & 0xFFFFFFFF, number)


class Load:
    """What the connections of one load have seen."""

    def __init__(self, next_request: Callable[[], bytes]) -> None:
        self.next_request = next_request
        self.latencies_s = array("d")
        """Of good answers, in the order in which they came."""
        self.problems: list[str] = []
        """What went wrong: a line for each request or connection."""
        self.idle: list[OpenLoopClient] = []
        """Connections that are free for the next arrival (open loop)."""
        self.waiting = 0
        """Requests under way (open loop)."""
        self.began_s = 0.0
        """When the first arrival was due, whatever became of it (open loop)."""
        self.intended_s = array("d")
        """When the request of each good answer was due, in the order of `latencies_s` (open loop)."""
        self.late_s = array("d")
        """How long after its time each arrival was taken up: the load's own delay (open loop)."""

    def ordered_ms(self, first: int = 0) -> list[float]:
        """Latencies from the one with index `first` on, in ascending order."""
        return sorted(latency_s * 1000 for latency_s in self.latencies_s[first:])


class Client(asyncio.Protocol):
    """A connection to the proxy that hears when an answer is whole."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._partial = b""
        self._is_ours_to_close = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports offer the interface without being registered for it.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        if data.startswith(_OK_START) and data.endswith(OK_END):
            self._partial = b""
            self.answered()
        elif data.startswith(_OK_START[: len(data)]):
            self._partial = data
        else:
            self.fail(f"expected 200, got {data[:120]!r}")

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_ours_to_close:
            self.fail(f"the proxy closed the connection: {error or 'in order'}")

    def answered(self) -> None:
        """A good answer is whole."""

    def close(self) -> None:
        """Be done with it."""
        self._is_ours_to_close = True
        self._transport.abort()

    def fail(self, text: str) -> None:
        """Something went wrong with the request under way; the connection is given up."""
        self._load.problems.append(text)
        self.close()


class ClosedLoopClient(Client):
    """Sends its next request when it has the last answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._sent_s = time.perf_counter()
        self._transport.write(self._load.next_request())

    def answered(self) -> None:
        now_s = time.perf_counter()
        self._load.latencies_s.append(now_s - self._sent_s)
        self._sent_s = now_s
        self._transport.write(self._load.next_request())


class OneRequestClient(Client):
    """Sends one request when told and keeps its connection."""

    def send(self) -> None:
        """Send the request."""
        self._sent_s = time.perf_counter()
        self._transport.write(self._load.next_request())

    def answered(self) -> None:
        self._load.latencies_s.append(time.perf_counter() - self._sent_s)


class OpenLoopClient(Client):
    """Serves arrivals that find it free."""

    def send(self, intended_s: float) -> None:
        """Send a request that should have been sent at `intended_s`."""
        self._intended_s = intended_s
        self._load.waiting += 1
        self._transport.write(self._load.next_request())

    def answered(self) -> None:
        load = self._load
        load.latencies_s.append(time.perf_counter() - self._intended_s)
        load.intended_s.append(self._intended_s)
        load.waiting -= 1
        load.idle.append(self)

    def fail(self, text: str) -> None:
        if self in self._load.idle:
            self._load.idle.remove(self)
        else:
            self._load.waiting -= 1
        super().fail(text)


@asynccontextmanager
async def closed_loop(connections: int, next_request: Callable[[], bytes]) -> AsyncIterator[Load]:
    """Keep so many requests under way, each on a connection of its own."""
    load = Load(next_request)
    loop = asyncio.get_running_loop()
    clients: list[ClosedLoopClient] = []
    try:
        for _ in range(connections):
            _, client = await loop.create_connection(lambda: ClosedLoopClient(load), HOST, PORT)
            clients.append(client)
        yield load
    finally:
        for client in clients:
            client.close()


@asynccontextmanager
async def connected(connections: int, next_request: Callable[[], bytes]) -> AsyncIterator[Load]:
    """So many connections, each of which has sent one request and keeps still."""
    load = Load(next_request)
    loop = asyncio.get_running_loop()
    clients: list[OneRequestClient] = []
    try:
        for _ in range(connections):
            _, client = await loop.create_connection(lambda: OneRequestClient(load), HOST, PORT)
            clients.append(client)
            client.send()
        await _answers(load, connections)
        yield load
    finally:
        for client in clients:
            client.close()


async def open_loop(rate: int, seconds: float, next_request: Callable[[], bytes], *, host: str, port: int) -> Load:
    """Send `rate` requests a second at equal distances, whatever becomes of them; latency counts from the intended time
    of sending.
    """
    load = Load(next_request)
    await arrivals(load, (number / rate for number in range(int(rate * seconds))), host=host, port=port)
    return load


async def arrivals(load: Load, due_s: Iterable[float], *, host: str, port: int, waiting_max: int = WAITING_MAX) -> None:
    """Send a request at each of these times, in seconds from now and ascending; `load` can be read meanwhile.

    An arrival takes the connection that was used last, or opens one. While `waiting_max` have no answer, none is sent,
    and each is a problem: who opens connections without end takes the files away that a proxy needs to answer anybody.
    Returns when all have their answer, at most 10 s after the last; those without one are problems.
    """
    loop = asyncio.get_running_loop()
    clients: list[OpenLoopClient] = []
    began_s = load.began_s = time.perf_counter()
    dialled = 0

    async def dial(intended_s: float) -> None:
        nonlocal dialled
        try:
            async with asyncio.timeout(ANSWER_S):
                _, client = await loop.create_connection(lambda: OpenLoopClient(load), host, port)
        except OSError as error:  # TimeoutError is one
            load.problems.append(f"cannot connect: {error or 'no connection within 10 s'}")
            return
        finally:
            dialled -= 1
        clients.append(client)
        client.send(intended_s)

    try:
        async with asyncio.TaskGroup() as dials:
            for each_s in due_s:
                intended_s = began_s + each_s
                # Timers are whole milliseconds here and may be early.
                while (wait_s := intended_s - time.perf_counter()) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(wait_s)
                load.late_s.append(-wait_s)
                if wait_s < -LATE_S:
                    # Answers that have come meanwhile are read first, or each of many that are late would dial.
                    await asyncio.sleep(0)
                if load.idle:
                    load.idle.pop().send(intended_s)
                elif load.waiting + dialled < waiting_max:
                    dialled += 1
                    dials.create_task(dial(intended_s))
                else:
                    load.problems.append(f"not sent: {waiting_max} requests wait for their answers")
        end_s = time.perf_counter() + ANSWER_S
        while load.waiting and time.perf_counter() < end_s:  # noqa: ASYNC110 - what counts them is the hot path
            await asyncio.sleep(0.01)
        load.problems += ["no answer within 10 s"] * load.waiting
    finally:
        for client in clients:
            client.close()


async def burst(connections: int, next_request: Callable[[], bytes]) -> tuple[Load, float]:
    """Open so many connections at once, then send a request on each.

    Returns the load and the time from the first connection's start until the last was open, in seconds.
    """
    load = Load(next_request)
    loop = asyncio.get_running_loop()
    began_s = time.perf_counter()
    opened = await asyncio.gather(
        *(loop.create_connection(lambda: OneRequestClient(load), HOST, PORT) for _ in range(connections)),
        return_exceptions=True,
    )
    open_s = time.perf_counter() - began_s
    clients: list[OneRequestClient] = []
    for each in opened:
        if isinstance(each, BaseException):
            load.problems.append(f"cannot connect: {each}")
        else:
            clients.append(each[1])
    for client in clients:
        client.send()
    await _answers(load, connections)
    for client in clients:
        client.close()
    return load, open_s


async def _answers(load: Load, count: int) -> None:
    """Wait until `count` requests have ended; those that have not within 10 s are problems."""
    end_s = time.perf_counter() + ANSWER_S
    while (missing := count - len(load.latencies_s) - len(load.problems)) > 0:
        if time.perf_counter() > end_s:
            load.problems += ["no answer within 10 s"] * missing
            return
        await asyncio.sleep(0.005)
