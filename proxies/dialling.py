"""Connecting to a peer: when to give up, and how to shake hands where it speaks TLS.

Dialling follows the original (spec queue-proxy.md 8): a first attempt of 50 ms, then longer ones after a short random
pause, about 20 s in all; what is refused fails at once.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from ssl import SSLContext

__all__ = ["DIAL_ATTEMPTS", "Dialler", "Security", "Unanswered", "Unreachable", "reason_of"]

DIAL_ATTEMPTS: Final = 16
_DIAL_TIMEOUT_S: Final = 0.05
_DIAL_FACTOR: Final = 1.4
_DIAL_PAUSE_S: Final = (0.03, 0.06)
_HANDSHAKE_S: Final = 10.0


class Unreachable(Exception):
    """A peer could not be connected to; the text says how."""


class Unanswered(Unreachable):
    """Nor did it refuse: nothing came in all the time there was."""


class Security(Protocol):
    """How a peer is spoken to over TLS."""

    server_name: str
    """Who the peer has to be, and is asked for."""

    @property
    def context(self) -> "SSLContext":
        """For a connection that is opened now."""

    def refusal(self, certificate: Mapping[str, Any]) -> str:
        """Return what is wrong with a certificate that is trusted (`SSLSocket.getpeercert`); empty: nothing."""


P = TypeVar("P", bound=asyncio.Protocol)


class Dialler:
    """Connects to one peer."""

    __slots__ = ("_attempts", "_host", "_loop", "_port", "_security", "address")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, host: str, port: int, *, attempts: int, security: Security | None
    ) -> None:
        """`host`: an address, never a name, or the path of a unix socket (then no port). `attempts`: to connect."""
        self._loop = loop
        self._host = host
        self._port = port
        self._attempts = attempts
        self._security = security
        self.address = host if host.startswith("/") else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def connect(self, make: Callable[[], P], is_wanted: Callable[[], bool]) -> P | None:
        """Return the protocol that `make` makes, connected; None when it is not wanted any more.

        Raises `Unreachable`.
        """
        loop = self._loop
        started_s = loop.time()
        timeout_s = base_s = _DIAL_TIMEOUT_S
        attempts = 0
        while is_wanted():
            attempts += 1
            try:
                if self._security is None:
                    return await asyncio.wait_for(self._connect(make), timeout_s)
                sock = await asyncio.wait_for(self._connected_socket(), timeout_s)
                return await self._secure(make, sock, self._security)
            except TimeoutError:
                if attempts == self._attempts:
                    text = f"timed out dialing {self.address} after {loop.time() - started_s:.2f}s"
                    raise Unanswered(text) from None
                import random  # only here: most processes never need it, and it takes a millisecond to load

                await asyncio.sleep(random.uniform(*_DIAL_PAUSE_S))
                timeout_s = base_s * random.uniform(1.0, 1.1)
                base_s *= _DIAL_FACTOR
            except OSError as error:
                raise Unreachable(f"dial tcp {self.address}: connect: {reason_of(error)}") from error
        return None

    async def _connect(self, make: Callable[[], P]) -> P:
        if self._host.startswith("/"):
            _, connection = await self._loop.create_unix_connection(make, self._host)
        else:
            _, connection = await self._loop.create_connection(make, self._host, self._port)
        return connection

    async def _connected_socket(self) -> socket.socket:
        """Not the loop's own `sock_connect`, which asks a thread what an address is called."""
        sock = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            error = sock.connect_ex((self._host, self._port))
            if error == errno.EINPROGRESS:
                await self._until_writable(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _until_writable(self, sock: socket.socket) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()

        def is_writable() -> None:
            if not ready.done():
                ready.set_result(None)

        self._loop.add_writer(sock, is_writable)
        try:
            await ready
        finally:
            self._loop.remove_writer(sock)

    async def _secure(self, make: Callable[[], P], sock: socket.socket, security: Security) -> P:
        """Shake hands. Not within the short time for an attempt to connect: the peer is there, and it is work."""
        # Only now: most processes speak no TLS.
        from proxies.tls_reads import SecureReads

        protocol = make()
        try:
            transport, _ = await self._loop.create_connection(
                lambda: SecureReads(protocol),
                sock=sock,
                ssl=security.context,
                server_hostname=security.server_name,
                ssl_handshake_timeout=_HANDSHAKE_S,
            )
        except BaseException:
            sock.close()
            raise
        refusal = security.refusal(transport.get_extra_info("peercert"))
        if refusal:
            transport.abort()
            raise Unreachable(f"tls {self.address}: {refusal}")
        return protocol


def reason_of(error: OSError) -> str:
    """Return Go's words for an error; OpenSSL's have numbers of their own, and say more by themselves."""
    if hasattr(error, "library"):
        return getattr(error, "verify_message", "") or str(error)
    return _words_of(error.errno) if error.errno else str(error)


@lru_cache(maxsize=64)
def _words_of(number: int) -> str:
    """Kept, as `strerror` asks for translations each time."""
    return os.strerror(number).lower()
