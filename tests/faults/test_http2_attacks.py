"""Clients that attack with what HTTP/2 allows: their connection ends, and nobody else notices.

What counts as a flood is tried frame by frame in `tests/proxies/http2/test_limits.py`; here are sockets, an app and a
bystander.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

import pytest

from proxies.http2 import frames
from proxies.http2.errors import CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM
from proxies.http2.frames import frame, reset_frame, settings_frame, window_update_frame
from proxies.http2.hpack import EMPTY_TABLE, encode
from tests.faults.support import EXCHANGE_BYTES_MAX, MIB, PATIENCE_S, Peer, Vitals, fence, run_watched
from tests.proxies.http2.wire import headers, read_frames, request_block
from tests.support import http2
from tests.support.http import Call, running_app
from tests.support.processes import eventually
from tests.support.queue_proxy import QueueProxy, running_queue_proxy

ACKNOWLEDGED = frame(frames.SETTINGS, frames.ACK, 0)
HELLO = frames.PREFACE + settings_frame({}) + ACKNOWLEDGED
QUICK = b"GET /quick HTTP/1.1\r\nHost: h\r\n\r\n"
BURST = 100
TCP_CLOSED = 7


async def quick_or_held(call: Call) -> None:
    if call.target == "/quick":
        await call.respond(200, b"quick")
    elif call.target == "/large":
        await call.respond(200, bytes(MIB))
    elif call.target == "/huge":
        await call.respond(200, bytes(16 * MIB))
    else:
        await asyncio.Event().wait()


def held(stream_id: int, block: bytes = b"", *, done: bool = True) -> bytes:
    return headers(stream_id, request_block(path=b"/held") + block, done=done)


async def go_away(peer: Peer) -> int:
    """Read to the end of a connection; return the code of its GOAWAY."""
    data = b""
    with contextlib.suppress(ConnectionResetError):  # what was sent behind the end was not read
        while part := await peer.receive():
            data += part
    codes = [each.error_code for each in read_frames(data) if type(each).__name__ == "GoAwayFrame"]
    assert codes, "expected GOAWAY"
    return int(codes[-1])


def is_cut_off(peer: Peer) -> bool:
    """Whether the proxy has ended the connection, which a client that does not read learns of a reset only."""
    return peer.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSED


async def flood(proxy: QueueProxy, frames_of: Callable[[int], bytes], first: bytes = b"") -> int:
    """Send until nobody takes it any more, and read all the time; return the code with which the connection ended."""
    peer = await Peer.open(proxy, HELLO + first)
    reading = asyncio.ensure_future(go_away(peer))
    with contextlib.suppress(ConnectionError):
        for begin in range(0, 200_000, BURST):
            if reading.done():
                break
            await peer.send(b"".join(frames_of(number) for number in range(begin, begin + BURST)))
            await asyncio.sleep(0)
    return await reading


FLOODS = [
    pytest.param(
        lambda n: held(3 + 2 * n, EMPTY_TABLE if n < 0 else b"") + reset_frame(3 + 2 * n, CANCEL), id="resets"
    ),
    pytest.param(lambda _: settings_frame({}), id="SETTINGS"),
    pytest.param(lambda _: frame(frames.PING, 0, 0, bytes(8)), id="PING"),
    pytest.param(lambda _: frame(frames.DATA, 0, 1), id="empty DATA"),
    pytest.param(lambda _: frame(frames.PRIORITY, 0, 1, bytes(5)), id="PRIORITY"),
    pytest.param(lambda n: held(3 + 2 * n, done=False), id="streams beyond the limit"),
]


@pytest.mark.parametrize("frames_of", FLOODS)
async def test_a_flood_ends_its_connection_and_nobody_else_waits(frames_of: Callable[[int], bytes]) -> None:
    first = headers(1, EMPTY_TABLE + request_block(path=b"/held"), done=False)
    async with (
        running_app(quick_or_held) as app,
        running_queue_proxy(app.port, KNUV_USER_PROTOCOL="http1") as proxy,
        run_watched(proxy, QUICK) as watch,
    ):
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        for _ in range(3):
            assert await flood(proxy, frames_of, first) == ENHANCE_YOUR_CALM
        assert vitals.rss_bytes() - before_bytes < 8 * MIB
        client = await http2.Peer.connect(proxy.host, proxy.port)
        client.request(1, path="/quick")
        assert await client.response(1) == (200, b"quick")
        client.close()
    assert watch.slowest_s < PATIENCE_S


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(
            frame(frames.HEADERS, 0, 1, EMPTY_TABLE + request_block())
            + frame(frames.CONTINUATION, 0, 1, encode(b"a", b"x" * 16_000)) * 100,
            ENHANCE_YOUR_CALM,
            id="a header block without end",
        ),
        pytest.param(
            frame(frames.HEADERS, 0, 1, EMPTY_TABLE + request_block()) + frame(frames.CONTINUATION, 0, 1) * 1000,
            ENHANCE_YOUR_CALM,
            id="a header block in frames without end",
        ),
        pytest.param(
            headers(1, request_block() + b"\x40\x01a\x7f" + bytes.fromhex("a11e") + b"b" * 4000 + b"\xbe" * 12_000),
            ENHANCE_YOUR_CALM,
            id="a bomb in the dynamic table",
        ),
        pytest.param(headers(1, b"\x3f\xff\xff\xff\xff\x0f"), COMPRESSION_ERROR, id="a table without bound"),
    ],
)
async def test_a_costly_header_block_ends_its_connection_and_is_not_kept(sent: bytes, code: int) -> None:
    async with (
        running_app(quick_or_held) as app,
        running_queue_proxy(app.port, KNUV_USER_PROTOCOL="http1") as proxy,
        run_watched(proxy, QUICK) as watch,
    ):
        await fence(proxy)
        before_bytes = Vitals(proxy.process.pid).rss_bytes()
        hello = frames.PREFACE + settings_frame({})
        for _ in range(40):
            peer = await Peer.open(proxy)
            reading = asyncio.ensure_future(go_away(peer))
            with contextlib.suppress(ConnectionError):
                await peer.send(hello + sent)
            assert await reading == code
        assert Vitals(proxy.process.pid).rss_bytes() - before_bytes < 6 * MIB
    assert watch.slowest_s < PATIENCE_S


async def test_clients_that_open_no_window_cost_what_a_stream_may_keep_until_their_time_is_over() -> None:
    async with (
        running_app(quick_or_held) as app,
        running_queue_proxy(app.port, KNUV_USER_PROTOCOL="http1", REVISION_TIMEOUT_SECONDS="6") as proxy,
        run_watched(proxy, QUICK) as watch,
    ):
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        clients = [await http2.Peer.connect(proxy.host, proxy.port, settings={4: 0}) for _ in range(4)]
        for client in clients:
            for stream_id in range(1, 51, 2):
                client.request(stream_id, path="/large")
            for stream_id in range(1, 51, 2):
                assert (await client.fields(stream_id))[0][":status"] == "200"
        assert vitals.rss_bytes() - before_bytes < 4 * 25 * MIB // 2
        for client in clients:
            for stream_id in range(1, 51, 2):
                await client.next("RstStream", stream_id)
            client.request(51, path="/quick")
            assert (await client.fields(51))[0][":status"] == "200"
            client.close()
    assert watch.slowest_s < PATIENCE_S


async def test_clients_that_open_every_window_and_read_nothing_cost_what_an_exchange_may_keep() -> None:
    count = 8
    wide = frames.PREFACE + settings_frame({4: 1 << 30}) + window_update_frame(0, 1 << 30) + ACKNOWLEDGED
    async with (
        running_app(quick_or_held) as app,
        running_queue_proxy(app.port, KNUV_USER_PROTOCOL="http1") as proxy,
        run_watched(proxy, QUICK) as watch,
    ):
        vitals = Vitals(proxy.process.pid)
        # What the first connection of HTTP/2 costs, it costs once.
        first = await http2.Peer.connect(proxy.host, proxy.port)
        first.request(1, path="/quick")
        assert (await first.fields(1))[0][":status"] == "200"
        first.close()
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        asked = wide + headers(1, EMPTY_TABLE + request_block(path=b"/huge"))
        peers = [await Peer.open(proxy, asked, receive_bytes=4096) for _ in range(count)]
        for _ in range(100):  # far longer than the app needs to fill all buffers
            await fence(proxy)
        assert vitals.rss_bytes() - before_bytes < count * EXCHANGE_BYTES_MAX + MIB
        for peer in peers:
            peer.close()
    assert watch.slowest_s < PATIENCE_S


async def test_a_client_that_reads_nothing_is_cut_off_before_its_answers_fill_the_memory() -> None:
    async with (
        running_app(quick_or_held) as app,
        running_queue_proxy(app.port, KNUV_USER_PROTOCOL="http1") as proxy,
        run_watched(proxy, QUICK) as watch,
    ):
        vitals = Vitals(proxy.process.pid)
        await fence(proxy)
        before_bytes = vitals.rss_bytes()
        peer = await Peer.open(
            proxy, HELLO + headers(1, EMPTY_TABLE + request_block(path=b"/quick")), receive_bytes=4096
        )
        with contextlib.suppress(ConnectionError):
            for begin in range(3, 400_003, 200):
                if is_cut_off(peer):
                    break
                await peer.send(b"".join(headers(begin + 2 * n, request_block(path=b"/quick")) for n in range(100)))
                await fence(proxy)
        await eventually(lambda: is_cut_off(peer))
        assert vitals.rss_bytes() - before_bytes < 16 * MIB
        peer.close()
    assert watch.slowest_s < PATIENCE_S
