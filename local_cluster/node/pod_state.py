"""The life of a pod as a state machine: facts go in, actions come out; no processes, no sockets, no clock.

    facts (methods)                       actions (returned)
    begin                                 Spawn        make a container's process
    spawned, spawn_failed, not_created    Signal       SIGTERM or SIGKILL
    exited                                RunHook      postStart or preStop
    probe_result, hook_done               RunProbe     one attempt
    delete                                Report       an Event for people
    tick (at `next_at`)                   Remove       everything ended, the API object may go

A container is in one of these states:

    PENDING --Spawn--> CREATING --spawned--> RUNNING --hook, SIGTERM--> STOPPING
       ^                  |                     |                          |
       |              not_created             exited <---------------------+
       |                  v                     v
       +---retry------ REFUSED        BACKOFF or ENDED;  BACKOFF --time--> CREATING

Init containers run one after the other, each until it succeeded; one with restartPolicy Always (a sidecar) only has to
be started. Deletion: SIGTERM at once to containers without a preStop hook, to the others when their hook has ended;
SIGKILL when the grace period is over, but not less than two seconds after a hook. Source: Kubernetes documentation,
"Pod Lifecycle"; the order that queue-proxy's drain relies on is spec queue-proxy.md 21.3.

Times are Unix seconds of a clock that never goes back.
"""

from collections.abc import Iterable
from signal import SIGKILL, SIGTERM

from local_cluster.node.container_record import ContainerRecord, State, Termination
from local_cluster.node.pod_actions import Action, Remove, Report, RunHook, RunProbe, Signal, Spawn
from local_cluster.node.pod_plan import PodPlan
from local_cluster.node.probe_state import ProbeKind, ProbeState, Verdict

__all__ = ["START_ERROR_CODE", "PodMachine"]

_GRACE_AFTER_HOOK_S = 2.0
_RETRY_S = 2.0
"""How long a refused container waits. A look into the image map or for a ConfigMap costs little: no long back-off."""
START_ERROR_CODE = 128
"""Exit code of a command that could not be started, as containerd reports it."""


