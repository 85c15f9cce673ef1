"""Who comes to the proxies: one coroutine for each kind of visit, and the table of kinds at the end.

A visit returns how its requests ended when everything was as it has to be, and raises for whatever else happened.
"""

import asyncio
import base64
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from loadtests.lab.queue_proxy.subjects import PORT
from loadtests.lab.soak_queue_proxy import wire
from loadtests.lab.soak_queue_proxy.app import accept_key
from loadtests.lab.soak_queue_proxy.tally import Drop, Tally, Visit

__all__ = ["IDLE_S", "KINDS", "MAX_DURATION_S", "RESPONSE_START_S", "Kind", "World", "visit_until"]

RESPONSE_START_S: Final = 2
IDLE_S: Final = 3
MAX_DURATION_S: Final = 8
"""The timers of the roomy proxy. All that must succeed stays far away from them."""
_LATE_S: Final = 3.0
"""A timer may be so late on a busy machine before we call it missing."""
_VISIT_S: Final = 30.0
_REST_AFTER_DROP_S: Final = 0.1
"""So that a proxy that is gone does not make the visitors spin."""
_CROWD: Final = 30
_SMALL_GETS: Final = 50
_MIB: Final = 1024 * 1024


@dataclass(slots=True)
class World:
    """What every visit needs."""

    roomy: str
    """Address of the proxy that has room for all."""
    narrow: str
    """Address of the proxy that runs one request and lets ten wait."""
    tally: Tally
    random: random.Random
    is_over: bool = False


