"""`autoscaler.forwarder` between real stat servers: when it connects, to whom, and what it drops."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from websockets.utils import accept_key

from autoscaler import forwarder
from autoscaler.forwarder import Forwarder, PeerAddress
from autoscaler.stat_server import StatServer
from kube.client import Client
from kube.config import ApiConfig
from kube.resolve import Resolver
from proxies.logs import Logger
from proxies.wire.stat import Stat, StatMessage
from tests.support.processes import eventually

BUCKET = "autoscaler-bucket-01-of-02"
SERVICE = f"{BUCKET}.knative-serving.svc.cluster.local"


def stat(number: float) -> StatMessage:
    return StatMessage("default", "hello-00001", Stat("activator-1", average_concurrent_requests=number))


class Peer:
    """Another replica: what it received, and how often somebody connected."""

    def __init__(self) -> None:
        self.owned = {BUCKET}
        self.received: list[float] = []
        self.handshakes = 0
        self.server = StatServer(self._take, owns_bucket=self._owns, log=Logger("peer", write=lambda line: None))

    @property
    def address(self) -> PeerAddress:
        return PeerAddress("127.0.0.1", self.server.port, SERVICE)

    def _owns(self, bucket: str) -> bool:
        self.handshakes += 1
        return bucket in self.owned

    def _take(self, message: StatMessage) -> None:
        self.received.append(message.stat.average_concurrent_requests)


class Names(Resolver):
    """A resolver that knows what the test tells it."""

    def __init__(self) -> None:
        super().__init__(Client(ApiConfig(server="https://127.0.0.1:1")), by_endpoints=False)
        self.asked: list[str] = []
        self.known: dict[str, list[tuple[str, int]]] = {}

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        self.asked.append(host)
        return self.known.get(host, [(host, port)] if host.startswith("127.") else [])


@pytest.fixture
async def names() -> Names:
    return Names()


@pytest.fixture
async def lines() -> list[bytes]:
    return []


@pytest.fixture
async def sender(names: Names, lines: list[bytes]) -> AsyncIterator[Forwarder]:
    sender = Forwarder(names, Logger("forwarder", write=lines.append))
    yield sender
    await sender.stop()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.server.start("127.0.0.1", 0)
    yield peer
    await peer.server.stop(1)


@pytest.fixture
def frozen() -> Iterator[PeerAddress]:
    """A replica whose kernel still takes connections, and which says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield PeerAddress("127.0.0.1", listener.getsockname()[1], SERVICE)


def events(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["message"] for line in lines]


async def test_the_connection_is_made_for_the_first_stat_and_kept(sender: Forwarder, peer: Peer) -> None:
    sender.set_route(BUCKET, (peer.address,))
    await asyncio.sleep(0.05)  # time in which a connection made too early would show
    assert peer.handshakes == 0
    for number in range(1, 4):
        sender.forward(BUCKET, stat(number))
        await eventually(lambda number=number: peer.received == list(range(1, number + 1)))
    assert peer.handshakes == 1


async def test_many_stats_arrive_complete_and_in_order(sender: Forwarder, peer: Peer) -> None:
    sender.set_route(BUCKET, (peer.address,))
    for number in range(999):
        sender.forward(BUCKET, stat(number))
    await eventually(lambda: len(peer.received) == 999)
    assert peer.received == list(range(999))


async def test_the_second_address_is_used_when_the_first_does_not_answer_in_half_a_second(
    sender: Forwarder, peer: Peer, names: Names, frozen: PeerAddress
) -> None:
    names.known[SERVICE] = [("127.0.0.1", peer.server.port)]
    sender.set_route(BUCKET, (frozen, PeerAddress(SERVICE, 8080, SERVICE)))
    began = time.monotonic()
    sender.forward(BUCKET, stat(1))
    await eventually(lambda: peer.received == [1])
    assert 0.45 < time.monotonic() - began < 10
    assert names.asked == ["127.0.0.1", SERVICE]


async def test_a_replica_that_does_not_hold_the_bucket_refuses_and_gets_nothing(
    sender: Forwarder, peer: Peer, lines: list[bytes]
) -> None:
    peer.owned.clear()
    sender.set_route(BUCKET, (peer.address,))
    sender.forward(BUCKET, stat(1))
    await eventually(lambda: peer.handshakes >= 2)
    assert peer.received == []
    peer.owned.add(BUCKET)
    await eventually(lambda: peer.received == [1])
    assert events(lines) == ["stats_not_forwarded", "stat_forwarding"]


async def test_stats_wait_until_somebody_is_known_to_hold_the_bucket(sender: Forwarder, peer: Peer) -> None:
    sender.forward(BUCKET, stat(1))
    sender.forward(BUCKET, stat(2))
    sender.set_route(BUCKET, (peer.address,))
    await eventually(lambda: peer.received == [1, 2])


