"""Stats for revisions of other replicas, sent on to them.

An activator talks to any one replica, which may not own the revision. Per bucket of somebody else there is a route: a
bounded queue, and one task that connects when the first stat comes, keeps the connection, and sends what waits, many
stats to a frame. A holder that does not answer is tried again every half second; a stat that was there for thirty tries
is dropped, since load of the past says nothing about the present. When the queue is full the oldest goes first.

The addresses are tried in order with half a second each: the pod's own, then the bucket's Service for meshes that hide
pods. Both handshakes name the bucket, so that a replica which does not hold it (any more) refuses.

Source: knative/serving `pkg/autoscaler/statforwarder`; spec autoscaler.md 8.5 and pitfall 18.
"""

import asyncio
from collections import deque
from itertools import islice
from typing import NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.protocol import State

from kube.errors import ApiError, ApiUnreachable
from kube.resolve import Resolver
from proxies.logs import Logger
from proxies.wire.stat import StatMessage, encode_messages

__all__ = ["Forwarder", "PeerAddress"]

_QUEUE_MAX = 1000
"""Stats that wait, per bucket."""
_TRIES_MAX = 30
_RETRY_S = 0.5
_CONNECT_S = 0.5
"""For name, connection and handshake of one address."""
_FRAME_STATS_MAX = 500
_PING_INTERVAL_S = 10 / 3
_DEAD_AFTER_S = 10.0
_CLOSE_S = 1.0


class PeerAddress(NamedTuple):
    """Where a replica can be reached."""

    host: str
    """An IP address, or a name for the resolver."""
    port: int
    server_name: str
    """What the handshake's Host header says."""


class Forwarder:
    """The routes by bucket. Nothing is sent before `set_route` names addresses; until then stats wait."""

    def __init__(self, resolver: Resolver, log: Logger) -> None:
        self._resolver = resolver
        self._log = log
        self._routes: dict[str, _Route] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def set_route(self, bucket: str, addresses: tuple[PeerAddress, ...]) -> None:
        """Send stats of `bucket` to the first of `addresses` that answers; what waits goes there as well."""
        route = self._routes.get(bucket)
        if route is None or route.addresses != addresses:
            waiting = self.take_back(bucket)
            route = self._routes[bucket] = _Route(addresses, self._resolver, self._log.bind(bucket=bucket))
            for message in waiting:
                route.put(message)

    def forward(self, bucket: str, message: StatMessage) -> None:
        """Send a stat as soon as that is possible. O(1), never blocks."""
        if bucket not in self._routes:
            self.set_route(bucket, ())
        self._routes[bucket].put(message)

    def take_back(self, bucket: str) -> list[StatMessage]:
        """Forget the route of a bucket; the stats that were not sent, oldest first."""
        route = self._routes.pop(bucket, None)
        if route is None:
            return []
        waiting, task = route.end()
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        return waiting

    async def stop(self) -> None:
        """Close all connections; what waits is lost."""
        for bucket in list(self._routes):
            self.take_back(bucket)
        if self._ending:
            await asyncio.wait(self._ending)


class _Unreachable(Exception):
    """No address answered."""


class _Waiting(NamedTuple):
    message: StatMessage
    last_attempt: int
    """Number of the route's attempt to connect after which the stat is dropped."""


class _Route:
    """One bucket, one holder."""

    def __init__(self, addresses: tuple[PeerAddress, ...], resolver: Resolver, log: Logger) -> None:
        self.addresses = addresses
        self._resolver = resolver
        self._log = log
        self._waiting: deque[_Waiting] = deque()
        self._sending: list[_Waiting] = []
        self._has_waiting = asyncio.Event()
        self._attempts = 0
        self._dropped = 0
        self._is_failing = False
        self._connection: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None

    def put(self, message: StatMessage) -> None:
        """Queue a stat."""
        if len(self._waiting) >= _QUEUE_MAX:
            self._waiting.popleft()
            self._count_dropped(1, "queue full")
        self._waiting.append(_Waiting(message, self._attempts + _TRIES_MAX))
        self._has_waiting.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="stat forwarder")

    def end(self) -> tuple[list[StatMessage], asyncio.Task[None] | None]:
        """Stop sending: what was not sent, and the task that still closes the connection."""
        unsent = [waiting.message for waiting in (*self._sending, *self._waiting)]
        self._sending.clear()
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        return unsent, self._task

    async def _run(self) -> None:
        try:
            while True:
                await self._has_waiting.wait()
                try:
                    await self._send_all(await self._connected())
                except (_Unreachable, WebSocketException, OSError, ValueError) as error:
                    self._failed(error)
                    await asyncio.sleep(_RETRY_S)
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def _send_all(self, connection: ClientConnection) -> None:
        while self._waiting:
            self._sending = list(islice(self._waiting, _FRAME_STATS_MAX))
            for _ in self._sending:
                self._waiting.popleft()
            try:
                await connection.send(encode_messages([waiting.message for waiting in self._sending]))
            except BaseException:
                # Not sent as far as we know. `end` may have taken them away meanwhile.
                self._waiting.extendleft(reversed(self._sending))
                raise
            finally:
                self._sending = []
        self._has_waiting.clear()

    async def _connected(self) -> ClientConnection:
        """The connection that is open, or another one. Raises `_Unreachable`."""
        if self._connection is not None and self._connection.state is State.OPEN:
            return self._connection
        problems = []
        for address in self.addresses:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    self._connection = await self._connect(address)
            except (OSError, TimeoutError, WebSocketException, ApiError, ApiUnreachable) as error:
                problems.append(f"{address.host}:{address.port}: {str(error) or type(error).__name__}")
                continue
            self._log.info("stat_forwarding", to=f"{address.host}:{address.port}", dropped=self._dropped)
            self._is_failing = False
            self._dropped = 0
            return self._connection
        raise _Unreachable("; ".join(problems) or "nobody is known to hold the bucket")

    async def _connect(self, address: PeerAddress) -> ClientConnection:
        resolved = await self._resolver.resolve(address.host, address.port)
        if not resolved:
            raise OSError("no ready endpoint")
        host, port = resolved[0]
        return await connect(
            f"ws://{address.server_name}:{address.port}",
            host=host,
            port=port,
            compression=None,
            proxy=None,
            user_agent_header=None,
            open_timeout=None,
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_DEAD_AFTER_S - _PING_INTERVAL_S,
            close_timeout=_CLOSE_S,
        )

    def _failed(self, error: Exception) -> None:
        """Count a failed attempt, and drop what has waited for too many."""
        self._attempts += 1
        if not self._is_failing:
            self._is_failing = True
            self._log.warning("stats_not_forwarded", problem=str(error) or type(error).__name__)
        dropped = 0
        while self._waiting and self._waiting[0].last_attempt <= self._attempts:
            self._waiting.popleft()
            dropped += 1
        if dropped:
            self._count_dropped(dropped, f"not sent in {_TRIES_MAX} tries")
        if not self._waiting:
            self._has_waiting.clear()

    def _count_dropped(self, count: int, why: str) -> None:
        """Told when it begins; `stat_forwarding` says how many it were in the end."""
        if not self._dropped:
            self._log.warning("stats_dropped", reason=why)
        self._dropped += count
