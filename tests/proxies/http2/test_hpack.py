"""Header compression: the examples of RFC 7541 appendix C, laws against the `hpack` library, and each refusal."""

import hpack
import pytest
from hpack.table import HeaderTable
from hypothesis import given
from hypothesis import strategies as st

from proxies.http2.errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, CompressionFault, ConnectionFault, ListTooLarge
from proxies.http2.hpack import Decoder, Pair, encode, field_of, split
from proxies.http2.static_table import PAIRS


def decoder(*, list_bytes_max: int = 1 << 20, fields_max: int = 1000) -> Decoder:
    return Decoder(list_bytes_max=list_bytes_max, fields_max=fields_max)


def emptied(**bounds: int) -> Decoder:
    """A decoder whose peer has acknowledged and emptied a table without room."""
    it = decoder(**bounds)
    it.limit_acknowledged(0)
    assert it.decode(b"\x20") == []
    assert it.is_context_free
    return it


def whole(encoded: bytes) -> list[Pair]:
    """What a block says that is read part by part."""
    return [field_of(part) for part in split(encoded, 1000)]


def block(text: str) -> bytes:
    return bytes.fromhex(text)


REQUEST_1 = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
REQUEST_2 = [*REQUEST_1, (b"cache-control", b"no-cache")]
REQUEST_3 = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/index.html"),
    (b":authority", b"www.example.com"),
    (b"custom-key", b"custom-value"),
]
RESPONSE_1 = [
    (b":status", b"302"),
    (b"cache-control", b"private"),
    (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
    (b"location", b"https://www.example.com"),
]
RESPONSE_2 = [(b":status", b"307"), *RESPONSE_1[1:]]
RESPONSE_3 = [
    (b":status", b"200"),
    (b"cache-control", b"private"),
    (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT"),
    (b"location", b"https://www.example.com"),
    (b"content-encoding", b"gzip"),
    (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        pytest.param(
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header"), id="C.2.1"
        ),
        pytest.param("040c2f73616d706c652f70617468", (b":path", b"/sample/path"), id="C.2.2"),
        pytest.param("100870617373776f726406736563726574", (b"password", b"secret"), id="C.2.3"),
        pytest.param("82", (b":method", b"GET"), id="C.2.4"),
    ],
)
def test_representations_of_appendix_c_2(text: str, pair: Pair) -> None:
    assert decoder().decode(block(text)) == [pair]
    assert whole(block(text)) == [pair]


@pytest.mark.parametrize(
    ("capacity", "steps"),
    [
        pytest.param(
            4096,
            [
                ("828684410f7777772e6578616d706c652e636f6d", REQUEST_1),
                ("828684be58086e6f2d6361636865", REQUEST_2),
                ("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", REQUEST_3),
            ],
            id="C.3 requests without Huffman",
        ),
        pytest.param(
            4096,
            [
                ("828684418cf1e3c2e5f23a6ba0ab90f4ff", REQUEST_1),
                ("828684be5886a8eb10649cbf", REQUEST_2),
                ("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", REQUEST_3),
            ],
            id="C.4 requests with Huffman",
        ),
        pytest.param(
            256,
            [
                (
                    (
                        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
                        "6e1768747470733a2f2f7777772e6578616d706c652e636f6d"
                    ),
                    RESPONSE_1,
                ),
                ("4803333037c1c0bf", RESPONSE_2),
                (
                    (
                        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d"
                        "4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273"
                        "696f6e3d31"
                    ),
                    RESPONSE_3,
                ),
            ],
            id="C.5 responses without Huffman",
        ),
        pytest.param(
            256,
            [
                (
                    (
                        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97"
                        "c8e9ae82ae43d3"
                    ),
                    RESPONSE_1,
                ),
                ("4883640effc1c0bf", RESPONSE_2),
                (
                    (
                        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd"
                        "5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
                    ),
                    RESPONSE_3,
                ),
            ],
            id="C.6 responses with Huffman",
        ),
    ],
)
def test_sequences_of_appendix_c(capacity: int, steps: list[tuple[str, list[Pair]]]) -> None:
    it = decoder()
    if capacity != 4096:
        it.decode(block("3fe101"))  # a size update to 256
    for text, pairs in steps:
        assert it.decode(block(text)) == pairs


def test_the_static_table_is_the_librarys() -> None:
    assert PAIRS[1:] == HeaderTable.STATIC_TABLE


NAMES = st.sampled_from([pair[0] for pair in PAIRS[1:]]) | st.binary(min_size=1, max_size=20)
VALUES = st.sampled_from([pair[1] for pair in PAIRS[1:]]) | st.binary(max_size=60) | st.binary(max_size=5000)
LISTS = st.lists(st.tuples(NAMES, VALUES), max_size=30)


@given(st.lists(LISTS, max_size=5), st.booleans(), st.sampled_from([0, 64, 256, 4096]))
def test_blocks_of_the_library_are_decoded_in_their_order(lists: list[list[Pair]], huffman: bool, room: int) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = room
    it = decoder()
    for pairs in lists:
        assert it.decode(encoder.encode(pairs, huffman=huffman)) == pairs


@given(LISTS, LISTS, LISTS, st.booleans())
def test_a_block_from_before_the_acknowledgement_is_decoded_and_later_ones_stand_for_themselves(
    first: list[Pair], second: list[Pair], third: list[Pair], huffman: bool
) -> None:
    encoder, it = hpack.Encoder(), decoder()
    assert it.decode(encoder.encode(first, huffman=huffman)) == first
    assert not it.is_context_free
    encoder.header_table_size = 0
    it.limit_acknowledged(0)
    for pairs in (second, third):
        encoded = encoder.encode(pairs, huffman=huffman)
        assert it.decode(encoded) == pairs
        assert it.is_context_free
        assert whole(encoded) == pairs


@given(LISTS)
def test_what_is_encoded_is_read_by_the_library(pairs: list[Pair]) -> None:
    theirs = hpack.Decoder(max_header_list_size=1 << 24)
    encoded = b"".join(encode(*pair) for pair in pairs)
    assert [tuple(pair) for pair in theirs.decode(encoded, raw=True)] == pairs
    assert whole(encoded) == pairs
    assert len(theirs.header_table.dynamic_entries) == 0


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes_are_read_as_the_library_reads_them(blocks: list[bytes]) -> None:
    it, theirs = decoder(), hpack.Decoder()
    for data in blocks:
        try:
            expected = [tuple(pair) for pair in theirs.decode(data, raw=True)]
        except hpack.HPACKError:
            with pytest.raises(CompressionFault):
                it.decode(data)
            return
        try:
            assert it.decode(data) == expected
        except CompressionFault as fault:
            reason = str(fault)
        else:
            continue
        assert "at most 2" in reason or "octets" in reason, "the library knows no such bound"
        return


@given(st.binary(max_size=60))
def test_split_and_field_of_read_what_the_plain_decoder_reads(data: bytes) -> None:
    try:
        expected = emptied().decode(data)
    except CompressionFault:
        with pytest.raises(CompressionFault):
            whole(data)
    else:
        assert whole(data) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("80", "index", id="index 0"),
        pytest.param("be", "index", id="index behind the empty dynamic table"),
        pytest.param("ff", "integer", id="integer without its octets"),
        pytest.param("ff80808080808001", "integer", id="integer of too many octets"),
        pytest.param("40", "string", id="no name"),
        pytest.param("4001", "string of 1", id="name cut off"),
        pytest.param("400161", "string", id="no value"),
        pytest.param("4001610262", "string of 2", id="value cut off"),
        pytest.param("8220", "beginning", id="size update behind a field"),
        pytest.param("202020", "at most 2", id="three size updates"),
        pytest.param("3fe21f", "at most 4096", id="size update beyond the limit"),
        pytest.param("7e0161", "index", id="name index behind the empty dynamic table"),
        pytest.param("04010040016181ff", "Huffman", id="padding of a byte"),
    ],
)
def test_a_broken_block_is_a_compression_error(text: str, reason: str) -> None:
    with pytest.raises(CompressionFault, match=reason) as caught:
        decoder().decode(block(text))
    assert caught.value.code == COMPRESSION_ERROR
    with pytest.raises(CompressionFault):
        whole(block(text))


