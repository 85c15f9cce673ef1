"""What a pod's status says of containers that ran under a node before this one: they are gone, and that counts.

As the kubelet does after a reboot: what had run is started again as a further incarnation, if the pod's restart policy
wants that; a container that had succeeded or must not be restarted has ended; init containers run again, because a pod
that has to be made anew has nothing of what they had prepared. Source: Kubernetes documentation, "Pod Lifecycle" and
"Init Containers" (reasons for a pod to restart).
"""

from kube.models.core import ContainerStateTerminated, ContainerStatus, Pod
from kube.timestamps import parse_time_s
from local_cluster.node.container_record import ContainerRecord, State, Termination
from local_cluster.node.pod_state import PodMachine

__all__ = ["resume"]

_UNKNOWN_CODE = 137


def resume(machine: PodMachine, pod: Pod, now_s: float) -> None:
    """Tell a machine that has not begun what its pod's containers went through. O(containers)."""
    statuses = {status.name: status for status in pod.status.container_statuses}
    inits = {status.name: status for status in pod.status.init_container_statuses}
    for record in machine.containers:
        _resume(record, statuses.get(record.plan.name), now_s)
    is_over = machine.is_done
    for record in machine.init_containers:
        status = inits.get(record.plan.name)
        _resume(record, status, now_s)
        ended = None if status is None else status.state.terminated
        if ended is not None and ended.exit_code == 0 and not is_over:
            record.state, record.last, record.termination = State.PENDING, record.termination, None
            record.restart_count += 1


def _resume(record: ContainerRecord, status: ContainerStatus | None, now_s: float) -> None:
    if status is None or not status.container_id:
        return
    record.restart_count = status.restart_count
    told = status.state.terminated
    ended = _termination(told, now_s) if told is not None else _lost(status, now_s)
    policy = record.plan.restart_policy
    if policy == "Never" or (policy == "OnFailure" and ended.exit_code == 0):
        record.state, record.termination = State.ENDED, ended
        return
    record.last = ended
    record.restart_count += 1


def _lost(status: ContainerStatus, now_s: float) -> Termination:
    running = status.state.running
    return Termination(
        exit_code=_UNKNOWN_CODE,
        reason="ContainerStatusUnknown",
        message="The container could not be located when the node was started again",
        started_s=_time_s(running.started_at) if running is not None else None,
        finished_s=now_s,
        container_id=status.container_id,
    )


def _termination(ended: ContainerStateTerminated, now_s: float) -> Termination:
    finished_s = _time_s(ended.finished_at)
    return Termination(
        exit_code=ended.exit_code,
        signal=ended.signal,
        reason=ended.reason,
        message=ended.message,
        started_s=_time_s(ended.started_at),
        finished_s=now_s if finished_s is None else finished_s,
        container_id=ended.container_id,
    )


def _time_s(text: str | None) -> float | None:
    return parse_time_s(text) if text else None
