"""Simulated pods and the requests inside and before them, as a fluid: amounts are real numbers, steps are short.

Requests wait in order of arrival for a place in a ready pod, and leave it at the rate that their duration implies. Pods
take a while to become ready; when there are to be fewer, those that are not ready go first, then the youngest, as a
ReplicaSet chooses. A pod that goes finishes what it runs.
"""

import math
from collections import Counter, deque
from collections.abc import Callable

__all__ = ["Fleet"]

_EPSILON = 1e-9
_LAST_ONE = 0.01
"""A fluid never runs dry; a request of which so little is left has ended."""


class Fleet:
    """The pods of one revision. Time is counted in steps of `step_s` seconds."""

    def __init__(self, *, concurrency: int, step_s: float, start_steps: Callable[[], int], ready: int) -> None:
        """`concurrency`: requests inside one pod, 0: any number. `start_steps`: how long the next pod takes."""
        self._concurrency = concurrency
        self._step_s = step_s
        self._start_steps = start_steps
        self._ready_at = [0] * ready
        """When each pod is ready, from the oldest to the youngest."""
        self._waiting: deque[list[float]] = deque()
        self.waiting = 0.0
        """Requests that wait for a place."""
        self.running = 0.0
        self.arrived = 0.0
        """Requests so far."""
        self.waits: Counter[int] = Counter()
        """Thousandths of requests that began, by the steps that they had waited."""
        self.cold_starts = 0
        """Times that a request arrived while no pod was ready."""

    @property
    def replicas(self) -> int:
        """Pods, ready or not."""
        return len(self._ready_at)

    def ready(self, step: int) -> int:
        """Pods that take requests."""
        return sum(at <= step for at in self._ready_at)

    def scale(self, replicas: int, step: int) -> None:
        """Start or stop pods until there are so many."""
        if replicas > len(self._ready_at):
            self._ready_at += [step + self._start_steps() for _ in range(replicas - len(self._ready_at))]
            return
        # Those that are ready last go first: not yet ready ones, then the youngest.
        self._ready_at.sort()
        del self._ready_at[replicas:]

    def advance(self, step: int, arriving: float, duration_s: float) -> float:
        """Let one step pass, in which `arriving` requests come; return the concurrency, averaged over the step."""
        if arriving > 0:
            if not self.ready(step) and self.waiting <= _EPSILON:
                self.cold_starts += 1
            self._waiting.append([float(step), arriving])
            self.waiting += arriving
            self.arrived += arriving
        slots = self._slots(step)
        if duration_s <= self._step_s:
            return self._serve_short(step, slots, duration_s)
        self.running -= self.running * self._step_s / duration_s
        if self.running < _LAST_ONE:
            self.running = 0.0
        self.running += self._begin(step, min(self.waiting, max(0.0, slots - self.running)))
        return self.running + self.waiting

    def _serve_short(self, step: int, slots: float, duration_s: float) -> float:
        """Requests that are over within a step: a place serves several of them, one after the other."""
        turns = self._step_s / duration_s
        self.running = 0.0
        served = self._begin(step, min(self.waiting, slots * turns))
        return served / turns + self.waiting

    def _slots(self, step: int) -> float:
        ready = self.ready(step)
        return ready * self._concurrency if self._concurrency else math.inf if ready else 0.0

    def _begin(self, step: int, amount: float) -> float:
        """Take `amount` requests from the front of the queue."""
        left = amount
        while left > _EPSILON and self._waiting:
            first = self._waiting[0]
            taken = min(left, first[1])
            self.waits[step - int(first[0])] += round(taken * 1000)
            first[1] -= taken
            left -= taken
            if first[1] <= _EPSILON:
                self._waiting.popleft()
        self.waiting = max(0.0, self.waiting - amount)
        return amount
