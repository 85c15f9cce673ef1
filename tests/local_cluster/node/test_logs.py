"""`local_cluster/node/logs.py`."""

import asyncio
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from local_cluster.node.logs import ContainerLog

NOW_S = 1_700_000_000.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ContainerLog]:
    log = ContainerLog(tmp_path / "c" / "0.log")
    yield log
    log.close(NOW_S)


async def text(log: ContainerLog, **options: object) -> bytes:
    return b"".join([chunk async for chunk in log.read(**options)])  # type: ignore[arg-type]


async def test_lines_come_back_as_they_were_written_however_they_arrived(log: ContainerLog) -> None:
    for part in (b"one\ntw", b"o\n", b"\nthree"):
        log.feed(part, NOW_S)
    assert await text(log) == b"one\ntwo\n\n"
    log.close(NOW_S)
    assert await text(log) == b"one\ntwo\n\nthree\n"


async def test_files_are_in_the_format_of_container_runtimes(log: ContainerLog) -> None:
    log.feed(b"hello\n", NOW_S)
    assert log.path.read_bytes() == b"2023-11-14T22:13:20.000000Z stdout F hello\n"


async def test_tail_since_and_timestamps(log: ContainerLog) -> None:
    for index in range(5):
        log.feed(b"line %d\n" % index, NOW_S + index)
    assert await text(log, tail_lines=2) == b"line 3\nline 4\n"
    assert await text(log, tail_lines=0) == b""
    assert await text(log, since_s=NOW_S + 3) == b"line 3\nline 4\n"
    assert await text(log, tail_lines=1, timestamps=True) == b"2023-11-14T22:13:24.000000Z line 4\n"


async def test_overlong_lines_are_stored_in_parts_and_read_as_one(log: ContainerLog) -> None:
    long = b"x" * 40_000
    log.feed(long, NOW_S)
    log.feed(long + b"\nend\n", NOW_S)
    assert await text(log) == long + long + b"\nend\n"
    assert max(len(line) for line in log.path.read_bytes().splitlines()) < 17_000


async def test_following_ends_with_the_container(log: ContainerLog) -> None:
    log.feed(b"before\n", NOW_S)
    got: list[bytes] = []
    seen = asyncio.Event()

    async def follow() -> None:
        async for chunk in log.read(follow=True):
            got.append(chunk)
            seen.set()

    task = asyncio.create_task(follow())
    for line in (b"one\n", b"two\n"):
        await seen.wait()
        seen.clear()
        log.feed(line, NOW_S)
    await seen.wait()
    log.close(NOW_S)
    await asyncio.wait_for(task, 5)
    assert b"".join(got) == b"before\none\ntwo\n"


async def test_a_log_is_bounded_and_following_survives_rotation(tmp_path: Path) -> None:
    log = ContainerLog(tmp_path / "0.log", file_bytes_max=1000)
    got: list[bytes] = []
    arrived = asyncio.Event()

    async def follow() -> None:
        async for chunk in log.read(follow=True):
            got.append(chunk)
            arrived.set()

    task = asyncio.create_task(follow())
    await arrived.wait()
    for index in range(100):
        arrived.clear()
        log.feed(b"line %03d\n" % index, NOW_S)
        await arrived.wait()
    log.close(NOW_S)
    await asyncio.wait_for(task, 5)
    assert b"".join(got) == b"".join(b"line %03d\n" % index for index in range(100))
    assert _stored_bytes(tmp_path) <= 2000
    kept = (await text(log)).splitlines()
    assert kept == [b"line %03d" % index for index in range(100 - len(kept), 100)]
    assert len(kept) > 1000 // 46  # more than the 46 byte lines of one file


def _stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize(
    ("written", "tail"),
    [
        (b"", ""),
        (b"one\ntwo\n", "one\ntwo\n"),
        (b"no end", "no end"),
        (b"".join(b"%d\n" % index for index in range(200)), "".join(f"{index}\n" for index in range(120, 200))),
        (b"x" * 3000 + b"\n", "x" * 2047 + "\n"),
    ],
)
def test_the_tail_is_80_lines_and_2048_bytes(log: ContainerLog, written: bytes, tail: str) -> None:
    log.feed(written, NOW_S)
    assert log.tail() == tail


async def test_a_discarded_log_leaves_no_file_and_ends_its_followers(log: ContainerLog, tmp_path: Path) -> None:
    log.feed(b"x\n", NOW_S)
    task = asyncio.create_task(text(log, follow=True))
    await asyncio.sleep(0)
    log.discard()
    await asyncio.wait_for(task, 5)
    assert not log.path.exists()


@settings(max_examples=50)
@example(b"a\rb\r\nc\n", [3])
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_in_any_pieces_come_back(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cuts: list[int]
) -> None:
    log = ContainerLog(tmp_path_factory.mktemp("log") / "0.log")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        log.feed(data[start:end], NOW_S)
    log.close(NOW_S)
    wanted = data if data.endswith(b"\n") or not data else data + b"\n"
    assert asyncio.run(text(log)) == wanted


async def test_a_rotation_while_the_log_is_read_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ContainerLog(tmp_path / "0.log", file_bytes_max=100)
    log.feed(b"a" * 40 + b"\n", NOW_S)
    to_thread = asyncio.to_thread

    async def late(*call: object) -> object:
        for _ in range(3):
            log.feed(b"b" * 60 + b"\n", NOW_S)
        return await to_thread(*call)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", late)
    assert await text(log) == b"a" * 40 + b"\n"
    log.close(NOW_S)


async def test_a_reader_that_leaves_after_the_first_chunk_leaves_no_file_open(log: ContainerLog) -> None:
    log.feed(b"one\n", NOW_S)
    before = set(os.listdir("/proc/self/fd"))
    reader = log.read(follow=True)
    assert await anext(reader) == b"one\n"
    assert set(os.listdir("/proc/self/fd")) != before
    await reader.aclose()  # type: ignore[attr-defined]
    assert set(os.listdir("/proc/self/fd")) == before
