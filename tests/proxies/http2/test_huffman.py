import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from proxies.http2 import huffman
from proxies.http2.errors import CompressionFault

_encoder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


@given(st.binary(max_size=200))
def test_what_the_library_encodes_is_decoded(text: bytes) -> None:
    assert huffman.decode(_encoder.encode(text)) == text


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused_and_decoded_ones_encode_to_themselves(data: bytes) -> None:
    try:
        text = huffman.decode(data)
    except CompressionFault:
        return
    assert _encoder.encode(text) == data


def test_every_symbol_by_itself() -> None:
    for symbol in range(256):
        assert huffman.decode(_encoder.encode(bytes((symbol,)))) == bytes((symbol,))


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("00000" * 8, b"0" * 8),
        ("00000" * 3 + "1", b"0" * 3),
        ("00000" * 6 + "11", b"0" * 6),
        ("00000" + "111", b"0"),
        ("00000" * 4 + "1111", b"0" * 4),
        ("00000" * 7 + "11111", b"0" * 7),
        ("00000" * 2 + "111111", b"0" * 2),
        ("00000" * 5 + "1111111", b"0" * 5),
    ],
)
def test_padding_of_none_to_seven_ones_is_taken(bits: str, text: bytes) -> None:
    assert huffman.decode(int(bits, 2).to_bytes(len(bits) // 8)) == text


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff", id="eight ones"),
        pytest.param(b"\x07\xff", id="eleven ones"),
        pytest.param(b"\x00", id="padding of zeros"),
        pytest.param(b"\x06", id="padding with a zero in it"),
        pytest.param(b"\xff\xff\xff\xfc", id="end of string alone"),
        pytest.param(b"\xff\xff\xff\xff", id="end of string and padding"),
        pytest.param(b"\x07\xff\xff\xff\xe7", id="end of string between symbols"),
    ],
)
def test_bad_padding_and_the_end_of_string_are_refused(data: bytes) -> None:
    with pytest.raises(CompressionFault):
        huffman.decode(data)


def test_the_kept_steps_are_bounded() -> None:
    for number in range(60_000):
        try:
            huffman.decode((number * 2654435761 % (1 << 40)).to_bytes(5))
        except CompressionFault:
            continue
    assert len(huffman._steps) <= huffman._STEPS_MAX
