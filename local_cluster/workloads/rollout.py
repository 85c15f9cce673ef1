"""How many pods each ReplicaSet of a Deployment should have, and what the Deployment says about it.

Pure. Source: Kubernetes documentation, "Deployments" (rolling update, conditions); what Knative reads of the conditions
is spec control-plane.md 6.3. A change of `replicas` during a rolling update goes to the new ReplicaSet alone;
Kubernetes spreads it in proportion, which only shows while both have pods.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from kube.models.apps import Deployment, DeploymentStatus, ReplicaSet
from kube.models.meta import Condition
from kube.timestamps import format_time, parse_time_s

__all__ = ["PROGRESS_DEADLINE_S", "deployment_status", "plan_replicas", "progress_due_s", "template_hash"]

PROGRESS_DEADLINE_S = 600
_DEFAULT_BOUND = "25%"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
"""Letters and digits that cannot form words, as Kubernetes uses them in generated names."""
_NEW_SET_AVAILABLE = "NewReplicaSetAvailable"
_TIMED_OUT = "ProgressDeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a rolling update may go above and below the wanted number of pods."""

    surge: int
    unavailable: int

    @classmethod
    def of(cls, deployment: Deployment) -> "Bounds":
        """Percentages count from the wanted number: surge is rounded up, unavailable down; not both may be 0."""
        wanted = wanted_replicas(deployment)
        rolling = deployment.spec.strategy.get("rollingUpdate") or {}
        surge = _share(rolling.get("maxSurge", _DEFAULT_BOUND), wanted, up=True)
        unavailable = min(_share(rolling.get("maxUnavailable", _DEFAULT_BOUND), wanted, up=False), wanted)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        return cls(surge, unavailable)


def wanted_replicas(deployment: Deployment) -> int:
    """`spec.replicas`, 1 when it is absent."""
    return 1 if deployment.spec.replicas is None else deployment.spec.replicas


def template_hash(deployment: Deployment) -> str:
    """The `pod-template-hash` of the Deployment's template: equal templates, equal hash."""
    text = json.dumps(deployment.spec.template, sort_keys=True, separators=(",", ":"))
    value = int.from_bytes(hashlib.blake2s(text.encode(), digest_size=4).digest())
    return "".join(_SAFE[ord(digit) % len(_SAFE)] for digit in str(value))


def plan_replicas(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> dict[str, int]:
    """The wanted `spec.replicas` of every ReplicaSet whose number is to change, by name.

    `old` in the order of their creation. With `new` None (a paused Deployment that has no set for its template yet)
    only a single old set is scaled.
    """
    wanted = wanted_replicas(deployment)
    if new is None:
        active = [s for s in old if _spec(s)]
        last = active[-1:] if len(active) <= 1 else []
        return {s.name: wanted for s in (last or list(old[-1:])) if len(active) <= 1 and _spec(s) != wanted}
    if deployment.spec.strategy.get("type") == "Recreate":
        plan = {s.name: 0 for s in old if _spec(s)}
        if not plan and not any(s.status.replicas for s in old) and _spec(new) != wanted:
            plan[new.name] = wanted
        return plan
    return _plan_rolling(wanted, Bounds.of(deployment), new, old)


def _plan_rolling(wanted: int, bounds: Bounds, new: ReplicaSet, old: Sequence[ReplicaSet]) -> dict[str, int]:
    replicas = {s.name: _spec(s) for s in (new, *old)}
    total = sum(replicas.values())
    if replicas[new.name] > wanted:
        replicas[new.name] = wanted
    elif replicas[new.name] < wanted:
        room = max(0, wanted + bounds.surge - total)
        replicas[new.name] += min(room, wanted - replicas[new.name])
    least = wanted - bounds.unavailable
    new_unavailable = max(0, replicas[new.name] - new.status.available_replicas)
    spare = sum(replicas.values()) - least - new_unavailable
    for s in old:  # first those that serve nobody
        unhealthy = min(max(0, spare), max(0, replicas[s.name] - s.status.available_replicas))
        replicas[s.name] -= unhealthy
        spare -= unhealthy
    for s in old:  # what is spare after that is available beyond the least
        down = min(max(0, spare), replicas[s.name])
        replicas[s.name] -= down
        spare -= down
    return {s.name: replicas[s.name] for s in (new, *old) if replicas[s.name] != _spec(s)}


def deployment_status(
    deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet], now_s: float
) -> DeploymentStatus:
    """The status, conditions included, as of `now_s` (Unix)."""
    sets = [s for s in (new, *old) if s is not None]
    total = sum(s.status.replicas for s in sets)
    available = sum(s.status.available_replicas for s in sets)
    status = DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=total,
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(s.status.ready_replicas for s in sets),
        available_replicas=available,
        unavailable_replicas=max(0, sum(_spec(s) for s in sets) - available),
    )
    held = {condition.type: condition for condition in deployment.status.conditions}
    conditions = [_available(deployment, status)]
    progressing = _progressing(deployment, new, status, held.get("Progressing"), now_s)
    if progressing is not None:
        conditions.append(progressing)
    failure = _replica_failure(sets)
    if failure is not None:
        conditions.append(failure)
    now = format_time(now_s)
    for condition in conditions:
        before = held.get(condition.type)
        is_same = before is not None and before.status == condition.status
        condition.last_transition_time = before.last_transition_time if before and is_same else now
        if condition.last_update_time is None:
            is_same = is_same and before is not None and before.reason == condition.reason
            condition.last_update_time = before.last_update_time if before and is_same else now
    status.conditions = conditions
    return status