def test_the_table_stays_in_use_until_its_peer_says_that_it_is_smaller_not_when_it_acknowledges_that() -> None:
    it = decoder()
    assert it.decode(b"\x40\x01a\x01b") == [(b"a", b"b")]
    it.limit_acknowledged(0)
    assert it.decode(b"\x40\x01c\x01d\xbf") == [(b"c", b"d"), (b"a", b"b")]
    assert not it.is_context_free
    assert it.decode(b"\x20\x82") == [(b":method", b"GET")]
    assert it.is_context_free
    with pytest.raises(CompressionFault, match="index"):
        it.decode(b"\xbe")


def test_a_table_that_stays_in_use_stays_as_small_as_it_was() -> None:
    it = decoder()
    it.limit_acknowledged(0)
    assert it.decode(b"\x40\x01a" + block("7fa11e") + b"x" * 4000) == [(b"a", b"x" * 4000)]
    assert it.decode(b"\x40\x01c" + block("7fa11e") + b"y" * 4000) == [(b"c", b"y" * 4000)]
    with pytest.raises(CompressionFault, match="index"):
        it.decode(b"\xbf")


def test_a_table_that_is_small_already_need_not_be_announced_again() -> None:
    it = decoder()
    assert it.decode(b"\x20\x82") == [(b":method", b"GET")]
    it.limit_acknowledged(0)
    assert it.decode(b"\x82") == [(b":method", b"GET")]
    assert it.is_context_free


