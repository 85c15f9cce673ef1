"""Containers with a root, volumes and a user of their own: what to tell the process that becomes one.

Needs root. `sandbox_child.py` carries it out; spare ones wait, so that a start costs a few milliseconds.
"""

import marshal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kube.models.core import Container, Pod
from local_cluster.guardian import Guardian
from local_cluster.node.cgroups import Cgroup
from local_cluster.node.process import Started, User
from local_cluster.node.spares import Spares

__all__ = ["Bind", "SandboxPlan", "Sandboxes", "container_user", "inside", "may_isolate"]

_CHILD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("sandbox_child.py")))
_CAP_SYS_ADMIN = 21
_SPARES = 3
_REFILL_S = 0.1


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the machine at a path of the container."""

    source: str
    target: str
    read_only: bool = True
    sub_path: str = ""
    """A path below `source`; links in it are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPlan:
    """One container's surroundings."""

    hostname: str
    binds: tuple[Bind, ...] = ()
    hidden: tuple[str, ...] = ()
    """Folders of the machine that the container sees empty, but for what `binds` puts there."""
    network: str = ""
    """Path of a network namespace; empty: the machine's."""
    user: User | None = None
    """None: ours."""
    cwd: str

    def told(self) -> dict[str, Any]:
        """As `sandbox_child.enter` takes it."""
        binds = sorted(self.binds, key=lambda bind: bind.target.count("/"))  # outer ones first
        return {
            "hostname": self.hostname,
            "binds": [
                {"source": b.source, "target": b.target, "read_only": b.read_only, "sub_path": b.sub_path}
                for b in binds
            ],
            "hidden": list(self.hidden),
            "network": self.network,
            "cwd": self.cwd,
            **_user_told(self.user),
        }


class Sandboxes:
    """Starts containers. `start` begins to keep spares, `stop` ends those that wait.

    `scratch`: an empty folder; each container mounts the tmpfs that holds its root there, seen by nobody else.
    """

    def __init__(self, scratch: Path, *, guardian: Guardian | None, spares: int = _SPARES) -> None:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = (*_CHILD, str(scratch))
        self._spares = Spares(command, guardian=guardian, count=spares, refill_s=_REFILL_S, own_pids=True)

    def start(self) -> None:
        """Begin to keep spares."""
        self._spares.start()

    def stop(self) -> None:
        """End the spares."""
        self._spares.stop()

    def launch(
        self, plan: SandboxPlan, command: Sequence[str], env: Mapping[str, str], cgroup: Cgroup | None = None
    ) -> Started:
        """A process that enters the plan's surroundings and becomes `command`. Raises `StartError`."""
        told = {"sandbox": plan.told(), "env": dict(env), "command": list(command)}
        return self._spares.take(told, cgroup) or self._spares.start_one(told, cgroup)


def may_isolate() -> bool:
    """Whether we may make namespaces and mounts: root in most places, but not in most containers."""
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_SYS_ADMIN & 1)


def inside(
    command: Sequence[str], env: Mapping[str, str], cwd: str, user: User | None, *, pid: int | None
) -> tuple[list[str], bytes]:
    """A command line, and what to write to its stdin, that runs `command` as `user` would.

    `pid`: in the surroundings of the running container; None: in the machine's.
    """
    plan = {"join": pid, "cwd": cwd, **_user_told(user)}
    told = {"sandbox": plan, "env": dict(env), "command": list(command)}
    return list(_CHILD), marshal.dumps(told)


def container_user(pod: Pod, container: Container) -> User | None:
    """Whom the spec asks for: the container's security context over the pod's. None: nobody in particular."""
    pod_context, own = pod.spec.security_context or {}, container.security_context or {}
    uid = own.get("runAsUser", pod_context.get("runAsUser"))
    gid = own.get("runAsGroup", pod_context.get("runAsGroup"))
    groups = [*(pod_context.get("supplementalGroups") or ())]
    if pod_context.get("fsGroup") is not None:
        groups.append(pod_context["fsGroup"])
    if uid is None and gid is None and not groups:
        return None
    return User(int(uid or 0), int(gid or 0), tuple(int(group) for group in groups))


def _user_told(user: User | None) -> dict[str, Any]:
    if user is None:
        return {"uid": None, "gid": None, "groups": []}
    return {"uid": user.uid, "gid": user.gid, "groups": list(user.groups)}
