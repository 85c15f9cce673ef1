"""How much of a revision's load was seen, and in which seconds nothing was.

Theory of operation. A revision with pods is looked at once a second. A look that fails, that is skipped because the one
before it still runs, or that never happens because the process stood still, leaves a *gap*: a second whose load is
unknown, which is not zero. A look at a part of the sample leaves a gap of the missing part's size. Where there is
nothing to look at (no ready pods: activators see all there is) the look has succeeded.

Gaps are kept as long as the window reaches back, so their number is bounded by its seconds. While every look succeeds
there are none, and all of this costs a comparison per look. No clock: times are Unix seconds. Decision record: 0005.
"""

import math
from collections import deque
from collections.abc import Sequence

__all__ = ["Coverage"]

_LOOK_EVERY_S = 1.0
_SLACK_S = 0.5
"""A look may be that late before its second counts as missed."""


class Coverage:
    """The looks at one revision. Before the first one is due nothing is expected, and so nothing is missing."""

    __slots__ = ("_gaps", "_looked_s", "_since_s")

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._looked_s = 0.0
        self._gaps: deque[tuple[int, float]] | None = None
        """(second, missing share of the sample), oldest first; None where there is none, which is nearly always."""

    def begin(self, now_s: float) -> None:
        """A look is due: from now on one is expected each second."""
        if self._since_s is None:
            self._since_s = now_s
            self._looked_s = now_s - _LOOK_EVERY_S

    def looked(self, at_s: float, share: float, window_s: float) -> None:
        """A look that began at `at_s` saw `share` (0 to 1) of its sample."""
        self.begin(at_s)
        missed = self._overdue(at_s)
        if missed or share < 1.0 or self._gaps is not None:
            self._keep(at_s, missed, share, int(at_s) - int(window_s))
        self._looked_s = max(self._looked_s, at_s)

    def ratio(self, now_s: float, window_s: float) -> float:
        """The share of the window's load that was seen, from 0 to 1; of a young revision, since it is looked at."""
        overdue = self._overdue(now_s)
        if self._since_s is None or (not overdue and self._gaps is None):
            return 1.0
        oldest = int(now_s) - int(window_s)
        missing = overdue + sum(share for second, share in self._gaps or () if second > oldest)
        looks = round((self._looked_s - self._since_s) / _LOOK_EVERY_S) + 1
        expected = min(window_s, max(1, looks + overdue))
        return max(0.0, 1.0 - missing / expected)

    def unseen(self, now_s: float) -> Sequence[int]:
        """The seconds of which nothing was seen, oldest first; some may lie before the window."""
        overdue = self._overdue(now_s)
        if not overdue and self._gaps is None:
            return ()
        first = int(self._looked_s) + 1
        return [second for second, share in self._gaps or () if share == 1.0] + list(range(first, first + overdue))

    def _keep(self, at_s: float, missed: int, share: float, oldest: int) -> None:
        gaps = self._gaps or deque()
        first = int(self._looked_s) + 1
        gaps.extend((second, 1.0) for second in range(max(first, oldest), first + missed))
        if share < 1.0:
            gaps.append((int(at_s), 1.0 - share))
        while gaps and gaps[0][0] <= oldest:
            gaps.popleft()
        self._gaps = gaps or None

    def _overdue(self, now_s: float) -> int:
        """Looks that should have begun since the last one."""
        return 0 if self._since_s is None else max(0, math.floor(now_s - self._looked_s - _SLACK_S))
