"""The WebSocket to the autoscaler, over which load is pushed: kept up for ever, nothing stored for later.

One task connects, reads (what arrives is ignored, pongs are handled by the library) and starts over when the connection
ends. What is pushed while there is none is lost on purpose: load of the past would be taken for load of the present.

Source: knative/serving `pkg/activator/stat_reporter.go`, knative.dev/pkg `websocket/connection.go`; spec activator.md
10.2 and 10.3.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from kube.errors import ApiError, ApiUnreachable
from kube.resolve import Resolver
from proxies.logs import Logger
from proxies.wire.stat import StatMessage, encode_messages

__all__ = ["Push", "StatReporter", "reconnect_delays_s"]

PORT: Final = 8080
"""The autoscaler's port, part of the contract."""

_HANDSHAKE_S: Final = 3.0
_DEAD_AFTER_S: Final = 10.0
_PING_INTERVAL_S: Final = _DEAD_AFTER_S / 3
_CLOSE_S: Final = 1.0

_DELAY_FIRST_S: Final = 0.1
_DELAY_FACTOR: Final = 1.3
_DELAY_JITTER_RATIO: Final = 0.5
_ATTEMPTS: Final = 20
_BRIEF_S: Final = 1.0
"""A connection that lasted less was not worth much: the next attempt waits, longer with each such connection."""

_PUSHES_MAX: Final = 256
"""Pushes that wait for a slow connection. Beyond it the oldest goes: the youngest says most."""


def reconnect_delays_s(chance: random.Random) -> Iterator[float]:
    """Return the pauses behind failed attempts: growing, with jitter, and after 20 from the start again; for ever."""
    while True:
        for attempt in range(_ATTEMPTS):
            yield _DELAY_FIRST_S * _DELAY_FACTOR**attempt * (1 + _DELAY_JITTER_RATIO * chance.random())


class Push:
    """One message on its way."""

    __slots__ = ("data", "sent_at")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sent_at: float | None = None
        """Unix time at which it was handed to the connection; None before that, and when it was lost."""


class StatReporter:
    """Pushes stats to the autoscaler at `host`, a name that `resolver` knows. `start` returns at once.

    `connected` is called when there is a connection, at first or again.
    """

    def __init__(self, resolver: Resolver, host: str, log: Logger, *, connected: Callable[[], None]) -> None:
        self._connected = connected
        self._resolver = resolver
        self._host = host
        self._log = log
        self._pushes: deque[Push] = deque(maxlen=_PUSHES_MAX)
        self._has_pushes = asyncio.Event()
        self._lost = 0
        self._task: asyncio.Task[None] | None = None
        self.is_connected = False
        self.losses = 0
        """Connections that were lost."""

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stat reporter")

    async def stop(self) -> None:
        """Close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def push(self, messages: list[StatMessage]) -> Push:
        """Send `messages` as one frame as soon as the loop comes to it; without a connection they are lost."""
        push = Push(encode_messages(messages))
        if not self.is_connected:
            self._lost += 1
            return push
        if len(self._pushes) == _PUSHES_MAX:
            self._lost += 1
        self._pushes.append(push)
        self._has_pushes.set()
        return push

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        delays_s, brief_s = reconnect_delays_s(random.Random()), reconnect_delays_s(random.Random())
        while True:
            try:
                connection = await self._connect()
            except (OSError, TimeoutError, WebSocketException, ApiError, ApiUnreachable) as error:
                self._log.debug("stat_connect_failed", autoscaler=self._host, error=str(error) or type(error).__name__)
                await asyncio.sleep(next(delays_s))
                continue
            connected_s = loop.time()
            await self._use(connection)
            delays_s = reconnect_delays_s(random.Random())
            if loop.time() - connected_s < _BRIEF_S:
                await asyncio.sleep(next(brief_s))
            else:
                brief_s = reconnect_delays_s(random.Random())

    async def _connect(self) -> ClientConnection:
        addresses = await self._resolver.resolve(self._host, PORT)
        if not addresses:
            raise OSError(f"{self._host}: no ready endpoint")
        host, port = random.choice(addresses)
        # The original offers no extensions, and its server accepts none.
        return await connect(
            f"ws://{self._host}:{PORT}",
            host=host,
            port=port,
            compression=None,
            proxy=None,
            user_agent_header=None,
            open_timeout=_HANDSHAKE_S,
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_DEAD_AFTER_S - _PING_INTERVAL_S,
            close_timeout=_CLOSE_S,
        )

    async def _use(self, connection: ClientConnection) -> None:
        """Send what is pushed until the connection ends."""
        host, port = connection.remote_address[:2]
        self._log.info("stat_connection_up", autoscaler=f"{host}:{port}", lost=self._lost)
        self._lost = 0
        self.is_connected = True
        self._connected()
        sending = asyncio.get_running_loop().create_task(self._send(connection), name="stat sender")
        try:
            with contextlib.suppress(ConnectionClosed):
                async for _ in connection:
                    pass
        finally:
            self.is_connected = False
            self.losses += 1
            self._pushes.clear()
            sending.cancel()
            await asyncio.wait([sending])
            await connection.close()
            self._log.info("stat_connection_down", autoscaler=f"{host}:{port}", code=connection.close_code)

    async def _send(self, connection: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._has_pushes.wait()
                self._has_pushes.clear()
                while self._pushes:
                    push = self._pushes.popleft()
                    await connection.send(push.data)
                    push.sent_at = time.time()
