"""Who calls: one coroutine for each kind of visit, and the table of kinds at the end.

A visit returns how its calls ended when everything was as it has to be, and raises for whatever else happened.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import grpc
import grpc.aio

from loadtests.lab.queue_proxy.subjects import HOST, PORT
from loadtests.lab.soak_queue_proxy.tally import Drop, Tally, Visit
from loadtests.lab.soak_queue_proxy.wire import content, digest
from loadtests.lab.soak_queue_proxy_h2.app import SERVICE, scattered
from loadtests.lab.soak_queue_proxy_h2.restarts import RestartedApp

__all__ = ["KINDS", "Kind", "Line", "World", "call_until", "connected"]

_MIB: Final = 1024 * 1024
_CALL_S: Final = 20.0
"""Longer than anything that is not meant to run out of time takes."""
_SHORT_S: Final = 0.3
_EARLY_S: Final = 0.02
"""A deadline goes over the wire in whole milliseconds, and less what has passed of it."""
_LATE_S: Final = 3.0
"""A deadline may be noticed so late on a busy machine."""
_REST_AFTER_FAILURE_S: Final = 0.1
_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    # An app that is away for a moment is no reason to wait for seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class Line:
    """The app's methods over one connection."""

    def __init__(self, channel: Any) -> None:
        self.unary = channel.unary_unary(f"/{SERVICE}/Unary")
        self.gather = channel.stream_unary(f"/{SERVICE}/Gather")
        self.scatter = channel.unary_stream(f"/{SERVICE}/Scatter")
        self.chat = channel.stream_stream(f"/{SERVICE}/Chat")
        self.fail = channel.unary_unary(f"/{SERVICE}/Fail")
        self.hold = channel.unary_stream(f"/{SERVICE}/Hold")
        self.busy = channel.unary_unary(f"/{SERVICE}/Busy")


@asynccontextmanager
async def connected(host: str = HOST, port: int = PORT, *, authority: bytes = b"") -> AsyncIterator[Line]:
    """A connection of its own; what still runs on it at the end is cancelled.

    `authority`: whom to trust, in PEM, where TLS is spoken.
    """
    if authority:
        credentials = grpc.ssl_channel_credentials(authority)
        channel = grpc.aio.secure_channel(f"{host}:{port}", credentials, options=_OPTIONS)
    else:
        channel = grpc.aio.insecure_channel(f"{host}:{port}", options=_OPTIONS)
    try:
        yield Line(channel)
    finally:
        await channel.close()


@dataclass(slots=True)
class World:
    """What every visit needs."""

    lines: list[Line]
    """Connections that stay."""
    app: RestartedApp
    tally: Tally
    random: random.Random
    is_over: bool = False

    def line(self) -> Line:
        """Any connection that stays."""
        return self.random.choice(self.lines)

    def data(self, size_max: int) -> bytes:
        """Known bytes, any number up to this."""
        return content(self.random.getrandbits(16), self.random.randrange(size_max))


def _same(what: str, wanted: object, came: object) -> None:
    if wanted != came:
        raise Drop(f"WRONG {what}: expected {str(wanted)[:80]!r}, got {str(came)[:80]!r}")


async def unary(world: World) -> Visit:
    """Twenty small calls behind each other."""
    line = world.line()
    for _ in range(20):
        data = world.data(2000)
        _same("message", data, await line.unary(data, timeout=_CALL_S))
    return Visit(good=20)


async def unary_side_by_side(world: World) -> Visit:
    """Thirty calls at once."""
    line = world.line()
    data = [world.data(500) for _ in range(30)]
    answers = await asyncio.gather(*(line.unary(each, timeout=_CALL_S) for each in data), return_exceptions=True)
    for each, answer in zip(data, answers, strict=True):
        if isinstance(answer, BaseException):
            raise answer
        _same("message", each, answer)
    return Visit(good=30)


async def large(world: World) -> Visit:
    """Up to a MiB to the app and back."""
    data = world.data(_MIB)
    _same("digest", digest(data), digest(await world.line().unary(data, timeout=_CALL_S)))
    return Visit(good=1)


async def gatherer(world: World) -> Visit:
    """A stream of messages of all sizes up to 64 KiB."""
    data = [world.data(65_536) for _ in range(world.random.randrange(1, 20))]
    answer = await world.line().gather(iter(data), timeout=_CALL_S)
    _same("digest", digest(b"".join(data)).encode(), answer)
    return Visit(good=1)


async def reader(world: World) -> Visit:
    """A stream of known messages, each in its place."""
    await _read_all(world, world.line(), size=world.random.randrange(1, 5000), count=100, rest_s=0.0)
    return Visit(good=1)


async def slow_reader(world: World) -> Visit:
    """Two MiB that are read in small sips over a connection of its own."""
    async with connected() as line:
        await _read_all(world, line, size=64 * 1024, count=32, rest_s=0.02)
    return Visit(good=1)


