"""How much trouble a peer may make: frames that cost us work and bring nobody forward.

A legitimate peer sends some of them all the time, an attacker nothing else: resets of streams that it has just opened
(CVE-2023-44487), SETTINGS and PING that have to be answered (CVE-2019-9512, CVE-2019-9515), empty DATA
(CVE-2019-9518), updates of windows that nothing went through, priorities, unknown frames, malformed requests. All draw
on one bucket; who empties it is told to calm down (RFC 9113 10.5).
"""

from collections.abc import Callable
from typing import Final

__all__ = ["Budget"]

BURST: Final = 1000
RATE_PER_S: Final = 500.0
"""A proxy in front of many clients that all give up on an app which hangs resets some hundred streams a second."""


class Budget:
    """A token bucket that asks for the time only when it seems to be empty."""

    __slots__ = ("_clock", "_filled_s", "_left")

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: monotonic, in seconds."""
        self._clock = clock
        self._filled_s = clock()
        self._left = BURST

    def spend(self) -> bool:
        """Take one; False when there is none left."""
        if not self._left:
            now_s = self._clock()
            self._left = min(BURST, int((now_s - self._filled_s) * RATE_PER_S))
            if not self._left:
                return False
            self._filled_s = now_s
        self._left -= 1
        return True
