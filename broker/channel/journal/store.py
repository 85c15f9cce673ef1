"""A journal in use: records go in, in batches that are on the disk before anybody is told; old segments go away.

Theory of operation. Whatever is appended while a batch is being written makes up the next batch, so that one
`fdatasync` confirms all events that came meanwhile; it runs in a thread of its own, the only one that writes. What
merely tells that something is over is written, too, but nobody waits for it: if it is lost, an event is delivered once
more.

Segments are deleted from the oldest on, when no event in them is owed to anybody. A single event that stays would keep
everything behind it: so when more than half of all is waste, what is alive in the oldest segment is written anew at the
end, as it is known by then. What is damaged there cannot be: it is kept while there is room, and then given up, lest it
keep everybody's events out for good.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.channel.journal.records import Accepted, Record, Retried, Settled, encoded, records_of
from broker.channel.journal.segments import Segments
from broker.channel.journal.state import Entry, JournalState, Place
from proxies.logs import Logger

__all__ = ["JournalFull", "JournalLimits", "JournalStore"]

_LAZY_S: Final = 0.02
"""How long a record that nobody waits for may wait for company."""
_SEGMENTS_MIN: Final = 8
_CARRIED_BYTES: Final = 1 << 20
"""Written anew in one go at most."""
_RETRY_S: Final = 1.0
_SAID_MAX: Final = 1000
"""Unreadable events that are remembered, so that each is logged once."""
_DAMAGES_SAID_MAX: Final = 100
"""Places that are logged one by one."""
_LAST_WRITES: Final = 3
"""At the end: what is being written, what came meanwhile, and once more."""


class JournalFull(Exception):
    """There is no room for another event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLimits:
    """What a journal may take."""

    bytes_max: int = 1 << 30
    """Of all segments; beyond it no event is accepted."""
    events_max: int = 200_000
    """Each costs some hundred bytes of memory while it is owed to anybody."""
    segment_bytes: int = 8 << 20
    dead_max: int = 10_000
    """Dead letters that are kept; beyond it the oldest is dropped."""


class _Pending:
    """A record that is not written yet."""

    __slots__ = ("data", "done", "is_carried", "record")

    def __init__(
        self, data: bytes, record: Record, done: Callable[[OSError | None], None] | None, *, is_carried: bool
    ) -> None:
        self.data = data
        self.record = record
        self.done = done
        self.is_carried = is_carried


