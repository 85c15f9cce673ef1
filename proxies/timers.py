"""One coarse timer wheel for everything on the hot path, so that no request costs the loop a timer.

Times are rounded up to a slot. A timer that is armed again for later stays where it is: when its slot comes up and its
time has not, it moves on by itself. So arming the next exchange of a connection is one comparison, and only the first
one and those that come earlier touch the wheel. Without timers the loop is not woken at all.

`Wheel` decides, on an outside clock; `Timers` connects it to the loop.
"""

import asyncio
from heapq import heappop, heappush
from typing import Final

__all__ = ["Timer", "Timers", "Wheel"]

SLOT_S: Final = 0.01
"""Coarse beside the limits of requests (seconds), fine enough that none is noticeably late."""

_NEVER: Final = 1 << 62


class Timer:
    """Base of what is woken: at `due_s` or up to one slot later `on_timer` is called once."""

    __slots__ = ("_slot", "due_s")

    def __init__(self) -> None:
        self.due_s = 0.0
        """When to wake it; meaningless while it is not armed."""
        self._slot = _NEVER

    def wakes_by(self, due_s: float) -> bool:
        """It is armed for `due_s` or before, so that setting `due_s` is all that arming it would do."""
        return self._slot * SLOT_S <= due_s

    def on_timer(self, now_s: float) -> None:
        """The time has come. The timer is not armed any more; it may arm itself again."""
        raise NotImplementedError


class Wheel:
    """Timers by slot of time."""

    __slots__ = ("_order", "_slots")

    def __init__(self) -> None:
        self._slots: dict[int, dict[Timer, None]] = {}
        self._order: list[int] = []

    @property
    def next_s(self) -> float | None:
        """When `expire` is to be called; None while nothing is armed."""
        return self._order[0] * SLOT_S if self._order else None

    def arm(self, timer: Timer, due_s: float) -> bool:
        """Wake `timer` at `due_s`, instead of when it was to be woken before. True when `next_s` came nearer."""
        timer.due_s = due_s
        slot = int(due_s / SLOT_S) + 1
        if timer._slot <= slot:
            return False
        if timer._slot != _NEVER:
            self._slots[timer._slot].pop(timer, None)
        timer._slot = slot
        timers = self._slots.get(slot)
        if timers is not None:
            timers[timer] = None
            return False
        self._slots[slot] = {timer: None}
        heappush(self._order, slot)
        return self._order[0] == slot

    def disarm(self, timer: Timer) -> None:
        """Do not wake `timer`."""
        if timer._slot != _NEVER:
            self._slots[timer._slot].pop(timer, None)
            timer._slot = _NEVER

    def expire(self, now_s: float) -> list[Timer]:
        """Return the timers whose time has come; they are not armed any more."""
        expired: list[Timer] = []
        while self._order and self._order[0] * SLOT_S <= now_s:
            for timer in self._slots.pop(heappop(self._order)):
                timer._slot = _NEVER
                if timer.due_s <= now_s:
                    expired.append(timer)
                else:
                    self.arm(timer, timer.due_s)
        return expired


class Timers:
    """A wheel on a loop's clock."""

    __slots__ = ("_handle", "_loop", "_wheel", "now_s")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wheel = Wheel()
        self._handle: asyncio.TimerHandle | None = None
        self.now_s = loop.time
        """The clock that due times are read from."""

    def arm(self, timer: Timer, due_s: float) -> None:
        """Wake `timer` at `due_s` of the loop's clock, instead of when it was to be woken before."""
        if self._wheel.arm(timer, due_s):
            self._schedule()

    def disarm(self, timer: Timer) -> None:
        """Do not wake `timer`."""
        self._wheel.disarm(timer)

    def close(self) -> None:
        """Wake nobody any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        next_s = self._wheel.next_s
        self._handle = None if next_s is None else self._loop.call_at(next_s, self._tick)

    def _tick(self) -> None:
        self._handle = None
        now_s = self._loop.time()
        for timer in self._wheel.expire(now_s):
            try:
                timer.on_timer(now_s)
            except Exception as error:  # noqa: BLE001 - one timer's bug must not stop the others that are due
                self._loop.call_exception_handler({"message": f"{timer!r} failed", "exception": error})
        self._schedule()
