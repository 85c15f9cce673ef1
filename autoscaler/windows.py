"""Averages and maxima over the last seconds, kept in buckets of time.

Theory of operation. A window of `window_s` is a ring of ceil(window / granularity) slots. A sample falls into the slot
of its bucket, the number of whole granules since the Unix epoch; samples of one bucket are *summed*, which is how
several activators and the scraper add up to the load of the whole revision. Averaging is over buckets, from the first
written to the last, so a revision that is three seconds old is averaged over three seconds. Missing buckets inside that
range count as 0; missing ones at the end do not count at all. Buckets that the caller knows to be *unseen* are left out
like missing ones at the end, unless what little they hold makes for more: what was seen is the least that there was.

`AverageWindow` weighs all buckets alike, `WeightedWindow` the newest most, `MaxWindow` remembers the largest value.

No clock: every method takes the time as Unix seconds. Times before the newest write are allowed (late samples), times
older than the window are ignored. Source: knative/serving `pkg/autoscaler/aggregation`; spec autoscaler.md 3; golden
sets `windows` and `max_window`.
"""

import math
from array import array
from collections import deque
from collections.abc import Sequence

__all__ = ["AverageWindow", "MaxWindow", "WeightedWindow", "round6", "smoothing_coefficient"]

_NEVER = -(1 << 62)
"""A bucket long before any other: nothing was written yet."""


