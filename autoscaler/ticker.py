"""The one timer that drives everything: which revisions are decided and scraped now.

Two seconds are cut into phases of 10 ms, and a revision has its place among them (`autoscaler.multiscaler`), so that
thousands of revisions make a steady stream of small work and a stat that wakes one from zero never waits long. Where
there is less to do, phases are handled together, a tenth of a second of them at most: each time that the loop is woken
costs as much as a scrape. After a pause (a stopped process, a busy machine) each revision is decided once, and its
scrapes are counted as of the time at which they were due.
"""

import asyncio
from collections.abc import Callable

from autoscaler.multiscaler import PHASE_S, PHASES, MultiScaler, Outcome
from autoscaler.scraping import Scraping

__all__ = ["Ticker"]

_TOGETHER_MAX = 10
"""Phases; a revision that appears meanwhile has its turn soon enough."""
_WORK_MAX = 50
"""Decisions, and pods that are asked, together: about 3 ms of work."""


class Ticker:
    """Ticks from `start` to `stop`. `announce` is told every outcome; `clock` gives Unix seconds that never jump."""

    def __init__(
        self,
        scalers: MultiScaler,
        scraping: Scraping,
        *,
        clock: Callable[[], float],
        announce: Callable[[Outcome], None],
    ) -> None:
        self._scalers = scalers
        self._scraping = scraping
        self._clock = clock
        self._announce = announce
        self._started_s = 0.0
        self._started_loop_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.phase = 0
        """The phase that was handled last."""

    def start(self) -> None:
        """Begin; needs a running loop."""
        self._started_s = self._clock()
        self._started_loop_s = asyncio.get_running_loop().time()
        self._sleep_until(self._next_wake())

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now = int((asyncio.get_running_loop().time() - self._started_loop_s) / PHASE_S)
        wake = now + 1
        try:
            for phase in range(max(self.phase + 1, now - PHASES + 1), now + 1):
                self.phase = phase
                for outcome in self._scalers.decide_phase(phase, self._clock()):
                    self._announce(outcome)
                self._scraping.start_phase(phase, self._started_s + phase * PHASE_S)
            wake = self._next_wake()
        finally:
            self._sleep_until(wake)  # whatever failed, which is a bug, does not end it for all revisions

    def _sleep_until(self, phase: int) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._started_loop_s + phase * PHASE_S, self._tick)

    def _next_wake(self) -> int:
        """The phase until which enough is due."""
        phase = self.phase + 1
        last = self.phase + _TOGETHER_MAX
        work = self._work(phase)
        while phase < last and work < _WORK_MAX:
            phase += 1
            work += self._work(phase)
        return phase

    def _work(self, phase: int) -> int:
        return self._scalers.count_in_phase(phase) + self._scraping.work_in_phase(phase)
