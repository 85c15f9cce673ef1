"""The PodAutoscaler of a Revision: what the autoscaler is asked to scale, and whether anything can reach it.

Pure. Source: knative/serving `pkg/reconciler/revision/resources/pa.go`; spec control-plane.md 6.5.
"""

from typing import Any

import msgspec

from controller import deployment, keys
from kube.autoscaling.annotations import CLASS, GROUPS, METRIC
from kube.conditions import Conditions
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.serving import Revision

__all__ = ["build", "drift_patch", "reachability"]

JsonObject = dict[str, Any]


def reachability(revision: Revision, conditions: Conditions, running: Deployment | None) -> str:
    """`Reachable`, `Unreachable`, or empty while it is not known whether a Route leads here.

    A Revision whose pods all fail counts as unreachable, so that it is not kept alive for its minimum scale.
    """
    failed = conditions.is_false("ResourcesAvailable") or conditions.is_false("ContainerHealthy")
    if failed and running is not None and (running.spec.replicas or 0) > 0 and running.status.ready_replicas == 0:
        return "Unreachable"
    state = revision.metadata.labels.get(keys.ROUTING_STATE)
    return {keys.ACTIVE: "Reachable", keys.RESERVE: "Unreachable"}.get(state or "", "")


def build(revision: Revision, reachable: str, default_class: str) -> JsonObject:
    """The PodAutoscaler as it is created."""
    return {
        "apiVersion": PodAutoscaler.RESOURCE.api_version,
        "kind": "PodAutoscaler",
        "metadata": {
            "name": revision.metadata.name,
            "namespace": revision.metadata.namespace,
            "labels": deployment.labels_of_children(revision),
            "annotations": {CLASS[0]: default_class, **deployment.annotations_of_children(revision)},
            "ownerReferences": [msgspec.to_builtins(revision.owner_reference())],
        },
        "spec": _spec(revision, reachable),
    }


def drift_patch(existing: PodAutoscaler, revision: Revision, reachable: str) -> JsonObject | None:
    """A merge patch that brings spec and annotations in line with the Revision, or None when they are."""
    patch: JsonObject = {}
    spec = _spec(revision, reachable)
    if msgspec.to_builtins(existing.spec) != msgspec.to_builtins(msgspec.convert(spec, type(existing.spec))):
        patch["spec"] = spec
    wanted = deployment.annotations_of_children(revision)
    held = existing.metadata.annotations
    changes: dict[str, str | None] = {key: value for key, value in wanted.items() if held.get(key) != value}
    for key in held:
        if key.startswith(GROUPS) and key not in wanted and key not in CLASS + METRIC:
            changes[key] = None
    if changes:
        patch["metadata"] = {"annotations": changes}
    return patch or None


def _spec(revision: Revision, reachable: str) -> JsonObject:
    return {
        "containerConcurrency": revision.container_concurrency,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment.name_of(revision)},
        "protocolType": revision.protocol,
        "reachability": reachable,
    }
