"""`proxies/wire/stat.py`: what the recorded vectors do not show."""

import struct
from collections.abc import Callable
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.wire import stat
from proxies.wire.protobuf import bytes_field
from proxies.wire.stat import Stat, StatMessage, WireError, decode_messages, decode_stat, encode_messages, encode_stat

NUMBER = st.floats(allow_nan=False)
STAT = st.builds(
    Stat, st.text(max_size=20), NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, st.integers(-(1 << 63), (1 << 63) - 1)
)


@given(st.lists(st.builds(StatMessage, st.text(max_size=20), st.text(max_size=20), STAT), max_size=4))
def test_what_was_encoded_is_decoded(messages: list[StatMessage]) -> None:
    assert decode_messages(encode_messages(messages)) == messages


FIELDS = st.lists(
    st.one_of(
        st.builds(
            lambda tag, value: bytes([tag]) + struct.pack("<d", value), st.sampled_from([0x11, 0x19, 0x31]), NUMBER
        ),
        st.builds(lambda text: bytes([0x0A, len(text)]) + text, st.binary(max_size=127)),
        st.sampled_from([b"\x38\x05", b"\x40\x01", b"\x11", b"\x0a", b"\x0a\x90\x01" + b"x" * 144, b"\x29\x00"]),
    ),
    max_size=6,
).map(b"".join)
NAMES = st.sampled_from([b"", b"\x0a\x02ns", b"\x12\x01n", b"\x0a\x02ns\x12\x01n", b"\x12\x01n\x0a\x02ns", b"\x0a\x90"])


USUAL = b"\x0a\x02ns\x12\x01n"


def framed(content: bytes, tag: int) -> bytes:
    return bytes_field(tag >> 3, content)


@given(NAMES, st.lists(FIELDS, max_size=3), st.sampled_from([0x1A, 0x12]), st.integers(0, 3))
def test_a_glance_reads_what_a_careful_look_reads(names: bytes, stats: list[bytes], tag: int, cut: int) -> None:
    """The same messages, or the same error, with and without the layout that is read at a glance."""
    message = framed(names + b"".join(framed(each, tag) for each in stats), 0x0A)
    for data, decode in (
        *((each[: len(each) - cut], decode_stat) for each in stats),
        (message[: len(message) - cut], decode_messages),
        (message + message, decode_messages),
    ):
        assert outcome(decode, data) == carefully(decode, data)


@pytest.mark.parametrize(
    "stat_bytes",
    [
        encode_stat(Stat("n" * 127, 1.0, 2.0, 3.0, 4.0, 5.0)),
        # A name of 128 bytes that ends like a field, and eight bytes of unknown fields.
        b"\x0a\x80\x01" + b"n" * 127 + b"\x11" + b"\x40\x01" * 4,
        encode_stat(Stat("n", 1.0)) * 2,
        b"",
    ],
    ids=["a long one", "looks usual from the wrong place", "twice the same fields", "nothing"],
)
def test_a_glance_is_not_misled(stat_bytes: bytes) -> None:
    for begin in (USUAL, b"\x0a\x02ns", b"\x0a\x02ns\x22\x01n", b"\x22\x02ns\x12\x01n"):
        message = bytes_field(1, begin + bytes_field(3, stat_bytes))
        for data, decode in ((stat_bytes, decode_stat), (message, decode_messages), (message * 3, decode_messages)):
            assert outcome(decode, data) == carefully(decode, data)


@pytest.mark.parametrize("size", [0, 1, 60, 80, 81, 127])
def test_what_reporters_send_needs_no_more_than_a_glance(size: int) -> None:
    message = StatMessage("n" * size, "r" * size, Stat("p" * size, 1.0, request_count=3.0, process_uptime=5.0))
    data = encode_messages([message])
    assert stat._glance_message(data, 0) == ((message, len(data)) if size else None)


def test_a_stat_that_ends_before_its_message_is_not_read_on() -> None:
    one_double = b"\x1a\x09" + encode_stat(Stat(average_concurrent_requests=1.0))
    message = bytes_field(1, USUAL + one_double + b"\x21" + struct.pack("<d", 7.0))
    assert outcome(decode_messages, message) == carefully(decode_messages, message)


def nothing(*_: object) -> None:
    return None


def carefully(decode: Callable[[bytes], object], data: bytes) -> object:
    with mock.patch.multiple(stat, _glance_stat=nothing, _glance_message=nothing):
        return outcome(decode, data)


def outcome(decode: Callable[[bytes], object], data: bytes) -> object:
    try:
        return repr(decode(data))
    except WireError as error:
        return str(error)


@given(st.binary(max_size=80))
def test_any_bytes_are_messages_or_a_typed_error(data: bytes) -> None:
    for decode in (decode_stat, decode_messages):
        try:
            decode(data)
        except WireError:
            continue


def test_a_repeated_stat_is_merged() -> None:
    first, second = encode_stat(Stat(pod_name="a", request_count=1.0)), encode_stat(Stat(request_count=2.0))
    inner = b"".join(bytes((0x1A, len(stat))) + stat for stat in (first, second))
    assert decode_messages(bytes((0x0A, len(inner))) + inner)[0].stat == Stat(pod_name="a", request_count=2.0)


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x80" * 11, b"\x43\x0a\x01a", b"\x46", b"\x47", b"\x1a\x00\x05"]
)
def test_broken_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_messages(data)


def test_an_unknown_group_is_skipped() -> None:
    group = b"\x43" + b"\x53\x08\x01\x54" + b"\x4d\x01\x02\x03\x04" + b"\x44"
    assert decode_stat(group + encode_stat(Stat(pod_name="a"))) == Stat(pod_name="a")
