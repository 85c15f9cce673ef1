"""For how long conditions have been as they are, whatever is done to the wall clock meanwhile.

Conditions carry the wall time of their last transition. A clock that is set forward by an hour would make all of them
an hour older at once: a revision that is just starting would be given up, a last pod taken before its time. So a
transition is compared with the wall clock once, when it is first seen, and a steady clock counts from there.
"""

import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from kube.models.meta import Condition
from kube.timestamps import parse_time_s

__all__ = ["Ages"]


class _Seen(NamedTuple):
    status: str
    transition: str
    began_s: float
    """On the steady clock."""


class Ages:
    """The transitions that were seen, by owner; `forget` owners that are gone."""

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._seen: dict[Hashable, dict[str, _Seen]] = {}

    def in_status_s(self, owner: Hashable, condition: Condition | None, status: str) -> float:
        """Seconds since the owner's condition took `status`; -1 when it has another, or nobody says since when."""
        if condition is None or condition.status != status or condition.last_transition_time is None:
            return -1.0
        conditions = self._seen.setdefault(owner, {})
        seen = conditions.get(condition.type)
        now_s = self._steady()
        if seen is None or (seen.status, seen.transition) != (status, condition.last_transition_time):
            age_s = max(0.0, self._wall() - parse_time_s(condition.last_transition_time))
            seen = conditions[condition.type] = _Seen(status, condition.last_transition_time, now_s - age_s)
        return now_s - seen.began_s

    def forget(self, owner: Hashable) -> None:
        """Drop an owner; unknown ones are fine."""
        self._seen.pop(owner, None)
