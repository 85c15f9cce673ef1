"""Which pods of a ReplicaSet go first when there are too many, and which of them are up.

Source: Kubernetes documentation, "ReplicaSet", scaling down.
"""

from collections.abc import Iterable

from kube.models.core import Pod
from kube.timestamps import parse_time_s

__all__ = ["available_after_s", "is_active", "to_delete"]

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


def is_active(pod: Pod) -> bool:
    """Whether the pod counts: it neither ended nor is being deleted."""
    return pod.metadata.deletion_timestamp is None and pod.status.phase not in ("Succeeded", "Failed")


def to_delete(pods: Iterable[Pod], count: int) -> list[Pod]:
    """The `count` pods that are missed least: unassigned, pending, not ready, cheap, ready lately, restarted, young."""
    return sorted(pods, key=_worth)[:count]


def available_after_s(pod: Pod, min_ready_s: float, now_s: float) -> float | None:
    """Seconds until a ready pod counts as available: 0 if it does, None if it is not ready."""
    if not pod.is_ready():
        return None
    return max(0.0, _ready_since_s(pod) + min_ready_s - now_s) if min_ready_s else 0.0


def _worth(pod: Pod) -> tuple[bool, int, bool, int, float, int, float]:
    is_ready = pod.is_ready()
    restarts = max((status.restart_count for status in pod.status.container_statuses), default=0)
    created = pod.metadata.creation_timestamp
    return (
        bool(pod.spec.node_name),
        _PHASES.get(pod.status.phase, 1),
        is_ready,
        _deletion_cost(pod),
        -_ready_since_s(pod) if is_ready else 0.0,
        -restarts,
        -(parse_time_s(created) if created else 0.0),
    )


def _deletion_cost(pod: Pod) -> int:
    text = pod.metadata.annotations.get(_DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _ready_since_s(pod: Pod) -> float:
    for condition in pod.status.conditions:
        if condition.type == "Ready" and condition.last_transition_time:
            return parse_time_s(condition.last_transition_time)
    return 0.0
