"""One queue-proxy between a client that sends any bytes and an app that keeps exactly what it gets."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

from tests.conformance.http1.cases import RequestCase, ResponseCase, Seen
from tests.conformance.http1.oracle import Ambiguous, Reply, Request, read_replies, read_requests
from tests.support.http import Client
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

__all__ = ["AppConnection", "RecordingApp", "Rig", "check_reply", "running_rig"]

_DEADLINE_S = 30.0
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
"""Sent behind whatever has to end the connection: it must never be answered, nor reach the app."""
_AFTER = Seen(b"/after")
_PIECES_MAX = 1000
"""A longer message is not sent byte by byte, but in so many pieces."""


class Rig:
    """Plays rows of the tables, one after the other."""

    def __init__(self, proxy: QueueProxy, app: "RecordingApp", barrier: Client) -> None:
        self._proxy = proxy
        self._app = app
        self._barrier = barrier

    async def play_request(self, case: RequestCase, *, in_pieces: bool) -> None:
        """Send the client's bytes and hold what the client and the app saw against the row."""
        self._app.begin()
        sent = case.sent + (_SMUGGLED if case.closes and not case.hangs_up else b"")
        async with self._client() as client:
            sending = asyncio.create_task(
                _send(client, sent, in_pieces=in_pieces and not case.at_once, hangs_up=case.hangs_up)
            )
            try:
                replies, has_ended = await _replies(client, ("GET",) * len(case.statuses), to_end=case.closes)
            finally:
                await sending
            assert ([reply.status for reply in replies], has_ended) == (list(case.statuses), case.closes)
            seen = list(case.seen)
            if case.closes and not case.hangs_up:
                assert replies[-1].values(b"connection") == [b"close"]
            elif not case.closes:
                await _check_goes_on(client)
                seen.append(_AFTER)
        await self._everything_arrived()
        self._app.check(seen)

    async def play_response(self, case: ResponseCase, *, in_pieces: bool) -> None:
        """Let the app answer with its bytes and hold what the client saw against the row."""
        self._app.begin(reply=_pieces(case.reply) if in_pieces else [case.reply], closes=case.app_closes)
        async with self._client() as client:
            await client.send(f"{case.method} / HTTP/{case.version}\r\nHost: h\r\n\r\n")
            replies, has_ended = await _replies(client, (case.method,), to_end=case.closes and case.is_whole)
            *informational, final = replies
            assert [reply.status for reply in informational] == list(case.informational)
            check_reply(final, case, has_ended=has_ended)
            used = self._app.answering
            assert used is not None
            if case.drops_app:
                await eventually(lambda: used.is_lost)
            if not has_ended:
                await _check_goes_on(client)
                assert (self._app.answering is used) is not case.drops_app

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[Client]:
        client = await Client.open(self._proxy.host, self._proxy.port)
        try:
            yield client
        finally:
            client.close()

    async def _everything_arrived(self) -> None:
        """Wait until whatever the proxy sent to the app before now is there: it has one thread, and so has the app."""
        await self._barrier.request("/barrier")
        assert (await self._barrier.response()).body == b"/barrier"


async def _send(client: Client, data: bytes, *, in_pieces: bool, hangs_up: bool) -> None:
    # The proxy may end the connection while the client still sends.
    with suppress(ConnectionError):
        for piece in _pieces(data) if in_pieces else [data]:
            await client.send(piece)
            await asyncio.sleep(0)
        if hangs_up:
            client.writer.write_eof()


