"""Heads from memory are the heads that the plain versions read, whatever was read before them."""

import sys
from collections.abc import Callable

import hpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxies.http2 import memos
from proxies.http2.errors import CompressionFault, ListTooLarge, Malformed
from proxies.http2.heads import fields_of, parse_request, parse_response, parse_trailers
from proxies.http2.hpack import EMPTY_TABLE, Decoder, Pair, encode
from tests.proxies.http2.wire import REQUEST

ID = b"4bf92f35-77b3-4da6-a3ce-929d0e0e4736"
TRACE = (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
PAIRS = st.sampled_from(
    [
        *REQUEST,
        (b":status", b"200"),
        (b"x-request-id", ID),
        (b"x-request-id", b""),
        (b"x-request-id", b"a b"),
        (b"x-request-id", b"x" * 200),
        TRACE,
        (b"traceparent", b"odd one"),
        (b"accept", b"*/*"),
        (b"content-length", b"3"),
        (b"cookie", b"a=1"),
        # Look like a header of the kind that is cut out, and are parts of another one.
        (b"a", b"\x00\x0ctraceparent\x01x"),
        (b"a", b"b\x00\x0cx-request-id\x05"),
        (b"a", b"b\x00\x0btraceparent\x01x"),
        (b"a", b"\x40\x0cx-request-id\x03"),
    ]
)
LISTS = st.builds(lambda more: [*REQUEST, *more], st.lists(PAIRS, max_size=5)) | st.lists(PAIRS, max_size=8)


def block_of(pairs: list[Pair], *, huffman: bool, indexed: bool) -> bytes:
    if huffman or indexed:
        encoder = hpack.Encoder()
        encoder.header_table_size = 0
        return encoder.encode([(*pair, not indexed) for pair in pairs], huffman=huffman).removeprefix(EMPTY_TABLE)
    return b"".join(encode(*pair) for pair in pairs)


def read(parse: Callable[[], object]) -> object:
    """What is read, as far as two heads can be compared; or how it is refused."""
    try:
        head = parse()
    except (Malformed, CompressionFault, ListTooLarge) as error:
        return type(error)
    if isinstance(head, list):
        return [field.line for field in head]
    return {
        **{name: getattr(head, name) for name in ("major", "method", "target", "status") if hasattr(head, name)},
        "marks": head.marks,  # type: ignore[attr-defined]
        "length": (head.content_length, head.is_chunked),  # type: ignore[attr-defined]
        "fields": sorted((field.name, field.value, field.line) for field in head.fields),  # type: ignore[attr-defined]
    }


def plain(block: bytes) -> list[Pair]:
    it = Decoder(list_bytes_max=memos.LIST_BYTES_MAX, fields_max=1000)
    it.limit_acknowledged(0)
    return it.decode(EMPTY_TABLE + block if block[:1] != EMPTY_TABLE else block)


@given(LISTS, st.booleans(), st.booleans(), st.booleans())
@example([TRACE, *REQUEST], False, False, True)
@example([*REQUEST, TRACE, (b"x-request-id", ID)], True, False, True)
@example([*REQUEST, (b"x-request-id", ID), TRACE, TRACE], False, False, True)
def test_a_head_from_memory_is_the_plain_one(pairs: list[Pair], huffman: bool, indexed: bool, done: bool) -> None:
    block = block_of(pairs, huffman=huffman, indexed=indexed)
    expected = read(lambda: parse_request(fields_of(plain(block)), done))
    assert [read(lambda: memos.request_head(block, done)) for _ in range(3)] == [expected] * 3
    expected = read(lambda: parse_response(fields_of(plain(block))))
    assert [read(lambda: memos.response_head(block)) for _ in range(2)] == [expected] * 2
    assert read(lambda: memos.trailers(block)) == read(lambda: parse_trailers(fields_of(plain(block))))


@pytest.mark.parametrize("huffman", [False, True])
@pytest.mark.parametrize(("outer", "inner"), [(TRACE, (b"x-request-id", ID)), ((b"x-request-id", ID), TRACE)])
def test_a_header_put_anywhere_into_a_known_head_counts_only_where_it_really_is_one(
    outer: Pair, inner: Pair, huffman: bool
) -> None:
    # A field of the static table takes one byte: a seam behind each.
    known = block_of(
        [*REQUEST, *[(b"accept-encoding", b"gzip, deflate")] * 80, (b"b", b"c")], huffman=False, indexed=False
    )
    outer_block, inner_block = (block_of([pair], huffman=huffman, indexed=False) for pair in (outer, inner))
    memos.request_head(known + outer_block, True)
    with_outer = known[:-4] + outer_block + known[-4:]
    for block in (known, with_outer):
        for at in range(len(block) + 1):
            mixed = block[:at] + inner_block + block[at:]
            expected = read(lambda mixed=mixed: parse_request(fields_of(plain(mixed)), True))  # type: ignore[misc]
            assert read(lambda mixed=mixed: memos.request_head(mixed, True)) == expected, at  # type: ignore[misc]


@pytest.mark.parametrize("pair", [TRACE, (b"x-request-id", ID)])
def test_what_begins_otherwise_is_no_header_of_that_name(pair: Pair) -> None:
    known, part = block_of(REQUEST, huffman=False, indexed=False), encode(*pair)
    memos.request_head(known + part, True)
    for first in range(256):
        block = known + bytes((first,)) + part[1:]
        expected = read(lambda block=block: parse_request(fields_of(plain(block)), True))  # type: ignore[misc]
        assert read(lambda block=block: memos.request_head(block, True)) == expected, first  # type: ignore[misc]


def test_two_ids_in_one_request_stay_in_their_order_however_their_name_is_coded() -> None:
    known = block_of(REQUEST, huffman=False, indexed=False)
    packed, plainly = (
        block_of([(b"x-request-id", value)], huffman=huffman, indexed=False)
        for value, huffman in ((b"1", True), (b"2", False))
    )
    for block in (packed + plainly, plainly + packed) * 2:
        expected = parse_request(fields_of(plain(known + block)), True).get_all(b"x-request-id")
        assert memos.request_head(known + block, True).get_all(b"x-request-id") == expected


def test_heads_that_differ_in_their_ids_alone_share_what_is_derived() -> None:
    def head(number: int) -> bytes:
        return b"".join(
            encode(*pair)
            for pair in [
                *REQUEST,
                (b"x-request-id", b"id-%d" % number),
                (b"accept", b"shared"),
                (b"traceparent", b"00-%032x-%016x-01" % (number, number)),
            ]
        )

    one, other = memos.request_head(head(1), True), memos.request_head(head(2), True)
    assert one is not other
    assert one.derived is other.derived
    assert one.core is other.core
    assert other.get(b"x-request-id") == b"id-2"
    assert other.get(b"traceparent") == b"00-%032x-%016x-01" % (2, 2)
    assert memos.request_head(head(1), False).derived is not one.derived


def test_a_list_beyond_its_bounds_is_too_large_however_small_its_block_is() -> None:
    request = b"".join(encode(*pair) for pair in REQUEST)
    with pytest.raises(ListTooLarge):
        memos.request_head(request + encode(b"a", b"b") * 1000, True)
    with pytest.raises(ListTooLarge):
        memos.request_head(request + encode(b"a", b"b" * memos.LIST_BYTES_MAX), True)
    # "0" takes five bits in the Huffman code.
    zeros = memos.LIST_BYTES_MAX - memos.LIST_BYTES_MAX % 8
    packed = bytes(zeros * 5 // 8)
    literal = b"\x00\x01a" + b"\xff" + _octets(len(packed) - 127) + packed
    with pytest.raises(ListTooLarge):
        memos.request_head(request + literal, True)


def _octets(value: int) -> bytes:
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(3000):
        more = encode(b"x", b"%d" % number)
        request = b"".join(encode(*pair) for pair in REQUEST) + more
        memos.request_head(request, True)
        memos.request_head(request + encode(b"x-request-id", b"%d" % number), True)
        memos.response_head(encode(b":status", b"200") + more)
    for memo in (memos._whole_requests, memos._whole_cores, memos._responses):
        assert 0 < len(memo) <= memos._HEADS_MAX  # type: ignore[arg-type]
    assert 0 < len(memos._fields) <= memos._FIELDS_IN_MEMO_MAX


def test_a_head_of_very_many_fields_takes_no_more_than_some_bytes_each() -> None:
    request = b"".join(encode(*pair) for pair in REQUEST) + encode(b"accept-encoding", b"gzip, deflate") * 900
    memos.request_head(request + encode(b"x-request-id", b"many"), True)
    assert sys.getsizeof(memos._whole_cores[request].cuts) < 4096