class Visitor:
    """One connection to a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, method: str, target: str, *fields: str, body: bytes = b"") -> None:
        """Send a request; `body` as it goes over the wire."""
        lines = [f"{method} {target} HTTP/1.1", "Host: soak.default.example.com", *fields]
        self.writer.write("\r\n".join([*lines, "\r\n"]).encode() + body)

    async def answer(self, status: int = 200) -> bytes:
        """Read an answer to its end. Raises `Drop` when its status is another one."""
        head = await wire.read_head(self.reader)
        data = await wire.read_body(self.reader, head)
        if head.status != status:
            raise Drop(f"expected {status}, got {head.line!r} {data[:100]!r}")
        return data


@asynccontextmanager
async def visiting(host: str, *, receive_bytes: int = 0) -> AsyncIterator[Visitor]:
    """Connect, with a small receive buffer if told so; leave without a word."""
    sock = socket.socket()
    try:
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, PORT))
        reader, writer = await asyncio.open_connection(sock=sock, limit=receive_bytes or 2**16)
    except BaseException:
        sock.close()
        raise
    try:
        yield Visitor(reader, writer)
    finally:
        writer.transport.abort()


def _same(what: str, wanted: object, came: object) -> None:
    if wanted != came:
        raise Drop(f"{what}: expected {str(wanted)[:80]!r}, got {str(came)[:80]!r}")


async def small_get(world: World) -> Visit:
    """Some fifty small bodies over one connection."""
    async with visiting(world.roomy) as visitor:
        for _ in range(_SMALL_GETS):
            seed, size = world.random.getrandbits(16), world.random.randrange(2000)
            visitor.send("GET", f"/bytes?seed={seed}&size={size}")
            _same("body", wire.digest(wire.content(seed, size)), wire.digest(await visitor.answer()))
            await asyncio.sleep(0.005)
    return Visit(good=_SMALL_GETS)


async def pipelined_get(world: World) -> Visit:
    """Five requests in one write; the answers come in their order."""
    async with visiting(world.roomy) as visitor:
        for seed in range(5):
            visitor.send("GET", f"/bytes?seed={seed}&size=1000")
        for seed in range(5):
            _same("body", wire.content(seed, 1000), await visitor.answer())
    return Visit(good=5)


async def large_get(world: World) -> Visit:
    """A MiB, sized or in chunks."""
    async with visiting(world.roomy) as visitor:
        for chunked in (0, 1):
            seed = world.random.getrandbits(16)
            visitor.send("GET", f"/bytes?seed={seed}&size={_MIB - 70_000}&chunked={chunked}")
            _same("body", wire.digest(wire.content(seed, _MIB - 70_000)), wire.digest(await visitor.answer()))
    return Visit(good=2)


async def slow_reader(world: World) -> Visit:
    """Three MiB, read in small sips."""
    seed, size, times = world.random.getrandbits(16), _MIB // 2, 6
    async with visiting(world.roomy, receive_bytes=32 * 1024) as visitor:
        visitor.send("GET", f"/bytes?seed={seed}&size={size}&times={times}")
        head = await wire.read_head(visitor.reader)
        _same("status", 200, head.status)
        pieces = []
        async for piece in wire.body(visitor.reader, head):
            pieces.append(piece)
            await asyncio.sleep(0.02)
        _same("body", wire.digest(wire.content(seed, size) * times), wire.digest(b"".join(pieces)))
    return Visit(good=1)


async def sized_post(world: World) -> Visit:
    """Bodies with a length, up to 256 KiB."""
    async with visiting(world.roomy) as visitor:
        for _ in range(10):
            data = wire.content(world.random.getrandbits(16), world.random.randrange(256 * 1024))
            visitor.send("POST", "/digest", f"Content-Length: {len(data)}", body=data)
            _same("digest", wire.digest(data), (await visitor.answer()).decode())
    return Visit(good=10)


async def chunked_post(world: World) -> Visit:
    """A body in chunks of random sizes, a little pause between some."""
    async with visiting(world.roomy) as visitor:
        data = wire.content(world.random.getrandbits(16), world.random.randrange(400_000))
        visitor.send("POST", "/digest", "Transfer-Encoding: chunked")
        at = 0
        while at < len(data):
            size = world.random.randrange(1, 20_000)
            visitor.writer.write(wire.chunk(data[at : at + size]))
            at += size
            await visitor.writer.drain()
            if size % 7 == 0:
                await asyncio.sleep(0.005)
        visitor.writer.write(wire.chunk(b""))
        _same("digest", wire.digest(data), (await visitor.answer()).decode())
    return Visit(good=1)


async def expecting_post(world: World) -> Visit:
    """`Expect: 100-continue`: the body follows when it is asked for."""
    async with visiting(world.roomy) as visitor:
        data = wire.content(world.random.getrandbits(16), 50_000)
        visitor.send("POST", "/digest", f"Content-Length: {len(data)}", "Expect: 100-continue")
        _same("interim status", 100, (await wire.read_head(visitor.reader)).status)
        visitor.writer.write(data)
        _same("digest", wire.digest(data), (await visitor.answer()).decode())
    return Visit(good=1)


async def event_reader(world: World) -> Visit:
    """A stream of forty events in two seconds, each in its turn."""
    async with visiting(world.roomy) as visitor:
        visitor.send("GET", "/events?count=40&every_ms=50")
        data = (await visitor.answer()).decode()
        _same("events", [f"data: {number}" for number in range(40)], data.split("\n\n")[:-1])
    return Visit(good=1)


async def websocket(world: World) -> Visit:
    """Echoes of messages from a byte to 64 KiB, then the closing handshake."""
    async with visiting(world.roomy) as visitor:
        await _open_websocket(visitor)
        for _ in range(20):
            data = wire.content(world.random.getrandbits(16), world.random.choice((1, 125, 126, 5000, 65_536)))
            visitor.writer.write(wire.frame(wire.TEXT, data, is_masked=True))
            _same("echo", (wire.TEXT, data), await wire.read_frame(visitor.reader))
            await asyncio.sleep(0.01)
        visitor.writer.write(wire.frame(wire.CLOSE, b"\x03\xe8", is_masked=True))
        _same("closing frame", (wire.CLOSE, b"\x03\xe8"), await wire.read_frame(visitor.reader))
        _same("end of the tunnel", b"", await visitor.reader.read(1))
    return Visit(good=1)


async def leaver(world: World) -> Visit:
    """Goes away in the middle of things; nobody may suffer."""
    async with visiting(world.roomy) as visitor:
        match world.random.randrange(5):
            case 0:
                visitor.send("GET", f"/bytes?seed=1&size={_MIB // 2}&times=4")
                await visitor.reader.readexactly(100_000)
            case 1:
                visitor.send("POST", "/digest", "Content-Length: 100000", body=wire.content(1, 30_000))
                await visitor.writer.drain()
            case 2:
                visitor.send("GET", "/late?ms=500")
                await asyncio.sleep(0.05)
            case 3:
                await _open_websocket(visitor)
                visitor.writer.write(wire.frame(wire.TEXT, b"lost", is_masked=True)[:4])
            case _:
                visitor.writer.write(b"GET /bytes?seed=1&si")
                await asyncio.sleep(0.02)
    return Visit(left=1)


async def crowd(world: World) -> Visit:
    """Thirty at once where one may run and ten may wait: some are served, the others refused, nothing else."""

    async def one() -> int:
        async with visiting(world.narrow) as visitor:
            visitor.send("GET", "/late?ms=20")
            head = await wire.read_head(visitor.reader)
            data = await wire.read_body(visitor.reader, head)
            if (head.status, data) == (200, b"late"):
                return 1
            if head.status != 503 or b"pending request queue full" not in data:
                raise Drop(f"expected 200 or 503, got {head.line!r} {data[:100]!r}")
            return 0

    served = sum(await asyncio.gather(*(one() for _ in range(_CROWD))))
    if not 1 <= served < _CROWD:
        raise Drop(f"expected that some of {_CROWD} are served and some refused, {served} were served")
    return Visit(good=served, refused=_CROWD - served)


async def late_answer(world: World) -> Visit:
    """An answer that does not begin in time is a 504."""
    began_s = perf_counter()
    async with visiting(world.roomy) as visitor:
        visitor.send("GET", f"/late?ms={(RESPONSE_START_S + 2) * 1000}")
        await visitor.answer(504)
    _in_time("response start", RESPONSE_START_S, perf_counter() - began_s)
    return Visit(timed_out=1)


async def stalled_answer(world: World) -> Visit:
    """An answer that goes silent is cut short, visibly."""
    began_s = perf_counter()
    async with visiting(world.roomy) as visitor:
        visitor.send("GET", f"/stall?ms={(IDLE_S + 2) * 1000}")
        try:
            raise Drop(f"expected a body cut short, got {await visitor.answer()!r}")
        except wire.Unexpected:
            _in_time("idle", IDLE_S, perf_counter() - began_s)
    return Visit(timed_out=1)


async def endless_answer(world: World) -> Visit:
    """A stream that never ends is ended."""
    began_s = perf_counter()
    async with visiting(world.roomy) as visitor:
        visitor.send("GET", "/events?count=1000&every_ms=50")
        head = await wire.read_head(visitor.reader)
        pieces = []
        try:
            async for piece in wire.body(visitor.reader, head):
                pieces.append(piece)  # noqa: PERF401 - what came before a cut counts too
        except wire.Unexpected:
            pass  # the end may be a cut, or a last chunk that says why
        events = [piece for piece in pieces if piece.startswith(b"data: ")]
        _same("events", [b"data: %d\n\n" % number for number in range(len(events))], events)
    _in_time("max duration", MAX_DURATION_S, perf_counter() - began_s)
    return Visit(timed_out=1)


def _in_time(timer: str, limit_s: float, took_s: float) -> None:
    # The timers of the proxy are coarse: they may be early by less than their grain.
    if not limit_s - 0.1 <= took_s <= limit_s + _LATE_S:
        raise Drop(f"{timer}: expected the end after {limit_s} s, it came after {took_s:.1f} s")


async def _open_websocket(visitor: Visitor) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    visitor.send(
        *("GET", "/websocket", "Connection: Upgrade", "Upgrade: websocket"),
        *("Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"),
    )
    head = await wire.read_head(visitor.reader)
    _same("status", 101, head.status)
    _same("accepted key", accept_key(key), head.fields.get("sec-websocket-accept"))


@dataclass(frozen=True, slots=True)
class Kind:
    """Visitors of one kind: how many there are at a time, and how long each rests between two visits."""

    name: str
    visit: Callable[[World], Awaitable[Visit]]
    """One visit. Raises `Drop`, or what the network raises, when something was not as it has to be."""
    count: int
    rest_s: float


KINDS: Final = (
    Kind("small GET", small_get, 10, 0.0),
    Kind("pipelined GET", pipelined_get, 2, 0.1),
    Kind("large GET", large_get, 2, 0.1),
    Kind("slow reader", slow_reader, 4, 0.1),
    Kind("sized POST", sized_post, 2, 0.1),
    Kind("chunked POST", chunked_post, 3, 0.1),
    Kind("Expect", expecting_post, 2, 0.1),
    Kind("events", event_reader, 10, 0.1),
    Kind("WebSocket", websocket, 5, 0.1),
    Kind("leaver", leaver, 3, 0.1),
    Kind("crowd", crowd, 1, 0.5),
    Kind("late answer", late_answer, 3, 0.1),
    Kind("stalled answer", stalled_answer, 3, 0.1),
    Kind("endless answer", endless_answer, 3, 0.1),
)


async def visit_until(world: World, kind: Kind) -> None:
    """Come again and again until the world is over; what goes wrong is a dropped request."""
    while not world.is_over:
        rest_s = kind.rest_s
        try:
            async with asyncio.timeout(_VISIT_S):
                world.tally.add(kind.name, await kind.visit(world))
        except (Drop, wire.Unexpected, OSError, asyncio.IncompleteReadError) as error:
            world.tally.drop(kind.name, f"{type(error).__name__}: {error}")
            rest_s = max(rest_s, _REST_AFTER_DROP_S)
        except TimeoutError:
            world.tally.drop(kind.name, f"no end within {_VISIT_S:.0f} s")
        await asyncio.sleep(rest_s)
