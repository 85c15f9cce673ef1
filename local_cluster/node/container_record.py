"""One container of a pod as its state machine sees it: where it is, how it ended, what its probes say."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from local_cluster.node.pod_plan import ContainerPlan
from local_cluster.node.probe_state import ProbeKind, ProbeState, Verdict
from local_cluster.node.restart_backoff import RestartBackoff

__all__ = ["ContainerRecord", "State", "Termination"]


class State(Enum):
    """Where a container is; see the picture in `pod_state.py`."""

    PENDING = auto()
    CREATING = auto()
    REFUSED = auto()
    RUNNING = auto()
    STOPPING = auto()
    BACKOFF = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Termination:
    """How one incarnation of a container ended."""

    exit_code: int
    signal: int = 0
    reason: str
    message: str = ""
    started_s: float | None
    finished_s: float
    container_id: str = ""


class ContainerRecord:
    """Everything known about one container."""

    __slots__ = (
        "backoff",
        "container_id",
        "hook_pending",
        "is_init",
        "kill_at_s",
        "last",
        "message",
        "plan",
        "probes",
        "reason",
        "restart_count",
        "retry_at_s",
        "started_s",
        "state",
        "termination",
    )

    def __init__(self, plan: ContainerPlan, *, is_init: bool) -> None:
        self.plan = plan
        self.is_init = is_init
        self.state = State.PENDING
        self.reason = ""
        """Why it waits, with `message`; empty while it simply was not its turn."""
        self.message = ""
        self.restart_count = 0
        self.container_id = ""
        self.started_s: float | None = None
        self.termination: Termination | None = None
        """How the current incarnation ended (states BACKOFF and ENDED)."""
        self.last: Termination | None = None
        """How the one before ended."""
        self.probes: dict[ProbeKind, ProbeState] = {}
        self.hook_pending = ""
        self.kill_at_s: float | None = None
        self.retry_at_s: float | None = None
        self.backoff = RestartBackoff()

    @property
    def has_process(self) -> bool:
        """Whether there is a process to signal."""
        return self.state in (State.RUNNING, State.STOPPING)

    @property
    def is_sidecar(self) -> bool:
        """An init container that goes on running."""
        return self.is_init and self.plan.restart_policy == "Always"

    @property
    def is_started(self) -> bool:
        """Running, its postStart hook done, and its startup probe, if any, passed."""
        if self.state is not State.RUNNING or self.hook_pending:
            return False
        startup = self.probes.get(ProbeKind.STARTUP)
        return startup is None or startup.verdict is Verdict.SUCCESS

    @property
    def is_ready(self) -> bool:
        """Started, and its readiness probe, if any, passes. A finished init container is ready."""
        if self.is_init and not self.is_sidecar:
            return self.state is State.ENDED and self.termination is not None and self.termination.exit_code == 0
        readiness = self.probes.get(ProbeKind.READINESS)
        return self.is_started and (readiness is None or readiness.verdict is Verdict.SUCCESS)

    @property
    def is_initialised(self) -> bool:
        """For an init container: the next one may begin."""
        return self.is_started if self.is_sidecar else self.is_ready

    def active_probes(self) -> Iterator[tuple[ProbeKind, ProbeState]]:
        """The probes that run: the startup probe alone until it has passed, then the others."""
        if self.state is State.RUNNING and not self.hook_pending:
            for kind, probe in self.probes.items():
                passed = kind is ProbeKind.STARTUP and probe.verdict is Verdict.SUCCESS
                if not passed and (kind is ProbeKind.STARTUP or self.is_started):
                    yield kind, probe
