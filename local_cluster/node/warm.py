"""Spare processes of a program that every pod needs, started before they are needed.

A Python sidecar takes some fifty milliseconds from exec to listening, nearly all of it imports, and in a cold start the
user's own program competes with it for the processor. So the node keeps a few that have imported everything and wait
(`warm_child.py`). A cluster's container runtime does the same kind of thing with sandboxes. See docs/decisions/0004.
"""

import asyncio
import json
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_cluster.guardian import Guardian
from local_cluster.node.process import Started, StartError, open_output

__all__ = ["WarmProcesses"]

_CHILD = Path(__file__).with_name("warm_child.py")
_SPARES = 2
_REFILL_S = 0.4
"""After a use: not while the pod that took one is booting."""


class WarmProcesses:
    """Spares for one command, which must end with `-m MODULE`. `take` gives one away, at most `spares` exist."""

    def __init__(self, command: Sequence[str], *, guardian: Guardian | None, spares: int = _SPARES) -> None:
        if len(command) < 3 or command[-2] != "-m":
            raise ValueError(f"expected a command that ends with -m MODULE, got {' '.join(command)}")
        self._command = list(command)
        self._guardian = guardian
        self._spares_max = spares
        self._spares: deque[Started] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def spare_pids(self) -> list[int]:
        """Process ids of the spares that wait."""
        return [spare.popen.pid for spare in self._spares]

    def start(self) -> None:
        """Begin to keep spares."""
        self._refill_later()

    def stop(self) -> None:
        """End the spares; those given away are their owners'."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._spares:
            self._discard(self._spares.popleft())

    def take(self, command: Sequence[str], env: Mapping[str, str], cwd: str) -> Started | None:
        """A process that runs `command` with `env` in `cwd`, or None: another command, or no spare at hand."""
        if list(command) != self._command or not Path(cwd).is_dir():
            return None
        self._refill_later()
        while self._spares:
            spare = self._spares.popleft()
            told = json.dumps({"env": dict(env), "cwd": cwd}).encode() + b"\n"
            stdin = spare.popen.stdin
            assert stdin is not None
            try:
                stdin.write(told)
                stdin.close()
            except OSError:
                self._discard(spare)  # it died while it waited
                continue
            return spare
        return None

    def _refill_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_REFILL_S, self._refill)

    def _refill(self) -> None:
        self._timer = None
        try:
            while len(self._spares) < self._spares_max:
                self._spares.append(self._start_one())
        except StartError:
            self._refill_later()  # without spares containers start the plain way, which reports what is wrong

    def _start_one(self) -> Started:
        output, write_end = open_output()
        try:
            popen = subprocess.Popen(
                [*self._command[:-2], str(_CHILD), self._command[-1]],
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
        return Started(popen, output)

    def _discard(self, spare: Started) -> None:
        spare.popen.kill()
        spare.popen.wait()
        if spare.popen.stdin is not None:
            spare.popen.stdin.close()
        spare.output.close()
        if self._guardian is not None:
            self._guardian.remove(spare.popen.pid)