async def _read_all(world: World, line: Line, *, size: int, count: int, rest_s: float) -> None:
    seed = world.random.getrandbits(16)
    number = 0
    async for message in line.scatter(b"%d %d %d" % (seed, size, count), timeout=_CALL_S):
        _same(f"message {number}", scattered(seed, size, number), message)
        number += 1
        if rest_s:
            await asyncio.sleep(rest_s)
    _same("number of messages", count, number)


async def talker(world: World) -> Visit:
    """A conversation of thirty messages, each answered before the next."""
    call = world.line().chat(timeout=_CALL_S)
    for _ in range(30):
        data = world.data(3000)
        await call.write(data)
        _same("echo", data, await call.read())
        await asyncio.sleep(0.01)
    await call.done_writing()
    _same("end", grpc.aio.EOF, await call.read())
    _same("status", grpc.StatusCode.OK, await call.code())
    return Visit(good=1)


async def failing(world: World) -> Visit:
    """Errors of the app's own, as trailers only. Not `UNAVAILABLE`: that may be somebody else's word."""
    for code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED):
        number = code.value[0]
        call = world.line().fail(b"%d" % number, timeout=_CALL_S)
        if await call.code() != code:
            await call  # raises what it is instead
        _same("text", f"told to: {number}", await call.details())
    return Visit(good=3)


async def canceller(world: World) -> Visit:
    """Ten streams that are given up at any moment: unheard, in the middle, or while they are written to."""
    line = world.line()
    for _ in range(10):
        match world.random.randrange(4):
            case 0:
                call = line.hold(b"held", timeout=_CALL_S)
            case 1:
                call = line.hold(b"held", timeout=_CALL_S)
                _same("message", b"held", await call.read())
            case 2:
                seed = world.random.getrandbits(16)
                call = line.scatter(b"%d 20000 100" % seed, timeout=_CALL_S)
                for number in range(world.random.randrange(5)):
                    _same(f"message {number}", scattered(seed, 20_000, number), await call.read())
            case _:
                call = line.chat(timeout=_CALL_S)
                await call.write(world.data(60_000))
        await asyncio.sleep(world.random.uniform(0.0, 0.02))
        call.cancel()
    return Visit(left=10)


async def hurried(world: World) -> Visit:
    """A call that runs out of time: by the client's clock, or a moment before by the app's, which resets the stream."""
    began_s = perf_counter()
    call = world.line().hold(b"held", timeout=_SHORT_S)
    code = await call.code()
    took_s = perf_counter() - began_s
    if code != grpc.StatusCode.DEADLINE_EXCEEDED and took_s < _SHORT_S - _EARLY_S:
        await call.read()
        raise Drop(f"WRONG status: expected DEADLINE_EXCEEDED, got {code}")
    if took_s > _SHORT_S + _LATE_S:
        raise Drop(f"deadline: expected the end after {_SHORT_S} s, it came after {took_s:.1f} s")
    return Visit(timed_out=1)


async def leaver(world: World) -> Visit:
    """A connection with five streams on it that hangs up."""
    async with connected() as line:
        _same("message", b"here", await line.unary(b"here", timeout=_CALL_S))
        calls = [line.hold(b"held", timeout=_CALL_S) for _ in range(5)]
        for call in calls[: world.random.randrange(5)]:
            _same("message", b"held", await call.read())
    return Visit(good=1, left=5)


@dataclass(frozen=True, slots=True)
class Kind:
    """Callers of one kind: how many there are at a time, and how long each rests between two visits."""

    name: str
    visit: Callable[[World], Awaitable[Visit]]
    """One visit. Raises `Drop`, or what grpcio raises, when something was not as it has to be."""
    count: int
    rest_s: float


KINDS: Final = (
    Kind("unary", unary, 6, 0.02),
    Kind("side by side", unary_side_by_side, 2, 0.1),
    Kind("large", large, 2, 0.1),
    Kind("gatherer", gatherer, 2, 0.1),
    Kind("reader", reader, 3, 0.1),
    Kind("slow reader", slow_reader, 2, 0.2),
    Kind("talker", talker, 6, 0.1),
    Kind("failing", failing, 2, 0.1),
    Kind("canceller", canceller, 4, 0.1),
    Kind("hurried", hurried, 3, 0.1),
    Kind("leaver", leaver, 2, 0.2),
)


async def call_until(world: World, kind: Kind) -> None:
    """Come again and again until the world is over. What fails while the app is restarted is nobody's fault."""
    while not world.is_over:
        rest_s = kind.rest_s
        began_s = perf_counter()
        try:
            world.tally.add(kind.name, await kind.visit(world))
        except Drop as error:
            world.tally.drop(kind.name, str(error))
            rest_s = max(rest_s, _REST_AFTER_FAILURE_S)
        except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError) as error:
            # The latter two are what writing to a call says that has ended, or ends just then.
            rest_s = max(rest_s, _REST_AFTER_FAILURE_S)
            if world.app.was_away(began_s):
                world.tally.add(kind.name, Visit(restarted=1))
            else:
                world.tally.drop(kind.name, _told(error))
        await asyncio.sleep(rest_s)


def _told(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return f"{type(error).__name__}: {error}"
