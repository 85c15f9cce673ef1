"""Ends tests that take too long, on uvloop too: it takes what a signal's handler raises for the error of one callback.

A plugin of pytest-timeout. Where a loop runs, its tasks are cancelled instead, again and again until the test ends, and
where they stood is told.
"""

import asyncio
import signal
import sys
from types import FrameType
from typing import Any, Final

import pytest
from pytest_timeout import timeout_sigalrm

__all__: list[str] = []

_AGAIN_S: Final = 10.0


@pytest.hookimpl
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Set the alarm, unless another method than signals is asked for."""
    if settings.method != "signal":
        return None

    def ring(_signal: int, _frame: FrameType | None) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            timeout_sigalrm(item, settings)
            return
        for task in asyncio.all_tasks(loop):
            task.print_stack(file=sys.stderr)
            # Also wakes a loop that waits.
            loop.call_soon_threadsafe(task.cancel, f"{item.nodeid} took longer than {settings.timeout:g} s")

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel  # type: ignore[attr-defined]  # which pytest-timeout calls
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout, _AGAIN_S)
    return True
