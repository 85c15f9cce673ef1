"""`proxies/wire/stat.py`: what the recorded vectors do not show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.wire.stat import Stat, StatMessage, WireError, decode_messages, decode_stat, encode_messages, encode_stat

NUMBER = st.floats(allow_nan=False)
STAT = st.builds(
    Stat, st.text(max_size=20), NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, st.integers(-(1 << 63), (1 << 63) - 1)
)


@given(st.lists(st.builds(StatMessage, st.text(max_size=20), st.text(max_size=20), STAT), max_size=4))
def test_what_was_encoded_is_decoded(messages: list[StatMessage]) -> None:
    assert decode_messages(encode_messages(messages)) == messages


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
