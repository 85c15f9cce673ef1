"""What happened so far, and what it amounts to. Plain counting."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

__all__ = ["FLAT_MB", "Drop", "Sample", "Tally", "Visit", "growth_mb", "is_flat"]

FLAT_MB: Final = 1.0
_DROPS_MAX: Final = 1000
_WINDOW_S: Final = 10.0


class Drop(Exception):
    """A request that had to succeed did not; the text says what was expected and what came."""


@dataclass(frozen=True, slots=True)
class Visit:
    """How the requests of one visit ended, each as it has to."""

    good: int = 0
    """With the right answer."""
    refused: int = 0
    """With 503 from the narrow proxy."""
    timed_out: int = 0
    """With 504, or cut short by a timer."""
    left: int = 0
    """The visitor went away in the middle."""
    restarted: int = 0
    """With an error, while the app was restarted."""


@dataclass(slots=True)
class Tally:
    """Counts of all visitors."""

    visits: Counter[str] = field(default_factory=Counter)
    """Visits that ended as they have to, by kind of visitor."""
    requests: Counter[str] = field(default_factory=Counter)
    """Requests by their ends: the fields of `Visit`, and `dropped`."""
    drops: list[str] = field(default_factory=list)
    """What was wrong with the first thousand that were dropped."""

    def add(self, kind: str, visit: Visit) -> None:
        """A visit of this kind ended as it has to."""
        self.visits[kind] += 1
        self.requests.update(asdict(visit))

    def drop(self, kind: str, text: str) -> None:
        """A visit of this kind did not: one of its requests was dropped."""
        self.requests["dropped"] += 1
        if len(self.drops) < _DROPS_MAX:
            self.drops.append(f"{kind}: {text}")


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory at one moment."""

    at_s: float
    """Since the beginning."""
    rss_mb: float


def growth_mb(samples: Sequence[Sample], warm_s: float) -> float:
    """By how much memory ever grew after `warm_s`: the highest median of ten seconds, less the first one.

    Medians, because a single sample may catch many bodies on their way at once. 0 when nothing was measured.
    """
    windows: dict[int, list[float]] = {}
    for sample in samples:
        if sample.at_s >= warm_s:
            windows.setdefault(int((sample.at_s - warm_s) // _WINDOW_S), []).append(sample.rss_mb)
    medians = [statistics.median(each) for each in windows.values()]
    return max(medians) - medians[0] if medians else 0.0


def is_flat(samples: Sequence[Sample], warm_s: float) -> bool:
    """Whether that is within the budget."""
    return growth_mb(samples, warm_s) <= FLAT_MB
