"""The guardian's process: reads which process groups exist, and kills them when its parent is gone.

Standard input is a pipe whose only write end belongs to the parent: `+GROUP` and `-GROUP` lines, then end of file.
Arguments: the parent's mark; processes that carry it in their environment as `KNUV_GUARDIAN` are killed as well. Then,
where there is one, the parent's cgroup, which is removed with those in it.

Runs as `python -I -S reaper.py MARK [CGROUP]`: it imports next to nothing, so that it is small and is there at once.
"""

import contextlib
import os
import signal
import sys
import time

_ROUNDS = 3
"""A process that was being started while we looked is found in the next round."""


_REMOVALS, _REMOVAL_S = 50, 0.02
"""How often, and how far apart, it is tried to remove a group whose processes were just killed."""


def main(mark: str, cgroup: str = "") -> None:
    """Read until the parent is gone, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = set()
    pending = b""
    while chunk := os.read(0, 65536):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            group = int(line[1:])
            if line[:1] == b"+":
                groups.add(group)
            else:
                groups.discard(group)
    for group in groups:
        _kill_group(group)
    needle = b"KNUV_GUARDIAN=" + mark.encode()
    for _ in range(_ROUNDS):
        if not _kill_marked(needle):
            break
    if cgroup:
        _remove_cgroup(cgroup)


def _remove_cgroup(path: str) -> None:
    """Remove a group and those in it; the processes in them are being ended."""
    for _ in range(_REMOVALS):
        if not os.path.isdir(path):
            return
        for name in os.listdir(path):
            if os.path.isdir(f"{path}/{name}"):
                with contextlib.suppress(OSError):
                    os.rmdir(f"{path}/{name}")
        with contextlib.suppress(OSError):
            os.rmdir(path)
        time.sleep(_REMOVAL_S)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        return  # it had ended


def _kill_marked(needle: bytes) -> bool:
    """Kill every process with `needle` in its environment; whether there was one."""
    found = False
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                variables = file.read().split(b"\0")
            if needle in variables:
                found = True
                os.kill(int(entry), signal.SIGKILL)
        except OSError:
            continue  # it ended meanwhile, or is not ours
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
