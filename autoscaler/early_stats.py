"""Stats for revisions that are not decided here yet: kept until they are, since a request may be waiting.

Activators connect as soon as an autoscaler listens, and a replica that takes over a bucket has the stats that waited
for an owner at once; the revisions' first reconciles come a little later. Most of what is kept is for those. The rest
is for revisions that are gone, or that nobody decides here, and is dropped as others come. Pure; bounded.
"""

from typing import NamedTuple

from proxies.wire.stat import Stat

__all__ = ["EarlyStat", "EarlyStats"]

_KEPT_S = 60.0
"""Load of longer ago says nothing about a revision that is new here."""
_STATS_MAX = 2000
"""Two full queues of a forwarder; 1 MB."""


class EarlyStat(NamedTuple):
    """A stat, and when it arrived, in Unix seconds."""

    stat: Stat
    arrived_s: float


class EarlyStats:
    """The stats by revision, which is a (namespace, name)."""

    __slots__ = ("_count", "_stats")

    def __init__(self) -> None:
        self._stats: dict[tuple[str, str], list[EarlyStat]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def keep(self, key: tuple[str, str], stat: Stat, now_s: float) -> None:
        """Keep a stat; when there are too many, those of the revision that was heard of first go. O(1) on average."""
        if self._count >= _STATS_MAX:
            self._count -= len(self._stats.pop(next(iter(self._stats))))
        self._stats.setdefault(key, []).append(EarlyStat(stat, now_s))
        self._count += 1

    def take(self, key: tuple[str, str], now_s: float) -> list[EarlyStat]:
        """Hand out what was kept for a revision, oldest first."""
        stats = self._stats.pop(key, [])
        self._count -= len(stats)
        return [early for early in stats if now_s - early.arrived_s <= _KEPT_S]