def test_after_the_acknowledgement_the_table_stays_without_room() -> None:
    it = emptied()
    with pytest.raises(CompressionFault, match="at most 0"):
        it.decode(b"\x21\x82")
    with pytest.raises(CompressionFault):
        split(b"\x21\x82", 10)
    assert it.decode(b"\x40\x01a\x01b") == [(b"a", b"b")]
    with pytest.raises(CompressionFault):
        it.decode(b"\xbe")


def test_an_entry_larger_than_the_table_empties_it() -> None:
    it = decoder()
    assert it.decode(b"\x40\x01a\x01b\xbe") == [(b"a", b"b")] * 2
    large = b"x" * 5000
    assert it.decode(b"\x40\x01a\x7f" + block("8926") + large) == [(b"a", large)]
    with pytest.raises(CompressionFault):
        it.decode(b"\xbe")


@pytest.mark.parametrize("size", [126, 127, 128, 254, 255, 256, 16383, 16384, 1 << 20])
def test_lengths_of_every_number_of_octets_are_encoded(size: int) -> None:
    value = b"v" * size
    assert decoder(list_bytes_max=1 << 21).decode(encode(b"n" * min(size, 300), value)) == [
        (b"n" * min(size, 300), value)
    ]


def test_a_bomb_of_one_large_entry_is_refused_before_it_is_unpacked() -> None:
    it = decoder(list_bytes_max=1 << 20)
    bomb = encode(b"a", b"b" * 4000)
    bomb = b"\x40" + bomb[1:] + b"\xbe" * 100_000
    with pytest.raises(ConnectionFault) as caught:
        it.decode(bomb)
    assert caught.value.code == ENHANCE_YOUR_CALM


@pytest.mark.parametrize("more", [encode(b"c", b"d") * 10, encode(b"c", b"d" * 100)])
def test_behind_a_list_beyond_its_bounds_the_dynamic_table_is_right(more: bytes) -> None:
    it = decoder(list_bytes_max=120, fields_max=3)
    added = b"\x40" + encode(b"a", b"b")[1:]
    with pytest.raises(ListTooLarge):
        it.decode(more + added)
    assert it.decode(b"\xbe") == [(b"a", b"b")]


def test_the_list_is_bounded_in_bytes_and_in_fields() -> None:
    assert len(emptied(list_bytes_max=34 * 3).decode(encode(b"a", b"b") * 3)) == 3
    with pytest.raises(ListTooLarge):
        emptied(list_bytes_max=34 * 3 - 1).decode(encode(b"a", b"b") * 3)
    assert len(emptied(fields_max=3).decode(b"\x82" * 3)) == 3
    with pytest.raises(ListTooLarge):
        emptied(fields_max=3).decode(b"\x82" * 4)
    with pytest.raises(ListTooLarge):
        split(b"\x82" * 4, 3)