class PodMachine:
    """One pod. Every method takes the time and returns what is to be done, in order."""

    def __init__(self, plan: PodPlan) -> None:
        self.plan = plan
        self.init_containers = [ContainerRecord(c, is_init=True) for c in plan.init_containers]
        self.containers = [ContainerRecord(c, is_init=False) for c in plan.containers]
        self.is_deleting = False
        self._by_name = {record.plan.name: record for record in (*self.init_containers, *self.containers)}
        self._deadline_s: float | None = None
        self._removed = False

    # Reading.

    def record(self, name: str) -> ContainerRecord:
        """The container of that name."""
        return self._by_name[name]

    @property
    def is_initialised(self) -> bool:
        """Whether every init container has done its part."""
        return all(record.is_initialised for record in self.init_containers)

    @property
    def is_ready(self) -> bool:
        """Whether the pod takes traffic. One that is being deleted never does: its containers are stopping."""
        return self.is_initialised and all(record.is_ready for record in self.containers)

    @property
    def has_failed_init(self) -> bool:
        """Whether an init container ended for good without success."""
        return any(
            r.state is State.ENDED and not r.is_sidecar and r.termination is not None and r.termination.exit_code != 0
            for r in self.init_containers
        )

    @property
    def is_done(self) -> bool:
        """There is no more work: an init container failed for good, or every container ended for good."""
        return self.has_failed_init or all(record.state is State.ENDED for record in self.containers)

    @property
    def is_finished(self) -> bool:
        """Done, and nothing runs any more."""
        return self.is_done and not any(record.has_process for record in self._by_name.values())

    def next_at(self) -> float | None:
        """When `tick` has something to do, or None."""
        times: list[float] = []
        for record in self._by_name.values():
            if record.has_process and record.kill_at_s is not None:
                times.append(record.kill_at_s)
            if record.retry_at_s is not None:
                times.append(record.retry_at_s)
            times.extend(probe.due_s for _, probe in record.active_probes() if probe.due_s is not None)
        return min(times, default=None)

    # Facts.

    def begin(self, now_s: float) -> list[Action]:
        """The pod was assigned to this node."""
        return self._advance(now_s)

    def spawned(self, name: str, container_id: str, now_s: float) -> list[Action]:
        """The process runs."""
        record = self._by_name[name]
        record.state = State.RUNNING
        record.reason = record.message = ""
        record.container_id = container_id
        record.started_s = now_s
        record.last, record.termination = record.termination or record.last, None
        record.probes = {kind: ProbeState(kind, timing, now_s) for kind, timing in record.plan.probes}
        actions: list[Action] = []
        if record.plan.has_post_start:
            record.hook_pending = "postStart"
            actions.append(RunHook(name, "postStart"))
        if self.is_deleting:
            return actions + self._stop(record, self._remaining_s(now_s), now_s)
        return actions + self._advance(now_s)

    def spawn_failed(self, name: str, message: str, now_s: float) -> list[Action]:
        """The command could not be started: it counts as a container that ended at once."""
        record = self._by_name[name]
        ended = Termination(
            exit_code=START_ERROR_CODE, reason="StartError", message=message, started_s=None, finished_s=now_s
        )
        report = Report("Warning", "Failed", f"Error: failed to start container {name!r}: {message}")
        return [report, *self._ended(record, ended, now_s)]

    def not_created(self, name: str, reason: str, message: str, now_s: float) -> list[Action]:
        """The container's image or configuration is not usable; it is tried again later."""
        record = self._by_name[name]
        if self.is_deleting:
            self._abandon(record, now_s)
            return self._removal()
        record.retry_at_s = now_s + _RETRY_S
        if reason == "ErrImagePull" and record.reason in ("ErrImagePull", "ImagePullBackOff"):
            reason, message = "ImagePullBackOff", f'Back-off pulling image "{record.plan.image}": {message}'
        is_news = (record.reason, record.message) != (reason, message)
        record.state, record.reason, record.message = State.REFUSED, reason, message
        return [Report("Warning", "Failed", f"Error: {reason}: {message}")] if is_news else []

    def exited(
        self, name: str, exit_code: int, signal: int, message: str, now_s: float, *, reason: str = ""
    ) -> list[Action]:
        """The process ended. `exit_code` is 128 + signal for one that a signal ended, `message` what it left to say.

        `reason`: a better one than what the code says.
        """
        record = self._by_name[name]
        ended = Termination(
            exit_code=exit_code,
            signal=signal,
            reason=reason or ("Completed" if exit_code == 0 else "Error"),
            message=message,
            started_s=record.started_s,
            finished_s=now_s,
            container_id=record.container_id,
        )
        return self._ended(record, ended, now_s)

    def probe_result(
        self, name: str, restart_count: int, kind: ProbeKind, success: bool, message: str, now_s: float
    ) -> list[Action]:
        """An attempt ended; results for an earlier incarnation or a stopping container mean nothing."""
        record = self._by_name[name]
        probe = record.probes.get(kind)
        if probe is None or record.restart_count != restart_count or record.state is not State.RUNNING:
            return []
        changed = probe.result(success, now_s)
        actions: list[Action] = []
        if not success and kind is not ProbeKind.STARTUP and probe.verdict is not Verdict.UNKNOWN:
            actions.append(Report("Warning", "Unhealthy", f"{kind.value} probe failed: {message}"))
        if changed and probe.verdict is Verdict.FAILURE and kind is not ProbeKind.READINESS:
            text = f"Container {name} failed {kind.value.lower()} probe, will be restarted"
            actions.append(Report("Normal", "Killing", text))
            return actions + self._stop(record, self.plan.grace_s, now_s)
        if changed and kind is ProbeKind.STARTUP:
            for other, waiting in record.probes.items():
                if other is not ProbeKind.STARTUP:  # their initial delay counts from the container's start
                    waiting.due_s = max(now_s, (record.started_s or now_s) + waiting.timing.initial_delay_s)
        return actions + (self._advance(now_s) if changed else [])

    def hook_done(self, name: str, hook: str, error: str, now_s: float) -> list[Action]:
        """A hook ended, well when `error` is empty."""
        record = self._by_name[name]
        if record.hook_pending != hook or not record.has_process:
            return []
        record.hook_pending = ""
        reports: list[Action] = []
        if error:
            reason = "FailedPreStopHook" if hook == "preStop" else "FailedPostStartHook"
            reports.append(Report("Warning", reason, f"{hook} hook of container {name} failed: {error}"))
        if hook == "preStop":
            record.kill_at_s = max(record.kill_at_s or now_s, now_s + _GRACE_AFTER_HOOK_S)
            return [*reports, Signal(name, SIGTERM)]
        if error:
            return reports + self._stop(record, self.plan.grace_s, now_s)
        return reports + self._advance(now_s)

    def delete(self, grace_s: float | None, now_s: float) -> list[Action]:
        """Deletion was asked for. Asked again, only a shorter grace period changes anything."""
        deadline_s = now_s + (self.plan.grace_s if grace_s is None else grace_s)
        if self._deadline_s is None or deadline_s < self._deadline_s:
            self._deadline_s = deadline_s
        is_first, self.is_deleting = not self.is_deleting, True
        actions: list[Action] = []
        for record in self._by_name.values():
            if record.state is State.RUNNING:
                actions.append(Report("Normal", "Killing", f"Stopping container {record.plan.name}"))
                actions += self._stop(record, self._remaining_s(now_s), now_s)
            elif record.state is State.STOPPING:
                record.kill_at_s = min(record.kill_at_s or self._deadline_s, self._deadline_s)
            elif is_first and record.state in (State.PENDING, State.REFUSED, State.BACKOFF):
                self._abandon(record, now_s)
        return actions + self._kill_overdue(now_s) + self._removal()

    def tick(self, now_s: float) -> list[Action]:
        """Do what is due."""
        actions = self._kill_overdue(now_s)
        for record in self._by_name.values():
            if record.retry_at_s is not None and record.retry_at_s <= now_s:
                actions.append(self._spawn(record, now_s))
            for kind, probe in record.active_probes():
                if probe.due_s is not None and probe.due_s <= now_s:
                    probe.begin(now_s)
                    actions.append(RunProbe(record.plan.name, record.restart_count, kind))
        return actions

    # Details.

    def _advance(self, now_s: float) -> list[Action]:
        """Start what may start: the next init container, or all others after the last one."""
        if self.is_deleting or self.is_done:
            return []
        for record in self.init_containers:
            if not record.is_initialised:
                return self._start([record], now_s)
        return self._start(self.containers, now_s)

    def _start(self, records: Iterable[ContainerRecord], now_s: float) -> list[Action]:
        return [self._spawn(record, now_s) for record in records if record.state is State.PENDING]

    def _spawn(self, record: ContainerRecord, now_s: float) -> Spawn:
        if record.state is State.BACKOFF:
            record.restart_count += 1
            record.backoff.restarted(now_s)
        record.state = State.CREATING
        record.retry_at_s = record.kill_at_s = None
        record.hook_pending = ""
        return Spawn(record.plan.name, record.restart_count)

    def _stop(self, record: ContainerRecord, grace_s: float, now_s: float) -> list[Action]:
        record.state = State.STOPPING
        record.kill_at_s = now_s + grace_s
        if record.plan.has_pre_stop and grace_s > 0:
            record.hook_pending = "preStop"
            return [RunHook(record.plan.name, "preStop")]
        record.hook_pending = ""
        return [Signal(record.plan.name, SIGTERM)] if grace_s > 0 else self._kill_overdue(now_s)

    def _ended(self, record: ContainerRecord, ended: Termination, now_s: float) -> list[Action]:
        if record.termination is not None:  # a failed start follows another without having run
            record.last = record.termination
        record.termination = ended
        record.probes = {}
        record.kill_at_s = None
        record.hook_pending = ""
        if self.is_deleting:
            record.state = State.ENDED
            return self._removal()
        if not self._restarts(record, ended):
            record.state = State.ENDED
            return self._stop_sidecars(now_s) if self.is_done else self._advance(now_s)
        record.state = State.BACKOFF
        record.retry_at_s = record.backoff.restart_at(ended.finished_s)
        if record.retry_at_s <= now_s:
            return [self._spawn(record, now_s)]
        record.reason = "CrashLoopBackOff"
        record.message = (
            f"back-off {record.backoff.delay_text} restarting failed container={record.plan.name} pod={self.plan.key}"
        )
        text = f"Back-off restarting failed container {record.plan.name} in pod {self.plan.key}"
        return [Report("Warning", "BackOff", text)]

    def _stop_sidecars(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        for record in self.init_containers:
            if record.state is State.RUNNING:
                actions += self._stop(record, self.plan.grace_s, now_s)
            elif record.state in (State.BACKOFF, State.REFUSED):
                self._abandon(record, now_s)
        return actions

    def _restarts(self, record: ContainerRecord, ended: Termination) -> bool:
        if self.is_done:  # a sidecar has nobody left to serve
            return False
        policy = record.plan.restart_policy
        return policy == "Always" or (policy == "OnFailure" and ended.exit_code != 0)

    def _abandon(self, record: ContainerRecord, now_s: float) -> None:
        """A container that has no process will not get one any more."""
        record.state = State.ENDED
        record.retry_at_s = None
        if record.termination is None:
            record.termination = record.last or Termination(
                exit_code=137,
                reason="ContainerStatusUnknown",
                message="The container was not started before its pod was deleted",
                started_s=None,
                finished_s=now_s,
            )

    def _kill_overdue(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        for record in self._by_name.values():
            if record.has_process and record.kill_at_s is not None and record.kill_at_s <= now_s:
                record.kill_at_s = None
                actions.append(Signal(record.plan.name, SIGKILL))
        return actions

    def _remaining_s(self, now_s: float) -> float:
        return max(0.0, (self._deadline_s or now_s) - now_s)

    def _removal(self) -> list[Action]:
        if self._removed or not self.is_deleting:
            return []
        if any(record.state is not State.ENDED for record in self._by_name.values()):
            return []
        self._removed = True
        return [Remove()]