async def test_what_waits_goes_to_the_next_holder_at_once(
    sender: Forwarder, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "_RETRY_S", 60.0)
    gone = PeerAddress("127.0.0.1", 1, SERVICE)
    sender.set_route(BUCKET, (gone,))
    sender.forward(BUCKET, stat(1))
    sender.set_route(BUCKET, (peer.address,))
    await eventually(lambda: peer.received == [1])


async def test_hearing_of_the_same_holder_again_changes_nothing(sender: Forwarder, peer: Peer) -> None:
    for number in (1, 2):
        sender.set_route(BUCKET, (peer.address,))
        sender.forward(BUCKET, stat(number))
        await eventually(lambda number=number: peer.received[-1:] == [number])
    assert peer.handshakes == 1


async def test_what_a_holder_did_not_take_any_more_is_not_lost(sender: Forwarder) -> None:
    over = asyncio.Event()
    upgraded = asyncio.Event()

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.partition(": ")[2] for line in head.splitlines() if line.startswith("Sec-WebSocket-Key"))
        answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{answer}Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n".encode())
        upgraded.set()
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(never_read, "127.0.0.1", 0)
    sender.set_route(BUCKET, (PeerAddress("127.0.0.1", server.sockets[0].getsockname()[1], SERVICE),))
    for number in range(200):
        message = stat(number)
        message.stat.pod_name = "p" * 100_000  # 20 MB in all, more than any socket buffers
        sender.forward(BUCKET, message)
    await upgraded.wait()
    sender.forward(BUCKET, stat(200))
    await asyncio.sleep(0.1)  # the frame gets stuck on its way
    unsent = [message.stat.average_concurrent_requests for message in sender.take_back(BUCKET)]
    over.set()
    server.close()
    assert unsent == list(range(201))


async def test_another_holder_gets_the_next_stat_over_another_connection(sender: Forwarder, peer: Peer) -> None:
    sender.set_route(BUCKET, (peer.address,))
    sender.forward(BUCKET, stat(1))
    await eventually(lambda: peer.received == [1])
    second = Peer()
    await second.server.start("127.0.0.1", 0)
    sender.set_route(BUCKET, (second.address,))
    sender.forward(BUCKET, stat(2))
    await eventually(lambda: second.received == [2])
    assert peer.received == [1]
    await second.server.stop(1)


async def test_a_holder_that_restarts_is_connected_to_again(sender: Forwarder, peer: Peer) -> None:
    sender.set_route(BUCKET, (peer.address,))
    sender.forward(BUCKET, stat(1))
    await eventually(lambda: peer.received == [1])
    port = peer.server.port
    await peer.server.stop(1)
    await peer.server.start("127.0.0.1", port)
    sender.forward(BUCKET, stat(2))
    await eventually(lambda: peer.received == [1, 2])


async def test_of_too_many_stats_the_oldest_go_and_that_is_told_once(
    sender: Forwarder, peer: Peer, lines: list[bytes]
) -> None:
    for number in range(1250):
        sender.forward(BUCKET, stat(number))
    sender.set_route(BUCKET, (peer.address,))
    await eventually(lambda: peer.received[-1:] == [1249])
    assert peer.received == list(range(250, 1250))
    assert events(lines).count("stats_dropped") == 1


async def test_a_stat_is_dropped_after_thirty_tries_and_younger_ones_stay(
    sender: Forwarder, peer: Peer, names: Names, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "_RETRY_S", 0.01)
    sender.set_route(BUCKET, (PeerAddress("127.0.0.1", 1, SERVICE),))
    sender.forward(BUCKET, stat(1))
    await eventually(lambda: len(names.asked) >= 20)
    sender.forward(BUCKET, stat(2))
    await eventually(lambda: "stats_dropped" in events(lines))
    assert len(names.asked) == 30
    sender.set_route(BUCKET, (peer.address,))
    await eventually(lambda: peer.received == [2])


async def test_nothing_is_tried_when_nothing_waits(
    sender: Forwarder, names: Names, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "_RETRY_S", 0.001)
    sender.set_route(BUCKET, (PeerAddress("127.0.0.1", 1, SERVICE),))
    sender.forward(BUCKET, stat(1))
    await eventually(lambda: "stats_dropped" in events(lines))
    await asyncio.sleep(0.05)  # fifty more tries, if there were any
    assert len(names.asked) == 30


async def test_a_bucket_of_our_own_gives_back_what_was_not_sent(sender: Forwarder, peer: Peer) -> None:
    sender.set_route(BUCKET, (PeerAddress("127.0.0.1", 1, SERVICE),))
    for number in range(3):
        sender.forward(BUCKET, stat(number))
    await asyncio.sleep(0)
    assert [message.stat.average_concurrent_requests for message in sender.take_back(BUCKET)] == [0, 1, 2]
    assert sender.take_back(BUCKET) == []


async def test_it_ends_while_a_holder_is_frozen(sender: Forwarder, names: Names, frozen: PeerAddress) -> None:
    sender.set_route(BUCKET, (frozen,))
    sender.forward(BUCKET, stat(1))
    await eventually(lambda: names.asked)
    async with asyncio.timeout(2):
        await sender.stop()
