"""From one commit to all who watch: a feed for each selection and form, its lines made once for all of its watchers.

Theory of operation. Watches that select the same objects in the same form share a feed. A commit is offered to those
feeds only that it may concern: the ones pinned to a label, field or namespace that it has, and the ones that are not
pinned; each renders it once. Lines are not sent at once: the pump flushes all feeds together, then rests. The more
events a flush had of one feed, the longer, in durations of that flush: while they come one by one, they are soon sent;
when they come in crowds, many share one write and sending takes no more than two fifths of the server's time. An idle
server sends in the same turn.

A watcher whose client keeps up holds nothing: the shared bytes go straight to its transport. One that does not has a
queue with a bound, which its coroutine works off; beyond the bound it is closed and its client lists again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from local_cluster.apiserver.versions import Change, Seen, Selection, Stored

__all__ = ["Feed", "Feeds", "Pump", "Watcher", "framed"]

WATCHER_QUEUE_MAX = 10_000
"""Events that one watcher may lag behind; then it is closed."""
REST_RATIO = 0.1
"""How long the pump rests after a flush for each event of the feed that had most, in durations of that flush."""
REST_RATIO_MAX = 1.5

Render: TypeAlias = Callable[[Seen], bytes]
WriteNow: TypeAlias = Callable[[bytes], bool]
"""Writes framed bytes to a client at once; False when it has to wait for the client."""


def framed(chunk: bytes) -> bytes:
    """`chunk` as one chunk of a chunked body (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)


class Watcher:
    """What one client has not been sent yet."""

    __slots__ = ("_queue", "_queue_max", "_waiter", "is_closed", "overflowed", "wants_bookmarks", "write_now")

    def __init__(self, *, wants_bookmarks: bool, queue_max: int = WATCHER_QUEUE_MAX) -> None:
        self.wants_bookmarks = wants_bookmarks
        self.overflowed = False
        self.is_closed = False
        self.write_now: WriteNow | None = None
        """Set by whoever holds the connection; without it every event is queued."""
        self._queue: deque[bytes] = deque()
        self._queue_max = queue_max
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, lines: list[bytes], chunk: bytes) -> None:
        """Send `lines`, or the same bytes as a framed `chunk`.

        At once when nothing is before them, that is when the coroutine has written everything and waits; otherwise
        they are queued. A full queue closes the watcher: no event is lost silently.
        """
        if self.is_closed:
            return
        is_idle = self._waiter is not None and not self._waiter.done()
        if is_idle and self.write_now is not None and self.write_now(chunk):
            return
        if len(self._queue) + len(lines) > self._queue_max:
            self.overflowed = True
            self._queue.clear()
            self.close()
            return
        self._queue.extend(lines)
        self._wake()

    def bookmark(self, line: bytes) -> None:
        """Send a bookmark, unless the client is busy with events anyway."""
        if not self._queue:
            self.offer([line], framed(line))

    def close(self) -> None:
        """End the stream after what is queued."""
        self.is_closed = True
        self._wake()

    async def take(self) -> list[bytes]:
        """Wait for lines and return all that are queued; an empty list means that the watch is over."""
        while not self._queue and not self.is_closed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._waiter = None
        taken = list(self._queue)
        self._queue.clear()
        return taken

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Feed:
    """The events of one selection in one form."""

    __slots__ = ("_lines", "_render", "selection", "watchers")

    def __init__(self, selection: Selection, render: Render) -> None:
        self.selection = selection
        self.watchers: set[Watcher] = set()
        self._render = render
        self._lines: list[bytes] = []

    def offer(self, change: Change) -> bool:
        """Keep `change` for the next flush if it is selected; whether it is the first one."""
        seen = self.selection.sees(change)
        if seen is None:
            return False
        self._lines.append(self._render(seen))
        return len(self._lines) == 1

    def flush(self) -> int:
        """Send what is kept to all watchers, and return how many events that was."""
        lines, self._lines = self._lines, []
        if lines:
            chunk = framed(b"".join(lines))
            for watcher in self.watchers:
                watcher.offer(lines, chunk)
        return len(lines)


