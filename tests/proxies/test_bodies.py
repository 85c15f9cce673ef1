"""`proxies/bodies.py`: where a body ends, what is refused in it, and that neither depends on how the bytes arrive."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.bodies import ChunkedBody, LengthBody, UntilCloseBody
from proxies.http1 import HttpError


def scan_in_pieces(body: LengthBody | ChunkedBody | UntilCloseBody, pieces: list[bytes]) -> tuple[bytes, bytes, bytes]:
    """Return (bytes taken, payload, bytes left over) when the pieces arrive one after the other."""
    taken, payload, rest = b"", b"", b""
    for piece in pieces:
        data = rest + piece
        if body.is_done:
            rest = data
            continue
        took = body.scan(data)
        spans = body.spans if isinstance(body, ChunkedBody) else [(0, took)]
        payload += b"".join(data[begin:end] for begin, end in spans)
        taken, rest = taken + data[:took], data[took:]
    return taken, payload, rest


def split(data: bytes, at: list[int]) -> list[bytes]:
    cuts = sorted({0, len(data), *(position % (len(data) + 1) for position in at)})
    return [data[begin:end] for begin, end in pairwise(cuts)]


@given(st.binary(max_size=60), st.lists(st.integers(0, 1000), max_size=8))
def test_any_split_of_any_bytes_gives_the_same_verdict(data: bytes, at: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> object:
        body = ChunkedBody(keeps_spans=True)
        try:
            return (*scan_in_pieces(body, pieces), body.is_done)
        except HttpError:
            return "refused"

    for prefix in (b"", b"3\r\nabc", b"0\r\n"):
        whole = outcome([prefix + data])
        pieces = outcome(split(prefix + data, at))
        # Only what is still open may be refused earlier in one form than in the other: at the next byte at the latest.
        if whole != pieces:
            assert outcome([prefix + data + b"\r\n"]) == "refused"
            assert outcome([*split(prefix + data, at), b"\r\n"]) == "refused"


REFUSED_CHUNKS: list[tuple[str, bytes]] = [
    ("no size", b"\r\n"),
    ("not hex", b"g\r\n"),
    ("signed", b"+5\r\n"),
    ("negative", b"-1\r\n"),
    ("prefixed", b"0x5\r\n"),
    ("underscore", b"1_0\r\n"),
    ("space before", b" 5\r\nabcde\r\n"),
    ("space behind", b"5 \r\nabcde\r\n"),
    ("tab behind", b"5\t\r\nabcde\r\n"),
    ("overflow", b"10000000000000000\r\n"),
    ("bare LF behind size", b"5\nabcde\r\n"),
    ("bare CR behind size", b"5\rabcde\r\n"),
    ("LF in extension", b"5;a\nb\r\n"),
    ("NUL in extension", b"5;a=\0\r\n"),
    ("open quote", b'5;a="b\r\n'),
    ("empty extension", b"5;\r\n"),
    ("data too long", b"3\r\nabcd\r\n"),
    ("data too long without a line", b"3\r\nabcd"),
    ("data too short", b"3\r\nab\r\n0\r\n"),
    ("LF behind data", b"3\r\nabc\n"),
    ("bad trailer", b"0\r\nX : y\r\n"),
    ("folded trailer", b"0\r\nX: y\r\n z\r\n"),
    ("bare LF in trailer", b"0\r\nX: y\n"),
    ("trailer forges length", b"0\r\nContent-Length: 5\r\n"),
    ("trailer forges coding", b"0\r\nTransfer-Encoding: chunked\r\n"),
    ("trailer forges host", b"0\r\nHost: x\r\n"),
    ("trailer forges a hop", b"0\r\nX-Forwarded-For: 10.0.0.1\r\n"),
    ("trailer forges Knative's own", b"0\r\nK-Original-Host: x\r\n"),
    ("trailer forges a precondition", b"0\r\nif-none-match: x\r\n"),
    ("trailer forges who asks", b"0\r\nAuthorization: x\r\n"),
    ("size line without end", b"1" * 5000),
    ("trailers without end", b"0\r\n" + b"X: " + b"y" * 70_000),
]


@pytest.mark.parametrize("data", [row[1] for row in REFUSED_CHUNKS], ids=[row[0] for row in REFUSED_CHUNKS])
def test_a_malformed_chunk_is_refused_however_it_arrives(data: bytes) -> None:
    with pytest.raises(HttpError):
        scan_in_pieces(ChunkedBody(keeps_spans=True), [data])
    if len(data) < 100:
        with pytest.raises(HttpError):
            scan_in_pieces(ChunkedBody(keeps_spans=True), [data[index : index + 1] for index in range(len(data))])


@pytest.mark.parametrize("taken", [b"", b"3\r\nabc", b"3\r\nabc\r\n"])
def test_a_chunked_body_can_be_ended_with_a_text_between_chunks(taken: bytes) -> None:
    body = ChunkedBody(keeps_spans=True)
    body.scan(taken)
    closing = body.closing(b"request timeout")
    assert closing is not None
    again = ChunkedBody(keeps_spans=True)
    payload = scan_in_pieces(again, [taken + closing])[1]
    assert again.is_done
    assert payload.endswith(b"request timeout")


def test_a_chunked_body_cannot_be_ended_within_a_chunk() -> None:
    body = ChunkedBody(keeps_spans=True)
    body.scan(b"5\r\nab")
    assert body.closing(b"request timeout") is None


def test_a_declared_length_is_taken_and_no_more() -> None:
    body = LengthBody(5)
    assert body.scan(b"abc") == 3
    assert body.scan(b"defgh") == 2
    assert body.is_done


def test_a_body_until_close_takes_all_and_is_never_done() -> None:
    body = UntilCloseBody()
    assert body.scan(b"abc") == 3
    assert not body.is_done
