"""Medians, how sure they are, and who is better. Pure; the chance of the bootstrap has a fixed seed."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["RUNS_MIN", "Estimate", "Verdict", "compare", "estimate", "quantile"]

_RESAMPLES: Final = 2000
_OUTSIDE: Final = 0.025
"""On each side of the interval."""
RUNS_MIN: Final = 4
"""With fewer runs an interval says nothing: two of two values are beside each other by chance alone."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median and the interval that holds it with 95 %."""

    median: float
    low: float
    high: float
    count: int


class Verdict(Enum):
    """What the runs say."""

    A_BETTER = "A is better"
    B_BETTER = "B is better"
    OPEN = "no difference shown"
    UNKNOWN = "not measured"
    NONE = ""
    """There is nothing to compare."""


def estimate(values: Sequence[float], seed: int = 1) -> Estimate:
    """Return the median of at least one value, with its interval by the percentile bootstrap."""
    chance = random.Random(seed)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    low, high = medians[int(_OUTSIDE * _RESAMPLES)], medians[int((1 - _OUTSIDE) * _RESAMPLES) - 1]
    return Estimate(statistics.median(values), low, high, len(values))


def compare(a: Estimate | None, b: Estimate | None, *, is_low_good: bool) -> Verdict:
    """Say who is better; only where the intervals do not touch, and there are enough runs of both."""
    if a is None or b is None:
        return Verdict.UNKNOWN
    if min(a.count, b.count) < RUNS_MIN:
        return Verdict.OPEN
    if a.high < b.low:
        return Verdict.A_BETTER if is_low_good else Verdict.B_BETTER
    if b.high < a.low:
        return Verdict.B_BETTER if is_low_good else Verdict.A_BETTER
    return Verdict.OPEN


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that is no smaller than `share` (0 to 1) of them; at least one value."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(len(ordered), max(1, rank)) - 1]
