"""Attacks on each limit: the attacker is told to calm down, or gets no further; who behaves is not disturbed."""

import tracemalloc
from collections.abc import Callable

import pytest

from proxies.http2 import budget, errors, frames
from proxies.http2.client import ClientConnection
from proxies.http2.errors import CANCEL, ENHANCE_YOUR_CALM
from proxies.http2.frames import FRAMES_PER_SCAN, frame, reset_frame, window_update_frame
from proxies.http2.hpack import encode
from proxies.http2.memos import LIST_BYTES_MAX
from proxies.http2.server import ServerConnection
from tests.proxies.http2.wire import (
    Clock,
    RecordingOwner,
    RecordingStream,
    Sent,
    Under,
    client_under_test,
    headers,
    request_block,
    server_under_test,
)

MANY = budget.BURST + 100
HELD = headers(3, done=False)


def attack(under: Under, frames_of: Callable[[int], bytes], count: int = MANY) -> Sent:
    """Send `frames_of` each number, in reads of some size; return all that was put out."""
    put_out = b""
    for begin in range(0, count, 100):
        data = b"".join(frames_of(number) for number in range(begin, min(begin + 100, count)))
        while under.core.receive(data):
            data = b""
        put_out += under.core.take_output()
    return Sent(put_out)


FLOODS = [
    pytest.param(lambda n: headers(5 + 2 * n) + reset_frame(5 + 2 * n, CANCEL), id="rapid reset"),
    pytest.param(lambda n: headers(5 + 2 * n) + window_update_frame(5 + 2 * n, 0), id="rapid reset, made us do it"),
    pytest.param(lambda n: headers(5 + 2 * n, request_block(path=b"")), id="malformed requests"),
    pytest.param(lambda _: frames.settings_frame({}), id="SETTINGS"),
    pytest.param(lambda _: frame(frames.PING, 0, 0, bytes(8)), id="PING"),
    pytest.param(lambda _: frame(frames.PING, frames.ACK, 0, bytes(8)), id="acknowledgements of PING"),
    pytest.param(lambda _: frame(frames.DATA, 0, 3), id="empty DATA"),
    pytest.param(lambda _: frame(frames.DATA, frames.PADDED, 3, b"\1\0"), id="DATA of padding alone"),
    pytest.param(lambda _: frame(frames.DATA, 0, 1, b"x"), id="DATA on a stream that ended"),
    pytest.param(lambda _: window_update_frame(0, 1), id="WINDOW_UPDATE"),
    pytest.param(lambda _: window_update_frame(3, 1), id="WINDOW_UPDATE of a stream"),
    pytest.param(lambda _: window_update_frame(1, 1), id="WINDOW_UPDATE of a stream that ended"),
    pytest.param(lambda _: frame(frames.PRIORITY, 0, 3, bytes(5)), id="PRIORITY"),
    pytest.param(lambda _: reset_frame(1, CANCEL), id="RST_STREAM of a stream that ended"),
    pytest.param(lambda _: frames.go_away_frame(0, 0), id="GOAWAY"),
    pytest.param(lambda _: frame(0x42, 0, 0), id="unknown frames"),
]


@pytest.mark.parametrize("frames_of", FLOODS)
def test_who_floods_is_told_to_calm_down(frames_of: Callable[[int], bytes]) -> None:
    attacked, other = server_under_test(), server_under_test()
    attacked.get(HELD)
    other.get(HELD)
    attacked.core._reset_by_us.append(1)  # type: ignore[attr-defined] # late frames on it are no fault in themselves
    attacked.core._ended.clear()  # type: ignore[attr-defined]
    sent = attack(attacked, frames_of, budget.RESETS_BURST + 100)
    assert [code for _, code in sent.go_aways] == [ENHANCE_YOUR_CALM]
    assert attacked.core.is_over
    assert ("lost", 3, ENHANCE_YOUR_CALM, False) in attacked.events()
    assert other.get(frame(frames.DATA, frames.END_STREAM, 3, b"x")).go_aways == []
    assert ("data", 3, b"x", True) in other.events()


