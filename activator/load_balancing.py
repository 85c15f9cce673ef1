"""Which of a revision's pods gets the next request: the one with the fewest requests.

Told to be strict, the activator uses the three policies of the original instead:

    random choice of two   no limit per pod       the one with fewer requests of two random pods
    first available        1 to 3 per pod         the first with a free slot: packs, so that the last pods can go
    round robin            4 and more per pod     the next with a free slot

A policy only chooses; whoever asked takes the place. Pure: no clock, chance comes in from outside.
Source: knative/serving `pkg/activator/net/lb_policy.go`; spec activator.md 8.2 and 8.4; golden set `lb_policy`.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, Protocol

__all__ = [
    "UNLIMITED",
    "FirstAvailable",
    "LeastInFlight",
    "Policy",
    "RandomChoiceOfTwo",
    "RoundRobin",
    "Target",
    "policy_for",
]

UNLIMITED: Final = (1 << 31) - 1
"""Capacity of what has no limit, as the original writes it."""

_PACKED_CONCURRENCY_MAX: Final = 3


class Target:
    """One address that takes requests, and how many of ours it has."""

    __slots__ = ("address", "capacity", "in_flight")

    def __init__(self, address: str, capacity: int) -> None:
        self.address = address
        """`ip:port`."""
        self.capacity = capacity
        """Requests of this activator that it may have at once; 0: it gets no more."""
        self.in_flight = 0
        """Requests of this activator that it has."""

    def __repr__(self) -> str:
        return f"Target({self.address!r}, {self.in_flight}/{self.capacity})"


class Policy(Protocol):
    """Chooses among the targets of one revision. May remember where it was; one object per revision."""

    def pick(self, targets: Sequence[Target]) -> Target | None:
        """Return a target with a free slot, or None when there is none."""


class LeastInFlight:
    """The one with the fewest requests, any when they are equal. All have as many slots. O(targets)."""

    __slots__ = ("_random",)

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` returns a number from 0 up to 1, not included."""
        self._random = chance

    def pick(self, targets: Sequence[Target]) -> Target | None:
        """Return a target with a free slot; None when there is none."""
        if not targets:
            return None
        start = int(self._random() * len(targets))
        best = targets[start]
        fewest = best.in_flight
        if fewest:
            # Two slices cost less than an index for each target.
            for target in (*targets[start + 1 :], *targets[:start]):
                if target.in_flight < fewest:
                    best, fewest = target, target.in_flight
                    if not fewest:
                        break
        return best if fewest < best.capacity else None


class FirstAvailable:
    """The first in the order of addresses that has a free slot. O(targets)."""

    __slots__ = ()

    def pick(self, targets: Sequence[Target]) -> Target | None:
        """Return the first target with a free slot."""
        for target in targets:
            if target.in_flight < target.capacity:
                return target
        return None


class RoundRobin:
    """The first with a free slot from behind the one chosen last. O(targets) only when they are full."""

    __slots__ = ("_next_index",)

    def __init__(self) -> None:
        self._next_index = 0

    def pick(self, targets: Sequence[Target]) -> Target | None:
        """Return the next target with a free slot; start over when the list has become shorter than that."""
        size = len(targets)
        start = self._next_index
        if start >= size:
            start = 0
        for offset in range(size):
            index = start + offset
            if index >= size:
                index -= size
            target = targets[index]
            if target.in_flight < target.capacity:
                self._next_index = index + 1
                return target
        # The original keeps the restarted index, too.
        self._next_index = start
        return None


class RandomChoiceOfTwo:
    """The one with fewer requests of two different random targets, either when they are equal. O(1); no limit."""

    __slots__ = ("_random",)

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` returns a number from 0 up to 1, not included."""
        self._random = chance

    def pick(self, targets: Sequence[Target]) -> Target | None:
        """Return a target; None only when there are none."""
        size = len(targets)
        if size <= 1:
            return targets[0] if targets else None
        first_index = int(self._random() * size)
        second_index = int(self._random() * (size - 1))
        # Two different ones: the second is drawn from what is left.
        if second_index >= first_index:
            second_index += 1
        first, second = targets[first_index], targets[second_index]
        # The order of the two is random, so a tie is as well.
        return first if first.in_flight <= second.in_flight else second


def policy_for(container_concurrency: int) -> Policy:
    """Return the original's policy for a revision whose pods take so many requests at once; 0: any number."""
    if container_concurrency == 0:
        return RandomChoiceOfTwo()
    if container_concurrency <= _PACKED_CONCURRENCY_MAX:
        return FirstAvailable()
    return RoundRobin()
