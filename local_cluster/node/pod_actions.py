"""What a pod's state machine wants done, in order (`pod_state.py`); `pod_runner.py` carries it out."""

from dataclasses import dataclass

from local_cluster.node.probe_state import ProbeKind

__all__ = ["Action", "Remove", "Report", "RunHook", "RunProbe", "Signal", "Spawn"]


@dataclass(frozen=True, slots=True)
class Spawn:
    """Make the container's process; answer with `spawned`, `spawn_failed` or `not_created`."""

    container: str
    restart_count: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send SIGTERM to the container's first process, or SIGKILL to all of them."""

    container: str
    number: int


@dataclass(frozen=True, slots=True)
class RunHook:
    """Run `postStart` or `preStop`; answer with `hook_done`."""

    container: str
    hook: str


@dataclass(frozen=True, slots=True)
class RunProbe:
    """Make one attempt; answer with `probe_result`."""

    container: str
    restart_count: int
    kind: ProbeKind


@dataclass(frozen=True, slots=True)
class Report:
    """Something to tell people by an Event; `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Remove:
    """All containers ended after a deletion."""


Action = Spawn | Signal | RunHook | RunProbe | Report | Remove
