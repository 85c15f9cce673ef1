"""A pod's status as the kubelet writes it, worked out from the pod's state machine.

Source: Kubernetes documentation, "Pod Lifecycle" (phases, conditions, container states); what Knative reads of it is
spec control-plane.md 6.3.
"""

from kube.models.core import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    PodStatus,
)
from kube.models.meta import Condition
from kube.timestamps import format_time
from local_cluster.node.container_record import ContainerRecord, State, Termination
from local_cluster.node.pod_state import PodMachine

__all__ = ["StatusBuilder"]


class StatusBuilder:
    """Builds one pod's status again and again; remembers when each condition last changed."""

    def __init__(self, *, pod_ip: str, host_ip: str, start_s: float) -> None:
        self._pod_ip = pod_ip
        self._host_ip = host_ip
        self._start = format_time(start_s)
        self._conditions: dict[str, Condition] = {}

    def build(self, machine: PodMachine, now_s: float) -> PodStatus:
        """The status at `now_s`, Unix seconds."""
        phase = _phase(machine)
        conditions = [
            Condition(type="PodReadyToStartContainers", status="True"),
            _initialised(machine),
            _ready("Ready", machine, phase),
            _ready("ContainersReady", machine, phase),
            Condition(type="PodScheduled", status="True"),
        ]
        for condition in conditions:
            self._stamp(condition, now_s)
        return PodStatus(
            phase=phase,
            conditions=conditions,
            host_ip=self._host_ip,
            pod_ip=self._pod_ip,
            pod_ips=[{"ip": self._pod_ip}],
            start_time=self._start,
            init_container_statuses=[_container_status(r, machine) for r in machine.init_containers],
            container_statuses=[_container_status(r, machine) for r in machine.containers],
        )

    def _stamp(self, condition: Condition, now_s: float) -> None:
        held = self._conditions.get(condition.type)
        is_same = held is not None and held.status == condition.status
        condition.last_transition_time = held.last_transition_time if held and is_same else format_time(now_s)
        self._conditions[condition.type] = condition


def _phase(machine: PodMachine) -> str:
    if machine.is_finished:
        records = [*machine.init_containers, *machine.containers] if machine.has_failed_init else machine.containers
        codes = [record.termination.exit_code for record in records if record.termination is not None]
        return "Failed" if any(codes) else "Succeeded"
    if not machine.is_initialised and all(record.started_s is None for record in machine.containers):
        return "Pending"
    if all(_has_run(record) for record in machine.containers):
        return "Running"
    return "Pending"


def _has_run(record: ContainerRecord) -> bool:
    return record.has_process or record.termination is not None or record.last is not None


def _initialised(machine: PodMachine) -> Condition:
    waiting = [r.plan.name for r in machine.init_containers if not r.is_initialised]
    if not waiting or any(record.started_s is not None for record in machine.containers):
        return Condition(type="Initialized", status="True")
    message = f"containers with incomplete status: [{' '.join(waiting)}]"
    return Condition(type="Initialized", status="False", reason="ContainersNotInitialized", message=message)


def _ready(type_: str, machine: PodMachine, phase: str) -> Condition:
    if machine.is_ready:
        return Condition(type=type_, status="True")
    if phase == "Succeeded":
        return Condition(type=type_, status="False", reason="PodCompleted")
    if phase == "Failed":
        return Condition(type=type_, status="False", reason="PodFailed")
    unready = [r.plan.name for r in machine.containers if not r.is_ready]
    message = f"containers with unready status: [{' '.join(unready)}]"
    return Condition(type=type_, status="False", reason="ContainersNotReady", message=message)


def _container_status(record: ContainerRecord, machine: PodMachine) -> ContainerStatus:
    status = ContainerStatus(
        name=record.plan.name,
        image=record.plan.image,
        image_id=record.plan.image,
        container_id=record.container_id,
        restart_count=record.restart_count,
        ready=record.is_ready,
        started=record.is_started if record.has_process else False,
    )
    if record.has_process:
        started_at = None if record.started_s is None else format_time(record.started_s)
        status.state = ContainerState(running=ContainerStateRunning(started_at=started_at))
        status.last_state = _terminated(record.last)
    elif record.state is State.ENDED:
        status.state = _terminated(record.termination)
        status.last_state = _terminated(record.last if record.last is not record.termination else None)
    else:
        status.state = ContainerState(waiting=_waiting(record, machine))
        status.last_state = _terminated(record.termination or record.last)
    return status


def _waiting(record: ContainerRecord, machine: PodMachine) -> ContainerStateWaiting:
    if record.state in (State.REFUSED, State.BACKOFF) or record.reason:
        return ContainerStateWaiting(reason=record.reason, message=record.message)
    is_blocked = not record.is_init and not machine.is_initialised
    return ContainerStateWaiting(reason="PodInitializing" if is_blocked else "ContainerCreating")


def _terminated(ended: Termination | None) -> ContainerState:
    if ended is None:
        return ContainerState()
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=ended.exit_code,
            signal=ended.signal,
            reason=ended.reason,
            message=ended.message,
            started_at=None if ended.started_s is None else format_time(ended.started_s),
            finished_at=format_time(ended.finished_s),
            container_id=ended.container_id,
        )
    )
