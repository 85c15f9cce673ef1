"""Which PingSources fire when: entries with schedules, and the moment at which somebody has to look again.

Pure: times are Unix seconds. A moment that is looked at late (the machine slept, the process was busy) fires once, not
once for each tick that was missed, and goes on from there. A clock that is set back has every entry find its next
moment anew, so that none waits for a time that was already in sight.

Source: spec eventing-sources.md 2.3, 2.4.
"""

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

from eventing.cron import Schedule

__all__ = ["Timetable"]

K = TypeVar("K", bound=Hashable)

_SET_BACK_S = 1.0
"""How far the clock may go back without being called set back."""
_STALE_MAX = 64
"""Moments of entries that were replaced since; beyond that many they are swept out."""


class Timetable(Generic[K]):
    """Entries by key. Finding what is due costs O(log n) for each firing."""

    def __init__(self) -> None:
        self._schedules: dict[K, Schedule] = {}
        self._next: dict[K, tuple[int, int]] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._order = itertools.count()
        self._looked_s = float("-inf")

    def set(self, key: K, schedule: Schedule, now_s: float) -> None:
        """Add or replace an entry, which fires later than `now_s` only."""
        self._schedules[key] = schedule
        self._plan(key, now_s)

    def remove(self, key: K) -> None:
        """Take an entry out; nothing happens when there is none."""
        self._schedules.pop(key, None)
        self._next.pop(key, None)

    def clear(self) -> None:
        """Take all entries out."""
        self._schedules.clear()
        self._next.clear()
        self._heap.clear()

    def due(self, now_s: float) -> list[K]:
        """The entries that fire now, in the order of their moments, each once."""
        if now_s < self._looked_s - _SET_BACK_S:
            for key in self._schedules:
                self._plan(key, now_s)
        self._looked_s = now_s
        found = []
        while self._heap and self._heap[0][0] <= now_s:
            at_s, order, key = heapq.heappop(self._heap)
            if self._next.get(key) == (at_s, order):
                found.append(key)
                self._plan(key, now_s)
        return found

    def next_at(self) -> int | None:
        """When the next entry fires; None: none ever will."""
        while self._heap and self._next.get(self._heap[0][2]) != self._heap[0][:2]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _plan(self, key: K, now_s: float) -> None:
        at_s = self._schedules[key].next_after(now_s)
        if at_s is None:
            self._next.pop(key, None)
            return
        self._next[key] = entry = (at_s, next(self._order))
        heapq.heappush(self._heap, (*entry, key))
        if len(self._heap) > _STALE_MAX + 2 * len(self._next):
            self._heap = [(*entry, key) for key, entry in self._next.items()]
            heapq.heapify(self._heap)
