"""Spare processes of a program that every pod needs, started before they are needed.

A Python sidecar takes some fifty milliseconds from exec to listening, nearly all of it imports, and in a cold start the
user's own program competes with it for the processor. So the node keeps a few that have imported everything and wait
(`warm_child.py`). A cluster's container runtime does the same kind of thing with sandboxes. See docs/decisions/0004.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local_cluster.guardian import Guardian
from local_cluster.node.cgroups import Cgroup
from local_cluster.node.process import Started
from local_cluster.node.spares import Spares

__all__ = ["WarmProcesses"]

_CHILD = Path(__file__).with_name("warm_child.py")
_SPARES = 2
_REFILL_S = 0.4
"""After a use: not while the pod that took one is booting."""


class WarmProcesses:
    """Spares for one command, which must end with `-m MODULE`. `take` gives one away, at most `spares` exist.

    `scratch`: where they mount the roots of containers to come (`sandbox.py`); None: they enter no container.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        guardian: Guardian | None,
        scratch: Path | None = None,
        spares: int = _SPARES,
    ) -> None:
        if len(command) < 3 or command[-2] != "-m":
            raise ValueError(f"expected a command that ends with -m MODULE, got {' '.join(command)}")
        self._command = list(command)
        self._has_roots = scratch is not None
        child = [*command[:-2], str(_CHILD), command[-1], *([str(scratch)] if scratch is not None else [])]
        self._spares = Spares(child, guardian=guardian, count=spares, refill_s=_REFILL_S, own_pids=self._has_roots)

    @property
    def spare_pids(self) -> list[int]:
        """Process ids of the spares that wait."""
        return self._spares.pids

    def start(self) -> None:
        """Begin to keep spares."""
        self._spares.start()

    def stop(self) -> None:
        """End the spares; those given away are their owners'."""
        self._spares.stop()

    def take(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        sandbox: Mapping[str, Any] | None = None,
        cgroup: Cgroup | None = None,
    ) -> Started | None:
        """A process that runs `command` with `env` in `cwd`, or None: another command, or no spare at hand.

        `sandbox`: a container's plan that it enters first (`sandbox.py`).
        """
        if list(command) != self._command or (sandbox is None) == self._has_roots or not Path(cwd).is_dir():
            return None
        return self._spares.take({"env": dict(env), "cwd": cwd, "sandbox": sandbox}, cgroup)
