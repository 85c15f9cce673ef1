"""Channels on a journal: 202 when the event is on the disk, deliveries afterwards, as often as it takes.

    accept --> JournalStore.accept: on the disk --> 202 --> a queue for each subscription --> Delivery --> settled
                    |                                             ^                              |
                    +--> full, or not written: 503                +-- restart of the process     +--> kept, redriven

A subscription has so many events under way and no more; the others wait in the journal, so that one that hangs neither
delays other subscriptions nor takes memory. What failed for good is kept, also when a dead letter sink has taken it,
and can be driven anew.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import Any, Final

from broker.channel.dead import LISTED_MAX, Dead
from broker.channel.deliveries import attributes_of
from broker.channel.journal.records import Accepted, Died, Owed, Redriven, Retried, Settled
from broker.channel.journal.store import JournalFull, JournalStore
from broker.early_filters import EarlyFilters, Selection
from eventing.delivery import Flow, Leg, Outcome, Parcel, Subscription
from eventing.dispatching import Courier, Delivery
from eventing.message import Message
from proxies.logs import Logger

__all__ = ["Journal", "JournalChannel"]

_UNDER_WAY_MAX: Final = 256
"""Deliveries of one subscription at once, those that wait for their next attempt included."""
_BYTES_MAX: Final = 64 << 20
"""Of the events that are under way in all; beyond it a subscription has one at a time."""
_UNREAD_S: Final = 10.0


class Journal:
    """What the channels of one journal share."""

    def __init__(
        self,
        store: JournalStore,
        courier: Courier,
        log: Logger,
        *,
        delivered: Callable[[Delivery], None] | None = None,
        early: EarlyFilters | None = None,
        unix_s: Callable[[], float] = time.time,
        unread_s: float = _UNREAD_S,
    ) -> None:
        """`delivered` is told of every delivery that has ended, whether well or not.

        `early` knows what the broker filter would turn away; None: it is asked.
        `unread_s`: after how long what could not be read is asked for again.
        """
        self.unread_s = unread_s
        self.early = early
        self.store = store
        self.courier = courier
        self.log = log
        self.delivered = delivered
        self.unix_s = unix_s
        self.bytes_under_way = 0
        self.is_ending = False
        """Nothing more is begun: the process ends."""
        self.dropped = 0
        """Dead letters that had to make room for others."""
        self.next_seq = 0

    def start(self) -> None:
        """The store is open."""
        self.next_seq = self.store.state.last_seq + 1

    def attempted(self, delivery: Delivery, leg: Leg, outcome: Outcome, wait_s: float | None) -> None:
        """Remember how often a destination was asked, so that a restart does not begin anew."""
        tag = delivery.tag
        if wait_s is not None and leg is Leg.DESTINATION and delivery.flow.leg is leg and isinstance(tag, _Ticket):
            due_s = self.unix_s() + wait_s
            self.store.append(Retried(tag.seq, delivery.subscription.uid, delivery.flow.retry, due_s))

    def bury(self, seq: int, uid: str, dead: Dead) -> None:
        """Keep what failed for good; the oldest makes room."""
        self.store.append(Died(seq, uid, dead))
        kept = self.store.state.dead
        if len(kept) > self.store.limits.dead_max:
            self.store.append(Settled(*next(iter(kept))))
            self._count_dropped()

    def make_room(self) -> None:
        """The journal is full: drop some dead letters, the oldest first, those that a sink has taken before others.

        Not for want of bytes while files hold much that is over already: they are about to be rid of that.
        """
        store = self.store
        has_places = len(store.state.entries) < store.limits.events_max
        if has_places and store.size - store.state.live_bytes > store.size // 10:
            return
        dead = sorted(store.state.dead, key=lambda key: not self._was_sunk(*key))
        for seq, uid in dead[: max(len(dead) // 10, 1)]:
            store.append(Settled(seq, uid))
            self._count_dropped()

    def forget_channels(self, known: Iterable[tuple[str, str]]) -> None:
        """Settle what is owed by channels that are not among `known`: they were deleted while nobody looked."""
        keys = set(known)
        gone = [each for each in self.store.state.entries.values() if (each.namespace, each.channel) not in keys]
        for entry in gone:
            for uid in list(entry.owed):
                self.store.append(Settled(entry.seq, uid))
        if gone:
            self.log.warning("channels_gone", events=len(gone))

    def dead_letters(self, uid: str) -> list[dict[str, Any]]:
        """Return what is kept of what failed for good, for one subscription or (empty) all; ready for JSON."""
        found = []
        for seq, of in self.store.state.dead:
            owed = self.store.state.owed(seq, of)
            record = self.store.read(seq) if uid in ("", of) else None
            if owed is None or owed.dead is None or record is None:
                continue
            channel = f"{record.namespace}/{record.channel}"
            found.append(owed.dead.told(seq, of, channel, attributes_of(record.lines)))
            if len(found) == LISTED_MAX:
                break
        return found

    def _was_sunk(self, seq: int, uid: str) -> bool:
        owed = self.store.state.owed(seq, uid)
        return owed is not None and owed.dead is not None and owed.dead.was_sunk

    def _count_dropped(self) -> None:
        if not self.dropped:
            self.log.warning("dead_letters_dropped", kept=len(self.store.state.dead))
        self.dropped += 1


class JournalChannel:
    """One channel on a journal."""

    def __init__(self, journal: Journal, namespace: str, name: str) -> None:
        self._journal = journal
        self.namespace = namespace
        self.name = name
        self._subscriptions: tuple[Subscription, ...] = ()
        self._queues: dict[str, _Queue] = {}
        self.unclear: frozenset[str] = frozenset()
        """Whose entries make no sense now: what the process before this one owed them is kept until they do."""
        self._parked: set[str] | None = None
        """Those that were unclear when the backlog was taken, and are owed some of it; None: it was not taken yet."""
        self._selection = Selection(journal.early) if journal.early is not None else None

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Who gets the events that are accepted from now on; may be replaced at any time."""
        return self._subscriptions

    @subscriptions.setter
    def subscriptions(self, subscriptions: tuple[Subscription, ...]) -> None:
        self._subscriptions = subscriptions
        queues = self._queues
        wanted = {subscription.uid: subscription for subscription in subscriptions}
        for uid in queues.keys() - wanted:
            queues.pop(uid).stop()
        for uid, subscription in wanted.items():
            if uid in queues:
                queues[uid].subscription = subscription
            else:
                queues[uid] = _Queue(self._journal, self, subscription)
        if self._parked is None or self._parked - self.unclear:
            self._take_backlog(wanted)

    def accept(self, message: Message, done: Callable[[int, str], None]) -> None:
        """Write an event down, and deliver it to whoever is subscribed at this moment; as `backend.Channel` has it."""
        uids: Iterable[str] = self._queues
        if self._selection is not None:
            uids = [each.uid for each in self._selection.wanted(self._subscriptions, message)]
        if not uids:
            done(202, "")
            return
        journal = self._journal
        parcel = Parcel.of(message, self.namespace, self.name)
        owed = [Owed(uid) for uid in uids]
        seq = journal.next_seq
        journal.next_seq += 1
        record = Accepted(
            seq, self.namespace, self.name, journal.unix_s(), parcel.lines, parcel.passed, parcel.body, owed
        )
        accepting = _Accepting(self, record, parcel, done)
        try:
            journal.store.accept(record, accepting.written)
        except JournalFull:
            try:
                journal.make_room()
                journal.store.accept(record, accepting.written)
            except JournalFull as error:
                done(503, str(error))

    def deliver(self, record: Accepted, parcel: Parcel) -> None:
        """An event is on the disk."""
        for owed in record.owed:
            queue = self._queues.get(owed.uid)
            if queue is not None:
                queue.add(record.seq, parcel)
            else:
                self._journal.store.append(Settled(record.seq, owed.uid))

    def redrive(self, uid: str, seq: int | None = None) -> int:
        """Deliver anew what failed for good, all or one event, for one subscription; return how many."""
        queue = self._queues.get(uid)
        if queue is None:
            return 0
        dead = [each for each, of in self._journal.store.state.dead if of == uid and seq in (None, each)]
        for each in dead:
            self._journal.store.append(Redriven(each, uid))
            queue.add(each, None)
        return len(dead)

    def remove(self) -> None:
        """The channel was deleted, and with it what it owes."""
        for queue in self._queues.values():
            queue.stop()
        self._queues.clear()

    def owed(self) -> list[tuple[str, list[int]]]:
        """Return each subscription's name, and the numbers of the events that are owed to it."""
        return [(each.subscription.name, each.owed()) for each in self._queues.values()]

    @property
    def posts_under_way(self) -> int:
        """Deliveries whose post is not answered yet."""
        return sum(queue.posts_under_way for queue in self._queues.values())

    def close(self) -> None:
        """The process ends: what is under way goes on in the next one."""
        for queue in self._queues.values():
            queue.close()

    def _take_backlog(self, wanted: Container[str]) -> None:
        """Go on where the process before this one ended. What is owed to others is owed no longer."""
        store = self._journal.store
        parked, self._parked = self._parked, set()
        for entry in list(store.state.of_channel(self.namespace, self.name)):
            for uid, owed in list(entry.owed.items()):
                if parked is not None and uid not in parked:
                    continue
                if uid in self.unclear:
                    self._parked.add(uid)
                elif uid not in wanted:
                    store.append(Settled(entry.seq, uid))
                elif owed.dead is None:
                    self._queues[uid].add(entry.seq, None)


