"""Long work on the loop in short slices, so that whatever else is due is not held up by it.

The work is a generator that yields wherever it may be interrupted, and returns its result.
"""

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Final, TypeAlias, TypeVar

__all__ = ["Steps", "finish", "run_in_slices"]

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]

_SLICE_S: Final = 0.002


def finish(steps: Steps[T]) -> T:
    """Do all of it now."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def run_in_slices(
    loop: asyncio.AbstractEventLoop, steps: Steps[T], *, done: Callable[[T], None], failed: Callable[[], None]
) -> None:
    """Do a first slice now, and the others between whatever else the loop has to do; then call `done(result)`.

    Short work is done when this returns. An exception of the work goes its way after `failed()`.
    """

    def go() -> None:
        # Not the loop's own time, which uvloop reads once per round.
        until_s = time.monotonic() + _SLICE_S
        try:
            while time.monotonic() < until_s:
                next(steps)
        except StopIteration as end:
            done(end.value)
        except BaseException:
            failed()
            raise
        else:
            loop.call_soon(go)

    go()
