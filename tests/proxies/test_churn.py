"""Apps that restart, refuse, go away and change their minds, clients that leave: in the end nothing is left of it."""

import asyncio
import gc
import random
import socket
from collections import Counter
from contextlib import suppress

import pytest

from proxies.exchange import Exchange
from proxies.http2 import frames
from proxies.http2.errors import CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM
from proxies.http2.frames import go_away_frame, settings_frame
from proxies.pool import Pool
from proxies.server import Server
from proxies.timeouts import TimeoutLimits
from proxies.upstream_http2 import Http2Upstream
from tests.proxies.test_server import EDITS, Policy
from tests.support.http import Client
from tests.support.http2 import WIDE, Peer
from tests.support.processes import eventually

SEEDS = range(6)
ACTIONS = 120
STREAMS_MAX = 3


class Stream(Peer):
    """The app's end of a connection of HTTP/2, with a will of its own."""

    app: "App"

    def _take(self, data: bytes) -> None:
        super()._take(data)
        each = self.frames.pop()
        if type(each).__name__ == "HeadersFrame":
            self.requested(each.stream_id)

    def requested(self, stream_id: int) -> None:
        app = self.app
        if app.is_good:
            return self.head(stream_id, (":status", "200"), done=True)
        match app.random.randrange(14):
            case 0 | 1 | 2 | 3:
                self.head(stream_id, (":status", "200"), done=True)
            case 4 | 5:
                self.head(stream_id, (":status", "200"), ("content-length", "3"))
                self.data(stream_id, b"abc", done=True)
            case 6:
                self.reset(stream_id, app.random.choice([REFUSED_STREAM, REFUSED_STREAM, CANCEL, INTERNAL_ERROR]))
            case 7:
                self.head(stream_id, (":status", "200"))
                self.data(stream_id, b"part")
            case 8:
                self.head(stream_id, (":status", "200"), ("content-length", "9"))
                self.reset(stream_id, INTERNAL_ERROR)
            case 9:
                self.send(go_away_frame(max(0, stream_id - 2 * app.random.randrange(3)), NO_ERROR, b"restart"))
            case 10:
                self.send(go_away_frame(stream_id, ENHANCE_YOUR_CALM, b"calm"))
                self.leave()
            case 11:
                self.leave()
            case 12:
                self.send(settings_frame({3: app.random.choice([0, 1, 2, 100])}))
                self.head(stream_id, (":status", "200"), done=True)
            case _:
                pass  # for ever
        return None

    def leave(self) -> None:
        self._writer.close()


class App:
    """Speaks either version, and restarts on its port."""

    def __init__(self, rand: random.Random) -> None:
        self.random = rand
        self.is_good = False
        # Bound all the time, lest somebody else take the port while nobody listens there.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port = self._place.getsockname()[1]
        self.peers: list[Stream] = []
        self.writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self.accepted, "127.0.0.1", self.port, reuse_address=True)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self.writers:
            writer.transport.abort()
        for peer in self.peers:
            peer.close()
        self.peers.clear()

    def close(self) -> None:
        self.stop()
        self._place.close()

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        if not self.is_good and not self.random.randrange(12):
            writer.close()
            return
        with suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(3) == frames.PREFACE[:3]:
                await reader.readexactly(len(frames.PREFACE) - 3)
                peer = Stream(reader, writer)
                peer.app = self
                streams_max = 100 if self.is_good else self.random.choice([0, 1, STREAMS_MAX, 100, 100])
                peer.send(settings_frame({3: streams_max, 4: WIDE}))
                peer.start()
                self.peers.append(peer)
            else:
                await self._speak_http1(reader, writer)
                writer.close()

    async def _speak_http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            match 0 if self.is_good else self.random.randrange(8):
                case 0 | 1 | 2 | 3:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                case 4:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
                case 5:
                    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                case 6:
                    return
                case _:
                    pass  # for ever


class Churn:
    """Acts at random between the proxy's clients and its app."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.app = App(random.Random(seed + 1))
        self.clients: list[tuple[Peer, int]] = []
        self.plain: list[Client] = []

    async def act(self, port: int) -> None:
        rand = self.random
        match rand.randrange(12):
            case 0:
                self.clients.append((await Peer.connect("127.0.0.1", port), 1))
            case 1 | 2 | 3 | 4 | 5 if self.clients:
                number = rand.randrange(len(self.clients))
                client, stream_id = self.clients[number]
                count = rand.randrange(1, 12)
                for each in range(stream_id, stream_id + 2 * count, 2):
                    method = rand.choice(["GET", "POST"])
                    done = rand.random() < 0.8
                    client.request(each, ("x-request-id", str(each)), method=method, done=done)
                    if not done:
                        client.data(each, b"body", done=rand.random() < 0.5)
                    if rand.random() < 0.2:
                        client.reset(each, CANCEL)
                self.clients[number] = (client, stream_id + 2 * count)
            case 6 if self.clients:
                self.clients.pop(rand.randrange(len(self.clients)))[0].close()
            case 7 | 8:
                self.plain.append(await Client.open("127.0.0.1", port))
                # One: behind a pipelined one nobody hears that the client has hung up.
                await self.plain[-1].send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            case 9 if self.plain:
                self.plain.pop(rand.randrange(len(self.plain))).close()
            case 10:
                self.app.stop()
            case _:
                await self.app.start()
        for _ in range(rand.randrange(4)):
            await asyncio.sleep(0)

    def leave(self) -> None:
        for client, _ in self.clients:
            client.close()
        for plain in self.plain:
            plain.close()


def alive() -> Counter[str]:
    gc.collect()
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, Exchange | Http2Upstream))


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_left_of_any_churn(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxies.pool._DIALS_MAX", 3)
    loop = asyncio.get_running_loop()
    before = alive()
    churn = Churn(seed)
    await churn.app.start()
    pool = Pool(loop, idle_s=0.4)
    policy = Policy(pool.endpoint("127.0.0.1", churn.app.port))
    server = Server(loop, policy, takes_http2=True)
    admitted = ended = 0

    def admit(exchange: Exchange) -> None:
        nonlocal admitted
        admitted += 1
        exchange.limit(TimeoutLimits(max_duration_s=60))
        exchange.forward(policy.endpoint, EDITS)

    def end(exchange: Exchange) -> None:
        nonlocal ended
        ended += 1

    policy.decide = admit
    policy.ended = end  # type: ignore[method-assign]
    port = await server.listen("127.0.0.1", 0)
    try:
        for _ in range(ACTIONS):
            await churn.act(port)
        churn.leave()
        churn.app.stop()
        # The last clients may be accepted when they have left.
        await eventually(lambda: not (server.active or pool._dials or pool.connections) and alive() <= before)
        assert ended == admitted
        # And it still works.
        churn.app.is_good = True
        await churn.app.start()
        client = await Peer.connect("127.0.0.1", port)
        for stream_id in range(1, 21, 2):
            client.request(stream_id)
        for stream_id in range(1, 21, 2):
            assert await client.response(stream_id) == (200, b"")
        client.close()
    finally:
        churn.leave()
        churn.app.close()
        await server.stop(tunnel_grace_s=1.0)
        await pool.close()
        await asyncio.sleep(0)
