"""Memory and CPU time of a process tree, by program, as /proc tells them."""

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["Usage", "program_of", "usage"]

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_WITH_VALUE: Final = frozenset(["-X", "-W"])
"""Options of the interpreter that are followed by a word of their own."""


@dataclass(slots=True)
class Usage:
    """What one tree uses at one moment."""

    resident_mb: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Program -> of each of its processes."""
    cpu_s: dict[int, tuple[str, float]] = field(default_factory=dict)
    """Process -> (program, CPU time since its start)."""
    all_cpu_s: float = 0.0
    """Of the whole tree since its start, with the processes that have ended."""
    machine_cpu_s: float = 0.0
    """Of all programs on all cores since the machine's start."""
    own_cpu_s: float = field(default_factory=time.process_time)
    """Of this process, which is the load."""
    at_s: float = field(default_factory=time.monotonic)

    def cpu_since(self, before: "Usage") -> dict[str, float]:
        """CPU seconds by program since `before`; those of processes that ended meanwhile are lost."""
        found: defaultdict[str, float] = defaultdict(float)
        for pid, (program, seconds) in self.cpu_s.items():
            found[program] += seconds - before.cpu_s.get(pid, (program, 0.0))[1]
        return dict(found)

    def others_since(self, before: "Usage") -> float:
        """How much of this machine's cores was used by neither the tree nor this process since `before`; 0 to 1."""
        ours_s = self.all_cpu_s - before.all_cpu_s + self.own_cpu_s - before.own_cpu_s
        others_s = self.machine_cpu_s - before.machine_cpu_s - ours_s
        return min(1.0, max(0.0, others_s / max(1e-3, self.at_s - before.at_s) / (os.cpu_count() or 1)))


def usage(pid: int, names: Mapping[str, str]) -> Usage:
    """Return what `pid` and all below it use. `names`: what to call a program that has another name."""
    fields: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields[int(path.parent.name)] = path.read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it ended meanwhile
    user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(
        int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    )
    found = Usage(machine_cpu_s=(user + nice + system + steal) / _TICKS_PER_S)
    for each, values in fields.items():
        at: int | None = each
        while at not in (None, pid):
            at = int(fields[at][1]) if at in fields else None
        if at is None:
            continue
        try:
            words = Path(f"/proc/{each}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            status = Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue
        program = program_of(words)
        program = names.get(program, program)
        resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        if resident:
            found.resident_mb[program].append(int(resident[0]) * 1024 / 1e6)
        own, ended = (sum(map(int, values[first : first + 2])) / _TICKS_PER_S for first in (11, 13))
        found.cpu_s[each] = (program, own)
        found.all_cpu_s += own + ended
    return found


def program_of(words: list[str]) -> str:
    """Return what a command line runs: the module or script of an interpreter, otherwise the program's name."""
    if not words or not words[0]:
        return "unknown"
    name = Path(words[0]).name
    if not name.startswith("python"):
        return name
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return next(rest, name)
        if word == "-c":
            return name
        if word in _WITH_VALUE:
            next(rest, None)
        elif word and not word.startswith("-"):
            script = Path(word).stem
            # What the local stack starts ahead of time names the module that it becomes.
            return next(rest, script) if script == "warm_child" else script
    return name
