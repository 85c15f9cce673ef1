"""Which pods in use are looked at again, and when: one that shuts down must have left before its queue-proxy closes.

Normally Kubernetes withdraws a pod's address the moment it is to end, and its queue-proxy goes on serving for 30 s.
Where that word does not arrive (an API server that is gone, a node that ends pods by itself, an address that is
somebody else's by now) only the pod can say so. Pods of revisions without requests are left alone.

Pure: times are seconds of one clock.
"""

from collections.abc import Iterable
from typing import Final

from activator.loads import RevisionKey

__all__ = ["PodChecks"]

PODS_PER_TURN: Final = 100
"""Pods that are looked at per second, or one revision's where it has more: a hundredth of a processor."""


class PodChecks:
    """Remembers when the pods of each revision in use were looked at. `period_s`: how often; 0: never."""

    __slots__ = ("_checked_s", "_period_s")

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._checked_s: dict[RevisionKey, float] = {}

    def take(self, in_use: Iterable[tuple[RevisionKey, int]], now_s: float) -> list[RevisionKey]:
        """Return the revisions whose pods are to be looked at, those that waited longest first.

        `in_use`: the revisions with requests, and how many pods each has. A pod passed a probe before its first
        request, so what comes into use is due a period later.
        """
        period_s = self._period_s
        if not period_s:
            return []
        before = self._checked_s
        pods = dict(in_use)
        checked_s = self._checked_s = {key: before.get(key, now_s) for key in pods}
        due = sorted(
            (key for key, then_s in checked_s.items() if now_s - then_s >= period_s), key=checked_s.__getitem__
        )
        taken = []
        room = PODS_PER_TURN
        for key in due:
            if room <= 0:
                break
            room -= pods[key]
            checked_s[key] = now_s
            taken.append(key)
        return taken
