"""`proxies/stdout.py`: whole lines, in order, without waiting for a reader."""

import asyncio
import fcntl
import io
import json
import os
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from proxies.logs import Logger
from proxies.stdout import StdoutLines
from tests.support.processes import eventually


class Pipe:
    """A pipe that holds a page, and the log of its writer."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.reader, False)
        self.log = io.BytesIO()
        self.logger = Logger("test", write=self.log.write)

    def lines(self) -> StdoutLines:
        return StdoutLines(asyncio.get_running_loop(), self.logger, fd=self.writer)

    def read(self, size: int = 1 << 20) -> bytes:
        try:
            return os.read(self.reader, size)
        except BlockingIOError:
            return b""

    async def read_until(self, end: bytes) -> bytes:
        found = b""

        def ended() -> bool:
            nonlocal found
            found += self.read()
            return found.endswith(end)

        await eventually(ended)
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [event for event in events if event["message"] == name]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    for fd in (pipe.reader, pipe.writer):
        with suppress(OSError):
            os.close(fd)


async def test_lines_of_one_turn_leave_in_one_write_at_the_next(pipe: Pipe) -> None:
    out = pipe.lines()
    for number in range(3):
        out.write(b"%d\n" % number)
    assert pipe.read() == b""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pipe.read() == b"0\n1\n2\n"
    await out.close()


async def test_each_piece_ends_with_a_line_and_fits_a_pipe(pipe: Pipe) -> None:
    out = pipe.lines()
    lines = [b"%0999d\n" % number for number in range(10)]
    for line in lines:
        out.write(line)
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < 10_000:
        await asyncio.sleep(0.001)
        if piece := pipe.read():
            pieces.append(piece)
    assert b"".join(pieces) == b"".join(lines)
    assert all(piece.endswith(b"\n") and len(piece) <= select.PIPE_BUF for piece in pieces)
    await out.close()


async def test_a_line_longer_than_a_pipe_arrives_whole(pipe: Pipe) -> None:
    out = pipe.lines()
    line = os.urandom(50_000).hex().encode() + b"\n"
    out.write(line)
    out.write(b"end\n")
    assert await pipe.read_until(b"end\n") == line + b"end\n"
    await out.close()


async def test_a_reader_that_stops_holds_up_nobody_and_costs_counted_lines(pipe: Pipe) -> None:
    out = pipe.lines()
    line = b"x" * 999 + b"\n"
    started_s = time.monotonic()
    for _ in range(1500):
        out.write(line)
        await asyncio.sleep(0)
    assert time.monotonic() - started_s < 20
    assert len(pipe.events("stdout_full")) == 1
    found = b""

    def drained() -> list[dict[str, Any]]:
        nonlocal found
        found += pipe.read()
        return pipe.events("stdout_lines_dropped")

    (event,) = await eventually(drained)
    out.write(b"end\n")
    found += await pipe.read_until(b"end\n")
    assert event["count"] + found.count(line) == 1500
    assert 1_000_000 < len(found) < 1_100_000
    assert found.replace(line, b"") == b"end\n"
    await out.close()


async def test_what_nobody_reads_delays_the_end_by_a_second_at_most(pipe: Pipe) -> None:
    out = pipe.lines()
    for _ in range(100):
        out.write(b"x" * 999 + b"\n")
    started_s = time.monotonic()
    await out.close()
    assert 0.9 < time.monotonic() - started_s < 20
    (event,) = pipe.events("stdout_lines_dropped")
    assert event["count"] > 0


async def test_what_waits_is_written_at_the_end(pipe: Pipe) -> None:
    out = pipe.lines()
    out.write(b"last\n")
    await out.close()
    assert pipe.read() == b"last\n"


async def test_a_reader_that_is_gone_is_told_once(pipe: Pipe) -> None:
    out = pipe.lines()
    os.close(pipe.reader)
    for _ in range(3):
        out.write(b"x\n")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await out.close()
    assert len(pipe.events("stdout_broken")) == 1


async def test_a_pipe_that_somebody_made_non_blocking_is_no_harm(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    out = pipe.lines()
    line = b"y" * 20_000 + b"\n"
    out.write(line)
    assert await pipe.read_until(b"\n") == line
    await out.close()


async def test_a_file_takes_everything(tmp_path: Path) -> None:
    log = io.BytesIO()
    with (tmp_path / "out").open("wb") as file:
        out = StdoutLines(asyncio.get_running_loop(), Logger("test", write=log.write), fd=file.fileno())
        for number in range(1000):
            out.write(b"%0200d\n" % number)
        await out.close()
    assert (tmp_path / "out").read_bytes() == b"".join(b"%0200d\n" % number for number in range(1000))
