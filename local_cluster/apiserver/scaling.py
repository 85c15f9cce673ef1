"""The scale subresource: one number of an object, seen as `autoscaling/v1` Scale.

Conformance: api-clients statements 35, 36.
"""

from typing import Any

from local_cluster.apiserver.columns import selector_text
from local_cluster.apiserver.errors import Cause, bad_request, invalid
from local_cluster.apiserver.jsonpath import compile_path
from local_cluster.apiserver.resources import ResourceType

__all__ = ["apply_scale", "scale_of"]


def scale_of(kind: ResourceType, obj: dict[str, Any]) -> dict[str, Any]:
    """The Scale of an object; an absent `spec.replicas` shows as absent."""
    paths = kind.scale
    assert paths is not None, f"{kind.plural} has no scale"
    metadata = obj["metadata"]
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: dict[str, Any] = {"replicas": compile_path(paths.status_replicas).first(obj) or 0}
    selector = selector_text(compile_path(paths.selector).first(obj)) if paths.selector else ""
    if selector:
        status["selector"] = selector
    spec = {}
    replicas = compile_path(paths.spec_replicas).first(obj)
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in shown if name in metadata},
        "spec": spec,
        "status": status,
    }


def apply_scale(kind: ResourceType, obj: dict[str, Any], scale: dict[str, Any]) -> dict[str, Any]:
    """`obj` with the replicas that `scale` asks for, and with its version and UID to insist on. Raises 400 and 422."""
    assert kind.scale is not None, f"{kind.plural} has no scale"
    spec = scale.get("spec") or {}
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else spec
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise bad_request(f"spec.replicas: expected a whole number, got {replicas!r}")
    metadata = {} if scale.get("metadata") is None else scale["metadata"]
    if not isinstance(metadata, dict):
        raise bad_request("metadata: expected an object")
    name = obj["metadata"]["name"]
    if replicas < 0:
        message = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise invalid("autoscaling", "scales", "Scale", name, [Cause("spec.replicas", "FieldValueInvalid", message)])
    for field in ("resourceVersion", "uid"):
        if metadata.get(field):
            obj["metadata"][field] = metadata[field]
    *parents, last = kind.scale.spec_replicas.strip(".").split(".")
    target = obj
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise bad_request(f"{kind.scale.spec_replicas}: {parent} is no object")
    target[last] = replicas
    return obj
