"""`proxies/tls_listener.py` as servers use it: handshakes take places, and end when the server stops."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxies.listener import Listeners, listening_socket
from tests.support.certificates import Authority
from tests.support.processes import eventually

HOST = "127.0.0.1"


class Echo(asyncio.Protocol):
    """Sends back what comes; `opened` holds all that were connected."""

    opened: list["Echo"]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        type(self).opened.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


class Port:
    """A TLS port of 127.0.0.1 and what its clients need."""

    def __init__(self, listeners: Listeners, number: int, context: ssl.SSLContext) -> None:
        self.listeners = listeners
        self.number = number
        self.context = context
        self.stalled: list[socket.socket] = []

    def stall(self, count: int) -> None:
        """Connect and say nothing."""
        self.stalled += [socket.create_connection((HOST, self.number)) for _ in range(count)]

    async def echo(self, data: bytes) -> bytes:
        """Send `data` on a connection of its own, and return as much of what comes."""
        reader, writer = await asyncio.open_connection(HOST, self.number, ssl=self.context)
        try:
            writer.write(data)
            return await reader.readexactly(len(data))
        finally:
            writer.transport.abort()


@asynccontextmanager
async def port(folder: Path, limit: int | None = None) -> AsyncIterator[Port]:
    """Listen with places for `limit` connections."""
    Echo.opened = []
    authority = Authority(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.issue(HOST))
    listeners = Listeners(asyncio.get_running_loop(), Echo, limit=limit, logger=None)
    sock = listening_socket(HOST, 0)
    number = sock.getsockname()[1]
    await listeners.add(sock, server)
    opened = Port(listeners, number, ssl.create_default_context(cafile=str(authority.ca_file)))
    try:
        yield opened
    finally:
        listeners.close()
        for client in opened.stalled:
            client.close()
        for echo in Echo.opened:
            echo.transport.abort()  # type: ignore[attr-defined]


async def test_bytes_pass_behind_the_handshake(tmp_path: Path) -> None:
    async with port(tmp_path) as tls:
        assert await tls.echo(b"x" * 100_000) == b"x" * 100_000
        (echo,) = Echo.opened
        assert echo.transport.get_extra_info("peername")[0] == HOST


async def test_handshakes_take_places_and_give_them_back(tmp_path: Path) -> None:
    async with port(tmp_path, limit=4) as tls:
        tls.stall(4)
        waiting = asyncio.ensure_future(tls.echo(b"data"))
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        assert not done
        for client in tls.stalled:
            client.close()
        assert await waiting == b"data"


async def test_a_handshake_that_fails_gives_its_place_back(tmp_path: Path) -> None:
    async with port(tmp_path, limit=2) as tls:
        for _ in range(5):
            tls.stall(1)
            tls.stalled[-1].sendall(b"GET / HTTP/1.1\r\n\r\n")
            await eventually(lambda: is_closed(tls.stalled[-1]))
        assert await tls.echo(b"data") == b"data"


async def test_the_end_of_listening_ends_handshakes(tmp_path: Path) -> None:
    async with port(tmp_path) as tls:
        tls.stall(2)
        await tls.echo(b"data")
        tls.listeners.close()
        for client in tls.stalled:
            # Much sooner than handshakes that stall are ended anyway.
            await eventually(lambda client=client: is_closed(client))  # type: ignore[misc]
        with pytest.raises(ConnectionRefusedError):
            await tls.echo(b"data")


def is_closed(client: socket.socket) -> bool:
    """The other side has closed; an alert may stand before."""
    client.setblocking(False)
    try:
        while client.recv(1024):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True