def progress_due_s(deployment: Deployment, status: DeploymentStatus, now_s: float) -> float | None:
    """Seconds until the progress deadline is to be looked at again, or None when it does not run."""
    progressing = next((c for c in status.conditions if c.type == "Progressing"), None)
    if progressing is None or progressing.reason in (_NEW_SET_AVAILABLE, _TIMED_OUT):
        return None
    return max(0.1, _deadline_s(deployment, progressing) - now_s + 0.1)


def _available(deployment: Deployment, status: DeploymentStatus) -> Condition:
    is_rolling = deployment.spec.strategy.get("type") != "Recreate"
    unavailable = Bounds.of(deployment).unavailable if is_rolling else 0
    if status.available_replicas >= wanted_replicas(deployment) - unavailable:
        return Condition(
            type="Available",
            status="True",
            reason="MinimumReplicasAvailable",
            message="Deployment has minimum availability.",
        )
    return Condition(
        type="Available",
        status="False",
        reason="MinimumReplicasUnavailable",
        message="Deployment does not have minimum availability.",
    )


def _progressing(
    deployment: Deployment, new: ReplicaSet | None, status: DeploymentStatus, held: Condition | None, now_s: float
) -> Condition | None:
    """Whether the newest template gets its pods. A complete Deployment stays complete while it is only scaled."""
    if deployment.spec.paused:
        return Condition(
            type="Progressing", status="Unknown", reason="DeploymentPaused", message="Deployment is paused"
        )
    if new is None:
        return held
    was_complete = held is not None and held.reason == _NEW_SET_AVAILABLE
    if was_complete and status.replicas == status.updated_replicas:
        return _kept(held)
    if _is_complete(deployment, status):
        return Condition(
            type="Progressing",
            status="True",
            reason=_NEW_SET_AVAILABLE,
            message=f'ReplicaSet "{new.name}" has successfully progressed.',
        )
    if held is None or was_complete or held.reason == "DeploymentPaused":
        return Condition(
            type="Progressing",
            status="True",
            reason="NewReplicaSetCreated",
            message=f'Created new replica set "{new.name}"',
        )
    if _has_progressed(deployment.status, status):
        return Condition(
            type="Progressing",
            status="True",
            reason="ReplicaSetUpdated",
            message=f'ReplicaSet "{new.name}" is progressing.',
            last_update_time=format_time(now_s),
        )
    if held.reason == _TIMED_OUT or now_s >= _deadline_s(deployment, held):
        return Condition(
            type="Progressing",
            status="False",
            reason=_TIMED_OUT,
            message=f'ReplicaSet "{new.name}" has timed out progressing.',
        )
    return _kept(held)


def _replica_failure(sets: Sequence[ReplicaSet]) -> Condition | None:
    for s in sets:
        for condition in s.status.conditions:
            if condition.type == "ReplicaFailure" and condition.status == "True":
                return Condition(
                    type="ReplicaFailure", status="True", reason=condition.reason, message=condition.message
                )
    return None


def _is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    wanted = wanted_replicas(deployment)
    return status.updated_replicas == wanted and status.replicas == wanted and status.available_replicas >= wanted


def _has_progressed(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def _kept(condition: Condition | None) -> Condition | None:
    if condition is None:
        return None
    return Condition(
        type=condition.type,
        status=condition.status,
        reason=condition.reason,
        message=condition.message,
        last_update_time=condition.last_update_time,
    )


def _deadline_s(deployment: Deployment, progressing: Condition) -> float:
    limit_s = deployment.spec.progress_deadline_seconds
    since = progressing.last_update_time or progressing.last_transition_time
    return (parse_time_s(since) if since else 0.0) + (PROGRESS_DEADLINE_S if limit_s is None else limit_s)


def _spec(replica_set: ReplicaSet) -> int:
    return 1 if replica_set.spec.replicas is None else replica_set.spec.replicas


def _share(bound: object, wanted: int, *, up: bool) -> int:
    """A number, or a percentage of `wanted`."""
    text = str(bound)
    if not text.endswith("%"):
        return int(text)
    share = int(text[:-1]) * wanted / 100
    return math.ceil(share) if up else math.floor(share)
