"""Watches and writers on bare TLS connections: the least work for those who share the machine with the server."""

import asyncio
import json
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import TypeVar, cast

__all__ = ["Access", "Watch", "Writer", "connected", "object_name"]

P = TypeVar("P", bound=asyncio.Protocol)

_TIME = re.compile(rb'"t":"(\d+)"')
_PATH = "/api/v1/namespaces/default/configmaps"


def object_name(number: int) -> str:
    """The name of an object."""
    return f"object-{number}"


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is and how to get in."""

    port: int
    token: str
    ca: str

    @classmethod
    def of_line(cls, line: bytes) -> "Access":
        """From what the server's process wrote."""
        return cls(**json.loads(line))

    def context(self) -> ssl.SSLContext:
        """For connections to it."""
        return ssl.create_default_context(cadata=self.ca)

    def head(self, method: str, target: str, *fields: str) -> bytes:
        """A request's head."""
        lines = (
            f"{method} {target} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {self.token}",
            *fields,
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Watch(asyncio.Protocol):
    """Counts events. A sampling one also notes how long each took since it was sent by its writer."""

    def __init__(self, access: Access, query: str, *, is_sampling: bool = False) -> None:
        self._request = access.head("GET", f"{_PATH}?watch=true&{query}")
        self._is_sampling = is_sampling
        self.events = 0
        self.bytes = 0
        self.latencies_s: list[float] = []
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count lines that are no HTTP framing; single bytes, because anything longer may come in two parts."""
        self.events += data.count(b"\n") - data.count(b"\r")
        self.bytes += len(data)
        if self._is_sampling:
            now_ns = time.monotonic_ns()
            self.latencies_s += [(now_ns - int(sent)) / 1e9 for sent in _TIME.findall(data) if sent != b"0"]

    def connection_lost(self, error: Exception | None) -> None:
        """The server has ended it, or we have."""
        self.closed = True

    def close(self) -> None:
        """Leave."""
        self._transport.close()


@dataclass(slots=True)
class Writer(asyncio.Protocol):
    """Sends one merge patch after the other."""

    access: Access
    written: int = 0
    refused: int = 0
    _transport: asyncio.Transport = field(init=False)
    _answer: asyncio.Future[None] | None = None
    _received: bytearray = field(default_factory=bytearray)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        """Wait for a whole answer."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end]).lower()
        start = head.index(b"content-length:") + 15
        length = int(head[start:].split(b"\r\n", 1)[0])
        if len(self._received) < end + 4 + length:
            return
        self.refused += not head.startswith(b"http/1.1 200")
        self._received.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits is told."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server hung up"))

    async def write(self, name: str) -> None:
        """Set the time in one object, and wait for the answer."""
        body = b'{"data":{"t":"%d"}}' % time.monotonic_ns()
        head = self.access.head(
            "PATCH",
            f"{_PATH}/{name}",
            "Content-Type: application/merge-patch+json",
            f"Content-Length: {len(body)}",
        )
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head + body)
        await self._answer
        self.written += 1

    def close(self) -> None:
        """Leave."""
        self._transport.close()


async def connected(access: Access, context: ssl.SSLContext, protocol: P) -> P:
    """`protocol` on a connection of its own."""
    await asyncio.get_running_loop().create_connection(lambda: protocol, "127.0.0.1", access.port, ssl=context)
    return protocol
