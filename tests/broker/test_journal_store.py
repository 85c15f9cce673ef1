"""Journals: what was confirmed is there after any end of the process, and nothing grows for ever."""

import asyncio
import errno
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.channel.dead import Dead
from broker.channel.journal.records import Accepted, Died, Owed, Redriven, Retried, Settled, encoded, records_of
from broker.channel.journal.segments import JournalInUse, Segments
from broker.channel.journal.state import JournalState, Place
from broker.channel.journal.store import JournalFull, JournalLimits, JournalStore
from proxies.logs import Logger
from tests.support.processes import eventually

MARKER = b"\x01\x00\x02\x09"
"""Of bytes that lengths and kinds have, too."""
_DEAD = Dead("http://a/", 503, b"full", 5.0, was_sunk=False)


def _event(seq: int, *uids: str, body: bytes = b"body") -> Accepted:
    return Accepted(seq, "ns", "channel", 1.0, b"Ce-Id: 1\r\n", b"", body, [Owed(uid) for uid in uids])


def _records() -> list[Accepted | Settled | Retried | Died | Redriven]:
    return [
        _event(1, "a", "b"),
        Retried(1, "a", 2, 9.5),
        Died(1, "b", _DEAD),
        Redriven(1, "b"),
        Settled(1, "a"),
        _event(2, body=bytes(range(256))),
    ]


def test_records_are_read_as_they_were_written() -> None:
    parts = [encoded(record, MARKER) for record in _records()]
    data = b"".join(parts)
    found = list(records_of(data, MARKER))
    assert [record for _, _, record in found] == _records()
    assert [data[offset : offset + length] for offset, length, _ in found] == parts


@given(st.data())
def test_damage_anywhere_costs_the_records_whose_bytes_it_touched_and_no_other(data: st.DataObject) -> None:
    records = [*_records(), *(_event(seq, "a", body=MARKER * seq) for seq in range(3, 7))]
    owners = bytearray()
    whole = bytearray()
    for index, record in enumerate(records):
        part = encoded(record, MARKER)
        owners += bytes([index]) * len(part)
        whole += part
    touched: set[int] = set()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        length = data.draw(st.integers(1, 60))
        touched.update(owners[at : at + length])
        if data.draw(st.booleans()):
            del whole[at : at + length], owners[at : at + length]
        else:
            mask = data.draw(st.binary(min_size=length, max_size=length))
            damaged = bytes(byte ^ (other or 1) for byte, other in zip(whole[at : at + length], mask, strict=False))
            whole[at : at + length] = damaged
        if not whole:
            break
    found = [record for _, _, record in records_of(bytes(whole), MARKER)]
    # What was damaged twice may be whole again.
    assert [record for record in found if records.index(record) not in touched] == [
        record for index, record in enumerate(records) if index not in touched
    ]


@given(st.data())
def test_without_a_marker_the_first_damage_ends_the_reading_and_nothing_before_it_is_lost(data: st.DataObject) -> None:
    parts = [encoded(record, b"") for record in _records()]
    damaged = bytearray(b"".join(parts))
    at = data.draw(st.integers(0, len(damaged) - 1))
    before = next(index for index in range(len(parts)) if len(b"".join(parts[: index + 1])) > at)
    assert [record for _, _, record in records_of(bytes(damaged[:at]), b"")] == _records()[:before]
    damaged[at] ^= data.draw(st.integers(1, 255))
    assert [record for _, _, record in records_of(bytes(damaged), b"")] == _records()[:before]


@given(st.binary(max_size=200), st.sampled_from([MARKER, b""]))
def test_any_bytes_can_be_read(data: bytes, marker: bytes) -> None:
    assert list(records_of(marker + data, marker)) == []


def test_the_state_tells_what_is_owed_to_whom() -> None:
    state = JournalState()
    state.apply(_event(7, "a", "b"), Place(1, 0, 10))
    state.apply(Retried(7, "a", 2, 9.5), Place(1, 10, 5))
    owed = state.owed(7, "a")
    assert owed is not None
    assert (owed.retry, owed.due_s) == (2, 9.5)
    state.apply(Died(7, "b", _DEAD), Place(1, 15, 5))
    assert list(state.dead) == [(7, "b")]
    state.apply(Redriven(7, "b"), Place(1, 20, 5))
    assert not state.dead
    assert not state.settle(7, "a")
    assert state.settle(7, "b")
    assert not state.entries
    assert not state.live
    assert state.live_bytes == 0
    assert state.last_seq == 7


