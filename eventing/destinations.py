"""Where events are sent: a URL, the addresses behind its name, and the connections to them.

    Destination (one URL) --> Host (scheme, name, port, authorities) --> Endpoints (addresses), taken in turn

Names are asked for when the first event comes, again after a while in the background, and at once when an address does
not answer. Events that come meanwhile wait, a bounded number of them; no task is made for an event.
"""

import asyncio
import socket
import time
from collections import deque
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from eventing.authorities import Verified
from proxies.calls import Call
from proxies.pool import Endpoint, Pool

__all__ = ["Destination", "DestinationError", "Host", "Resolving", "parse_url", "shown_url"]

_FRESH_S: Final = 30.0
"""How long addresses are used before the name is asked for again."""
_AGAIN_S: Final = 1.0
"""A name that was asked for so recently would say the same."""
_WAITING_MAX: Final = 10_000
_SWEPT_MIN: Final = 8
_PORTS: Final = {"http": 80, "https": 443}
_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"
"""What a path and a query may hold; the rest is percent-encoded."""


class DestinationError(ValueError):
    """A URL that nothing can be sent to; says why."""


class Resolving(Protocol):
    """Who knows the addresses of a name: `kube.resolve.Resolver`."""

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        """Return (address or name, port) to try; empty when there is none now."""


def parse_url(url: str) -> tuple[str, str, int, str, str]:
    """Return (scheme, host, port, authority, path with query). Raises `DestinationError`.

    A URL of another scheme stands for `http://<host>/` (spec eventing-channels.md 3.1).
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise DestinationError(f"{shown_url(url)[:200]!r}: {error}") from error
    if not host or not all("!" <= letter < "\x7f" for letter in parts.netloc):
        raise DestinationError(f"{shown_url(url)[:200]!r}: expected a URL with a host")
    if parts.username is not None or parts.password is not None:
        raise DestinationError(f"{parts.scheme}://{host}: expected a URL without user and password")
    scheme = parts.scheme if parts.scheme in _PORTS else "http"
    path = "/"
    if scheme == parts.scheme:
        path = quote(parts.path or "/", safe=_SAFE) + ("?" + quote(parts.query, safe=_SAFE) if parts.query else "")
    return scheme, host, port or _PORTS[scheme], parts.netloc, path


def shown_url(url: str) -> str:
    """Return what of a URL may be told in spans and logs: neither user nor query, which may hold a secret.

    Of any text: URLs of objects are what somebody has written there.
    """
    shown = url.partition("#")[0].partition("?")[0]
    scheme, slashes, rest = shown.partition("//")
    if "@" in scheme or "/" in scheme:  # those are somewhere behind the host
        scheme, slashes, rest = "", "", shown
    authority, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}"


class Host:
    """One name and port, spoken to in one way."""

    __slots__ = (
        "_asked_s",
        "_endpoints",
        "_is_closed",
        "_is_literal",
        "_loop",
        "_next",
        "_pool",
        "_resolver",
        "_swept_at",
        "_task",
        "_verified",
        "_waiting",
        "destinations",
        "name",
        "port",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        resolver: Resolving,
        name: str,
        port: int,
        verified: Verified | None,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._resolver = resolver
        self._verified = verified
        self._is_literal = _is_address(name)
        self.name = name
        self.port = port
        self.destinations = 0
        """How many URLs lead here."""
        self._endpoints: dict[tuple[str, int], Endpoint] = {}
        self._next: deque[Endpoint] = deque()
        self._asked_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[tuple[Call, bytes]] = deque()
        self._swept_at = _SWEPT_MIN
        self._is_closed = False

    def carry(self, call: Call, request: bytes) -> None:
        """Send a request, at once if the addresses are known."""
        endpoints = self._next
        if not endpoints:
            self._wait(call, request)
            return
        if time.monotonic() - self._asked_s > _FRESH_S:
            self._ask()
        endpoint = endpoints[0]
        if len(endpoints) > 1:
            endpoints.rotate(-1)
        call.send(endpoint, request, self._unreached)

    def close(self) -> None:
        """Nothing is sent here any more: who has kept a destination that was forgotten asks for it again."""
        self._is_closed = True
        self._next.clear()
        if self._task is not None:
            self._task.cancel()
        for endpoint in self._endpoints.values():
            endpoint.close()
        while self._waiting:
            self._waiting.popleft()[0].fail("shutting down")

    # Inside.

    def _unreached(self, call: Call, reason: str) -> bool:
        """An address does not answer: perhaps the name has others by now."""
        if self._is_closed:
            return False
        is_settled = self._task is None and time.monotonic() - self._asked_s < _AGAIN_S and len(self._next) < 2
        self._sweep()
        if is_settled or self._is_literal or len(self._waiting) >= _WAITING_MAX:
            return False
        self._waiting.append((call, b""))
        self._ask()
        return True

    def _sweep(self) -> None:
        """Drop requests whose time is up: while a name service hangs, each would keep its body."""
        if len(self._waiting) >= self._swept_at:
            self._waiting = deque(each for each in self._waiting if each[0].is_waiting)
            self._swept_at = min(max(2 * len(self._waiting), _SWEPT_MIN), _WAITING_MAX)

    def _wait(self, call: Call, request: bytes) -> None:
        if self._is_closed:
            self._loop.call_soon(call.fail, "shutting down")
            return
        self._sweep()
        if len(self._waiting) >= _WAITING_MAX:
            self._loop.call_soon(call.fail, f"{_WAITING_MAX} events wait for the address of {self.name}")
            return
        self._waiting.append((call, request))
        self._ask()

    def _ask(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._resolve())

    async def _resolve(self) -> None:
        problem = ""
        try:
            addresses = await self._addresses()
        except Exception as error:  # noqa: BLE001 - whatever the API or the name service says, those who wait hear it
            addresses, problem = None, str(error) or type(error).__name__
        self._task = None
        self._asked_s = time.monotonic()
        if addresses is not None:
            self._use(addresses)
        waiting, self._waiting = self._waiting, deque()
        self._swept_at = _SWEPT_MIN
        for call, request in waiting:
            if not self._next:
                call.fail(f"dial tcp: lookup {self.name}: {problem or 'no address is ready'}")
            elif request:
                self.carry(call, request)
            else:
                call.send_again(self._next[0])
                self._next.rotate(-1)

    async def _addresses(self) -> list[tuple[str, int]]:
        """Return addresses without names. Raises what the resolver or the name service says."""
        found: list[tuple[str, int]] = []
        for host, port in await self._resolver.resolve(self.name, self.port):
            if _is_address(host):
                found.append((host, port))
                continue
            infos = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend((str(info[4][0]), port) for info in infos)
        return list(dict.fromkeys(found))

    def _use(self, addresses: list[tuple[str, int]]) -> None:
        known = self._endpoints
        for gone in known.keys() - set(addresses):
            known.pop(gone).close()
        for address in addresses:
            if address not in known:
                known[address] = self._pool.endpoint(*address, version=1, security=self._verified)
        if set(self._next) != set(known.values()):
            self._next = deque(known.values())


class Destination:
    """One URL that events are sent to."""

    __slots__ = ("host", "start", "url")

    def __init__(self, url: str, host: Host, start: bytes) -> None:
        self.url = url
        self.host = host
        self.start = start
        """Request line and `Host`, each with its end."""


def _is_address(host: str) -> bool:
    if ":" in host:
        return True
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return False
    return True
