"""`autoscaler.stat_server` as a client sees it: real WebSocket connections on a free port."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from autoscaler.stat_server import StatServer
from proxies.logs import Logger
from proxies.wire.stat import Stat, StatMessage, encode_messages

STAT = Stat("activator-1", average_concurrent_requests=2.5, request_count=7)


class Received:
    """What the server handed on; `until` waits for a number of stats."""

    def __init__(self) -> None:
        self.messages: list[StatMessage] = []
        self.owned = {"autoscaler-bucket-00-of-02"}
        self.lines: list[bytes] = []
        self._arrived = asyncio.Condition()

    def take(self, message: StatMessage) -> None:
        self.messages.append(message)
        asyncio.get_running_loop().create_task(self._tell()).add_done_callback(asyncio.Task.result)

    async def until(self, count: int) -> list[StatMessage]:
        async with asyncio.timeout(5), self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) >= count)
        return self.messages

    async def _tell(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()


@pytest.fixture
async def received() -> Received:
    return Received()


@pytest.fixture
async def server(received: Received) -> AsyncIterator[StatServer]:
    log = Logger("test", write=received.lines.append)
    server = StatServer(received.take, owns_bucket=received.owned.__contains__, log=log)
    await server.start("127.0.0.1", 0)
    yield server
    await server.stop(1)


def dial(server: StatServer, *, host: str | None = None, **headers: str) -> connect:
    uri = f"ws://{host or 'autoscaler.knative-serving.svc.cluster.local'}:8080/"
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return connect(uri, host="127.0.0.1", port=server.port, additional_headers=named, compression=None, proxy=None)


async def send(client: ClientConnection, *stats: Stat) -> None:
    await client.send(encode_messages([StatMessage("default", "hello-00001", stat) for stat in stats]))


async def test_81_every_stat_of_a_frame_is_delivered(server: StatServer, received: Received) -> None:
    async with dial(server) as client:
        await send(client, STAT, Stat("activator-1", request_count=1))
        first, second = await received.until(2)
    assert first == StatMessage("default", "hello-00001", STAT)
    assert second.stat.request_count == 1


async def test_81_garbage_leaves_the_connection_open(server: StatServer, received: Received) -> None:
    async with dial(server) as client:
        await client.send(b"\xff\xff\xff")
        await send(client, STAT)
        assert len(await received.until(1)) == 1


async def test_81_an_entry_without_a_stat_says_nothing(server: StatServer, received: Received) -> None:
    async with dial(server) as client:
        await send(client, Stat(), STAT)
        await received.until(1)
    assert [message.stat for message in received.messages] == [STAT]


async def test_a_message_that_is_too_large_ends_its_connection_and_no_other(
    server: StatServer, received: Received
) -> None:
    async with dial(server) as other, dial(server) as client:
        client.transport.write(b"\x82\xff" + (17 << 20).to_bytes(8, "big") + bytes(4))
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        await send(other, STAT)
        assert len(await received.until(1)) == 1


async def test_82_text_frames_are_ignored(server: StatServer, received: Received) -> None:
    async with dial(server) as client:
        await client.send("hello")
        await send(client, STAT)
        assert len(await received.until(1)) == 1
    assert sum(b"stat_frame_dropped" in line for line in received.lines) == 1


@pytest.mark.parametrize("header", [{"User_Agent": "kube-probe/1.34"}, {"K_Kubelet_Probe": "true"}])
async def test_80_a_kubelet_probe_gets_200(server: StatServer, header: dict[str, str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    name, value = next((name.replace("_", "-"), text) for name, text in header.items())
    writer.write(f"GET /anything HTTP/1.1\r\nHost: {server.port}\r\n{name}: {value}\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_83_at_shutdown_clients_are_told_to_come_back(server: StatServer) -> None:
    async with dial(server) as client:
        await server.stop(1)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "Restarting")


async def test_84_a_bucket_of_another_replica_is_not_upgraded(server: StatServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await dial(server, host="autoscaler-bucket-01-of-02.knative-serving.svc.cluster.local")
    assert refused.value.response.status_code == 200


@pytest.mark.parametrize("host", ["autoscaler", "autoscaler-bucket-00-of-02", "10.0.0.7"])
async def test_84_own_buckets_and_other_hosts_are_served(server: StatServer, received: Received, host: str) -> None:
    async with dial(server, host=host) as client:
        await send(client, STAT)
        await received.until(1)


async def test_85_pings_are_answered(server: StatServer) -> None:
    async with dial(server) as client, asyncio.timeout(5):
        await (await client.ping())


async def test_a_page_of_another_origin_is_refused(server: StatServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await dial(server, Origin="http://elsewhere.example")
    assert refused.value.response.status_code == 403


async def test_figures_that_cannot_be_true_are_dropped_and_the_others_are_not(
    server: StatServer, received: Received
) -> None:
    async with dial(server) as client:
        await send(client, Stat("activator-1", average_concurrent_requests=math.nan), STAT)
        assert [message.stat for message in await received.until(1)] == [STAT]
