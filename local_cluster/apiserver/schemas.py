"""Schemas by name: what fields an object may have, of which types, and how lists merge.

A node is an OpenAPI v3 schema with Kubernetes' extensions, exactly as a CRD writes it; `$ref` holds the bare name of
another schema. Built-in kinds' nodes are made on first use from the same table that decodes protobuf, plus the merge
keys below; custom kinds bring their own.
"""

from typing import Any, Final

from local_cluster.apiserver.protobuf import Field, messages

__all__ = ["ANYTHING", "Schemas"]

ANYTHING: Final[dict[str, Any]] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_TEXT: Final = {"type": "string"}

_SCALARS: dict[str, dict[str, Any]] = {
    "string": _TEXT,
    "bytes": {"type": "string", "format": "byte"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "float64": {"type": "number", "format": "double"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "int_or_string": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    "time": {"type": "string", "format": "date-time"},
    "micro_time": {"type": "string", "format": "date-time"},
    "raw_extension": ANYTHING,
    "fields_v1": ANYTHING,
    "[]string": {"type": "array", "items": _TEXT},
    "apiextensions.k8s.io/v1.JSON": {"x-kubernetes-preserve-unknown-fields": True},
    "apiextensions.k8s.io/v1.JSONSchemaPropsOrBool": {"x-kubernetes-preserve-unknown-fields": True},
    "apiextensions.k8s.io/v1.JSONSchemaPropsOrArray": {"x-kubernetes-preserve-unknown-fields": True},
    "apiextensions.k8s.io/v1.JSONSchemaPropsOrStringArray": {"x-kubernetes-preserve-unknown-fields": True},
}

_WITHOUT_TYPE = {"core/v1.PodTemplateSpec", "batch/v1.JobTemplateSpec", "core/v1.PersistentVolumeClaimTemplate"}
"""Messages with metadata that are no objects of their own."""

_CONTAINER_KEYS = {
    "ports": "containerPort",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
MERGE_KEYS: dict[str, dict[str, str]] = {
    "meta/v1.ObjectMeta": {"ownerReferences": "uid", "finalizers": ""},
    "core/v1.PodSpec": {
        "volumes": "name",
        "initContainers": "name",
        "containers": "name",
        "ephemeralContainers": "name",
        "imagePullSecrets": "name",
        "hostAliases": "ip",
        "topologySpreadConstraints": "topologyKey",
        "schedulingGates": "name",
        "resourceClaims": "name",
    },
    "core/v1.Container": _CONTAINER_KEYS,
    "core/v1.EphemeralContainer": _CONTAINER_KEYS,
    "core/v1.EphemeralContainerCommon": _CONTAINER_KEYS,
    "core/v1.PodStatus": {"conditions": "type", "podIPs": "ip", "hostIPs": "ip"},
    "core/v1.ServiceSpec": {"ports": "port"},
    "core/v1.ServiceStatus": {"conditions": "type"},
    "core/v1.ServiceAccount": {"secrets": "name"},
    "core/v1.NamespaceStatus": {"conditions": "type"},
    "core/v1.NodeSpec": {"podCIDRs": ""},
    "core/v1.NodeStatus": {"conditions": "type", "addresses": "type"},
    "core/v1.PersistentVolumeClaimStatus": {"conditions": "type"},
    "apps/v1.DeploymentStatus": {"conditions": "type"},
    "apps/v1.ReplicaSetStatus": {"conditions": "type"},
    "apps/v1.StatefulSetStatus": {"conditions": "type"},
    "apps/v1.DaemonSetStatus": {"conditions": "type"},
    "batch/v1.JobStatus": {"conditions": "type"},
    "policy/v1.PodDisruptionBudgetStatus": {"conditions": "type"},
    "autoscaling/v2.HorizontalPodAutoscalerStatus": {"conditions": "type"},
    "admissionregistration.k8s.io/v1.MutatingWebhookConfiguration": {"webhooks": "name"},
    "admissionregistration.k8s.io/v1.ValidatingWebhookConfiguration": {"webhooks": "name"},
    "admissionregistration.k8s.io/v1.MutatingWebhook": {"matchConditions": "name"},
    "admissionregistration.k8s.io/v1.ValidatingWebhook": {"matchConditions": "name"},
}
"""Lists that strategic merge patches merge instead of replacing, with the member that identifies an element; empty for
lists of plain values. Source: `patchMergeKey` in the Kubernetes API reference."""

RETAIN_KEYS = {
    ("core/v1.PodSpec", "volumes"),
    ("apps/v1.DeploymentSpec", "strategy"),
    ("core/v1.PodSpec", "resourceClaims"),
}
"""Unions: a patch names the members that may stay."""


class Schemas:
    """All schemas of one server; CRDs add theirs."""

    def __init__(self) -> None:
        self._named: dict[str, dict[str, Any]] = {}

    def add(self, name: str, node: dict[str, Any]) -> None:
        """Offer `node` under `name`."""
        self._named[name] = node

    def remove(self, name: str) -> None:
        """Forget `name`."""
        self._named.pop(name, None)

    def get(self, name: str) -> dict[str, Any] | None:
        """The schema called `name`, or None."""
        node = self._named.get(name)
        if node is None and name in messages():
            node = self._named[name] = _built_in(name)
        return node

    def resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        """`node`, or what its `$ref` names."""
        reference = node.get("$ref")
        return node if reference is None else self.get(reference) or ANYTHING


def _built_in(name: str) -> dict[str, Any]:
    properties = _properties(name)
    if "metadata" in properties and name not in _WITHOUT_TYPE:
        properties = {"apiVersion": _TEXT, "kind": _TEXT, **properties}
    return {"type": "object", "properties": properties}


def _properties(name: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    merge_keys = MERGE_KEYS.get(name, {})
    for field in messages()[name].values():
        if not field.json:
            properties |= _properties(field.type)
            continue
        node = _node(field)
        strategies = []
        if field.json in merge_keys:
            strategies.append("merge")
            if merge_keys[field.json]:
                node["x-kubernetes-patch-merge-key"] = merge_keys[field.json]
        if (name, field.json) in RETAIN_KEYS:
            strategies.append("retainKeys")
        if strategies:
            node["x-kubernetes-patch-strategy"] = ",".join(strategies)
        properties[field.json] = node
    return properties


def _node(field: Field) -> dict[str, Any]:
    node = dict(_SCALARS.get(field.type) or {"$ref": field.type})
    if field.is_map:
        return {"type": "object", "additionalProperties": node}
    return {"type": "array", "items": node} if field.repeated else node
