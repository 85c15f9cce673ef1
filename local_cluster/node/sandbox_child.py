"""The inside of a container's start: namespaces, a root of its own, volumes, a user; then it becomes the program.

A dict on stdin, as `marshal` writes it, says what to do (`sandbox.py`); the end of stdin ends us. Until then we wait
with everything imported and a root that is complete but for its volumes, so that a start costs neither. Several
of us wait, so little is imported: `json`, `pathlib` and `typing` would be another 1.8 MB in each.

The root is the machine's, with whatever is written to it kept apart: an overlay whose upper layer is in a tmpfs that
lives as long as the mount namespace, so that nothing has to be cleaned and nothing can be left. File systems that no
overlay takes are read-only. /dev has the harmless devices only; /sys and what controls the kernel below /proc are
read-only. Capabilities are those that container runtimes grant, less the ones that could undo this.

Runs as `python -I -S sandbox_child.py [SCRATCH]`: nothing but the standard library.
"""

import contextlib
import marshal
import os
import stat
import sys
import time
import warnings  # noqa: F401 - `os.execvpe` imports it, when the container's user may not read it any more

if __name__ == "__main__":
    sys.path.insert(0, os.path.abspath(f"{__file__}/../../.."))

from local_cluster.node import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["START_ERROR_CODE", "Surroundings", "join"]

START_ERROR_CODE = 128
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_READ_ONLY = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
_CAPABILITIES = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 29, 31})
"""chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, audit_write, setfcap.

Left out of what runtimes grant: sys_chroot and mknod, which could reach beyond the root.
"""
_NOSUID_NODEV = linux.MS_NOSUID | linux.MS_NODEV
_SCRATCH_BYTES = 1 << 30
"""What a container may write outside its volumes."""


class Surroundings:
    """Everything around a container to come that is the same for all of them, made ahead of time: namespaces, a root.

    `scratch`: an empty folder for the tmpfs that holds the root. What fails is told by `enter`.
    """

    def __init__(self, scratch: str) -> None:
        self._scratch = scratch
        self._problem: OSError | None = None
        self._user_namespace = _UserNamespace()
        try:
            linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
            # What the machine mounts while we wait can be a volume; nothing of ours reaches the machine.
            linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)
            _make_root(scratch)
        except OSError as error:
            self._problem = error

    def enter(self, plan: "dict[str, Any]") -> None:
        """Put ourselves into the container that `plan` describes. Raises `OSError`."""
        if self._problem is not None:
            raise self._problem
        # Before the root changes: afterwards these paths lead elsewhere.
        sources = [_open_source(bind["source"], bind["sub_path"]) for bind in plan["binds"]]
        if plan["network"]:
            _enter_namespace(plan["network"], linux.CLONE_NEWNET)
        linux.set_hostname(plan["hostname"])
        os.chdir(f"{self._scratch}/root")
        linux.pivot_root()
        for path in plan["hidden"]:
            if os.path.isdir(path):
                linux.mount("knuv", path, "tmpfs", _NOSUID_NODEV, "mode=0755,size=64k")
        for bind, source in zip(plan["binds"], sources, strict=True):
            _volume(source, bind)
        self._user_namespace.enter()
        _become_user(plan)
        _change_folder(plan["cwd"])


class _UserNamespace:
    """A user namespace to come, in which we are root of ourselves only: no other pod's processes can be looked into.

    Ids are those of the machine. The map has to be written from outside, so a child waits to do it; it is made here,
    ahead of time, because a fork takes milliseconds. It ends with us.
    """

    def __init__(self) -> None:
        # Our id as the machine's /proc has it: in our own PID namespace we are somebody else.
        parent = os.readlink("/proc/self")
        read_end, self._wake = os.pipe()
        self._child = os.fork()
        if self._child != 0:
            os.close(read_end)
            return
        code = 1
        try:
            os.close(self._wake)
            if os.read(read_end, 1):
                for name in ("uid_map", "gid_map"):
                    with open(f"/proc/{parent}/{name}", "w", encoding="ascii") as file:
                        file.write("0 0 4294967295")
            code = 0
        finally:
            os._exit(code)

    def enter(self) -> None:
        """Move into it. Raises `OSError`."""
        linux.unshare(linux.CLONE_NEWUSER)
        os.write(self._wake, b"1")
        os.close(self._wake)
        if os.waitpid(self._child, 0)[1] != 0:
            raise OSError("user namespace: its ids could not be mapped")


