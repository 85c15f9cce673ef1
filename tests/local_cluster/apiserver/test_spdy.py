"""`local_cluster/apiserver/spdy.py`, spoken to as kubectl does."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.apiserver.spdy import DICTIONARY, Data, Opened, Reset, Session, SpdyError


class Client:
    """The other half of a session."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def open(self, stream: int, *, end: bool = False, **headers: str) -> bytes:
        plain = struct.pack("!I", len(headers))
        for pair in headers.items():
            plain += b"".join(struct.pack("!I", len(text)) + text.encode() for text in pair)
        block = self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return control(1, struct.pack("!IIH", stream, 0, 0) + block, flags=int(end))


def control(kind: int, body: bytes, *, flags: int = 0, version: int = 3) -> bytes:
    return struct.pack("!HHI", 0x8000 | version, kind, flags << 24 | len(body)) + body


def data(stream: int, text: bytes, *, end: bool = False) -> bytes:
    return struct.pack("!II", stream, int(end) << 24 | len(text)) + text


def test_the_dictionary_is_the_protocols() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.lists(st.integers(1, 40), max_size=8))
def test_streams_and_their_bytes_however_they_are_cut(cuts: list[int]) -> None:
    client, session = Client(), Session()
    wire = client.open(1, end=True, streamtype="error", port="80", requestid="0")
    wire += client.open(3, streamType="data", port="80", requestid="0")
    wire += data(3, b"hello") + control(6, b"\0\0\0\1") + data(3, b"", end=True) + control(3, struct.pack("!II", 3, 5))
    events = []
    for cut in cuts:
        events += session.receive(wire[:cut])
        wire = wire[cut:]
    events += session.receive(wire)
    assert events == [
        Opened(1, {"streamtype": "error", "port": "80", "requestid": "0"}, True),
        Opened(3, {"streamtype": "data", "port": "80", "requestid": "0"}, False),
        Data(3, b"hello", False),
        Data(3, b"", True),
        Reset(3),
    ]
    assert session.to_send() == control(6, b"\0\0\0\1")


def test_answers_are_read_by_the_other_side() -> None:
    session, inflate = Session(), zlib.decompressobj(zdict=DICTIONARY)
    for stream in (1, 3):
        reply = session.accept(stream)
        assert reply[:4] == b"\x80\x03\0\x02"
        assert struct.unpack_from("!I", reply, 8) == (stream,)
        assert inflate.decompress(reply[12:]) == b"\0\0\0\0"
    assert session.data(1, b"abc", end=True) == b"\0\0\0\1\1\0\0\3abc"
    assert session.reset(3) == control(3, struct.pack("!II", 3, 5))


def test_what_comes_for_a_closed_stream_is_dropped() -> None:
    client, session = Client(), Session()
    session.receive(client.open(1, port="80"))
    session.close(1)
    assert session.receive(data(1, b"late") + data(9, b"never")) == []


@pytest.mark.parametrize(
    "wire",
    [
        control(1, b"", version=2),
        control(1, b"short"),
        control(1, struct.pack("!IIH", 2, 0, 0)),
        control(1, struct.pack("!IIH", 1, 0, 0) + b"no zlib"),
        struct.pack("!II", 1, 0xFFFFFF),
    ],
)
def test_a_broken_session_ends(wire: bytes) -> None:
    with pytest.raises(SpdyError):
        Session().receive(wire)


def test_headers_are_bounded() -> None:
    with pytest.raises(SpdyError, match="more than"):
        Session().receive(Client().open(1, name="x" * 100_000))


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(wire: bytes) -> None:
    session = Session()
    try:
        session.receive(wire)
    except SpdyError:
        return
    assert len(session.to_send()) <= len(wire)
