"""The engine between a client and an app without sockets or time: any split of any message, thousands in a second.

The loop is asyncio's; only its connections are in memory, so the engine runs as it is, dialling included.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, cast

from proxies.exchange import Exchange
from proxies.pool import Pool
from proxies.server import Server
from queue_proxy.policy import APP_EDITS
from tests.conformance.http1.oracle import Reply, read_replies
from tests.conformance.http1.rig import AppConnection, RecordingApp

__all__ = ["Bench", "run_in_memory"]

T = TypeVar("T")

_STOP_S = 1.0


class Dialogue(NamedTuple):
    """What a client got."""

    replies: list[Reply]
    has_ended: bool
    """The proxy ended the connection."""
    rest: bytes
    """Behind the last reply, or of one that is not whole."""


class Bench:
    """Server, pool and app of one process; plays one conversation after the other."""

    def __init__(self, loop: "_MemoryLoop") -> None:
        self._loop = loop
        self._pool = Pool(loop)
        self._endpoint = self._pool.endpoint("127.0.0.1", 1)
        self._server = Server(loop, self)
        self.app = loop.app

    async def start(self) -> None:
        """Listen."""
        await self._server.listen("127.0.0.1", 0)

    async def close(self) -> None:
        """Close what is open."""
        # Where a conversation has failed, exchanges may be left that nobody ends.
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._server.stop(tunnel_grace_s=0.0)
        await self._pool.close()
        await self._loop.quiet()

    async def converse(self, pieces: Iterable[bytes], methods: Sequence[str], *, hangs_up: bool) -> Dialogue:
        """Send `pieces` one after the other, and read what comes as responses to requests of `methods`."""
        client = _Client()
        ours, theirs = _pipe(self._loop)
        ours.start(client)
        theirs.start(self._loop.accept())
        for piece in pieces:
            ours.write(piece)
            await self._loop.quiet()
        if hangs_up:
            ours.write_eof()
            await self._loop.quiet()
        has_ended = client.has_ended
        replies, rest = read_replies(bytes(client.received), methods=tuple(methods), is_closed=has_ended)
        ours.close()
        await self._loop.quiet()
        return Dialogue(replies, has_ended, rest)

    # The policy: everything goes to the app, edited as queue-proxy does it.

    def admit(self, exchange: Exchange) -> None:
        exchange.forward(self._endpoint, APP_EDITS)

    def cancelled(self, exchange: Exchange) -> None:
        """Nothing is held."""

    def ended(self, exchange: Exchange) -> None:
        """Nothing was taken."""


def run_in_memory(conversation: Callable[[Bench], Coroutine[Any, Any, T]]) -> T:
    """Run `conversation` on a bench of its own; an error of the engine that nobody catches is raised here."""

    async def run() -> T:
        bench = Bench(loop)
        await bench.start()
        try:
            return await conversation(bench)
        finally:
            await bench.close()

    loop = _MemoryLoop()
    try:
        result = loop.run_until_complete(run())
    finally:
        loop.close()
    for error in loop.errors:
        raise error
    return result


class _MemoryLoop(asyncio.SelectorEventLoop):
    """A loop whose servers accept, and whose connections reach the app, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.app = RecordingApp()
        self.errors: list[BaseException] = []
        """Raised in callbacks."""
        self.set_exception_handler(self._keep_error)
        self.accept: Callable[[], asyncio.BaseProtocol]

    async def create_server(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        options["sock"].close()
        self.accept = protocol_factory
        return _Server()

    async def create_connection(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        protocol = protocol_factory()
        ours, theirs = _pipe(self)
        theirs.start(AppConnection(self.app))
        ours.start(protocol)
        return ours, protocol

    def _keep_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(context.get("exception") or RuntimeError(context["message"]))

    async def quiet(self) -> None:
        """Wait until nothing is left to be done at once."""
        # asyncio offers no other way to ask whether another turn is due.
        while self._ready:  # type: ignore[attr-defined] # noqa: ASYNC110
            await asyncio.sleep(0)


class _Server:
    def close(self) -> None:
        """It has no socket."""


class _Socket:
    """What the engine asks a socket."""

    family = socket.AF_UNIX

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """The connection is established."""
        return b"\1" * size

    def setsockopt(self, level: int, option: int, value: object) -> None:
        """Nothing depends on it."""


class _Client(asyncio.Protocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.has_ended = False

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.has_ended = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.has_ended = True


def _pipe(loop: asyncio.AbstractEventLoop) -> tuple["_Transport", "_Transport"]:
    ours, theirs = _Transport(loop), _Transport(loop)
    ours.peer, theirs.peer = theirs, ours
    return ours, theirs


class _Transport(asyncio.Transport):
    """One end of a pipe. What is written arrives in the loop's next turn, in order, while the other end reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: asyncio.Protocol
        self._arriving: list[bytes | None] = []
        """Bytes, or None for the end."""
        self._is_reading = True
        self._is_closing = False
        self._is_end_sent = False
        self.peer: _Transport

    def start(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the end to its protocol."""
        self._protocol = cast("asyncio.Protocol", protocol)
        protocol.connection_made(self)

    def arrive(self, data: bytes | None) -> None:
        """The peer sent something."""
        self._arriving.append(data)
        self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._arriving and self._is_reading and not self._is_closing:
            data = self._arriving.pop(0)
            if data is not None:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self.close()

    # What protocols call.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "socket": _Socket()}.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Everything is taken at once."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._is_end_sent:
            self.peer.arrive(bytes(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._is_end_sent:
            self._is_end_sent = True
            self.peer.arrive(None)

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        self._loop.call_soon(self._deliver)

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self.write_eof()
            self._is_closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()
