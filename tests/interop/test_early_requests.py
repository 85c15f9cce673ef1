"""Clients that send requests before they have read our SETTINGS, as most do: raw frames."""

import asyncio
from collections.abc import AsyncIterator

import hpack
import pytest

from tests.interop.conftest import Through
from tests.support.h2_peers import Http2App, running_http2_app

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
GO_SETTINGS = bytes.fromhex("000200000000000400400000000600a00000")
"""What Go's client says first: no push, windows of 4 MiB, lists of headers up to 10 MiB."""


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame (RFC 9113 4.1)."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + payload


HELLO = PREFACE + frame(SETTINGS, 0, 0, GO_SETTINGS) + frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4))


class Requests:
    """Heads as an encoder with a dynamic table makes them: from the second on they are mostly references to it."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()
        self._next_id = 1

    def get(self, target: str) -> bytes:
        """A request without a body."""
        return self._head("GET", target, END_HEADERS | END_STREAM)

    def post(self, target: str, body: bytes) -> bytes:
        """A request with one."""
        head = self._head("POST", target, END_HEADERS)
        return head + frame(DATA, END_STREAM, self._next_id - 2, body)

    def _head(self, method: str, target: str, flags: int) -> bytes:
        fields = [
            *((":method", method), (":scheme", "http"), (":authority", "app.example"), (":path", target)),
            *(("user-agent", "early/1.0"), ("x-custom-name", "a value that is worth a place in the table")),
        ]
        stream_id, self._next_id = self._next_id, self._next_id + 2
        return frame(HEADERS, flags, stream_id, self._encoder.encode(fields))


async def frames_until(reader: asyncio.StreamReader, streams: int) -> list[tuple[int, int, int, bytes]]:
    """Read frames until so many streams have ended."""
    found: list[tuple[int, int, int, bytes]] = []
    async with asyncio.timeout(20):
        while streams:
            head = await reader.readexactly(9)
            kind, flags, stream_id = head[3], head[4], int.from_bytes(head[5:])
            found.append((kind, flags, stream_id, await reader.readexactly(int.from_bytes(head[:3]))))
            streams -= kind in (DATA, HEADERS) and bool(flags & END_STREAM)
            assert kind not in (RST_STREAM, GOAWAY), found[-1]
    return found


@pytest.fixture
async def app() -> AsyncIterator[Http2App]:
    async with running_http2_app() as app:
        yield app


async def test_requests_in_the_first_packet_are_answered(app: Http2App, through: Through) -> None:
    requests = Requests()
    async with through(app.port) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(HELLO + requests.get("/1") + requests.get("/2") + requests.post("/3", b"data"))
        found = await frames_until(reader, 3)
        assert found[0][0] == SETTINGS
        assert (SETTINGS, ACK, 0, b"") in found
        assert sorted(stream_id for kind, _, stream_id, data in found if (kind, data) == (DATA, b"hello")) == [1, 3, 5]
        writer.close()
    assert sorted((call.target, call.body) for call in app.calls) == [("/1", b""), ("/2", b""), ("/3", b"data")]
    assert {call.value("x-custom-name") for call in app.calls} == {"a value that is worth a place in the table"}


async def test_a_client_that_reads_our_settings_late_still_uses_its_table(app: Http2App, through: Through) -> None:
    """Heads made before our SETTINGS were read refer to the table; those behind the acknowledgement may not."""
    requests = Requests()
    async with through(app.port) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(HELLO + requests.get("/first"))
        found = await frames_until(reader, 1)
        writer.write(requests.get("/second"))
        await frames_until(reader, 1)
        assert found[0][0] == SETTINGS
        requests._encoder.header_table_size = dict(_pairs(found[0][3])).get(1, 4096)
        writer.write(frame(SETTINGS, ACK, 0) + requests.get("/third"))
        await frames_until(reader, 1)
        writer.close()
    assert [call.target for call in app.calls] == ["/first", "/second", "/third"]
    assert {call.value("x-custom-name") for call in app.calls} == {"a value that is worth a place in the table"}


@pytest.mark.parametrize("size", [1, 7, 33])
async def test_a_connection_that_comes_in_pieces_is_understood(app: Http2App, through: Through, size: int) -> None:
    requests = Requests()
    data = HELLO + requests.post("/pieces", b"data")
    async with through(app.port) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)
        await frames_until(reader, 1)
        writer.close()
    assert [call.body for call in app.calls] == [b"data"]


def _pairs(settings: bytes) -> list[tuple[int, int]]:
    return [
        (int.from_bytes(settings[at : at + 2]), int.from_bytes(settings[at + 2 : at + 6]))
        for at in range(0, len(settings), 6)
    ]
