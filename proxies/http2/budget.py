"""How much trouble a peer may make: frames that cost us work and bring nobody forward.

A legitimate peer sends some of them all the time, an attacker nothing else: resets of streams that it has just opened
(CVE-2023-44487), SETTINGS and PING that have to be answered (CVE-2019-9512, CVE-2019-9515), empty DATA
(CVE-2019-9518), updates of windows that nothing went through, priorities, unknown frames, malformed requests. All draw
on one bucket, but for the first, which have one of their own; who empties it is told to calm down (RFC 9113 10.5).
"""

from collections.abc import Callable
from typing import Final

__all__ = ["Budget"]

BURST: Final = 1000
RATE_PER_S: Final = 500.0
RESETS_BURST: Final = 5000
RESETS_RATE_PER_S: Final = 5000.0
"""A proxy in front of many clients that all give up on an app which hangs resets thousands of streams at once. Beyond
that it would cost us a fifth of a processor, and the app more."""


class Budget:
    """A token bucket that asks for the time only when it seems to be empty."""

    __slots__ = ("_burst", "_clock", "_filled_s", "_left", "_rate_per_s")

    def __init__(self, clock: Callable[[], float], burst: int = BURST, rate_per_s: float = RATE_PER_S) -> None:
        """`clock`: monotonic, in seconds. `burst`: at once at most; `rate_per_s`: what is filled up again."""
        self._clock = clock
        self._burst = burst
        self._rate_per_s = rate_per_s
        self._filled_s = clock()
        self._left = burst

    def spend(self) -> bool:
        """Take one; False when there is none left."""
        if not self._left:
            now_s = self._clock()
            self._left = min(self._burst, int((now_s - self._filled_s) * self._rate_per_s))
            if not self._left:
                return False
            self._filled_s = now_s
        self._left -= 1
        return True
