"""Frames: laws of the scanner, what it refuses, and what it writes, as the `hyperframe` library reads it."""

import hyperframe.frame as theirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.http2 import frames
from proxies.http2.errors import FRAME_SIZE_ERROR, PROTOCOL_ERROR, ConnectionFault
from proxies.http2.frames import FrameScanner, ReceivedFrame, frame, unpadded

FRAMES = st.tuples(
    st.sampled_from([frames.DATA, frames.HEADERS, frames.CONTINUATION, 0x42]),
    st.integers(0, 255),
    st.integers(1, frames.STREAM_ID_MAX),
    st.binary(max_size=100) | st.just(b"x" * 16384),
)


def scan_all(scanner: FrameScanner, data: bytes) -> list[ReceivedFrame]:
    found = scanner.scan(data)
    while scanner.has_more:
        found += scanner.scan(b"")
    return found


@given(st.lists(FRAMES, max_size=10), st.lists(st.integers(1, 40), max_size=40))
def test_any_split_of_the_bytes_gives_the_same_frames(sent: list[ReceivedFrame], sizes: list[int]) -> None:
    data = b"".join(frame(*each) for each in sent)
    assert scan_all(FrameScanner(), data) == sent
    scanner = FrameScanner()
    found = []
    for size in sizes:
        found += scan_all(scanner, data[:size])
        data = data[size:]
    found += scan_all(scanner, data)
    assert found == sent
    assert not scanner.is_within_frame


def test_byte_by_byte() -> None:
    sent: list[ReceivedFrame] = [(0, 1, 3, b"abc"), (1, 4, 5, b""), (0x42, 0, 0, b"x" * 300)]
    scanner = FrameScanner()
    found = []
    for byte in b"".join(frame(*each) for each in sent):
        found += scanner.scan(bytes((byte,)))
    assert found == sent


def test_a_scan_returns_so_many_frames_and_goes_on_from_there() -> None:
    scanner = FrameScanner()
    data = frame(frames.DATA, 0, 1, b"a") * 2500 + b"\0"
    assert len(scanner.scan(data)) == frames.FRAMES_PER_SCAN
    assert scanner.has_more
    assert len(scanner.scan(b"\0\x01\x01\x04\0\0\0\x01z")) == frames.FRAMES_PER_SCAN
    assert scanner.scan(b"")[-2:] == [(frames.DATA, 0, 1, b"a"), (frames.HEADERS, 4, 1, b"z")]
    assert not scanner.has_more
    assert not scanner.is_within_frame