def test_what_is_written_anew_tells_who_is_dead_also_when_what_was_said_between_is_damaged() -> None:
    state = JournalState()
    for seq, uids in enumerate([("a", "b", "c"), ("a",)], 1):
        state.apply(_event(seq, *uids), Place(1, 0, 10))
        for uid in uids:
            state.apply(Died(seq, uid, _DEAD), Place(1, 0, 0))
    # That of its subscriptions "a" was settled and "b" is driven anew stood where the damage is.
    again = Accepted(1, "ns", "channel", 1.0, b"", b"", b"", [Owed("b"), Owed("c", dead=_DEAD)])
    state.apply(again, Place(2, 0, 10))
    assert list(state.dead) == [(1, "c"), (2, "a")]
    state.apply(Settled(1, "b"), Place(2, 0, 0))
    state.apply(Settled(1, "c"), Place(2, 0, 0))
    assert list(state.dead) == [(2, "a")]


def test_what_is_said_of_unknown_events_is_nothing() -> None:
    state = JournalState()
    for record in (Settled(1, "a"), Retried(1, "a", 1, 0.0), Died(1, "a", _DEAD), Redriven(1, "a")):
        state.apply(record, Place(1, 0, 1))
    assert not state.entries
    assert not state.dead


@asynccontextmanager
async def _store(directory: Path, limits: JournalLimits | None = None) -> AsyncIterator[JournalStore]:
    store = JournalStore(
        directory, limits or JournalLimits(segment_bytes=4096), Logger("test", write=lambda line: None)
    )
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def _accept(store: JournalStore, record: Accepted) -> OSError | None:
    written: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    store.accept(record, written.set_result)
    return await written


async def test_confirmed_events_are_there_after_a_restart_with_what_became_of_them(tmp_path: Path) -> None:
    async with _store(tmp_path) as store:
        for seq in (1, 2, 3):
            assert await _accept(store, _event(seq, "a", "b", body=b"%d" % seq)) is None
        store.append(Settled(1, "a"))
        store.append(Retried(1, "b", 4, 8.0))
        store.append(Died(2, "a", _DEAD))
        store.append(Settled(3, "a"))
        store.append(Settled(3, "b"))
    async with _store(tmp_path) as store:
        assert sorted(store.state.entries) == [1, 2]
        assert store.state.last_seq == 3
        assert list(store.state.entries[1].owed) == ["b"]
        assert store.state.entries[1].owed["b"].retry == 4
        assert store.state.entries[2].owed["a"].dead == _DEAD
        assert list(store.state.dead) == [(2, "a")]
        record = store.read(2)
        assert record is not None
        assert record.body == b"2"
        assert store.read(3) is None


async def test_events_that_come_together_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(descriptor))
    async with _store(tmp_path) as store:
        await asyncio.gather(*(_accept(store, _event(seq, "a")) for seq in range(1, 101)))
        assert len(synced) == 1


async def test_nothing_is_confirmed_before_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: (sync(descriptor), order.append("synced")))
    async with _store(tmp_path) as store:
        await _accept(store, _event(1, "a"))
        order.append("confirmed")
    assert order[:2] == ["synced", "confirmed"]


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
async def test_a_write_that_fails_is_told_and_the_next_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async with _store(tmp_path) as store:
        assert await _accept(store, _event(1, "a", "b")) is None

        def fail(*_: object) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            error = await _accept(store, _event(2, "a"))
            assert error is not None
            assert "No space left" in str(error)
            store.append(Settled(1, "a"))
        assert await _accept(store, _event(3, "a")) is None
    async with _store(tmp_path) as store:
        assert sorted(store.state.entries) == [1, 3]
        assert list(store.state.entries[1].owed) == ["b"], "what nobody waited for was written later"


async def test_a_disk_that_takes_nothing_does_not_keep_a_process_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _store(tmp_path) as store:
        await _accept(store, _event(1, "a"))

        def fail(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "pwrite", fail)
        store.append(Settled(1, "a"))
    monkeypatch.undo()
    async with _store(tmp_path) as store:
        assert list(store.state.entries) == [1], "delivered once more, and not lost"


