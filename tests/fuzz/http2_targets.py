"""What is fuzzed of HTTP/2: header blocks, and whole connections of clients and of apps.

A connection's input is read as frames, so that a change to it is a change to what is said and not to a length:

    kind, flags, stream, size, payload ...      a frame; a kind of 255: the rest stands as it is, a broken frame say
"""

from collections import deque

from proxies.http2 import memos
from proxies.http2.errors import CompressionFault, ConnectionFault, ListTooLarge
from proxies.http2.frames import frame
from proxies.http2.heads import fields_of, parse_request, parse_response, parse_trailers
from proxies.http2.hpack import Decoder
from proxies.http2.settings import STREAMS_MAX
from tests.proxies.http2.test_memos import plain, read
from tests.proxies.http2.wire import Event, Under, client_under_test, server_under_test

__all__ = ["fuzz_block", "fuzz_connection", "fuzz_table"]

_RAW = 255


def fuzz_block(data: bytes) -> None:
    """Any bytes as the header block of a peer without a dynamic table: what is remembered of it is what it says."""
    for _ in range(2):
        for is_done in (False, True):
            expected = read(lambda is_done=is_done: parse_request(fields_of(plain(data)), is_done))  # type: ignore[misc]
            assert read(lambda is_done=is_done: memos.request_head(data, is_done)) == expected  # type: ignore[misc]
        assert read(lambda: memos.response_head(data)) == read(lambda: parse_response(fields_of(plain(data))))
        assert read(lambda: memos.trailers(data)) == read(lambda: parse_trailers(fields_of(plain(data))))


def fuzz_table(data: bytes) -> None:
    """Any lines as blocks behind each other, with a dynamic table: one beyond the bounds harms none behind it."""
    whole, bounded = (Decoder(list_bytes_max=size, fields_max=100_000) for size in (1 << 30, 100))
    for block in data.split(b"\n"):
        try:
            pairs = whole.decode(block)
        except CompressionFault:
            return
        size = sum(len(name) + len(value) + 32 for name, value in pairs)
        try:
            assert bounded.decode(block) == pairs
            assert size <= 100
        except ListTooLarge:
            assert size > 100
        except ConnectionFault:
            assert len(pairs) > 10_000
            return


def fuzz_connection(data: bytes) -> None:
    """Frames of a client, or of an app: nothing but events and a GOAWAY, and the same however they are cut."""
    how, sent = data[0] if data else 0, _wire(data[1:])
    size = (how >> 2) % 32 + 1
    whole = _heard(_under(how), [sent])
    pieces = _heard(_under(how), [sent[at : at + size] for at in range(0, len(sent), size)])
    assert whole == pieces


def _under(how: int) -> Under:
    return client_under_test(streams=3) if how & 1 else server_under_test(settled=bool(how & 2))


def _wire(data: bytes) -> bytes:
    sent, rest = bytearray(), deque(data)
    while len(rest) >= 4:
        kind, flags, stream_id, size = (rest.popleft() for _ in range(4))
        payload = bytes(rest.popleft() for _ in range(min(size, len(rest))))
        if kind == _RAW:
            return bytes(sent) + payload + bytes(rest)
        sent += frame(kind, flags, stream_id, payload)
    return bytes(sent)


def _heard(under: Under, pieces: list[bytes]) -> tuple[list[Event], list[tuple[int, int]], list[tuple[int, int]], bool]:
    """What was made of them: the events, and of what was put out what does not depend on the turns that it took."""
    resets, goodbyes = [], []
    events: list[Event] = []
    for piece in pieces:
        put_out = under.get(piece)  # read by a library that takes nothing amiss
        resets += put_out.resets
        goodbyes += put_out.go_aways
        events += under.events()
        assert len(under.core.streams) <= STREAMS_MAX
    assert len(goodbyes) == under.core.is_over
    return events, resets, goodbyes, under.core.is_over
