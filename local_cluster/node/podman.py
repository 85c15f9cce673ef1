"""Containers by podman, where it is installed: for images that no command of this machine stands for.

`podman run` is the container's first process as far as the node is concerned: it passes signals on, prints what the
container prints, and ends with its code. Values of variables are handed over in its environment, never as arguments.
What a killed `podman run` leaves is found by the pod's mark in its environment (`strays.py`), or replaced by the next
incarnation, which has the same name.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from local_cluster.node.cgroups import Limits
from local_cluster.node.process import User
from local_cluster.node.sandbox import Bind

__all__ = ["Podman"]


@dataclass(frozen=True, slots=True)
class Podman:
    """One container of that name by the program at `program`."""

    program: str
    name: str

    @classmethod
    def find(cls, path: str, name: str) -> "Podman | None":
        """Podman on a search path, or None."""
        program = shutil.which("podman", path=path)
        return None if program is None else cls(program, name)

    def run(
        self,
        image: str,
        arguments: Sequence[str],
        *,
        variables: Iterable[str],
        binds: Iterable[Bind],
        network: str,
        user: User | None,
        working_dir: str,
        limits: Limits,
    ) -> list[str]:
        """The command that runs it. `variables`: names; `network`: path of a namespace, empty for the machine's."""
        command = [self.program, "run", "--rm", "--replace", "--name", self.name, "--log-driver", "none"]
        command += ["--network", f"ns:{network}" if network else "host"]
        for variable in sorted(variables):
            command += ["--env", variable]
        for bind in binds:
            source = f"{bind.source}/{bind.sub_path}" if bind.sub_path else bind.source
            command += ["--volume", f"{source}:{bind.target}" + (":ro" if bind.read_only else "")]
        if user is not None:
            command += ["--user", f"{user.uid}:{user.gid}"]
            command += [f"--group-add={group}" for group in user.groups]
        if working_dir:
            command += ["--workdir", working_dir]
        if limits.memory_bytes is not None:
            command += ["--memory", str(limits.memory_bytes)]
        if limits.cpus is not None:
            command += ["--cpus", f"{limits.cpus:g}"]
        return [*command, image, *arguments]

    def inside(self, command: Sequence[str]) -> tuple[list[str], bytes]:
        """A command line, and nothing for its stdin, that runs `command` in the container."""
        return [self.program, "exec", self.name, *command], b""
