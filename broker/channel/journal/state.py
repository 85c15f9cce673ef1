"""What a journal knows: which events are owed to whom, and where in its files they stand.

The same whether the records come from a file at start or from what happens now. An event's content is not kept in
memory, but for its place: a backlog of many events costs some hundred bytes for each.
"""

from collections.abc import Iterator

from broker.channel.dead import Dead
from broker.channel.journal.records import Accepted, Died, Owed, Record, Redriven, Retried, Settled

__all__ = ["Entry", "JournalState", "Place"]


class Place:
    """Where a record stands."""

    __slots__ = ("length", "offset", "segment")

    def __init__(self, segment: int, offset: int, length: int) -> None:
        self.segment = segment
        self.offset = offset
        self.length = length


class Entry:
    """One event that is owed to somebody, or kept because it could not be delivered."""

    __slots__ = ("at_s", "channel", "namespace", "owed", "place", "seq")

    def __init__(self, record: Accepted, place: Place) -> None:
        self.seq = record.seq
        self.namespace = record.namespace
        self.channel = record.channel
        self.at_s = record.at_s
        self.place = place
        self.owed = {owed.uid: owed for owed in record.owed}


class JournalState:
    """All entries. Each change is O(1)."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        """By sequence number, in the order in which they were written last."""
        self.live: dict[int, dict[int, None]] = {}
        """By segment: the entries whose record stands in it."""
        self.live_bytes = 0
        self.dead: dict[tuple[int, str], None] = {}
        """What could not be delivered, as (seq, uid), the oldest failure first."""
        self.last_seq = 0

    def apply(self, record: Record, place: Place) -> None:
        """Take a record that stands at `place`."""
        self.last_seq = max(self.last_seq, record.seq)
        if isinstance(record, Accepted):
            self._put(record, place)
        elif isinstance(record, Settled):
            self.settle(record.seq, record.uid)
        elif isinstance(record, Died):
            self.bury(record.seq, record.uid, record.dead)
        elif isinstance(record, Redriven):
            self.revive(record.seq, record.uid)
        elif (owed := self.owed(record.seq, record.uid)) is not None:
            assert isinstance(record, Retried)
            owed.retry, owed.due_s = record.retry, record.due_s

    def owed(self, seq: int, uid: str) -> Owed | None:
        """Return what is known of one subscription to an event, or None when it is not owed."""
        entry = self.entries.get(seq)
        return entry.owed.get(uid) if entry is not None else None

    def settle(self, seq: int, uid: str) -> bool:
        """An event is owed to a subscription no longer. True when it is owed to nobody now."""
        entry = self.entries.get(seq)
        if entry is None:
            return False
        entry.owed.pop(uid, None)
        self.dead.pop((seq, uid), None)
        if entry.owed:
            return False
        self._drop(entry)
        return True

    def bury(self, seq: int, uid: str, dead: Dead) -> None:
        """A delivery failed for good."""
        owed = self.owed(seq, uid)
        if owed is not None:
            owed.dead = dead
            self.dead[seq, uid] = None

    def revive(self, seq: int, uid: str) -> bool:
        """It is to be tried anew. False when it had not failed."""
        owed = self.owed(seq, uid)
        if owed is None or owed.dead is None:
            return False
        owed.dead, owed.retry, owed.due_s = None, 0, 0.0
        del self.dead[seq, uid]
        return True

    def move(self, seq: int, place: Place) -> None:
        """An entry was written anew."""
        entry = self.entries.get(seq)
        if entry is not None:
            self._drop(entry)
            entry.place = place
            self._add(entry)

    def of_channel(self, namespace: str, channel: str) -> Iterator[Entry]:
        """Yield a channel's entries, the oldest event first."""
        found = (each for each in self.entries.values() if each.channel == channel and each.namespace == namespace)
        return iter(sorted(found, key=lambda entry: entry.seq))

    def _put(self, record: Accepted, place: Place) -> None:
        known = self.entries.get(record.seq)
        entry = Entry(record, place)
        if known is not None:
            self._drop(known)
            # Nobody may have read that one of them was settled or revived meanwhile: a journal can be damaged.
            for uid in known.owed:
                if uid not in entry.owed or entry.owed[uid].dead is None:
                    self.dead.pop((record.seq, uid), None)
        if entry.owed:
            self._add(entry)
            for owed in record.owed:
                if owed.dead is not None:
                    self.dead[record.seq, owed.uid] = None

    def _add(self, entry: Entry) -> None:
        self.entries[entry.seq] = entry
        self.live.setdefault(entry.place.segment, {})[entry.seq] = None
        self.live_bytes += entry.place.length

    def _drop(self, entry: Entry) -> None:
        del self.entries[entry.seq]
        of_segment = self.live[entry.place.segment]
        del of_segment[entry.seq]
        if not of_segment:
            del self.live[entry.place.segment]
        self.live_bytes -= entry.place.length
