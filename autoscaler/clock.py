"""The autoscaler's own time: Unix seconds that never jump.

Windows are aligned to Unix time, but a wall clock that is set back by an hour would freeze them for that hour, and one
that is set forward would empty them. So the wall clock is read once, and a steady clock counts from there.
"""

import time
from collections.abc import Callable

__all__ = ["SteadyClock"]


class SteadyClock:
    """Calling it gives Unix seconds."""

    __slots__ = ("_offset_s", "_steady")

    def __init__(self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._offset_s = wall() - steady()

    def __call__(self) -> float:
        return self._offset_s + self._steady()