def join(plan: "dict[str, Any]") -> None:
    """Go where the container of process `plan["join"]` is, None: nowhere, as its user. Raises `OSError`.

    What we start then is in its PID namespace; we are not.
    """
    if plan["join"] is not None:
        _join(plan["join"])
    _become_user(plan)
    _change_folder(plan["cwd"])


def _change_folder(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        raise OSError(error.errno, f'chdir to cwd ("{path}") failed: {error.strerror}') from error


def _become_user(plan: "dict[str, Any]") -> None:
    """Give up capabilities and become the container's user."""
    linux.keep_capabilities(_CAPABILITIES)
    if plan["gid"] is not None or plan["uid"] is not None:
        gid = plan["gid"] or 0
        os.setgroups(plan["groups"])
        os.setgid(gid)
        os.setuid(plan["uid"] or 0)


def _join(pid: int) -> None:
    """Enter the namespaces of a container, once it is complete: its last step is to give up capabilities."""
    own = _bounding_set("self")
    while _bounding_set(pid) == own:
        time.sleep(0.002)
    kinds = {
        "uts": linux.CLONE_NEWUTS,
        "ipc": linux.CLONE_NEWIPC,
        "net": linux.CLONE_NEWNET,
        "pid": linux.CLONE_NEWPID,
        "mnt": linux.CLONE_NEWNS,
        "user": linux.CLONE_NEWUSER,  # last: it takes the power over the others away
    }
    descriptors = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in kinds}
    for name, kind in kinds.items():
        linux.setns(descriptors[name], kind)
        os.close(descriptors[name])


def _bounding_set(pid: int | str) -> str:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return next(line for line in file if line.startswith("CapBnd:"))