class Pump:
    """Flushes feeds in due time."""

    def __init__(self) -> None:
        self._pending: list[Feed] = []
        self._timer: asyncio.Handle | None = None
        self._rests_until_s = 0.0

    def add(self, feed: Feed) -> None:
        """Flush `feed` soon."""
        self._pending.append(feed)
        if self._timer is None:
            loop, rest_s = asyncio.get_running_loop(), self._rests_until_s - time.monotonic()
            self._timer = loop.call_later(rest_s, self.flush) if rest_s > 0 else loop.call_soon(self.flush)

    def flush(self) -> None:
        """Flush all feeds that wait for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        began_s = time.monotonic()
        pending, self._pending = self._pending, []
        most = max((feed.flush() for feed in pending), default=0)
        ended_s = time.monotonic()
        self._rests_until_s = ended_s + min(REST_RATIO * most, REST_RATIO_MAX) * (ended_s - began_s)


_NONE: AbstractSet[Feed] = frozenset()
_Pinned: TypeAlias = dict[str, dict[str, set[Feed]]]
"""Feeds by name and value of the one label or field that selects nothing else."""


class Feeds:
    """The feeds of one collection."""

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._feeds: dict[tuple[Selection, object], Feed] = {}
        self._by_label: _Pinned = {}
        self._by_field: _Pinned = {}
        self._by_namespace: dict[str, set[Feed]] = {}
        self._unpinned: set[Feed] = set()

    def join(self, selection: Selection, form: object, render: Render, watcher: Watcher) -> None:
        """Let `watcher` follow from this moment on; `form` is equal for those whose `render` gives the same bytes."""
        feed = self._feeds.get((selection, form))
        if feed is None:
            feed = self._feeds[selection, form] = Feed(selection, render)
            self._pin_of(selection).add(feed)
        feed.flush()  # what was committed before is no event for the one who joins
        feed.watchers.add(watcher)

    def leave(self, selection: Selection, form: object, watcher: Watcher) -> None:
        """Let `watcher` follow no longer."""
        feed = self._feeds[selection, form]
        feed.watchers.discard(watcher)
        if not feed.watchers:
            del self._feeds[selection, form]
            self._pin_of(selection).discard(feed)
            self._forget_empty()

    def watchers(self) -> Iterator[Watcher]:
        """All that follow."""
        for feed in self._feeds.values():
            yield from feed.watchers

    def offer(self, change: Change) -> None:
        """Hand a commit to the feeds that it may concern."""
        self._offer_to(self._unpinned, change)
        if self._by_namespace:
            self._offer_to(self._by_namespace.get(change.state.namespace, _NONE), change)
        if self._by_label or self._by_field:
            self._offer_to(self._pinned_to(change), change)

    def close(self) -> None:
        """End every watch, after what has happened so far."""
        for feed in self._feeds.values():
            feed.flush()
        for watcher in list(self.watchers()):
            watcher.close()

    def _offer_to(self, feeds: AbstractSet[Feed], change: Change) -> None:
        for feed in feeds:
            if feed.offer(change):
                self._pump.add(feed)

    def _pinned_to(self, change: Change) -> set[Feed]:
        """An object enters and leaves a selection by what it was and by what it is."""
        found: set[Feed] = set()
        versions: tuple[Stored | None, ...] = (change.state, change.previous)
        for stored in versions:
            if stored is not None:
                for name, by_value in self._by_label.items():
                    found |= by_value.get(stored.labels.get(name, ""), _NONE)
                for name, by_value in self._by_field.items():
                    found |= by_value.get(stored.field(name), _NONE)
        return found

    def _forget_empty(self) -> None:
        """Names and namespaces are watched once and never again."""
        for pinned in (self._by_label, self._by_field):
            for name, by_value in list(pinned.items()):
                for value in [value for value, feeds in by_value.items() if not feeds]:
                    del by_value[value]
                if not by_value:
                    del pinned[name]
        for namespace in [namespace for namespace, feeds in self._by_namespace.items() if not feeds]:
            del self._by_namespace[namespace]

    def _pin_of(self, selection: Selection) -> set[Feed]:
        """Where the feed of a selection is found: by what it selects the fewest objects with."""
        for name, value, is_equal in selection.fields.requirements:
            if is_equal:
                return self._by_field.setdefault(name, {}).setdefault(value, set())
        for requirement in selection.labels.requirements:
            if requirement.operator == "in" and len(requirement.values) == 1:
                [value] = requirement.values
                return self._by_label.setdefault(requirement.key, {}).setdefault(value, set())
        if selection.namespace:
            return self._by_namespace.setdefault(selection.namespace, set())
        return self._unpinned
