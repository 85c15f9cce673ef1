"""Keeps the promise that nothing is left behind: process groups die with the process that started them.

The stack may end without a chance to clean up (`kill -9`, out of memory). So a small process of its own, the reaper
(`reaper.py`), knows every group and holds the read end of a pipe whose only write end is ours. When the pipe closes, we
are gone, and it kills every group. It is restarted when it dies, with the whole list.

What a killed parent had started an instant before it could tell, and what left its group by `setsid`, is found by the
variable `KNUV_GUARDIAN`: give `environment` to every process that is to be watched.
"""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path

from local_cluster.child import watch_exit
from proxies.logs import Logger

__all__ = ["Guardian"]

_REAPER = Path(__file__).with_name("reaper.py")
_RESTART_S = 0.2
_STOP_S = 5.0


class Guardian:
    """The list of process groups to end with us. `start` before the first `add`; `stop` ends those still listed."""

    def __init__(self, log: Logger | None = None, *, held: Iterable[int] = (), cgroup: Path | None = None) -> None:
        """`held`: descriptors that stay open until the reaper has ended, such as a lock's; `cgroup`: removed by it."""
        self._cgroup = [str(cgroup)] if cgroup is not None else []
        self._held = tuple(held)
        self._log = log or Logger("guardian")
        self._groups: set[int] = set()
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._timer: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[None] | None = None
        self._stopping = False

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which the reaper recognises a process that is not, or no longer, in a listed group."""
        return {"KNUV_GUARDIAN": self._mark}

    @property
    def pid(self) -> int | None:
        """The reaper's process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def watched(self) -> frozenset[int]:
        """The groups that would be ended."""
        return frozenset(self._groups)

    async def start(self) -> None:
        """Start the reaper."""
        self._spawn()

    async def stop(self) -> None:
        """End what is still listed, then the reaper."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        ended = self._ended
        self._close_pipe()
        if ended is not None:
            await asyncio.wait([ended], timeout=_STOP_S)

    def add(self, group: int) -> None:
        """Watch a process group."""
        self._groups.add(group)
        self._tell(b"+%d\n" % group)

    def remove(self, group: int) -> None:
        """The group has ended."""
        self._groups.discard(group)
        self._tell(b"-%d\n" % group)

    def _spawn(self) -> None:
        self._timer = None
        read_end, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_REAPER), self._mark, *self._cgroup],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=self._held,
            )
        finally:
            os.close(read_end)
        os.set_blocking(self._pipe, False)
        self._ended = asyncio.get_running_loop().create_future()
        watch_exit(self._process.pid, self._reaper_ended)
        if self._groups:
            self._tell(b"".join(b"+%d\n" % group for group in sorted(self._groups)))

    def _tell(self, message: bytes) -> None:
        if self._pipe < 0:
            return  # it is being restarted, and then gets the whole list
        try:
            written = os.write(self._pipe, message)
        except (BlockingIOError, BrokenPipeError):
            written = 0
        if written < len(message) and self._process is not None:
            # It does not read; another one will.
            os.kill(self._process.pid, signal.SIGKILL)

    def _reaper_ended(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        self._process = None
        self._close_pipe()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if not self._stopping:
            self._log.warning("reaper_ended", exit_code=code, restart_s=_RESTART_S)
            self._timer = asyncio.get_running_loop().call_later(_RESTART_S, self._spawn)

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1
