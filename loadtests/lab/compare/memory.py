"""Resident memory of a process tree, by program."""

from collections import defaultdict
from pathlib import Path

__all__ = ["program_of", "resident_by_program"]


def resident_by_program(pid: int) -> dict[str, float]:
    """Return the resident memory (MB, summed over processes) of `pid` and all below it, by program."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(") ")[2].split()
        except OSError:
            continue  # it ended meanwhile
        parents[int(path.parent.name)] = int(fields[1])
    found: defaultdict[str, float] = defaultdict(float)
    for each in parents:
        at: int | None = each
        while at not in (None, pid):
            at = parents.get(at)
        if at is None:
            continue
        try:
            words = Path(f"/proc/{each}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            status = Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue
        resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        if resident:
            found[program_of(words)] += int(resident[0]) * 1024 / 1e6
    return dict(found)


def program_of(words: list[str]) -> str:
    """Return what a command line runs: the module of `python -m`, otherwise the program's name."""
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    return Path(words[0]).name if words and words[0] else "unknown"
