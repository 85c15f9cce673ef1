"""`knuv down`: end the stack of a state directory, from another terminal or behind `nohup`."""

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import IO, Final

import typer

from local_cluster.cli import StateDir, err, out
from local_cluster.missing import EXIT_USAGE
from local_cluster.settings import default_state_dir

__all__ = ["down"]

_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.05


def down(*, state_dir: StateDir = None) -> None:
    """End a stack that runs in another terminal, as Ctrl-C there does; done when its last process has ended."""
    folder = state_dir or default_state_dir()
    try:
        lock = (folder / "lock").open("rb")
    except FileNotFoundError:
        lock = None
    except OSError as error:
        err.print(f"knuv: {folder}: {error.strerror}", markup=False)
        raise typer.Exit(EXIT_USAGE) from None
    with lock or contextlib.nullcontext():
        if lock is None or _is_free(lock):
            err.print(f"knuv: no stack runs in {folder}; another one is named by --state-dir", markup=False)
            raise typer.Exit(1)
        _end(int(lock.read() or b"0"))
        if not _becomes_free(lock):
            err.print(f"knuv: the stack in {folder} has not ended within {_PATIENCE_S:g} s", markup=False)
            raise typer.Exit(1)
    out.print(f"the stack in {folder} has ended", markup=False)


def _is_free(lock: IO[bytes]) -> bool:
    """Whether neither a stack nor what clears up behind one holds it. It is given back at once."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True


def _becomes_free(lock: IO[bytes]) -> bool:
    end_s = time.monotonic() + _PATIENCE_S
    while not _is_free(lock):
        if time.monotonic() > end_s:
            return False
        time.sleep(_LOOK_S)
    return True


def _end(pid: int) -> None:
    """Ask the stack to end; nothing where it has, and its number may be another process's."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"local_cluster" in command or b"knuv" in command:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        finally:
            os.close(descriptor)
