"""One container as a group of processes: started, its output taken, its end noticed, nothing of it left.

`Popen` without `preexec_fn` uses vfork, so a start costs about a millisecond however large we are. The leader's end is
seen by pidfd; while it is still a zombie its id cannot be given to anyone else, so the rest of its group is killed
before it is reaped.
"""

import asyncio
import contextlib
import io
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from local_cluster.child import watch_exit
from local_cluster.guardian import Guardian
from local_cluster.node.cgroups import Cgroup
from local_cluster.node.logs import ContainerLog

__all__ = ["ContainerProcess", "StartError", "Started", "User", "find_executable", "open_output", "spawn"]

_READ_BYTES = 1 << 16
_LOOK_AGAIN_S = 0.1
_LAST_READS = 4
"""A pipe holds 64 KiB, so this takes all that was written before the end, and ends if someone goes on writing."""


class StartError(Exception):
    """The command cannot be started; the text is the container runtimes'."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom a container runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


class Started(NamedTuple):
    """A process group and the read end of what it writes."""

    popen: subprocess.Popen[bytes]
    output: io.FileIO
    is_first: bool = False
    """Whether it is the first process of a PID namespace of its own."""
    cgroup: Cgroup | None = None
    """The group that limits it, if one does."""


def open_output() -> tuple[io.FileIO, io.FileIO]:
    """The pipe that takes a container's output: our end, and the container's, to be closed after its start.

    Raises `StartError` when we have no descriptors left.
    """
    try:
        read_end, write_end = os.pipe()
    except OSError as error:
        raise StartError(f"no pipe for its output: {_reason(error)}") from error
    return io.FileIO(read_end, "r"), io.FileIO(write_end, "w")


def spawn(
    command: list[str], *, env: Mapping[str, str], cwd: str, user: User | None = None, cgroup: Cgroup | None = None
) -> Started:
    """Start `command` as a group of its own, as `user` if one is named. Raises `StartError`.

    It enters `cgroup` when it has begun, long before a program could start another one.
    """
    executable = find_executable(command[0], env.get("PATH", os.defpath), cwd)
    output, write_end = open_output()
    try:
        popen = subprocess.Popen(
            command,
            executable=executable,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
            user=user.uid if user is not None else None,
            group=user.gid if user is not None else None,
            extra_groups=user.groups if user is not None else None,
        )
    except (OSError, ValueError) as error:
        output.close()
        raise StartError(f'exec: "{command[0]}": {_reason(error)}') from error
    finally:
        write_end.close()
    if cgroup is not None:
        with contextlib.suppress(OSError):  # it has ended already
            cgroup.enter(popen.pid)
    return Started(popen, output)


class ContainerProcess:
    """A running container. `ended(code, signal)` is called once, when the log holds everything it wrote.

    The process is reaped in one place only, when pidfd has told its end: until then its id is its own, and signals are
    sent by `os.kill` (`Popen.send_signal` would reap it behind our back). Raises `StartError` when it cannot be
    watched; it does not run then.
    """

    def __init__(
        self,
        started: Started,
        *,
        log: ContainerLog,
        guardian: Guardian | None,
        clock: Callable[[], float],
        ended: Callable[[int, int], None],
    ) -> None:
        self._log = log
        self._guardian = guardian
        self._clock = clock
        self._on_ended = ended
        self._loop = asyncio.get_running_loop()
        self._popen = started.popen
        self._output = started.output
        self._is_first = started.is_first
        self._cgroup = started.cgroup
        self.was_out_of_memory = False
        """Whether it ended because it wanted more memory than it may have."""
        self._was_told_to_end = False
        self.pid = self._popen.pid
        if guardian is not None:
            guardian.add(self.pid)
        os.set_blocking(self._output.fileno(), False)
        try:
            watch_exit(self.pid, self._leader_ended)
        except OSError as error:
            self._reap()
            self._output.close()
            raise StartError(f"its end cannot be watched: {_reason(error)}") from error
        self._loop.add_reader(self._output, self._readable)

    def terminate(self) -> None:
        """SIGTERM to the first process only, as in a container.

        The first one of a PID namespace gets no signal that it does not handle. SIGTERM means its end all the same. One
        that blocks signals may wait for them, or may just be starting another program: then we look again.
        """
        if self._popen.returncode is not None:
            return
        signals = _Signals.of(self.pid, signal.SIGTERM) if self._is_first else _Signals.TAKEN
        if signals is _Signals.LOST:
            self._was_told_to_end = True
            os.kill(self.pid, signal.SIGKILL)
            return
        os.kill(self.pid, signal.SIGTERM)
        if signals is _Signals.BLOCKED:
            self._loop.call_later(_LOOK_AGAIN_S, self._look_again)

    def _look_again(self) -> None:
        if self._popen.returncode is None and _Signals.of(self.pid, signal.SIGTERM) is _Signals.LOST:
            self.terminate()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self._popen.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)

    def _readable(self) -> None:
        if self._take_output() == 0:
            self._close_output()

    def _leader_ended(self) -> None:
        code = self._reap()
        if self._was_told_to_end and code == -signal.SIGKILL:
            code = -signal.SIGTERM
        for _ in range(_LAST_READS):
            if self._output.closed or not self._take_output():
                break
        self._close_output()
        self._log.close(self._clock())
        self._on_ended(128 - code if code < 0 else code, -code if code < 0 else 0)

    def _reap(self) -> int:
        """End what is left of the group while its leader still holds the id, then let the id go."""
        os.killpg(self.pid, signal.SIGKILL)
        code = self._popen.wait()
        if self._cgroup is not None:
            self.was_out_of_memory = self._cgroup.was_out_of_memory()
            self._cgroup.remove()
        if self._guardian is not None:
            self._guardian.remove(self.pid)
        return code

    def _take_output(self) -> int | None:
        """Move what the pipe holds into the log. Returns the bytes moved: 0 at its end, None when it is empty."""
        try:
            data = os.read(self._output.fileno(), _READ_BYTES)
        except BlockingIOError:
            return None
        if data:
            self._log.feed(data, self._clock())
        return len(data)

    def _close_output(self) -> None:
        if not self._output.closed:
            self._loop.remove_reader(self._output)
            self._output.close()


def find_executable(name: str, path: str, cwd: str) -> str:
    """The file to run: `name` itself if it has a slash, relative to `cwd`, else the first match on `path`.

    Raises `StartError` in the words of a container runtime.
    """
    if not Path(cwd).is_dir():
        raise StartError(f'chdir to cwd ("{cwd}") failed: no such directory')
    if "/" in name:
        file = Path(cwd, name)
        if not file.exists():
            raise StartError(f'exec: "{name}": stat {file}: no such file or directory')
        if not os.access(file, os.X_OK) or file.is_dir():
            raise StartError(f'exec: "{name}": permission denied')
        return str(file)
    for folder in path.split(os.pathsep):
        file = Path(cwd, folder or ".", name)
        if file.is_file() and os.access(file, os.X_OK):
            return str(file)
    raise StartError(f'exec: "{name}": executable file not found in $PATH')


class _Signals(Enum):
    """What becomes of a signal to the first process of a PID namespace."""

    TAKEN = auto()
    """It is handled, or ignored on purpose."""
    BLOCKED = auto()
    LOST = auto()

    @classmethod
    def of(cls, pid: int, number: signal.Signals) -> "_Signals":
        """As proc(5) tells of a process."""
        bit = 1 << (number - 1)
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        masks = {line[:6]: int(line.split()[1], 16) for line in lines if line.startswith("Sig") and line[3] != "Q"}
        if (masks.get("SigCgt", 0) | masks.get("SigIgn", 0)) & bit:
            return cls.TAKEN
        return cls.BLOCKED if masks.get("SigBlk", 0) & bit else cls.LOST


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
