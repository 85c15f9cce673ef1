"""`local_cluster/apiserver/port_forward.py` over a real WebSocket, with kubectl's half played by hand."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.local_cluster.apiserver.raw import PODS, Api, pod
from tests.local_cluster.apiserver.test_spdy import Client, control, data
from tests.support.api import RunningApiServer

PROTOCOL = "SPDY/3.1+portforward.k8s.io"
STREAMS_OPEN_MAX = 256


@pytest.fixture
async def backend(running: RunningApiServer, api: Api) -> AsyncIterator[int]:
    """A pod whose port 80 answers with what it was sent, and whose other ports are closed; its real port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read(-1))
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]

    async def dial(namespace: str, name: str, wanted: int) -> socket.socket:
        assert (namespace, name) == ("default", "a")
        if wanted != 80:
            raise ConnectionRefusedError(111, "Connection refused")
        made = socket.socket()
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", port))
        except BaseException:
            made.close()
            raise
        return made

    running.server.set_dialer(dial)
    await api.create(PODS, pod("a"))
    yield port
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def tunnel(running: RunningApiServer, *protocols: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket to the pod `a`, as kubectl makes it."""
    headers = {"Authorization": f"Bearer {running.config.token}"}
    connector = aiohttp.TCPConnector(ssl=running.config.ssl_context() or False)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        url = f"{running.config.server}{PODS}/a/portforward"
        async with session.ws_connect(url, protocols=protocols) as websocket:
            yield websocket


def opened(client: Client, first: int, port: str = "80") -> bytes:
    """The two streams of one connection."""
    common = {"port": port, "requestid": str(first)}
    return client.open(first, end=True, streamtype="error", **common) + client.open(
        first + 2, streamtype="data", **common
    )


async def frames(websocket: aiohttp.ClientWebSocketResponse, stream: int) -> bytes:
    """What comes on a stream until it ends."""
    found, held = b"", b""
    while True:
        held += await asyncio.wait_for(websocket.receive_bytes(), 5)
        while len(held) >= 8:
            first, last = struct.unpack_from("!II", held)
            body, held = held[8 : 8 + (last & 0xFFFFFF)], held[8 + (last & 0xFFFFFF) :]
            if first == stream:
                found += body
                if last >> 24 & 1:
                    return found


async def test_a_connection_is_carried_and_a_refused_one_says_why(running: RunningApiServer, backend: int) -> None:
    client = Client()
    async with tunnel(running, PROTOCOL) as websocket:
        assert websocket.protocol == PROTOCOL
        await websocket.send_bytes(opened(client, 1) + data(3, b"hello") + data(3, b"", end=True))
        assert await frames(websocket, 3) == b"got hello"
        await websocket.send_bytes(opened(client, 5, port="81"))
        assert await frames(websocket, 5) == b"an error occurred forwarding to port 81: Connection refused"
        await websocket.send_bytes(opened(client, 9, port="x"))
        assert b"an error occurred forwarding to port x: invalid literal" in await frames(websocket, 9)


async def test_connections_that_kubectl_gives_up_are_forgotten(running: RunningApiServer, backend: int) -> None:
    client = Client()
    async with tunnel(running, PROTOCOL) as websocket:
        for index in range(STREAMS_OPEN_MAX):
            reset = control(3, struct.pack("!II", 4 * index + 3, 5))
            await websocket.send_bytes(opened(client, 4 * index + 1))
            await asyncio.wait_for(websocket.receive_bytes(), 5)
            await websocket.send_bytes(reset)
        last = 4 * STREAMS_OPEN_MAX + 1
        await websocket.send_bytes(opened(client, last) + data(last + 2, b"", end=True))
        assert await frames(websocket, last + 2) == b"got "


async def test_what_is_no_such_websocket_is_refused(running: RunningApiServer, api: Api, backend: int) -> None:
    assert (await api.get(f"{PODS}/a/portforward")).status == 400
    assert (await api.get(f"{PODS}/none/portforward")).status == 404
    with pytest.raises(aiohttp.WSServerHandshakeError, match="400"):
        async with tunnel(running, "v4.channel.k8s.io"):
            pass
    async with tunnel(running, PROTOCOL) as websocket:
        await websocket.send_bytes(b"\x80\x02garbage of another version")
        assert (await asyncio.wait_for(websocket.receive(), 5)).type is aiohttp.WSMsgType.CLOSE