class AverageWindow:
    """The plain average over the window. All operations are O(1) but for the buckets that nothing was written to."""

    __slots__ = ("_first", "_granularity_s", "_last", "_slots", "_span", "_total")

    def __init__(self, window_s: float, granularity_s: int = 1) -> None:
        self._granularity_s = granularity_s
        self._first = _NEVER
        self._last = _NEVER
        self._total = 0.0
        self._shape(window_s)
        self._slots = array("d", bytes(8 * self._slot_count(window_s)))

    def record(self, now_s: float, value: float) -> None:
        """Add `value` to the bucket of `now_s`. A bucket that is a whole window older than the newest is ignored."""
        bucket = int(now_s // self._granularity_s)
        if bucket != self._last:
            if bucket <= self._last - len(self._slots):
                return
            if self._first == _NEVER or self._first > bucket:
                self._first = bucket
            if bucket > self._last:
                self._advance(bucket)
        self._slots[bucket % len(self._slots)] += value
        self._total += value

    def average(self, now_s: float, unseen: Sequence[int] = ()) -> float:
        """The average as of `now_s`, rounded to six digits; 0 when a whole window has passed since the last write.

        `unseen`: buckets of which nothing is known.
        """
        slots = self._slots
        size = len(slots)
        last = self._last
        missing = int(now_s // self._granularity_s) - last
        if missing >= size:
            return 0.0
        total = self._total
        written = min(last - self._first + 1, size)
        if missing > 0:
            for bucket in range(last + 1, last + missing + 1):
                total -= slots[bucket % size]
            written = min(written, size - missing)
        average = total / written
        if unseen:
            first = max(self._first, last + max(0, missing) - size + 1)
            left_out = [bucket for bucket in unseen if first <= bucket <= last]
            if 0 < len(left_out) < written:
                seen = total - sum(slots[bucket % size] for bucket in left_out)
                average = max(average, seen / (written - len(left_out)))
        return round6(average)

    def is_empty(self, now_s: float) -> bool:
        """Whether more than a whole window has passed since the last write."""
        return int(now_s // self._granularity_s) - self._last > self._span

    def resize(self, now_s: float, window_s: float) -> None:
        """Make the window `window_s` long, keeping the newest buckets unless they are older than the old window."""
        count = self._slot_count(window_s)
        old, old_span = self._slots, self._span
        self._shape(window_s)
        if count == len(old):
            return
        self._slots = array("d", bytes(8 * count))
        self._total = 0.0
        if int(now_s // self._granularity_s) - self._last > old_span:
            self._first = _NEVER
            return
        for bucket in range(self._last - min(len(old), count) + 1, self._last + 1):
            value = old[bucket % len(old)]
            self._slots[bucket % count] = value
            self._total += value
        self._first = self._last - len(old) + 1

    def _slot_count(self, window_s: float) -> int:
        return math.ceil(window_s / self._granularity_s)

    def _shape(self, window_s: float) -> None:
        self._span = math.floor(window_s / self._granularity_s)

    def _advance(self, bucket: int) -> None:
        """Make `bucket` the newest: forget what lies in the slots that it and the buckets skipped before it take."""
        slots = self._slots
        size = len(slots)
        if bucket - self._last >= size:
            self._first = bucket
            self._total = 0.0
            self._slots = array("d", bytes(8 * size))
        else:
            for passed in range(self._last + 1, bucket + 1):
                index = passed % size
                self._total -= slots[index]
                slots[index] = 0.0
        self._last = bucket


class WeightedWindow(AverageWindow):
    """The exponentially weighted sum over the window: the newest bucket counts most.

    Weights are m, m(1-m), m(1-m)^2, ... and are deliberately not divided by their sum, as in the original: a revision
    that has just begun looks less loaded than it is.
    """

    __slots__ = ("_coefficient",)

    def average(self, now_s: float, unseen: Sequence[int] = ()) -> float:
        """The weighted sum as of `now_s`, not rounded; 0 when there is nothing. O(buckets).

        The weight of `unseen` buckets is shared out among the others.
        """
        if self.is_empty(now_s):
            return 0.0
        slots = self._slots
        size = len(slots)
        missing = max(0, int(now_s // self._granularity_s) - self._last)
        rest = 1.0 - self._coefficient
        weight = self._coefficient * rest**missing
        left_out = frozenset(unseen)
        result = seen = weights = seen_weights = 0.0
        for bucket in range(self._last, self._last - (size - missing), -1):
            value = slots[bucket % size] * weight
            result += value
            if left_out:
                weights += weight
                if bucket not in left_out:
                    seen += value
                    seen_weights += weight
            weight *= rest
        return max(result, seen * weights / seen_weights) if seen_weights else result

    def _shape(self, window_s: float) -> None:
        super()._shape(window_s)
        self._coefficient = smoothing_coefficient(self._slot_count(window_s))


class MaxWindow:
    """The largest value of the last `window_s`, in buckets of `granularity_s`.

    A queue of falling values: what is older and not larger than a new value can never be the maximum again. Old entries
    leave when something is recorded, so `current` is the maximum as of the last record. Amortised O(1).
    """

    __slots__ = ("_entries", "_granularity_s", "_size")

    def __init__(self, window_s: float, granularity_s: int) -> None:
        self._granularity_s = granularity_s
        self._size = math.ceil(window_s / granularity_s)
        self._entries: deque[tuple[int, int]] = deque()

    def record(self, now_s: float, value: int) -> None:
        """Take `value` into the bucket of `now_s`, where the larger one counts."""
        entries = self._entries
        index = int(now_s // self._granularity_s)
        while entries and entries[-1][1] <= value:
            entries.pop()
        while entries and index - entries[0][0] >= self._size:
            entries.popleft()
        if not entries or entries[-1][0] != index:
            entries.append((index, value))

    def current(self) -> int:
        """The maximum as of the last record. Something must have been recorded."""
        return self._entries[0][1]


def smoothing_coefficient(bucket_count: int) -> float:
    """The weight of the newest of `bucket_count` buckets: all of them together make up 99.99 %, but at least 0.2."""
    if bucket_count <= 0:
        return 1.0
    return max(0.2, 1.0 - math.pow(1.0 - 0.9999, 1.0 / bucket_count))


def round6(value: float) -> float:
    """Round to six decimal digits, halves away from zero."""
    scaled = abs(value) * 1e6
    if not math.isfinite(scaled):
        return value
    whole = math.floor(scaled)
    return math.copysign((whole + 1 if scaled - whole >= 0.5 else whole) / 1e6, value)