def _pieces(data: bytes) -> list[bytes]:
    size = -(-len(data) // _PIECES_MAX) or 1
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def check_reply(reply: Reply, case: ResponseCase, *, has_ended: bool) -> None:
    """The final response is what the row says."""
    if not case.is_whole:
        # Begun and broken off; or, where the mistake came together with the head, not begun at all.
        if reply.status != 502:
            assert (reply.status, reply.is_whole, has_ended) == (case.status, False, True)
            assert case.body.startswith(reply.body)
        return
    assert (reply.status, reply.is_whole, has_ended) == (case.status, True, case.closes)
    if case.status != 502:
        assert reply.body == case.body
    assert set(case.has) <= {b"%s: %s" % pair for pair in reply.fields}
    assert {name for name, _ in reply.fields}.isdisjoint(case.lacks)


async def _replies(client: Client, methods: tuple[str, ...], *, to_end: bool) -> tuple[list[Reply], bool]:
    """Read the responses to requests of `methods`, and with `to_end` on to the connection's end; nothing else may come.

    Return them and whether the connection has ended.
    """
    data, is_closed, is_reset = b"", False, False
    async with asyncio.timeout(_DEADLINE_S):
        while True:
            replies, rest = read_replies(data, methods=methods, is_closed=is_closed)
            is_answered = sum(reply.status >= 200 for reply in replies) == len(methods)
            if is_closed or is_reset or (is_answered and not to_end and replies[-1].is_whole):
                assert rest == b""
                return replies, is_closed or is_reset
            try:
                more = await client.reader.read(1 << 16)
            except ConnectionResetError:
                is_reset = True
                continue
            data += more
            is_closed = not more


async def _check_goes_on(client: Client) -> None:
    """The connection takes one more request, and its answer is the answer to it."""
    await client.request("/after", headers=["Host: h"])
    (reply,), has_ended = await _replies(client, ("GET",), to_end=False)
    assert (reply.status, reply.body, has_ended) == (200, b"/after", False)


@dataclass
class RecordingApp:
    """Answers each whole request with 200 and its target, but for the one that a row has a reply for."""

    connections: list["AppConnection"] = field(default_factory=list)
    ambiguous: list[str] = field(default_factory=list)
    """Why bytes that arrived cannot be read in one way only."""
    requests: list[Request] = field(default_factory=list)
    """What arrived for the row that is played."""
    answering: "AppConnection | None" = None
    """The connection that the last request came on."""
    _reply: list[bytes] | None = None
    _closes: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def begin(self, *, reply: list[bytes] | None = None, closes: bool = False) -> None:
        """Another row: its first request gets `reply`, piece by piece."""
        self.requests.clear()
        self.ambiguous.clear()
        self.connections[:] = [connection for connection in self.connections if not connection.is_lost]
        self.answering, self._reply, self._closes = None, reply, closes

    def check(self, want: Iterable[Seen]) -> None:
        """What arrived since `begin` is exactly `want`, and no half of anything is left open."""
        assert self.ambiguous == []
        assert [_seen(request, seen) for request, seen in zip(self.requests, want, strict=True)] == list(want)
        for connection in self.connections:
            assert connection.is_lost or connection.rest == b""

    def take(self, connection: "AppConnection", request: Request) -> None:
        """A whole request: answer it."""
        if request.target == b"/barrier":
            connection.write(_ok(request))
            return
        self.requests.append(request)
        self.answering = connection
        reply, self._reply = self._reply, None
        task = asyncio.create_task(self._answer(connection, [_ok(request)] if reply is None else reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, connection: "AppConnection", pieces: list[bytes]) -> None:
        closes, self._closes = self._closes, False
        for piece in pieces:
            connection.write(piece)
            await asyncio.sleep(0)
        if closes:
            connection.close()

    async def close(self) -> None:
        """Close what is open."""
        for connection in self.connections:
            connection.close()
        await asyncio.gather(*self._tasks)


def _ok(request: Request) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(request.target), request.target)


def _seen(request: Request, want: Seen) -> Seen:
    """A request as a row tells it; of its header lines those that the row names."""
    lines = {b"%s: %s" % pair for pair in request.fields}
    names = {name for name, _ in request.fields}
    return Seen(
        request.target,
        request.method,
        b", ".join(request.values(b"host")),
        request.body,
        request.trailers,
        tuple(line for line in want.has if line in lines),
        tuple(name for name in want.lacks if name not in names),
    )


class AppConnection(asyncio.Protocol):
    """One connection to the app."""

    def __init__(self, app: RecordingApp) -> None:
        self._app = app
        self._transport: asyncio.Transport
        self.rest = b""
        """What arrived and is no whole request yet."""
        self.is_lost = False
        app.connections.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            requests, self.rest = read_requests(self.rest + data)
        except Ambiguous as error:
            self._app.ambiguous.append(str(error))
            self._transport.close()
            return
        for request in requests:
            self._app.take(self, request)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True

    def write(self, data: bytes) -> None:
        """Send, unless the proxy has left."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Hang up."""
        self._transport.close()


@asynccontextmanager
async def running_rig() -> AsyncIterator[Rig]:
    """Start app and proxy; everything is gone at the end."""
    app = RecordingApp()
    server = await asyncio.get_running_loop().create_server(lambda: AppConnection(app), "127.0.0.1", 0)
    try:
        async with running_queue_proxy(server.sockets[0].getsockname()[1]) as proxy:
            yield Rig(proxy, app, await proxy.open())
    finally:
        server.close()
        await app.close()
