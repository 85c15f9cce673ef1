"""The guardian's process: reads which process groups exist, and kills them when its parent is gone.

Standard input is a pipe whose only write end belongs to the parent: `+GROUP` and `-GROUP` lines, then end of file.
Argument: the parent's mark; processes that carry it in their environment as `KNUV_GUARDIAN` are killed as well.

Runs as `python -I -S reaper.py MARK`: it imports next to nothing, so that it is small and is there at once.
"""

import os
import signal
import sys

_ROUNDS = 3
"""A process that was being started while we looked is found in the next round."""


def main(mark: str) -> None:
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
            return


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
    main(sys.argv[1])