@pytest.mark.parametrize("frames_of", FLOODS)
def test_half_as_many_at_once_and_then_each_second_are_no_flood(frames_of: Callable[[int], bytes]) -> None:
    server = server_under_test()
    server.get(HELD)
    server.core._reset_by_us.append(1)  # type: ignore[attr-defined]
    server.core._ended.clear()  # type: ignore[attr-defined]
    sent = attack(server, frames_of, budget.BURST // 2 - 10)
    assert sent.go_aways == []
    for second in range(1, 4):
        server.clock.now_s += 1.0
        rate = int(budget.RATE_PER_S) // 2 - 10
        begin = budget.BURST // 2 + second * rate
        sent = attack(server, lambda n, begin=begin: frames_of(begin + n), rate)  # type: ignore[misc]
        assert sent.go_aways == []
    assert not server.core.is_over


def test_streams_above_the_limit_are_refused_and_a_flood_of_them_is_one() -> None:
    server = server_under_test()
    opened = server.get(b"".join(headers(3 + 2 * n, done=False) for n in range(260)))
    assert opened.resets == [(3 + 2 * n, errors.REFUSED_STREAM) for n in range(250, 260)]
    assert len(server.core.streams) == 250
    sent = attack(server, lambda n: headers(601 + 2 * n, done=False))
    assert [code for _, code in sent.go_aways] == [ENHANCE_YOUR_CALM]


def test_a_peer_that_measures_the_link_may_ping_as_often_as_data_goes_through() -> None:
    server = server_under_test()
    server.get(HELD)
    for _ in range(3 * MANY):
        sent = server.get(frame(frames.DATA, 0, 3, b"x") + frame(frames.PING, 0, 0, bytes(8)))
        assert len(sent.of("Ping")) == 1
    assert not server.core.is_over


def test_a_window_may_be_opened_as_often_as_we_send() -> None:
    server = server_under_test()
    server.get(HELD)
    stream = server.stream(3)
    stream.send_head(b"\x88", False)
    for _ in range(3 * MANY):
        stream.send_data(b"x", False)
        server.get(window_update_frame(0, 1) + window_update_frame(3, 1))
    assert not server.core.is_over


def test_windows_of_a_thousand_streams_may_be_opened_bit_by_bit() -> None:
    """As grpcio does where each of many streams gets a small message: five bytes first, then what is said there."""
    client = client_under_test()
    client.core.streams_max = 2 * MANY
    streams = [RecordingStream(client.core) for _ in range(MANY)]
    for stream in streams:
        client.core.open(stream, request_block(), False)  # type: ignore[union-attr]
        client.get(window_update_frame(stream.id, 25) + window_update_frame(stream.id, 5))
    for _ in range(3):
        for stream in streams:
            stream.send_data(b"x" * 25, False)
            for increment in (5, 20):
                client.get(window_update_frame(stream.id, increment) + window_update_frame(0, increment))
    assert not client.core.is_over


def test_a_client_that_resets_each_stream_behind_its_response_is_no_attacker() -> None:
    server = server_under_test()
    for stream_id in range(3, 3 + 6 * MANY, 2):
        server.get(headers(stream_id))
        server.stream(stream_id).send_head(b"\x88", True)
        server.get(reset_frame(stream_id, 0))
    assert not server.core.is_over


def test_the_frames_of_one_turn_are_bounded_so_that_others_have_theirs() -> None:
    server = server_under_test()
    assert server.core.receive(b"".join(headers(3 + 2 * n) for n in range(FRAMES_PER_SCAN + 10)))
    assert len(server.core.streams) == 250
    heard = [event for event in server.events() if event[0] == "request"]
    assert len(heard) == 250
    for stream_id in list(server.core.streams):
        server.stream(stream_id).send_head(b"\x88", True)
    assert not server.core.receive(b"")
    assert len(server.events()) == 10


def test_a_header_block_is_bounded_in_bytes() -> None:
    server = server_under_test()
    part = encode(b"a", b"x" * 16000)
    begun = frame(frames.HEADERS, 0, 3, request_block())
    sent = server.get(begun + frame(frames.CONTINUATION, 0, 3, part) * (LIST_BYTES_MAX // len(part) + 1))
    assert sent.go_aways == [(1, ENHANCE_YOUR_CALM)]


def test_a_header_block_is_bounded_in_frames() -> None:
    server = server_under_test()
    begun = frame(frames.HEADERS, 0, 3, request_block())
    sent = server.get(begun + frame(frames.CONTINUATION, 0, 3) * 200)
    assert sent.go_aways == [(1, ENHANCE_YOUR_CALM)]


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    "more",
    [
        pytest.param(encode(b"a", b"b") * 1001, id="many fields"),
        pytest.param(b"\x90" * 3000, id="many fields of a byte"),
        pytest.param(encode(b"a", b"x" * 1030) * 995, id="large fields"),
    ],
)
def test_a_head_that_is_too_large_is_answered_with_431_and_the_connection_goes_on(
    more: bytes, done: bool, settled: bool
) -> None:
    server = server_under_test(settled=settled)
    block = request_block() + more
    parts = [block[begin : begin + 16384] for begin in range(0, len(block), 16384)]
    sent = server.get(
        frame(frames.HEADERS, frames.END_STREAM if done else 0, 3, parts[0])
        + b"".join(frame(frames.CONTINUATION, 0, 3, part) for part in parts[1:])
        + frame(frames.CONTINUATION, frames.END_HEADERS, 3)
    )
    (head,) = sent.of("Headers")
    assert head.data.startswith(b"\x08\x03431")
    assert "END_STREAM" in head.flags
    assert sent.resets == [(3, errors.NO_ERROR)]
    assert server.events() == []
    server.get(headers(5))
    assert server.events() == [("request", 5, "GET", "/", True)]


def test_a_bomb_in_the_dynamic_table_ends_the_connection_before_it_is_unpacked() -> None:
    server = server_under_test(settled=False)
    bomb = request_block() + b"\x40\x01a\x7f" + bytes.fromhex("a11e") + b"b" * 4000 + b"\xbe" * 12000
    tracemalloc.start()
    try:
        sent = server.get(headers(3, bomb))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sent.go_aways == [(3, ENHANCE_YOUR_CALM)]
    assert peak < 1 << 20


def test_a_peer_that_reads_nothing_does_not_make_us_keep_what_it_asks_for() -> None:
    server = server_under_test()
    server.core.pause_writing()
    large = b"\x88" + encode(b"a", b"x" * 8000)
    put_out = 0
    for stream_id in range(3, 1003, 2):
        server.core.receive(headers(stream_id))
        if server.core.is_over:
            break
        server.stream(stream_id).send_head(large, True)
        put_out += len(server.core.take_output())
    assert server.core.fault is not None
    assert server.core.fault.code == ENHANCE_YOUR_CALM
    assert put_out < 1.1 * (1 << 20)


def test_a_window_that_stays_shut_keeps_no_more_than_was_sent_before_the_stream_was_full() -> None:
    server = server_under_test()
    server.get(frames.settings_frame({4: 0}) + HELD + headers(5))
    server.events()
    stalled, other = server.stream(3), server.stream(5)
    for stream in (stalled, other):
        stream.send_head(b"\x88", False)
    stalled.send_data(b"x" * 1000, False)
    assert server.events() == [("full", 3)]
    server.get(window_update_frame(5, 1000))
    other.send_data(b"y" * 1000, True)
    assert server.sent().body == b"y" * 1000
    stalled.reset(CANCEL)
    assert stalled.waiting_bytes == 0
    assert server.core.is_idle


def test_an_app_may_reset_as_many_streams_as_were_opened() -> None:
    client = client_under_test()
    for stream_id in range(3, 3 + 2 * (budget.RESETS_BURST + 100), 2):
        stream = RecordingStream(client.core)
        client.core.open(stream, request_block(), False)  # type: ignore[union-attr]
        client.get(reset_frame(stream.id, errors.NO_ERROR))
        assert client.events()[-1] == ("lost", stream.id, errors.NO_ERROR, False), stream_id
    assert not client.core.is_over


def test_informational_responses_without_end_are_a_flood() -> None:
    client = client_under_test()
    sent = attack(client, lambda n: headers(1, (b"" if n else b"\x20") + encode(b":status", b"103"), done=False))
    assert sent.go_aways == [(0, ENHANCE_YOUR_CALM)]
    assert client.events()[-1] == ("lost", 1, ENHANCE_YOUR_CALM, False)


def test_what_an_idle_connection_keeps() -> None:
    kept = []
    hello = frames.PREFACE + frames.settings_frame({}) + frame(frames.SETTINGS, frames.ACK, 0)
    first = headers(1, b"\x20" + request_block())
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            core = ServerConnection(RecordingOwner(), Clock(), RecordingStream)
            core.receive(hello + first)
            core.streams[1].send_head(b"\x88", True)
            core.take_output()
            kept.append(core)
        each = (tracemalloc.get_traced_memory()[0] - before) / len(kept)
    finally:
        tracemalloc.stop()
    assert each < 8192
    client = ClientConnection(RecordingOwner(), Clock())
    assert client.is_idle