def _enter_namespace(path: str, kind: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    linux.setns(descriptor, kind)
    os.close(descriptor)


# The root.


def _make_root(scratch: str) -> None:
    """The root of a container at `scratch`/root, complete but for its volumes."""
    systems = _file_systems()
    linux.mount("knuv", scratch, "tmpfs", _NOSUID_NODEV, f"mode=0755,size={_SCRATCH_BYTES}")
    root = f"{scratch}/root"
    os.mkdir(root)
    _overlay("/", root, f"{scratch}/0")
    for index, path in enumerate(systems, start=1):
        _lower(path, root + path, f"{scratch}/{index}")
    _make_proc(root)
    _make_dev(root + "/dev")
    for path in _READ_ONLY:
        if os.path.exists(root + path):
            _bind(root + path, root + path, read_only=True)


def _open_source(source: str, sub_path: str) -> int:
    """A mount of what is to be bound. A pod writes to its volumes, so no link below one is followed."""
    if not sub_path:
        return linux.clone_mount(source)
    at = os.open(source, os.O_PATH | os.O_CLOEXEC)
    for part in filter(None, sub_path.split("/")):
        with contextlib.suppress(FileExistsError, NotADirectoryError):
            os.mkdir(part, 0o777, dir_fd=at)
        inner = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        os.close(at)
        if stat.S_ISLNK(os.fstat(inner).st_mode):
            raise OSError(f"subPath {sub_path}: {part} is a link")
        at = inner
    found = linux.clone_mount(f"/proc/self/fd/{at}")
    os.close(at)
    return found


def _file_systems() -> list[str]:
    """Where other file systems are mounted below the root, outermost ones only, without those made anew."""
    found: list[str] = []
    own = ("/proc", "/dev", "/sys")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = sorted({_unescape(line.split(" ", 5)[4]) for line in file})
    for point in points:
        if point == "/" or point in own or any(point.startswith(f"{outer}/") for outer in (*own, *found)):
            continue
        found.append(point)
    return found


def _unescape(point: str) -> str:
    return point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _overlay(lower: str, target: str, layers: str) -> None:
    """Mount `lower` at `target` so that writes go to `layers`."""
    os.makedirs(f"{layers}/upper")
    os.mkdir(f"{layers}/work")
    if any(character in lower for character in ",:\\"):
        raise OSError(f"{lower}: no overlay for such a name")
    data = f"lowerdir={lower},upperdir={layers}/upper,workdir={layers}/work"
    status = os.stat(lower)
    os.chmod(f"{layers}/upper", status.st_mode & 0o7777)
    os.chown(f"{layers}/upper", status.st_uid, status.st_gid)
    linux.mount("overlay", target, "overlay", linux.MS_NODEV, data)


def _lower(path: str, target: str, layers: str) -> None:
    """Show another file system of the machine: writable apart, or else not at all writable."""
    with contextlib.suppress(OSError):
        if os.path.isdir(path):
            _overlay(path, target, layers)
            return
    with contextlib.suppress(OSError):  # not ours to see: then the container does not see it either
        _bind(path, target, read_only=True)


def _make_proc(root: str) -> None:
    linux.mount("proc", f"{root}/proc", "proc", _NOSUID_NODEV | linux.MS_NOEXEC)
    _bind("/sys", f"{root}/sys", read_only=True)


def _make_dev(dev: str) -> None:
    linux.mount("knuv", dev, "tmpfs", linux.MS_NOSUID, "mode=0755,size=64k")
    for name in _DEVICES:
        _touch(f"{dev}/{name}")
        linux.mount(f"/dev/{name}", f"{dev}/{name}", flags=linux.MS_BIND)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/shm", 0o1777)
    linux.mount("knuv", f"{dev}/shm", "tmpfs", _NOSUID_NODEV, "mode=1777,size=64m")


def _volume(source: int, bind: "dict[str, Any]") -> None:
    """Mount a volume; its path is the container's, so that no link leads out of the root."""
    target = bind["target"]
    if stat.S_ISDIR(os.fstat(source).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(target):
            os.unlink(target)
        _touch(target)
    linux.attach_mount(source, target)
    if bind["read_only"]:
        _make_read_only(target)


def _bind(source: str, target: str, *, read_only: bool) -> None:
    linux.mount(source, target, flags=linux.MS_BIND)
    if read_only:
        _make_read_only(target)


def _make_read_only(target: str) -> None:
    linux.mount("none", target, flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY | _NOSUID_NODEV)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


# The program.


def main() -> int:
    """Wait, enter, become. With an argument, the scratch folder, a container; without, a visitor of one."""
    surroundings = Surroundings(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        told = marshal.load(sys.stdin.buffer)  # noqa: S302 - whoever started us says what we become
    except EOFError:
        return 0
    plan, env, command = told["sandbox"], told["env"], told["command"]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        if surroundings is not None:
            surroundings.enter(plan)
        else:
            join(plan)
            if (child := os.fork()) != 0:  # only a child of ours is in the container's PID namespace
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                return 128 - code if code < 0 else code
    except OSError as error:
        sys.stderr.write(f"container: {error.strerror or error}\n")
        return START_ERROR_CODE
    try:
        os.execvpe(command[0], command, env)  # noqa: S606 - this is what we are for
    except FileNotFoundError:
        missing = "no such file or directory" if "/" in command[0] else "executable file not found in $PATH"
        sys.stderr.write(f'exec: "{command[0]}": {missing}\n')
    except OSError as error:
        sys.stderr.write(f'exec: "{command[0]}": {(error.strerror or str(error)).lower()}\n')
    return START_ERROR_CODE


if __name__ == "__main__":
    sys.exit(main())
