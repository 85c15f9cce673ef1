"""Noticing at once that a child process ended, without signal handlers."""

import asyncio
import os
from collections.abc import Callable

__all__ = ["watch_exit"]


def watch_exit(pid: int, ended: Callable[[], None]) -> None:
    """Call `ended` on the running loop when our child `pid` has ended. It is a zombie then: the caller reaps it.

    Linux only (pidfd). One descriptor until then.
    """
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(pid)

    def readable() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        ended()

    loop.add_reader(descriptor, readable)
