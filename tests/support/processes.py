"""Waiting for what other processes do, with deadlines instead of guesses."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from pathlib import Path
from typing import TypeVar

__all__ = ["LATE_S", "eventually", "is_running", "kill_group", "wait_until"]

T = TypeVar("T")

_POLL_S = 0.005
_DEADLINE_S = 30.0
"""Far beyond what anything takes on a machine that runs other tests, too; who waits in vain has failed."""
LATE_S = 5.0
"""How late something may come that is due at some time: on a busy machine, where nothing else would end the wait."""


async def eventually(check: Callable[[], T | Awaitable[T]], *, timeout_s: float = _DEADLINE_S) -> T:
    """The first true result of `check`, which is asked every 5 ms; the last assertion or a timeout fails the test."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = check()
        value: T = await result if isawaitable(result) else result  # type: ignore[assignment]
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s; last: {value!r}")
        await asyncio.sleep(_POLL_S)


def wait_until(check: Callable[[], object], *, timeout_s: float = _DEADLINE_S) -> None:
    """The same where no loop runs."""
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s")
        time.sleep(_POLL_S)


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def kill_group(group: int) -> None:
    """End a process group that a test started; nothing happens when it has ended."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
