"""What holds an object that is to be deleted: finalizers, a pod's grace period, and what a DELETE asks for.

Conformance: api-clients statements 37, 39.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from local_cluster.apiserver.errors import conflict
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.versions import Stored

__all__ = ["FOREGROUND", "ORPHAN", "DeleteOptions", "Hold", "check_preconditions", "hold_of"]

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_DEFAULT_GRACE_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """What a DELETE asks for."""

    propagation: str = "Background"
    """`Background`, `Foreground` or `Orphan`."""
    grace_period_s: int | None = None
    """Seconds that a pod gets to end; None: as its spec says."""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
    """Asked for in the body, where kubectl does; the parameter counts as much."""


class Hold(NamedTuple):
    """What a deletion has to wait for."""

    finalizers: list[str]
    grace_s: int
    """Seconds that the node gives a pod to end; 0 for everything else."""


def hold_of(kind: ResourceType, obj: dict[str, Any], options: DeleteOptions) -> Hold | None:
    """Why the object cannot go at once; None when it can."""
    finalizers = list(obj["metadata"].get("finalizers") or ())
    if options.propagation == "Foreground" and FOREGROUND not in finalizers:
        finalizers.append(FOREGROUND)
    if options.propagation == "Orphan" and ORPHAN not in finalizers:
        finalizers.append(ORPHAN)
    grace_s = _pod_grace_s(obj, options) if kind.key == "pods." else 0
    # A namespace goes when it is empty.
    is_held = finalizers or grace_s or kind.key == "namespaces."
    return Hold(finalizers, grace_s) if is_held else None


def check_preconditions(kind: ResourceType, stored: Stored, options: DeleteOptions) -> None:
    for given, found, what in (
        (options.uid, stored.uid, "UID"),
        (options.resource_version, str(stored.version), "ResourceVersion"),
    ):
        if given and given != found:
            why = f"Precondition failed: {what} in precondition: {given}, {what} in object meta: {found}"
            raise conflict(kind.group, kind.plural, stored.name, why)


def _pod_grace_s(pod: dict[str, Any], options: DeleteOptions) -> int:
    """Seconds until a pod may be removed. 0: at once, because nothing runs or the node says that it ended."""
    spec = pod.get("spec") or {}
    if not spec.get("nodeName") or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace_period_s is not None:
        return max(options.grace_period_s, 0)
    return int(spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S))
