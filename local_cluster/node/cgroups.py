"""Resource limits of containers, by cgroup v2 where we may make groups: memory, processor time, number of processes.

A node has a group of its own below the one that it was started in; each container that has limits gets one in it.
Controllers can only be handed down by a group that holds no process itself (the kernel's "no internal processes" rule),
so the node moves into a group beside its containers'; it does so only where it is alone. Source: Linux documentation,
"Control Group v2".
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cluster.node.quantities import divide_quantity, parse_quantity

__all__ = ["UNLIMITED", "Cgroup", "Cgroups", "CgroupsUnavailable", "Limits"]

PROCESSES_MAX = 16_384
"""Of one container with limits; Kubernetes has a limit for each pod only, and sets it for the whole node."""
_CONTROLLERS = ("cpu", "memory", "pids")
_PERIOD_US = 100_000


class CgroupsUnavailable(Exception):
    """No limits can be set here; the text says why, and what to do where something can be done."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use; None: as much as there is."""

    memory_bytes: int | None = None
    cpus: float | None = None

    @classmethod
    def of(cls, resources: Mapping[str, Any]) -> "Limits":
        """Of a container's `resources`. Raises `ValueError` for what is no quantity."""
        limits = resources.get("limits") or {}
        memory, cpu = limits.get("memory"), limits.get("cpu")
        return cls(
            None if memory is None else divide_quantity(str(memory), "1"),
            None if cpu is None else float(parse_quantity(str(cpu))),
        )


UNLIMITED = Limits()


class Cgroup:
    """One container's group. `enter` puts a process into it before that starts others; `remove` when all have ended."""

    def __init__(self, path: Path, left: set[Path]) -> None:
        """`left`: takes the path of a group that cannot be removed yet."""
        self.path = path
        self._left = left

    def enter(self, pid: int) -> None:
        """Limit a process and what it starts. Raises `OSError`."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def was_out_of_memory(self) -> bool:
        """Whether the kernel ended a process of it for its memory."""
        try:
            lines = (self.path / "memory.events").read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def remove(self) -> None:
        """End what is left in it, and it."""
        with contextlib.suppress(OSError):  # before Linux 5.14; then only processes that left their group are left
            (self.path / "cgroup.kill").write_text("1")
        if not _remove(self.path):
            self._left.add(self.path)  # what was killed is still ending


class Cgroups:
    """The groups of one node, in `folder`, which is ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._next = 0
        self._left: set[Path] = set()

    @classmethod
    def open(cls, root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> "Cgroups":
        """Make the node's group. Raises `CgroupsUnavailable`."""
        if not (root / "cgroup.controllers").exists():
            raise CgroupsUnavailable(f"there is no cgroup v2 at {root}")
        place = next((line[3:].strip() for line in own.read_text().splitlines() if line.startswith("0::")), "/")
        here = root / place.lstrip("/")
        try:
            available = (here / "cgroup.controllers").read_text().split()
            missing = [name for name in _CONTROLLERS if name not in available]
            if missing:
                raise CgroupsUnavailable(f"{here} has no controllers {', '.join(missing)}")
            folder = here / f"knuv-{os.getpid()}"
            folder.mkdir()
        except OSError as error:
            raise CgroupsUnavailable(f"{here}: {error.strerror}; root may, or `systemd-run --user --scope`") from error
        try:
            if here != root:
                _move_out(here, folder)
            for group in (here, folder):
                (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in _CONTROLLERS))
        except OSError as error:
            _remove(folder)
            raise CgroupsUnavailable(
                f"{here}: {error.strerror}; start the stack alone in a group: `systemd-run --scope -p Delegate=yes`"
            ) from error
        return cls(folder)

    def create(self, limits: Limits) -> Cgroup:
        """A group with limits. Raises `OSError`."""
        self._left -= {path for path in self._left if _remove(path)}
        self._next += 1
        path = self.folder / f"container-{self._next}"
        path.mkdir()
        values = {"pids.max": str(PROCESSES_MAX)}
        if limits.memory_bytes is not None:
            # A container that needs more ends as a whole, and at once: neither crippled nor slowly.
            values |= {"memory.max": str(limits.memory_bytes), "memory.swap.max": "0", "memory.oom.group": "1"}
        if limits.cpus is not None:
            values["cpu.max"] = f"{max(1000, round(limits.cpus * _PERIOD_US))} {_PERIOD_US}"
        for name, value in values.items():
            if name != "memory.swap.max" or (path / name).exists():  # no such file without swap accounting
                (path / name).write_text(value)
        return Cgroup(path, self._left)

    def close(self) -> None:
        """Take the node's group away, as far as nothing runs in it; the guardian's reaper may have done so."""
        for path in self.folder.glob("container-*"):
            _remove(path)
        _remove(self.folder)


def _move_out(here: Path, folder: Path) -> None:
    """Leave the group that we were started in, so that it can hand controllers down. Raises `CgroupsUnavailable`."""
    processes = (here / "cgroup.procs").read_text().split()
    if not processes:
        return
    if processes != [str(os.getpid())]:
        _remove(folder)
        raise CgroupsUnavailable(
            f"{here} holds other processes; start the stack alone in a group: `systemd-run --scope -p Delegate=yes`"
        )
    ours = here / f"knuv-{os.getpid()}-node"
    ours.mkdir()
    (ours / "cgroup.procs").write_text(str(os.getpid()))


def _remove(path: Path) -> bool:
    """Whether the group is gone; not while a process of it is ending."""
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()
