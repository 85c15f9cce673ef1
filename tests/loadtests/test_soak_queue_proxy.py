"""The soak of queue-proxy: its counting, its own HTTP and WebSocket, its app, and that every visitor comes through."""

import asyncio
import json
import subprocess
import sys

import pytest

from loadtests.lab.soak_queue_proxy import tally as tallies
from loadtests.lab.soak_queue_proxy import visitors, wire
from loadtests.lab.soak_queue_proxy.app import App, accept_key
from loadtests.lab.soak_queue_proxy.tally import Drop, Sample, Tally, Visit


def reader_of(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


class TestTally:
    def test_requests_are_counted_by_their_ends_and_visits_by_their_kinds(self) -> None:
        tally = Tally()
        tally.add("crowd", Visit(good=11, refused=19))
        tally.add("crowd", Visit(good=12, refused=18))
        tally.drop("small GET", "expected 200")
        assert tally.visits == {"crowd": 2}
        assert {name: count for name, count in tally.requests.items() if count} == {
            "good": 23,
            "refused": 37,
            "dropped": 1,
        }
        assert tally.drops == ["small GET: expected 200"]

    def test_the_texts_of_drops_are_bounded_and_their_number_is_not(self) -> None:
        tally = Tally()
        for _ in range(3000):
            tally.drop("small GET", "")
        assert tally.requests["dropped"] == 3000
        assert len(tally.drops) == 1000

    def test_growth_counts_from_the_first_ten_seconds_after_the_warm_up(self) -> None:
        before = [Sample(at_s, 30.0) for at_s in range(60)]
        samples = before + [Sample(at_s, 25.0 if at_s < 70 else 26.0) for at_s in range(60, 80)]
        assert tallies.growth_mb(samples, 60) == 1.0
        assert tallies.is_flat(samples, 60)
        assert not tallies.is_flat([*samples, Sample(80, 26.1)], 60)

    def test_a_moment_of_much_memory_is_no_growth(self) -> None:
        samples = [Sample(at_s, 29.0 if at_s == 75 else 25.0) for at_s in range(60, 80)]
        assert tallies.growth_mb(samples, 60) == 0.0

    def test_without_samples_there_is_no_growth(self) -> None:
        assert tallies.growth_mb([Sample(1, 20.0)], 60) == 0.0


class TestWire:
    async def test_a_sized_body_is_read_to_its_length(self) -> None:
        reader = reader_of(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellomore")
        head = await wire.read_head(reader)
        assert head.status == 200
        assert await wire.read_body(reader, head) == b"hello"
        assert await reader.read() == b"more"

    async def test_chunks_are_put_together(self) -> None:
        reader = reader_of(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            + wire.chunk(b"hello ")
            + wire.chunk(b"world")
            + wire.chunk(b"")
        )
        assert await wire.read_body(reader, await wire.read_head(reader)) == b"hello world"

    @pytest.mark.parametrize(
        "data",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello--0\r\n\r\n",
        ],
        ids=["short", "no last chunk", "no end of chunk"],
    )
    async def test_a_body_that_is_not_whole_is_unexpected(self, data: bytes) -> None:
        reader = reader_of(data)
        head = await wire.read_head(reader)
        with pytest.raises(wire.Unexpected):
            await wire.read_body(reader, head)

    async def test_a_head_that_is_not_whole_is_unexpected(self) -> None:
        with pytest.raises(wire.Unexpected):
            await wire.read_head(reader_of(b"HTTP/1.1 200 OK\r\n"))

    @pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
    @pytest.mark.parametrize("is_masked", [True, False])
    async def test_a_frame_comes_out_as_it_went_in(self, size: int, is_masked: bool) -> None:
        payload = wire.content(1, size)
        data = wire.frame(wire.TEXT, payload, is_masked=is_masked)
        assert await wire.read_frame(reader_of(data)) == (wire.TEXT, payload)
        assert not is_masked or size < 125 or payload not in data

    def test_the_accepted_key_is_that_of_the_rfc(self) -> None:
        assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /bytes?seed=3&size=10 HTTP/1.1\r\n\r\n", 200),
        (b"POST /digest HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi", 100),
    ],
)
async def test_the_app_answers_and_counts_who_is_inside(request_: bytes, status: int) -> None:
    app = App()
    async with app.serving():
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(request_)
        head = await wire.read_head(reader)
        assert head.status == status
        if status == 100:
            head = await wire.read_head(reader)
            assert (await wire.read_body(reader, head)).decode() == wire.digest(b"hi")
        else:
            assert await wire.read_body(reader, head) == wire.content(3, 10)
        writer.close()
        await writer.wait_closed()
    assert app.busy == 0


def test_a_wrong_body_is_a_drop() -> None:
    with pytest.raises(Drop, match="body: expected 'right', got 'wrong'"):
        visitors._same("body", "right", "wrong")


def test_every_kind_of_visitor_comes_through() -> None:
    command = [sys.executable, "-m", "loadtests.lab", "soak-queue-proxy", "--duration", "1", "--seed", "1", "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    result = json.loads(done.stdout)
    assert result["drops"] == []
    assert set(result["visits"]) == {kind.name for kind in visitors.KINDS}
    assert result["requests"]["refused"] > 0
    assert result["requests"]["timed_out"] > 0
    assert result["left_inside"] == 0
    assert "no request dropped: 0 of " in done.stderr
