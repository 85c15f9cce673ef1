"""Who knocks at the TLS port and does not mean it: handshakes that stall, strangers, and peers that do not read."""

import asyncio
import shutil
import ssl
from pathlib import Path

import pytest

from tests.faults.support import (
    EXCHANGE_BYTES_MAX,
    GET,
    KIB,
    MIB,
    PATIENCE_S,
    Peer,
    Vitals,
    fence,
    run_watched,
)
from tests.support.certificates import Authority
from tests.support.http import Call, Client, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

TLS_PORT = 8112
NAME = "data-plane.knative.dev"
HANDSHAKE_S = 10.0
HANDSHAKE_BYTES_MAX = 128 * KIB
"""What OpenSSL and the event loop keep for one that is under way."""
TLS_BYTES_MAX = 1 * MIB
"""What they keep besides of a connection whose peer does not read, or is not read: records before they are opened, what
was in them, and room for both."""


class Mount:
    """The directory that the controller mounts, and a client's trust."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        certificate, key = authority.issue("127.0.0.1", dns=[NAME])
        self.path = folder / "certs"
        self.path.mkdir()
        shutil.copy(certificate, self.path / "tls.crt")
        shutil.copy(key, self.path / "tls.key")
        self.context = ssl.create_default_context(cafile=str(authority.ca_file))


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


async def connect(proxy: QueueProxy, mount: Mount) -> Client:
    reader, writer = await asyncio.open_connection(proxy.host, TLS_PORT, ssl=mount.context, server_hostname=NAME)
    client = Client(reader, writer)
    proxy.clients.append(client)
    return client


def client_hello(mount: Mount) -> bytes:
    """The first bytes of a handshake."""
    outgoing = ssl.MemoryBIO()
    shaking = mount.context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with pytest.raises(ssl.SSLWantReadError):
        shaking.do_handshake()
    return outgoing.read()


async def end_of(peer: Peer) -> bytes:
    """What comes until the connection is closed or reset."""
    try:
        return await peer.receive_all()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "data",
    [GET, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), bytes(1000), b"\x16\x03\x01\xff\xff" + b"\xff" * 1000],
    ids=["http", "http2", "zeros", "record"],
)
async def test_who_does_not_speak_tls_is_sent_away_at_once_and_nothing_is_logged(mount: Mount, data: bytes) -> None:
    async with running_app() as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before = vitals.open_files()
        async with run_watched(proxy) as watch:
            for _ in range(100):
                peer = await Peer.open(proxy, data, port=TLS_PORT)
                assert not (await end_of(peer)).startswith(b"HTTP/")
                peer.close()
        await eventually(lambda: vitals.open_files() <= before)
        assert watch.slowest_s < PATIENCE_S
        assert not app.calls
        assert [event["message"] for event in proxy.events] == ["listening"]


async def test_handshakes_that_stall_take_places_for_ten_seconds_and_who_is_inside_is_served(mount: Mount) -> None:
    hello = client_hello(mount)
    async with (
        running_app() as app,
        running_queue_proxy(app.port, open_files=200, KNUV_CERTIFICATES=str(mount.path)) as proxy,
    ):
        vitals = Vitals(proxy.process.pid)
        inside = await connect(proxy, mount)
        loop = asyncio.get_running_loop()
        async with run_watched(proxy, GET) as watch:
            began_s = loop.time()
            # Silent ones, ones in the middle of their hello, and ones that never finish.
            peers = [await Peer.open(proxy, hello[: size * 60], port=TLS_PORT) for size in (0, 1, 99) * 20]
            await eventually(lambda: any(event["message"] == "accept_paused" for event in proxy.events))
            for _ in range(100):
                await inside.request()
                assert (await inside.response()).body == b"hello"
            assert vitals.open_files() < 200
            # Who comes later waits until the first of them are ended, and is not refused.
            late = await connect(proxy, mount)
            await late.request()
            assert (await late.response()).body == b"hello"
            assert loop.time() - began_s < HANDSHAKE_S + 20
            assert [bool(await end_of(peer)) for peer in peers[:3]] == [False, False, True]
            for peer in peers:
                peer.close()
        assert watch.slowest_s < PATIENCE_S
        assert [event["message"] for event in proxy.events] == ["listening", "accept_paused"]


async def test_400_handshakes_under_way_cost_128_kib_each_at_most_and_leave_nothing(mount: Mount) -> None:
    hello = client_hello(mount)
    async with running_app() as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        vitals = Vitals(proxy.process.pid)
        await (await connect(proxy, mount)).request()
        await fence(proxy)
        before_bytes, before_files = vitals.rss_bytes(), vitals.open_files()
        async with run_watched(proxy) as watch:
            peers = [await Peer.open(proxy, hello, port=TLS_PORT) for _ in range(400)]
            for peer in peers:
                assert await peer.receive()
            assert vitals.rss_bytes() - before_bytes < 400 * HANDSHAKE_BYTES_MAX
            for number, peer in enumerate(peers):
                peer.reset() if number % 2 else peer.close()
        await eventually(lambda: vitals.open_files() <= before_files)
        assert watch.slowest_s < PATIENCE_S


async def test_a_client_that_does_not_read_in_tls_is_bounded(mount: Mount) -> None:
    async def pour(call: Call) -> None:
        await call.start_chunked()
        while True:
            await call.chunk(bytes(256 * KIB))

    async with running_app(pour) as app, running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy:
        vitals = Vitals(proxy.process.pid)
        # What the libraries keep for good, once.
        warm = await connect(proxy, mount)
        await warm.request()
        await warm.reader.readexactly(4 * MIB)
        warm.close()
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        clients = [await connect(proxy, mount) for _ in range(8)]
        async with run_watched(proxy) as watch:
            for client in clients:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                await client.request()
            await eventually(lambda: len(app.calls) == 9)
            await eventually(lambda: len(watch.round_trips_s) > 1000)
            assert watch.rss_bytes_max - before_bytes < 8 * (EXCHANGE_BYTES_MAX + TLS_BYTES_MAX)
        assert watch.slowest_s < PATIENCE_S


async def test_an_app_that_does_not_read_what_comes_in_tls_is_bounded(mount: Mount) -> None:
    release = asyncio.Event()

    async def stall(call: Call) -> None:
        call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await release.wait()

    async with (
        running_app(stall, read_ahead_bytes=64 * KIB) as app,
        running_queue_proxy(app.port, KNUV_CERTIFICATES=str(mount.path)) as proxy,
    ):
        vitals = Vitals(proxy.process.pid)
        (await connect(proxy, mount)).writer.write(GET)
        await eventually(lambda: len(app.calls) == 1)
        before_bytes = vitals.rss_bytes()
        clients = [await connect(proxy, mount) for _ in range(8)]
        async with run_watched(proxy) as watch:
            for client in clients:
                client.writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
                client.writer.write(bytes(16 * MIB))
            await eventually(lambda: len(app.calls) == 9)
            await eventually(lambda: len(watch.round_trips_s) > 1000)
            assert watch.rss_bytes_max - before_bytes < 8 * (EXCHANGE_BYTES_MAX + TLS_BYTES_MAX)
        assert watch.slowest_s < PATIENCE_S
        release.set()
