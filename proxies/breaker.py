"""Bounded admission: how many requests may run at once and how many may wait.

Knative's word; it is a limiter, not a circuit breaker. Pure state: no clock, no sockets, nothing is called back. What
waits is any hashable object, and whoever frees a place is told which waiters now run. Waiters run first come first
served.

    Breaker  at most `capacity` run; at most `queue_depth + concurrency` are inside, reserved places included
    Gate     no limit while open; everything waits while closed

Source: knative/serving `pkg/queue/breaker.go`; spec queue-proxy.md 9; golden set `breaker`.
"""

from collections.abc import Hashable
from enum import Enum
from typing import Generic, TypeVar

__all__ = ["Admission", "Breaker", "BreakerMisuse", "Gate"]

T = TypeVar("T", bound=Hashable)


class Admission(Enum):
    """The answer to a request that asks to run."""

    RUN = "run"
    WAIT = "wait"
    REFUSED = "refused"


class BreakerMisuse(RuntimeError):
    """A place was given back that nobody held, or a waiter left that did not wait: our bug, never the peer's."""


class Breaker(Generic[T]):
    """At most `capacity` requests run, at most `queue_depth + concurrency` are inside."""

    __slots__ = ("_concurrency", "_running", "_waiting", "admitted_max", "capacity")

    def __init__(self, *, queue_depth: int, concurrency: int, capacity: int | None = None) -> None:
        """`concurrency`: what `capacity` may grow to at most; `capacity`: places at first, by default all of them.

        Raises `ValueError` when a number is out of its range.
        """
        capacity = concurrency if capacity is None else capacity
        if queue_depth <= 0:
            raise ValueError(f"expected a queue depth above 0, got {queue_depth}")
        if concurrency < 0:
            raise ValueError(f"expected a concurrency of 0 or more, got {concurrency}")
        if not 0 <= capacity <= concurrency:
            raise ValueError(f"expected a capacity from 0 to {concurrency}, got {capacity}")
        self.capacity = capacity
        """Places for running requests."""
        self.admitted_max = queue_depth + concurrency
        """Running and waiting requests together, at most."""
        self._concurrency = concurrency
        self._running = 0
        self._waiting: dict[T, None] = {}

    @property
    def in_flight(self) -> int:
        """Requests inside: running, reserved and waiting."""
        return self._running + len(self._waiting)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    def admit(self, waiter: T) -> Admission:
        """Let a request run, or let it wait as `waiter`, or refuse it. O(1)."""
        running = self._running
        if running < self.capacity:
            self._running = running + 1
            return Admission.RUN
        waiting = self._waiting
        if running + len(waiting) >= self.admitted_max:
            return Admission.REFUSED
        waiting[waiter] = None
        return Admission.WAIT

    def reserve(self) -> bool:
        """Take a place without waiting; False when none is free. O(1)."""
        if self._running >= self.capacity:
            return False
        self._running += 1
        return True

    def release(self) -> T | None:
        """Give back a place and return the longest waiting request, which now holds it, or None.

        O(1). Raises `BreakerMisuse` when nothing is running.
        """
        if self._running <= 0:
            raise BreakerMisuse("a place was given back that nobody held")
        if self._waiting and self._running <= self.capacity:
            return self._pop()
        self._running -= 1
        return None

    def cancel(self, waiter: T) -> None:
        """Take a waiting request out. O(1). Raises `BreakerMisuse` when it does not wait."""
        if waiter not in self._waiting:
            raise BreakerMisuse(f"{waiter!r} left the queue but was not in it")
        del self._waiting[waiter]

    def update(self, capacity: int) -> list[T]:
        """Set the capacity and return the waiting requests that run now, in order.

        Beyond `concurrency` it is that. When it falls below what runs, those go on and nobody follows them until enough
        have ended.
        """
        self.capacity = min(capacity, self._concurrency)
        promoted: list[T] = []
        while self._waiting and self._running < self.capacity:
            self._running += 1
            promoted.append(self._pop())
        return promoted

    def _pop(self) -> T:
        waiter = next(iter(self._waiting))
        del self._waiting[waiter]
        return waiter


class Gate(Generic[T]):
    """Admission without a limit: open or closed. The breaker of a revision with container concurrency 0."""

    __slots__ = ("_waiting", "is_open")

    def __init__(self, *, is_open: bool) -> None:
        self.is_open = is_open
        self._waiting: dict[T, None] = {}

    @property
    def capacity(self) -> int:
        """1 while open, 0 while closed."""
        return int(self.is_open)

    @property
    def waiting(self) -> int:
        """Requests that wait for the gate to open."""
        return len(self._waiting)

    def admit(self, waiter: T) -> Admission:
        """Let a request run, or let it wait as `waiter`."""
        if self.is_open:
            return Admission.RUN
        self._waiting[waiter] = None
        return Admission.WAIT

    def reserve(self) -> bool:
        """True, also while closed: there are no places to run out of, as in the original."""
        return True

    def release(self) -> T | None:
        """End a running request; nobody waits for its place."""
        return None

    def cancel(self, waiter: T) -> None:
        """Take a waiting request out. Raises `BreakerMisuse` when it does not wait."""
        if waiter not in self._waiting:
            raise BreakerMisuse(f"{waiter!r} left the queue but was not in it")
        del self._waiting[waiter]

    def update(self, capacity: int) -> list[T]:
        """Open with any capacity above 0, else close; return the waiting requests that run now, in order."""
        self.is_open = capacity > 0
        if not self.is_open:
            return []
        promoted = list(self._waiting)
        self._waiting.clear()
        return promoted
