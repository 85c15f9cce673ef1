"""How busy a process was that has one thread: over a whole run, and in the busiest few seconds of it.

The whole alone would hide the end of a ramp, where a load that has no processor time left times itself.
"""

from collections import deque
from typing import Final

__all__ = ["BUSY_MAX", "WINDOW_S", "Busy"]

BUSY_MAX: Final = 0.9
"""Beyond this use of one core the load waits for itself."""
WINDOW_S: Final = 5.0


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