async def test_a_segment_that_cannot_be_begun_for_want_of_descriptors_is_begun_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def fail(path: Path, flags: int, *more: int) -> int:
        if flags & os.O_DIRECTORY:
            raise OSError(24, "Too many open files")
        return opened(path, flags, *more)

    async with _store(tmp_path, JournalLimits(segment_bytes=1)) as store:
        await _accept(store, _event(1, "a"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fail)
            assert "Too many open files" in str(await _accept(store, _event(2, "a")))
        assert await _accept(store, _event(3, "a")) is None


def _paths(directory: Path) -> list[Path]:
    return list(directory.glob("*.journal"))


def _segments(directory: Path) -> int:
    return len(list(directory.glob("*.journal")))


async def test_starts_leave_no_segments_behind_while_an_event_stays(tmp_path: Path) -> None:
    async with _store(tmp_path) as store:
        await _accept(store, _event(1, "a"))
    for _ in range(5):
        async with _store(tmp_path) as store:
            assert list(store.state.entries) == [1]
    assert _segments(tmp_path) == 2


async def test_a_segment_that_cannot_be_deleted_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(30, "Read-only file system")

    lines: list[bytes] = []
    store = JournalStore(tmp_path, JournalLimits(segment_bytes=1), Logger("test", write=lines.append))
    await store.open()
    for seq in (1, 2):
        await _accept(store, _event(seq, "a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        store.append(Settled(1, "a"))
        store.append(Settled(2, "a"))
        assert await _accept(store, _event(3, "a")) is None
    assert len([line for line in lines if b"journal_segment_kept" in line]) == 1
    await _accept(store, _event(4, "a"))
    assert _segments(tmp_path) == 2
    await store.close()


async def test_nothing_is_written_or_told_after_the_end(tmp_path: Path) -> None:
    told: list[int] = []

    def again(error: OSError | None) -> None:
        told.append(len(told))
        store.accept(_event(len(told) + 1, "a"), again)

    async with _store(tmp_path) as store:
        store.accept(_event(1, "a"), again)
        await eventually(lambda: len(told) > 1)
    ended = len(told)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(told) == ended
    async with _store(tmp_path) as store:
        assert len(store.state.entries) == ended


def _last(directory: Path) -> Path:
    return max(directory.glob("*.journal"))


def _damage(directory: Path, offset: int, data: bytes) -> None:
    descriptor = os.open(_last(directory), os.O_WRONLY)
    os.pwrite(descriptor, data, offset)
    os.close(descriptor)


def _logged(lines: list[bytes], event: str) -> list[dict[str, Any]]:
    return [told for line in lines if (told := json.loads(line))["message"] == event]


async def test_a_damaged_record_is_skipped_and_told_with_its_place_and_all_others_are_kept(tmp_path: Path) -> None:
    async with _store(tmp_path) as store:
        for seq in (1, 2, 3):
            await _accept(store, _event(seq, "a", "b", body=b"event %d" % seq))
        store.append(Settled(3, "a"))
        place = store.state.entries[2].place
    # Its length is what is damaged, so that nobody knows where the next one begins.
    _damage(tmp_path, place.offset + 8, b"\xff\xff\xff\xff")
    lines: list[bytes] = []
    store = JournalStore(tmp_path, JournalLimits(segment_bytes=4096), Logger("test", write=lines.append))
    await store.open()
    try:
        assert {seq: list(entry.owed) for seq, entry in store.state.entries.items()} == {1: ["a", "b"], 3: ["b"]}
        assert [record.body for seq in (1, 3) if (record := store.read(seq)) is not None] == [b"event 1", b"event 3"]
        assert (store.damages, store.damaged_bytes) == (1, place.length)
    finally:
        await store.close()
    [told] = _logged(lines, "journal_damaged")
    assert (told["segment"], told["offset"], told["lost_bytes"]) == (place.segment, place.offset, place.length)


async def test_a_place_that_the_disk_does_not_give_back_costs_no_more_than_what_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _store(tmp_path, JournalLimits()) as store:
        for seq in range(1, 6):
            await _accept(store, _event(seq, "a", body=b"x" * 10_000))
        place = store.state.entries[3].place
    pread = os.pread
    bad = place.offset + 5000

    def read(descriptor: int, length: int, offset: int) -> bytes:
        if offset <= bad < offset + length:
            raise OSError(errno.EIO, "Input/output error")
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", read)
    lines: list[bytes] = []
    store = JournalStore(tmp_path, JournalLimits(), Logger("test", write=lines.append))
    await store.open()
    try:
        assert sorted(store.state.entries) == [1, 2, 4, 5]
        assert store.read(4) is not None
    finally:
        await store.close()
    [told] = _logged(lines, "journal_damaged")
    assert (told["offset"], told["lost_bytes"]) == (place.offset, place.length)


async def test_the_end_of_a_segment_is_damaged_if_its_process_went_on_behind_it(tmp_path: Path) -> None:
    async with _store(tmp_path) as store:
        for seq in range(1, 4):  # each fills a segment, but for the last
            await _accept(store, _event(seq, "a", body=b"x" * (5000 if seq < 3 else 5)))
        places = [store.state.entries[seq].place for seq in (1, 2, 3)]
    assert [place.segment for place in places] == [1, 2, 3]
    for path in _paths(tmp_path):
        os.truncate(path, path.stat().st_size - 3)
    lines: list[bytes] = []
    store = JournalStore(tmp_path, JournalLimits(segment_bytes=4096), Logger("test", write=lines.append))
    await store.open()
    await store.close()
    assert [told["segment"] for told in _logged(lines, "journal_cut")] == [1, 2, 3]
    assert [told["segment"] for told in _logged(lines, "journal_damaged")] == [1, 2]
    assert (store.damages, store.damaged_bytes) == (2, places[0].length + places[1].length - 6)


async def test_a_journal_full_of_damage_does_not_fill_the_log(tmp_path: Path) -> None:
    async with _store(tmp_path, JournalLimits()) as store:
        for seq in range(1, 401):
            store.append(Settled(seq, "a"))
        await _accept(store, _event(401, "a"))
    path = _last(tmp_path)
    data = bytearray(path.read_bytes())
    places = [offset for offset, _, _ in records_of(bytes(data), bytes.fromhex(path.stem[-8:]))]
    for offset in places[:-1:2]:
        data[offset + 4] ^= 1
    path.write_bytes(data)
    lines: list[bytes] = []
    store = JournalStore(tmp_path, JournalLimits(), Logger("test", write=lines.append))
    await store.open()
    await store.close()
    assert list(store.state.entries) == [401]
    assert store.damages == 200
    assert len(_logged(lines, "journal_damaged")) == 100
    assert [told["damages"] for told in _logged(lines, "journal_damaged_more")] == [200]


async def test_what_looks_like_a_record_in_a_damaged_event_is_none(tmp_path: Path) -> None:
    forged = b"".join(encoded(_event(7, "a", body=b"forged"), marker) for marker in (b"", MARKER))
    async with _store(tmp_path) as store:
        await _accept(store, _event(1, "a", body=forged))
        place = store.state.entries[1].place
    _damage(tmp_path, place.offset + 4, b"\0\0\0\0")
    async with _store(tmp_path) as store:
        assert not store.state.entries


async def test_segments_without_markers_are_read_and_those_of_the_same_number_beside_them(tmp_path: Path) -> None:
    (tmp_path / "0000000001.journal").write_bytes(encoded(_event(1, "a"), b"") + encoded(_event(2, "a"), b""))
    (tmp_path / f"0000000001-{MARKER.hex()}.journal").write_bytes(encoded(_event(3, "a"), MARKER))
    for _ in range(2):
        async with _store(tmp_path) as store:
            assert sorted(store.state.entries) == [1, 2, 3]
            assert all(store.read(seq) == _event(seq, "a") for seq in (1, 2, 3))
    async with _store(tmp_path) as store:
        for seq in (1, 2, 3):
            store.append(Settled(seq, "a"))
    async with _store(tmp_path) as store:
        assert not store.state.entries
    assert _segments(tmp_path) == 1


def _append_to_last(directory: Path, data: bytes) -> None:
    segment = _last(directory)
    segment.write_bytes(segment.read_bytes() + data)


def _replace_in_last(directory: Path, old: bytes, new: bytes) -> None:
    path = _last(directory)
    path.write_bytes(path.read_bytes().replace(old, new))


async def test_half_a_record_at_the_end_is_cut_off(tmp_path: Path) -> None:
    async with _store(tmp_path) as store:
        await _accept(store, _event(1, "a"))
    _append_to_last(tmp_path, encoded(_event(2, "a"), bytes.fromhex(_last(tmp_path).stem[-8:]))[:-3])
    async with _store(tmp_path) as store:
        assert sorted(store.state.entries) == [1]
        assert await _accept(store, _event(3, "a")) is None
    async with _store(tmp_path) as store:
        assert sorted(store.state.entries) == [1, 3]


async def test_segments_go_away_when_all_in_them_is_settled(tmp_path: Path) -> None:
    async with _store(tmp_path) as store:
        for seq in range(1, 200):
            await _accept(store, _event(seq, "a", body=bytes(500)))
            store.append(Settled(seq, "a"))
        await eventually(lambda: len(list(tmp_path.glob("*.journal"))) <= 2)
        assert store.size < 3 * 4096


async def test_one_event_that_stays_does_not_keep_all_that_came_after_it(tmp_path: Path) -> None:
    async with _store(tmp_path) as store:
        await _accept(store, _event(1, "slow", "quick", body=b"kept"))
        store.append(Settled(1, "quick"))
        store.append(Retried(1, "slow", 3, 7.0))
        for seq in range(2, 200):
            await _accept(store, _event(seq, "a", body=bytes(500)))
            store.append(Settled(seq, "a"))
        await eventually(lambda: store.size < 5 * 4096)
    async with _store(tmp_path) as store:
        assert list(store.state.entries) == [1]
        assert list(store.state.entries[1].owed) == ["slow"]
        assert store.state.entries[1].owed["slow"].retry == 3
        record = store.read(1)
        assert record is not None
        assert record.body == b"kept"


async def test_a_full_journal_accepts_nothing_and_says_so(tmp_path: Path) -> None:
    async with _store(tmp_path, JournalLimits(bytes_max=4096, segment_bytes=1024)) as store:
        for seq in range(1, 8):
            assert await _accept(store, _event(seq, "a", body=bytes(500))) is None
        with pytest.raises(JournalFull, match="the journal is full: 7 events"):
            await _accept(store, _event(8, "a", body=bytes(500)))
        assert store.size <= 4096
    async with _store(tmp_path, JournalLimits(events_max=7, segment_bytes=1 << 20)) as store:
        with pytest.raises(JournalFull):
            await _accept(store, _event(1000, "a"))


async def test_one_event_that_stays_does_not_fill_a_small_journal(tmp_path: Path) -> None:
    async with _store(tmp_path, JournalLimits(bytes_max=10_000, segment_bytes=8000)) as store:
        await _accept(store, _event(1, "slow"))
        for seq in range(2, 100):
            assert await _accept(store, _event(seq, "a", body=bytes(500))) is None
            store.append(Settled(seq, "a"))
        assert list(store.state.entries) == [1]


async def test_a_damaged_event_is_kept_for_as_long_as_there_is_room_and_never_fills_the_journal(tmp_path: Path) -> None:
    lines: list[bytes] = []
    limits = JournalLimits(bytes_max=10_000, segment_bytes=1000)
    store = JournalStore(tmp_path, limits, Logger("test", write=lines.append))
    await store.open()
    try:
        await _accept(store, _event(1, "slow", "quick", body=b"to be damaged"))
        _replace_in_last(tmp_path, b"to be damaged", b"it is damaged")
        assert store.read(1) is None
        for seq in range(2, 5):
            assert await _accept(store, _event(seq, "a", body=bytes(500))) is None
            store.append(Settled(seq, "a"))
        assert list(store.state.entries) == [1]
        for seq in range(5, 100):
            assert await _accept(store, _event(seq, "a", body=bytes(500))) is None
            store.append(Settled(seq, "a"))
        assert not store.state.entries
    finally:
        await store.close()
    assert len([line for line in lines if b"journal_unreadable" in line]) == 1
    assert len([line for line in lines if b"journal_event_lost" in line]) == 1


async def test_two_processes_cannot_have_one_journal(tmp_path: Path) -> None:
    async with _store(tmp_path):
        with pytest.raises(JournalInUse):
            Segments(tmp_path, segment_bytes=1).open()


async def test_whatever_happens_in_whatever_order_a_restart_knows_what_is_owed(tmp_path: Path) -> None:
    chance = random.Random(7)
    owed: dict[int, set[str]] = {}
    seq = 0
    for _ in range(5):
        async with _store(tmp_path, JournalLimits(segment_bytes=2048)) as store:
            assert {each: set(entry.owed) for each, entry in store.state.entries.items()} == owed
            for _ in range(150):
                if owed and chance.random() < 0.55:
                    old = chance.choice(list(owed))
                    uid = chance.choice(sorted(owed[old]))
                    store.append(Settled(old, uid))
                    owed[old].discard(uid)
                    if not owed[old]:
                        del owed[old]
                else:
                    seq += 1
                    uids = chance.sample("abc", chance.randint(1, 3))
                    owed[seq] = set(uids)
                    await _accept(store, _event(seq, *uids, body=bytes(chance.randint(0, 300))))