class _Accepting:
    """An event on its way to the disk."""

    __slots__ = ("_channel", "_done", "_parcel", "_record")

    def __init__(
        self, channel: JournalChannel, record: Accepted, parcel: Parcel, done: Callable[[int, str], None]
    ) -> None:
        self._channel = channel
        self._record = record
        self._parcel = parcel
        self._done = done

    def written(self, error: OSError | None) -> None:
        if error is not None:
            self._done(503, f"the journal cannot be written: {error.strerror or error}")
            return
        try:
            self._done(202, "")
        finally:
            # It is accepted, whoever has heard of it.
            self._channel.deliver(self._record, self._parcel)


class _Ticket:
    """An event under way to one subscription."""

    __slots__ = ("delivery", "seq", "size")

    def __init__(self, seq: int, size: int) -> None:
        self.seq = seq
        self.size = size
        self.delivery: Delivery | None = None


class _Queue:
    """What is owed to one subscription: some of it under way, the rest waiting in the journal."""

    __slots__ = ("_channel", "_is_closed", "_journal", "_under_way", "_unread", "_waiting", "subscription")

    def __init__(self, journal: Journal, channel: JournalChannel, subscription: Subscription) -> None:
        self._journal = journal
        self._channel = channel
        self.subscription = subscription
        self._waiting: deque[int] = deque()
        self._under_way: dict[int, _Ticket] = {}
        self._unread: dict[int, asyncio.TimerHandle] = {}
        """Events that the journal could not read, until it is asked again."""
        self._is_closed = False

    def add(self, seq: int, parcel: Parcel | None) -> None:
        """Deliver an event, at once if there is room; `parcel` where it is at hand."""
        if self._is_closed:
            return
        if self._waiting or not self._has_room:
            self._waiting.append(seq)
        else:
            self._begin(seq, parcel)

    def stop(self) -> None:
        """Nobody is subscribed any more: all of it is owed no longer."""
        waiting = self.owed()
        self.close()
        store, uid = self._journal.store, self.subscription.uid
        buried = [seq for seq, of in store.state.dead if of == uid]
        for seq in (*waiting, *buried):
            store.append(Settled(seq, uid))

    def owed(self) -> list[int]:
        """Return the numbers of all events that are owed."""
        return [*self._under_way, *self._waiting, *self._unread]

    def close(self) -> None:
        """End what is under way, without a word in the journal."""
        self._is_closed = True
        for ticket in self._under_way.values():
            self._journal.bytes_under_way -= ticket.size
            if ticket.delivery is not None:
                ticket.delivery.cancel()
        for handle in self._unread.values():
            handle.cancel()
        self._under_way.clear()
        self._waiting.clear()
        self._unread.clear()

    @property
    def posts_under_way(self) -> int:
        """Deliveries whose post is not answered yet."""
        return sum(each.delivery is not None and each.delivery.is_posting for each in self._under_way.values())

    @property
    def _has_room(self) -> bool:
        count = len(self._under_way) + len(self._unread)
        if self._journal.is_ending:
            return False
        return not count or (count < _UNDER_WAY_MAX and self._journal.bytes_under_way < _BYTES_MAX)

    def _begin(self, seq: int, parcel: Parcel | None) -> None:
        journal, channel, uid = self._journal, self._channel, self.subscription.uid
        owed = journal.store.state.owed(seq, uid)
        if owed is None:
            return
        if parcel is None:
            record = journal.store.read(seq)
            if record is None:
                # It was said so. It stays owed: what cannot be read at this moment is not lost yet.
                self._unread[seq] = asyncio.get_running_loop().call_later(journal.unread_s, self._read_again, seq)
                return
            kind = attributes_of(record.lines).get("type", "")
            parcel = Parcel(record.lines, record.passed, record.body, channel.namespace, channel.name, kind)
        ticket = self._under_way[seq] = _Ticket(seq, len(parcel.body) + len(parcel.lines))
        journal.bytes_under_way += ticket.size
        flow = Flow(self.subscription, parcel, retry=owed.retry)
        delivery = ticket.delivery = Delivery(journal.courier, flow, parcel, self._delivered, ticket)
        wait_s = owed.due_s - journal.unix_s() if owed.due_s else 0.0
        if wait_s > 0:
            # Never longer than it was to be: somebody may have set the clock back meanwhile.
            settings = self.subscription.settings
            delivery.start_after(min(wait_s, max(settings.wait_s(owed.retry - 1), settings.retry_after_max_s)))
        else:
            delivery.start()

    def _read_again(self, seq: int) -> None:
        del self._unread[seq]
        self._waiting.append(seq)
        self._fill()

    def _delivered(self, delivery: Delivery) -> None:
        journal = self._journal
        ticket = delivery.tag
        assert isinstance(ticket, _Ticket)
        ticket.delivery = None
        del self._under_way[ticket.seq]
        journal.bytes_under_way -= ticket.size
        flow, uid = delivery.flow, self.subscription.uid
        if flow.failure is None:
            journal.store.append(Settled(ticket.seq, uid))
        else:
            journal.bury(ticket.seq, uid, Dead.of(flow.failure, journal.unix_s(), was_sunk=flow.is_success))
        if journal.delivered is not None:
            journal.delivered(delivery)
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._has_room and not self._is_closed:
            self._begin(self._waiting.popleft(), None)