class JournalStore:
    """One journal. `state` is to be changed by `append` only."""

    def __init__(self, directory: Path, limits: JournalLimits, log: Logger) -> None:
        self.limits = limits
        self.state = JournalState()
        self.damages = 0
        """Places that held no whole record, other than at a process's end, when the journal was read."""
        self.damaged_bytes = 0
        self._log = log
        # So many that old ones can go away: the last one never does.
        self._segments = Segments(directory, segment_bytes=min(limits.segment_bytes, limits.bytes_max // _SEGMENTS_MIN))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._loop: asyncio.AbstractEventLoop
        self._pending: list[_Pending] = []
        self._pending_bytes = 0
        self._pending_events = 0
        self._writing: asyncio.Future[tuple[int, int]] | None = None
        self._batch: list[_Pending] = []
        self._timer: asyncio.Handle | None = None
        self._is_urgent = False
        self._unreadable: dict[int, bool] = {}
        """Events of which it was said: whether they are damaged, or only cannot be read at this moment."""
        self._is_carrying = False
        self._is_failing = False
        self._is_untidy = False
        self._is_closing = False

    async def open(self) -> None:
        """Read what is there. Raises `OSError`, `JournalInUse`."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._thread, self._read)
        self._trim()

    async def close(self) -> None:
        """Write what is pending, if that can be done, and close. Whoever is not told by then is not told at all."""
        self._is_closing = True
        for _ in range(_LAST_WRITES):
            self._flush()
            if self._writing is not None:
                await asyncio.wait([self._writing])
                await asyncio.sleep(0)
        if self._pending:
            self._log.error("journal_incomplete", records=len(self._pending))
        if self._timer is not None:
            self._timer.cancel()
        self._thread.shutdown()
        self._segments.close()

    @property
    def size(self) -> int:
        """Bytes of all files, and of what will be written next."""
        return self._segments.size + self._pending_bytes

    def accept(self, record: Accepted, done: Callable[[OSError | None], None]) -> None:
        """Append an event; `done` is told when it is on the disk, or why it is not. Raises `JournalFull` at once."""
        data = encoded(record, self._segments.marker)
        events = len(self.state.entries) + self._pending_events
        if self.size + len(data) > self.limits.bytes_max or events >= self.limits.events_max:
            raise JournalFull(
                f"the journal is full: {events} events, {self.size} bytes "
                f"(at most {self.limits.events_max}, {self.limits.bytes_max})"
            )
        self._pending_events += 1
        self._add(_Pending(data, record, done, is_carried=False), is_urgent=True)

    def append(self, record: Record) -> None:
        """Append what became of an event. It holds at once, and is written soon."""
        place = Place(self._segments.last, 0, 0)
        self.state.apply(record, place)
        self._add(_Pending(encoded(record, self._segments.marker), record, None, is_carried=False), is_urgent=False)
        self._trim()

    def read(self, seq: int) -> Accepted | None:
        """Return an event that is owed to somebody, as it was written; None when it is not, or cannot be read.

        What cannot be read is said once, and stays: perhaps it can be later.
        """
        entry = self.state.entries.get(seq)
        if entry is None:
            return None
        place = entry.place
        problem, is_damaged = "its checksum is wrong", True
        try:
            data = self._segments.read(place.segment, place.offset, place.length)
        except OSError as error:
            problem, is_damaged = str(error), False
        else:
            for _, _, record in records_of(data, self._segments.marker_of(place.segment)):
                if isinstance(record, Accepted):
                    self._unreadable.pop(seq, None)
                    return record
        if seq not in self._unreadable:
            if len(self._unreadable) >= _SAID_MAX:
                self._unreadable.clear()
            self._log.error(
                "journal_unreadable", seq=seq, segment=place.segment, offset=place.offset, error=problem, is_kept=True
            )
        self._unreadable[seq] = is_damaged
        return None

    # Inside.

    def _read(self) -> None:
        self._segments.open()
        cut: tuple[int, int, int] | None = None
        former = b""
        for number, data, marker in self._segments.read_all():
            if cut is not None and marker and marker == former:
                self._count_damage(*cut)  # its process went on behind it
            cut, former = None, marker
            end = 0
            for offset, length, record in records_of(data, marker):
                if offset > end:
                    self._count_damage(number, end, offset - end)
                self.state.apply(record, Place(number, offset, length))
                end = offset + length
            if end < len(data):
                # Normal for the last segment of a process that was killed: nobody was told of what is behind.
                self._log.warning("journal_cut", segment=number, offset=end, dropped_bytes=len(data) - end)
                cut = number, end, len(data) - end
        if self.damages > _DAMAGES_SAID_MAX:
            self._log.error("journal_damaged_more", damages=self.damages, lost_bytes=self.damaged_bytes)

    def _count_damage(self, segment: int, offset: int, lost_bytes: int) -> None:
        """What stood there is lost: events, or only what became of some, which are delivered once more then."""
        self.damages += 1
        self.damaged_bytes += lost_bytes
        if self.damages <= _DAMAGES_SAID_MAX:
            self._log.error("journal_damaged", segment=segment, offset=offset, lost_bytes=lost_bytes)

    def _add(self, pending: _Pending, *, is_urgent: bool) -> None:
        self._pending.append(pending)
        self._pending_bytes += len(pending.data)
        if self._writing is not None or (self._timer is not None and (self._is_urgent or not is_urgent)):
            self._is_urgent = self._is_urgent or is_urgent
            return
        if self._timer is not None:
            self._timer.cancel()
        self._flush_soon(is_urgent=is_urgent)

    def _flush_soon(self, *, is_urgent: bool) -> None:
        """Write in the next turn of the loop, so that all that came in this one goes together; or after a while."""
        if self._is_closing:
            return  # `close` does it: a write that it does not know of would end when the files are another's
        self._is_urgent = is_urgent
        self._timer = self._loop.call_soon(self._flush) if is_urgent else self._loop.call_later(_LAZY_S, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None or not self._pending:
            return
        self._batch, self._pending = self._pending, []
        self._pending_bytes = self._pending_events = 0
        self._is_urgent = False
        data = b"".join([each.data for each in self._batch])
        is_synced = any(isinstance(each.record, Accepted) for each in self._batch)
        self._writing = self._loop.run_in_executor(self._thread, self._segments.append, data, is_synced)
        self._writing.add_done_callback(self._written)

    def _written(self, future: "asyncio.Future[tuple[int, int]]") -> None:
        self._writing = None
        batch, self._batch = self._batch, []
        error = future.exception()
        if error is not None:
            # Whoever waits has to hear of a bug of ours, too.
            self._failed(batch, error if isinstance(error, OSError) else OSError(repr(error)))
        else:
            self._is_failing = False
            segment, offset = future.result()
            for each in batch:
                place = Place(segment, offset, len(each.data))
                offset += len(each.data)
                if each.is_carried:
                    assert isinstance(each.record, Accepted)
                    self.state.move(each.record.seq, place)
                elif isinstance(each.record, Accepted):
                    self.state.apply(each.record, place)
                self._tell(each, None)
            if any(each.is_carried for each in batch):
                self._is_carrying = False
            self._trim()
            self._carry()
        if self._pending and self._timer is None:
            self._flush_soon(is_urgent=self._is_urgent)

    def _tell(self, pending: _Pending, error: OSError | None) -> None:
        """Tell whoever waits; the events of others in the same batch must not suffer from a bug there."""
        if pending.done is not None:
            try:
                pending.done(error)
            except Exception as problem:  # noqa: BLE001 - see above
                self._log.exception("journal_callback_failed", problem)

    def _failed(self, batch: list[_Pending], error: OSError) -> None:
        """Nothing of the batch was written: whoever waits hears it, the rest is written later."""
        if not self._is_failing:
            self._is_failing = True
            self._log.error("journal_write_failed", error=str(error))
        if any(each.is_carried for each in batch):
            self._is_carrying = False
        # Not the attempts: they could become as many as there is time.
        kept = [each for each in batch if each.done is None and not isinstance(each.record, Accepted | Retried)]
        self._pending = kept + self._pending
        self._pending_bytes += sum(len(each.data) for each in kept)
        for each in batch:
            self._tell(each, error)
        self._trim()
        if self._timer is not None:
            self._timer.cancel()
        is_tried_again = self._pending and not self._is_closing
        self._timer = self._loop.call_later(_RETRY_S, self._flush) if is_tried_again else None

    def _trim(self) -> None:
        """Delete the oldest segments, as far as nothing in them is owed to anybody."""
        segments = self._segments
        for number in list(segments.sizes):
            if number == segments.last or number in self.state.live or self._writing is not None:
                return
            try:
                segments.remove(number)
            except OSError as error:
                # Whoever settles an event must not stumble over it; the next one that does tries again.
                if not self._is_untidy:
                    self._log.error("journal_segment_kept", segment=number, error=str(error))
                self._is_untidy = True
                return
            self._is_untidy = False

    def _carry(self) -> None:
        """Write what is alive in the oldest segment anew, if too much of all is waste."""
        state, segments = self.state, self._segments
        total = segments.size
        waste = total - state.live_bytes
        is_tight = total > self.limits.bytes_max * 3 // 4
        if self._is_closing or self._is_carrying or len(segments.sizes) < 3 or waste < total // (10 if is_tight else 2):
            return
        oldest = next(iter(segments.sizes))
        carried_bytes = 0
        for seq in list(state.live.get(oldest, ())):
            entry = state.entries[seq]
            record = self.read(seq)
            if record is None:
                if is_tight and self._unreadable[seq]:
                    self._give_up(entry)
                continue
            owed = list(entry.owed.values())
            again = Accepted(
                seq, record.namespace, record.channel, record.at_s, record.lines, record.passed, record.body, owed
            )
            data = encoded(again, segments.marker)
            self._is_carrying = True
            self._add(_Pending(data, again, None, is_carried=True), is_urgent=True)
            carried_bytes += len(data)
            if carried_bytes > _CARRIED_BYTES:
                return

    def _give_up(self, entry: Entry) -> None:
        """Nothing brings a damaged event back, and all that is behind it stays on the disk for as long as it does."""
        channel = f"{entry.namespace}/{entry.channel}"
        self._log.error("journal_event_lost", seq=entry.seq, channel=channel, owed=len(entry.owed))
        del self._unreadable[entry.seq]
        for uid in list(entry.owed):
            self.append(Settled(entry.seq, uid))
