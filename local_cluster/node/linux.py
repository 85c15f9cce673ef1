"""The system calls that a container's isolation is made of, and that Python 3.11 does not offer.

Each raises `OSError` with the name of what was tried. Imports nothing but the standard library: programs that become
containers load it.
"""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

__all__ = [
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "MNT_DETACH",
    "MS_BIND",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_PRIVATE",
    "MS_RDONLY",
    "MS_REC",
    "MS_REMOUNT",
    "MS_SLAVE",
    "attach_mount",
    "clone_mount",
    "keep_capabilities",
    "mount",
    "new_process_ids",
    "pivot_root",
    "set_hostname",
    "setns",
    "umount",
    "unshare",
]

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SLAVE = 0x20, 0x1000, 0x4000, 0x40000, 0x80000
MNT_DETACH = 2

_OPEN_TREE, _MOVE_MOUNT = 428, 429
"""Equal on all architectures; no wrappers in older C libraries."""
_AT_FDCWD, _AT_RECURSIVE, _OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = -100, 0x8000, 1, 4
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
"""The C library has no wrapper for it."""
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace of kind `CLONE_NEW...` behind a descriptor."""
    _check(_libc.setns(descriptor, kind), "setns")


@contextlib.contextmanager
def new_process_ids() -> Iterator[None]:
    """Whatever the calling thread starts meanwhile is the first process of a PID namespace. Start one, and no thread.

    The first process gets no signal for which it has no handler, SIGKILL from outside excepted, and with it all others
    of its namespace end.
    """
    own = os.open("/proc/thread-self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWPID)
        try:
            yield
        finally:
            setns(own, CLONE_NEWPID)
    finally:
        os.close(own)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    texts = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    done = _libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None)
    _check(done, f"mount {kind or 'bind'} {source} at {target}")


def clone_mount(source: str) -> int:
    """A bind mount of `source` that is not attached anywhere yet; a descriptor."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    descriptor: int = _libc.syscall(ctypes.c_long(_OPEN_TREE), _AT_FDCWD, os.fsencode(source), flags)
    _check(descriptor, f"open_tree {source}")
    return descriptor


def attach_mount(descriptor: int, target: str) -> None:
    """Attach what `clone_mount` gave, and close the descriptor."""
    empty, flags = b"", _MOVE_MOUNT_F_EMPTY_PATH
    number = ctypes.c_long(_MOVE_MOUNT)
    done = _libc.syscall(number, descriptor, empty, _AT_FDCWD, os.fsencode(target), flags)
    _check(done, f"move_mount to {target}")
    os.close(descriptor)


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def pivot_root() -> None:
    """Make the working directory the root, and let go of the old one."""
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root: not known for {os.uname().machine}")
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    umount(".", MNT_DETACH)
    os.chdir("/")


def set_hostname(name: str) -> None:
    """The host name in the calling thread's UTS namespace."""
    text = name.encode()
    _check(_libc.sethostname(text, len(text)), "sethostname")


def keep_capabilities(kept: frozenset[int]) -> None:
    """Give up all other capabilities, for ourselves and for every program we may become."""
    for number in range(_LAST_CAPABILITY + 1):
        if number not in kept and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # beyond the kernel's last one
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    bits = sum(1 << number for number in kept)
    halves = (bits & 0xFFFFFFFF, bits >> 32)
    # effective, permitted, inheritable, for the lower and the upper half
    data = b"".join(struct.pack("=III", half, half, 0) for half in halves)
    _check(_libc.capset(header, data), "capset")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