def test_the_reserved_bit_is_ignored() -> None:
    assert FrameScanner().scan(b"\0\0\0\0\0\x80\0\0\x01") == [(0, 0, 1, b"")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\0\x40\x01\0\0\0\0\0\x01", FRAME_SIZE_ERROR, id="too large, before its payload"),
        pytest.param(b"\xff\xff\xff\x42\0\0\0\0\x01", FRAME_SIZE_ERROR, id="unknown type, too large"),
        pytest.param(frame(frames.DATA, 0, 0, b"a"), PROTOCOL_ERROR, id="DATA on the connection"),
        pytest.param(frame(frames.HEADERS, 4, 0, b"\x82"), PROTOCOL_ERROR, id="HEADERS on the connection"),
        pytest.param(frame(frames.PRIORITY, 0, 0, b"12345"), PROTOCOL_ERROR, id="PRIORITY on the connection"),
        pytest.param(frame(frames.RST_STREAM, 0, 0, b"1234"), PROTOCOL_ERROR, id="RST_STREAM on the connection"),
        pytest.param(frame(frames.PUSH_PROMISE, 4, 0, b"1234"), PROTOCOL_ERROR, id="PUSH_PROMISE on the connection"),
        pytest.param(frame(frames.CONTINUATION, 4, 0), PROTOCOL_ERROR, id="CONTINUATION on the connection"),
        pytest.param(frame(frames.SETTINGS, 0, 1), PROTOCOL_ERROR, id="SETTINGS on a stream"),
        pytest.param(frame(frames.PING, 0, 1, b"12345678"), PROTOCOL_ERROR, id="PING on a stream"),
        pytest.param(frame(frames.GOAWAY, 0, 1, b"12345678"), PROTOCOL_ERROR, id="GOAWAY on a stream"),
        pytest.param(frame(frames.SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR, id="SETTINGS of 5 bytes"),
        pytest.param(frame(frames.SETTINGS, 1, 0, b"123456"), FRAME_SIZE_ERROR, id="ACK of SETTINGS with some"),
        pytest.param(frame(frames.PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR, id="PING of 7 bytes"),
        pytest.param(frame(frames.GOAWAY, 0, 0, b"1234567"), FRAME_SIZE_ERROR, id="GOAWAY of 7 bytes"),
        pytest.param(frame(frames.RST_STREAM, 0, 1, b"12345"), FRAME_SIZE_ERROR, id="RST_STREAM of 5 bytes"),
        pytest.param(frame(frames.WINDOW_UPDATE, 0, 1, b"123"), FRAME_SIZE_ERROR, id="WINDOW_UPDATE of 3 bytes"),
    ],
)
def test_a_frame_that_breaks_the_connection_is_told_behind_the_frames_before_it(data: bytes, code: int) -> None:
    with pytest.raises(ConnectionFault) as caught:
        FrameScanner().scan(data)
    assert caught.value.code == code
    scanner = FrameScanner()
    assert scanner.scan(frame(frames.DATA, 0, 1, b"a") + data) == [(frames.DATA, 0, 1, b"a")]
    assert scanner.has_more
    with pytest.raises(ConnectionFault):
        scanner.scan(b"")


@pytest.mark.parametrize(
    ("flags", "payload", "rest"),
    [
        (frames.PADDED, b"\0abc", b"abc"),
        (frames.PADDED, b"\2abc", b"a"),
        (frames.PADDED, b"\3abc", b""),
        (frames.HAS_PRIORITY, b"12345abc", b"abc"),
        (frames.HAS_PRIORITY, b"12345", b""),
        (frames.PADDED | frames.HAS_PRIORITY, b"\x0212345abc", b"a"),
        (frames.PADDED | frames.HAS_PRIORITY, b"\x0312345abc", b""),
    ],
)
def test_padding_and_priority_are_taken_off(flags: int, payload: bytes, rest: bytes) -> None:
    assert unpadded(flags, payload) == rest


@pytest.mark.parametrize(
    ("flags", "payload", "code"),
    [
        (frames.PADDED, b"", FRAME_SIZE_ERROR),
        (frames.PADDED, b"\1", PROTOCOL_ERROR),
        (frames.PADDED, b"\4abc", PROTOCOL_ERROR),
        (frames.HAS_PRIORITY, b"1234", FRAME_SIZE_ERROR),
        (frames.PADDED | frames.HAS_PRIORITY, b"\x0412345abc", PROTOCOL_ERROR),
    ],
)
def test_padding_that_does_not_fit_is_a_fault(flags: int, payload: bytes, code: int) -> None:
    with pytest.raises(ConnectionFault) as caught:
        unpadded(flags, payload)
    assert caught.value.code == code


def read(data: bytes) -> list[theirs.Frame]:
    found = []
    while data:
        each, length = theirs.Frame.parse_frame_header(memoryview(data[:9]))
        each.parse_body(memoryview(data[9 : 9 + length]))
        found.append(each)
        data = data[9 + length :]
    return found


def test_what_is_written_is_read_by_the_library() -> None:
    (settings,) = read(frames.settings_frame({1: 0, 3: 250}))
    assert isinstance(settings, theirs.SettingsFrame)
    assert settings.settings == {1: 0, 3: 250}
    (reset,) = read(frames.reset_frame(7, 8))
    assert isinstance(reset, theirs.RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (7, 8)
    (update,) = read(frames.window_update_frame(9, 1000))
    assert isinstance(update, theirs.WindowUpdateFrame)
    assert (update.stream_id, update.window_increment) == (9, 1000)
    (away,) = read(frames.go_away_frame(11, 1, b"why"))
    assert isinstance(away, theirs.GoAwayFrame)
    assert (away.last_stream_id, away.error_code, away.additional_data) == (11, 1, b"why")


@pytest.mark.parametrize(
    ("size", "sizes"), [(0, [0]), (10, [10]), (11, [10, 1]), (20, [10, 10]), (31, [10, 10, 10, 1])]
)
@pytest.mark.parametrize("is_done", [False, True])
def test_a_long_block_goes_on_in_continuations(size: int, sizes: list[int], is_done: bool) -> None:
    block = bytes(range(size))
    head, *more = read(frames.head_frames(5, block, is_done, 10))
    assert isinstance(head, theirs.HeadersFrame)
    assert ("END_STREAM" in head.flags) is is_done
    found = [head, *more]
    assert [len(each.data) for each in found] == sizes
    assert b"".join(each.data for each in found) == block
    assert [each.stream_id for each in found] == [5] * len(sizes)
    assert ["END_HEADERS" in each.flags for each in found] == [False] * (len(sizes) - 1) + [True]
    assert all(isinstance(each, theirs.ContinuationFrame) for each in more)
