"""Posts events to URLs, the one way out of broker and channels: one attempt and the whole answer to it.

Redirects are not followed, and nothing asks for compression.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from eventing.authorities import Authorities, Verified
from eventing.destinations import Destination, DestinationError, Host, Resolving, parse_url
from proxies.calls import Call, Caller
from proxies.pool import Pool

__all__ = ["RESPONSE_BYTES_MAX", "Destination", "DestinationError", "Sender"]

RESPONSE_BYTES_MAX: Final = 4 * 1024 * 1024
_DESTINATIONS_MAX: Final = 8192


class Sender:
    """Sends on one loop. Keeps what it knows of each destination; ask for it each time, or keep it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        resolver: Resolving,
        *,
        authorities: Authorities | None = None,
        idle_max: int = 1000,
        idle_per_host_max: int = 1000,
    ) -> None:
        """`idle_max`, `idle_per_host_max`: connections that are kept for the next event."""
        self._loop = loop
        self._resolver = resolver
        self._authorities = authorities or Authorities()
        self._pool = Pool(loop, idle_max=idle_max, idle_per_endpoint_max=idle_per_host_max)
        self._caller = Caller(loop)
        self._hosts: dict[tuple[str, str, int, str], Host] = {}
        self._destinations: OrderedDict[tuple[str, str], Destination] = OrderedDict()

    @property
    def under_way(self) -> int:
        """Calls that are neither done nor cancelled."""
        return self._caller.under_way

    def destination(self, url: str, ca_certs: str = "") -> Destination:
        """Return what a URL leads to. Raises `DestinationError`.

        `ca_certs`: authorities of the sink's own, in PEM, besides those that are trusted anyway.
        """
        known = self._destinations.get((url, ca_certs))
        if known is not None:
            if len(self._destinations) * 2 > _DESTINATIONS_MAX:  # until then nobody is forgotten
                self._destinations.move_to_end((url, ca_certs))
            return known
        scheme, name, port, authority, path = parse_url(url)
        key = (scheme, name, port, ca_certs)
        host = self._hosts.get(key)
        if host is None:
            verified = Verified(self._authorities, name, ca_certs) if scheme == "https" else None
            host = self._hosts[key] = Host(self._loop, self._pool, self._resolver, name, port, verified)
        host.destinations += 1
        start = f"POST {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: knuv\r\n".encode("ascii")
        destination = self._destinations[url, ca_certs] = Destination(url, host, start)
        if len(self._destinations) > _DESTINATIONS_MAX:
            self._forget_oldest()
        return destination

    def post(
        self,
        destination: Destination,
        lines: bytes,
        body: bytes,
        done: Callable[[Call], None],
        *,
        timeout_s: float = math.inf,
        response_bytes_max: int = RESPONSE_BYTES_MAX,
    ) -> Call:
        """Post `body` with the header `lines` (each with its end); `done` gets the call when it is over.

        Whatever goes wrong is the call's `reason`; nothing is raised, and `done` is not called from within.
        """
        call = self._caller.begin(done, timeout_s=timeout_s, response_bytes_max=response_bytes_max)
        request = b"%bContent-Length: %d\r\n%b\r\n%b" % (destination.start, len(body), lines, body)
        destination.host.carry(call, request)
        return call

    async def close(self) -> None:
        """Close every connection. Calls under way end with a reason."""
        for host in self._hosts.values():
            host.close()
        await self._pool.close()
        self._caller.close()

    def _forget_oldest(self) -> None:
        _, oldest = self._destinations.popitem(last=False)
        host = oldest.host
        host.destinations -= 1
        if not host.destinations:
            self._hosts = {key: each for key, each in self._hosts.items() if each is not host}
            host.close()
