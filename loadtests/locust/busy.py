"""How busy a process was that has one thread: over a whole run, and in the busiest few seconds of it; and how late.

The whole alone would hide the end of a ramp, where a load that has no processor time left times itself. And a load that
others keep from the processor uses little of it: that it is late shows it nevertheless.
"""

from collections import deque
from typing import Final

__all__ = ["BUSY_MAX", "LATE_MS_MAX", "WINDOW_S", "Busy", "Lateness"]

BUSY_MAX: Final = 0.9
"""Beyond this use of one core the load waits for itself."""
WINDOW_S: Final = 5.0
LATE_MS_MAX: Final = 20
"""When it wakes later than that (95th percentile), times hold so much of its own that they say little of others."""
_COUNTED_MS_MAX: Final = 1000


class Busy:
    """Told the time and the processor time used so far, now and then; both in seconds."""

    __slots__ = ("_began", "_last", "_recent", "peak_ratio")

    def __init__(self, now_s: float, cpu_s: float) -> None:
        self._began = self._last = (now_s, cpu_s)
        self._recent = deque([self._began])
        self.peak_ratio = 0.0
        """Of one core, in the busiest `WINDOW_S`; 0 before there was one."""

    def sample(self, now_s: float, cpu_s: float) -> None:
        """Take note; once a second is enough."""
        self._last = (now_s, cpu_s)
        self._recent.append(self._last)
        while len(self._recent) > 1 and now_s - self._recent[1][0] >= WINDOW_S:
            self._recent.popleft()
        began_s, used_s = self._recent[0]
        if now_s - began_s >= WINDOW_S:
            self.peak_ratio = max(self.peak_ratio, (cpu_s - used_s) / (now_s - began_s))

    @property
    def ratio(self) -> float:
        """Of one core, over all; 0 before the second sample."""
        (began_s, used_s), (now_s, cpu_s) = self._began, self._last
        return (cpu_s - used_s) / (now_s - began_s) if now_s > began_s else 0.0

    @property
    def is_saturated(self) -> bool:
        """Whether what was timed is as much the load's own time as that of whom it asked."""
        return max(self.ratio, self.peak_ratio) > BUSY_MAX


class Lateness:
    """How much later than asked for a sleeper woke, in whole milliseconds."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = [0] * (_COUNTED_MS_MAX + 1)

    def woke(self, late_s: float) -> None:
        """Take note of one time."""
        self._counts[max(0, min(_COUNTED_MS_MAX, int(late_s * 1000)))] += 1

    @property
    def p95_ms(self) -> int:
        """What 95 of 100 times did not exceed; 0 before the first, and no more than a second."""
        left = -(-95 * sum(self._counts) // 100)
        for ms, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return ms
        return _COUNTED_MS_MAX
