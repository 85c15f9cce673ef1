"""How many probes of all revisions may be under way at once, and which of those that wait comes next.

First probes come before repeated ones, and repeated ones may take half of the slots only: any number of addresses that
do not answer delays no pod that was just listed. Pure: no clock, no sockets.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["ProbeSlots", "Slot"]

PROBES_MAX: Final = 128
"""Probes at once; each takes a file descriptor."""


class Slot:
    """One probe's claim to a slot. Ends with `ProbeSlots.end`."""

    __slots__ = ("_start", "is_over", "is_repeated", "is_running")

    def __init__(self, start: Callable[[], None], *, is_repeated: bool) -> None:
        self._start = start
        self.is_repeated = is_repeated
        self.is_running = False
        self.is_over = False

    def run(self) -> None:
        """The slot is there."""
        self.is_running = True
        self._start()


class ProbeSlots:
    """At most `limit` claims run."""

    def __init__(self, limit: int = PROBES_MAX) -> None:
        self._limit = limit
        self._running = 0
        self._repeated_running = 0
        self._first: deque[Slot] = deque()
        self._repeated: deque[Slot] = deque()

    def claim(self, start: Callable[[], None], *, is_repeated: bool) -> Slot:
        """Call `start` when there is a slot: during this call or later. Whoever claims must call `end`."""
        slot = Slot(start, is_repeated=is_repeated)
        (self._repeated if is_repeated else self._first).append(slot)
        self._go_on()
        return slot

    def end(self, slot: Slot) -> None:
        """The probe is over, or not wanted any more. Once is enough, more do no harm."""
        if slot.is_over:
            return
        slot.is_over = True
        if slot.is_running:
            self._running -= 1
            self._repeated_running -= slot.is_repeated
            self._go_on()

    def _go_on(self) -> None:
        while self._running < self._limit:
            if self._first:
                slot = self._first.popleft()
            elif self._repeated and self._repeated_running < max(1, self._limit // 2):
                slot = self._repeated.popleft()
            else:
                return
            if slot.is_over:
                continue
            self._running += 1
            self._repeated_running += slot.is_repeated
            slot.run()
