"""Ends what left its container's process group: daemons that called `setsid` before their pod ended.

Every process of a pod carries the pod's uid in its environment, and children inherit it. When a pod has ended, whatever
still carries its uid is killed. One look at /proc serves all pods that ended since the look before, so that a hundred
pods that end together cost a few looks. What clears its environment as well is found by nobody but a PID namespace.
"""

import asyncio
import os
import signal
from collections.abc import Iterable
from pathlib import Path

__all__ = ["POD_VARIABLE", "Strays", "kill_marked"]

POD_VARIABLE = "KNUV_POD_UID"
_ROUNDS_MAX = 3
"""A process that was being forked while we looked is found in the next round."""


class Strays:
    """`end(uid)` for every pod that ended; `finished()` waits for the look under way."""

    def __init__(self) -> None:
        self._ended: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def end(self, uid: str) -> None:
        """Kill what is left of a pod, soon."""
        self._ended.add(uid)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="strays")

    async def finished(self) -> None:
        """Until nothing of the pods that ended is left."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._ended:
                uids, self._ended = self._ended, set()
                await asyncio.to_thread(kill_marked, uids)
        finally:
            self._task = None


def kill_marked(uids: Iterable[str]) -> int:
    """Kill every process that carries one of these uids; how many there were. Blocks for about 10 us a process."""
    needles = {f"{POD_VARIABLE}={uid}".encode() for uid in uids}
    killed = 0
    for _ in range(_ROUNDS_MAX):
        found = [pid for pid in _process_ids() if not needles.isdisjoint(_environment(pid))]
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
        if not found:
            break
    return killed


def _process_ids() -> Iterable[int]:
    own = os.getpid()
    return (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own)


def _environment(pid: int) -> list[bytes]:
    """A process's variables as they were at its start; none for one that ended, is a zombie or is not ours."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
