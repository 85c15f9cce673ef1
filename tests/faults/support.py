"""Badly behaved clients, and what a process costs while it bears with them."""

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.support.http import Client
from tests.support.queue_proxy import QueueProxy

__all__ = [
    "CLOCK_TICKS",
    "EXCHANGE_BYTES_MAX",
    "GET",
    "KIB",
    "MIB",
    "PATIENCE_S",
    "Peer",
    "TcpSocket",
    "Vitals",
    "Watch",
    "fence",
    "is_admitted",
    "reset",
    "run_watched",
    "tcp_sockets",
]

KIB = 1024
MIB = 1024 * KIB
EXCHANGE_BYTES_MAX = 256 * KIB + 32 * KIB
"""What may wait of an exchange's bytes, and what its objects and those of its two connections take."""
PATIENCE_S = 5.0
"""What a bystander may have to wait on a machine that runs other tests, too; alone it is a few milliseconds."""
GET = b"GET / HTTP/1.1\r\nHost: app.example\r\n\r\n"
_NETWORK_PROBE = b"GET / HTTP/1.1\r\nHost: h\r\nK-Network-Probe: probe\r\nK-Network-Hash: fence\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)
_TIME_WAIT = " 06 "
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Vitals:
    """What the kernel says about a process."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def rss_bytes(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * KIB

    def cpu_s(self) -> float:
        """User and system time used so far, in steps of 10 ms."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS

    def open_files(self) -> int:
        """Open descriptors, sockets included."""
        return len(os.listdir(f"/proc/{self._pid}/fd"))


@dataclass(frozen=True)
class TcpSocket:
    """One row of the kernel's table of sockets, proc(5)."""

    local: str
    """Address and port in hexadecimal."""
    remote_port: int
    state: str
    timer: str
    """Which one runs, and the time that it has left in ticks."""
    ticks: int

    SYN_SENT: ClassVar[str] = "02"
    KEEP_ALIVE: ClassVar[str] = "02"


def tcp_sockets() -> list[TcpSocket]:
    """All TCP sockets but those that only wait for their time to be over, of which other tests leave ten thousands."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    rows = [line.split(maxsplit=6) for line in lines if _TIME_WAIT not in line]
    return [
        TcpSocket(row[1], int(row[2].rpartition(":")[2], 16), row[3], row[5][:2], int(row[5].partition(":")[2], 16))
        for row in rows
    ]


class Peer:
    """A client's bare socket: it reads and sends only when told to, and leaves in the way it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, proxy: QueueProxy, data: bytes = b"", *, port: int = 0, receive_bytes: int = 0) -> "Peer":
        """Connect, to the main port by default, and send `data`. `receive_bytes`: what the kernel takes in unread."""
        sock = socket.socket()
        try:
            sock.setblocking(False)
            if receive_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            peer = cls(sock)
            proxy.clients.append(peer)
            await peer._loop.sock_connect(sock, (proxy.host, port or proxy.port))
        except BaseException:
            sock.close()
            raise
        await peer.send(data)
        return peer

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        async with asyncio.timeout(50):
            await self._loop.sock_sendall(self.sock, data)

    def send_some(self, data: bytes) -> int:
        """Send what the kernel takes at once, and return how much that was."""
        sent = 0
        try:
            while sent < len(data):
                sent += self.sock.send(data[sent : sent + 256 * KIB])
        except BlockingIOError:
            pass
        return sent

    async def receive(self, size: int = 64 * KIB, *, timeout_s: float = 50.0) -> bytes:
        """Wait for bytes; empty at the end."""
        async with asyncio.timeout(timeout_s):
            return await self._loop.sock_recv(self.sock, size)

    async def receive_all(self, *, timeout_s: float = 50.0) -> bytes:
        """Read to the orderly end. A reset raises `ConnectionResetError`."""
        data = bytearray()
        while part := await self.receive(timeout_s=timeout_s):
            data += part
        return bytes(data)

    def receive_now(self, size: int = 64 * KIB) -> bytes | None:
        """What is there already; None when nothing is, empty at the end."""
        try:
            return self.sock.recv(size)
        except BlockingIOError:
            return None

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leave: FIN, or RST when bytes were left unread."""
        self.sock.close()

    def reset(self) -> None:
        """Leave with RST."""
        reset(self.sock)
        self.sock.close()


def reset(sock: socket.socket) -> None:
    """Make the coming close of a socket a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


class _Fence(Client):
    """The connection that `fence` asks on: one per proxy, so that asking changes nothing."""


async def fence(proxy: QueueProxy) -> None:
    """Return when the proxy has acted on all that was sent to it before, and what it answered is here.

    What is ready together is handled in any order, but in one turn of its loop, and each probe is one turn later. A
    connection that was just opened takes a few: it is accepted, then watched, then read.
    """
    client = next((client for client in proxy.clients if isinstance(client, _Fence)), None)
    if client is None:
        client = await _Fence.open(proxy.host, proxy.port)
        proxy.clients.append(client)
    for _ in range(5):
        await client.send(_NETWORK_PROBE)
        assert (await client.response()).status == 200


async def is_admitted(proxy: QueueProxy, peer: Peer) -> bool:
    """Whether the request that `peer` sent was let in, not refused at once."""
    await fence(proxy)
    answer = peer.receive_now()
    assert answer is None or answer.startswith(b"HTTP/1.1 503 "), answer
    return answer is None


class Watch:
    """What an innocent bystander sees: round trips through the proxy to the app, one after the other."""

    def __init__(self) -> None:
        self.round_trips_s: list[float] = []
        self.rss_bytes_max = 0

    @property
    def slowest_s(self) -> float:
        """The longest of them."""
        return max(self.round_trips_s)


@asynccontextmanager
async def run_watched(proxy: QueueProxy, request: bytes = _NETWORK_PROBE) -> AsyncIterator[Watch]:
    """Ask the proxy again and again while the block runs; fails when an answer is not 200."""
    watch = Watch()
    vitals = Vitals(proxy.process.pid)
    is_over = False

    async def ask() -> None:
        client = await Client.open(proxy.host, proxy.port)
        try:
            while not is_over:
                began_s = time.monotonic()
                await client.send(request)
                response = await client.response()
                assert response.status == 200
                watch.round_trips_s.append(time.monotonic() - began_s)
                watch.rss_bytes_max = max(watch.rss_bytes_max, vitals.rss_bytes())
        finally:
            client.close()

    asking = asyncio.create_task(ask())
    try:
        yield watch
    finally:
        is_over = True
        await asking
