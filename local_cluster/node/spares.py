"""Processes that were started before they are needed, and wait on their standard input to be told what to become.

What a start costs before a program's own work, an interpreter and its imports, is paid while nobody waits. Used for
sidecars that are Python programs (`warm.py`) and for what puts a program into its container (`sandbox.py`).
"""

import asyncio
import contextlib
import marshal
import subprocess
from collections import deque
from collections.abc import Sequence
from typing import Any

from local_cluster.guardian import Guardian
from local_cluster.node import linux
from local_cluster.node.cgroups import Cgroup
from local_cluster.node.process import Started, StartError, open_output

__all__ = ["Spares"]


class Spares:
    """At most `count` waiting processes of one command. `take` gives one away, `start_one` makes one at once.

    `own_pids`: each is the first process of a PID namespace, which needs root.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        guardian: Guardian | None,
        count: int,
        refill_s: float,
        own_pids: bool = False,
    ) -> None:
        self._command = list(command)
        self._own_pids = own_pids
        self._guardian = guardian
        self._count = count
        self._refill_s = refill_s
        self._spares: deque[Started] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False

    @property
    def pids(self) -> list[int]:
        """Process ids of those that wait."""
        return [spare.popen.pid for spare in self._spares]

    def start(self) -> None:
        """Begin to keep spares."""
        self._refill_later()

    def stop(self) -> None:
        """End the spares; those given away are their owners'."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._spares:
            self._discard(self._spares.popleft())

    def take(self, told: dict[str, Any], cgroup: Cgroup | None = None) -> Started | None:
        """A process that was told `told`, once it was in `cgroup`; None when there is no spare at hand."""
        self._refill_later()
        while self._spares:
            spare = self._spares.popleft()
            if self._tell(spare, told, cgroup):
                return spare
        return None

    def start_one(self, told: dict[str, Any], cgroup: Cgroup | None = None) -> Started:
        """A process made now. Raises `StartError`."""
        spare = self._start()
        if not self._tell(spare, told, cgroup):
            raise StartError(f"{self._command[0]} ended before it was told what to run")
        return spare

    def _tell(self, spare: Started, told: dict[str, Any], cgroup: Cgroup | None) -> bool:
        stdin = spare.popen.stdin
        assert stdin is not None
        try:
            if cgroup is not None:
                cgroup.enter(spare.popen.pid)
            stdin.write(marshal.dumps(told))
            stdin.close()
        except OSError:
            self._discard(spare)  # it died while it waited
            return False
        return True

    def _refill_later(self) -> None:
        if self._timer is None and not self._is_stopped:
            self._timer = asyncio.get_running_loop().call_later(self._refill_s, self._refill)

    def _refill(self) -> None:
        self._timer = None
        try:
            while len(self._spares) < self._count:
                self._spares.append(self._start())
        except StartError:
            self._refill_later()  # without spares containers start the slow way, which reports what is wrong

    def _start(self) -> Started:
        output, write_end = open_output()
        try:
            with linux.new_process_ids() if self._own_pids else contextlib.nullcontext():
                popen = subprocess.Popen(
                    self._command,
                    env=self._guardian.environment if self._guardian is not None else {},
                    stdin=subprocess.PIPE,
                    stdout=write_end,
                    stderr=write_end,
                    start_new_session=True,
                    bufsize=0,
                )
        except OSError as error:
            output.close()
            raise StartError(str(error)) from error
        finally:
            write_end.close()
        if self._guardian is not None:
            self._guardian.add(popen.pid)
        return Started(popen, output, self._own_pids)

    def _discard(self, spare: Started) -> None:
        spare.popen.kill()
        spare.popen.wait()
        if spare.popen.stdin is not None:
            spare.popen.stdin.close()
        spare.output.close()
        if self._guardian is not None:
            self._guardian.remove(spare.popen.pid)
