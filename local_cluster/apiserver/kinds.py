"""Kubernetes' built-in kinds, which are there from the start."""

from typing import Any

from local_cluster.apiserver.columns import AGE, CELLS
from local_cluster.apiserver.resources import ResourceType, ScalePaths

__all__ = ["BUILT_IN_KINDS"]

_WORKLOAD_SCALE = ScalePaths(selector=".spec.selector")
_EVENT_FIELDS = (
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "type",
)


def _built_in(group: str, version: str, plural: str, kind: str, **options: Any) -> ResourceType:
    schema_group = group.split(".")[0] if group in ("apps", "batch") else group
    options.setdefault("schema", f"{schema_group or 'core'}/{version}.{kind}")
    return ResourceType(
        group=group, version=version, plural=plural, kind=kind, columns=CELLS.get(plural, (AGE,)), **options
    )


# events.k8s.io renames fields of the same object (Kubernetes documentation, "Event v1 events.k8s.io").
_EVENT_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
_EVENT_NAMES_BACK = {core: named for named, core in _EVENT_NAMES.items()}


def _event_to_core(event: dict[str, Any]) -> dict[str, Any]:
    return {_EVENT_NAMES.get(key, key): value for key, value in event.items()}


def _event_from_core(event: dict[str, Any]) -> dict[str, Any]:
    return {_EVENT_NAMES_BACK.get(key, key): value for key, value in event.items()}


_ALL = ("all",)

BUILT_IN_KINDS: tuple[ResourceType, ...] = (
    _built_in("", "v1", "namespaces", "Namespace", namespaced=False, short_names=("ns",), has_status=True,
              selectable=("status.phase",)),
    _built_in("", "v1", "pods", "Pod", short_names=("po",), categories=_ALL, has_status=True, selectable=(
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.nominatedNodeName")),
    _built_in("", "v1", "services", "Service", short_names=("svc",), categories=_ALL, has_status=True,
              selectable=("spec.clusterIP", "spec.type")),
    _built_in("", "v1", "endpoints", "Endpoints", singular="endpoints", short_names=("ep",)),
    _built_in("", "v1", "configmaps", "ConfigMap", short_names=("cm",)),
    _built_in("", "v1", "secrets", "Secret", selectable=("type",)),
    _built_in("", "v1", "events", "Event", short_names=("ev",), selectable=_EVENT_FIELDS),
    _built_in("", "v1", "nodes", "Node", namespaced=False, short_names=("no",), has_status=True,
              selectable=("spec.unschedulable",)),
    _built_in("", "v1", "serviceaccounts", "ServiceAccount", short_names=("sa",)),
    _built_in("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", short_names=("pvc",), has_status=True),
    _built_in("apps", "v1", "deployments", "Deployment", short_names=("deploy",), categories=_ALL, has_status=True,
              scale=_WORKLOAD_SCALE),
    _built_in("apps", "v1", "replicasets", "ReplicaSet", short_names=("rs",), categories=_ALL, has_status=True,
              scale=_WORKLOAD_SCALE, selectable=("status.replicas",)),
    _built_in("apps", "v1", "statefulsets", "StatefulSet", short_names=("sts",), categories=_ALL, has_status=True,
              scale=_WORKLOAD_SCALE),
    _built_in("apps", "v1", "daemonsets", "DaemonSet", short_names=("ds",), categories=_ALL, has_status=True),
    _built_in("batch", "v1", "jobs", "Job", categories=_ALL, has_status=True, selectable=("status.successful",)),
    _built_in("batch", "v1", "cronjobs", "CronJob", short_names=("cj",), categories=_ALL, has_status=True),
    _built_in("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    _built_in("coordination.k8s.io", "v1", "leases", "Lease"),
    _built_in("events.k8s.io", "v1", "events", "Event", short_names=("ev",), key="events.", storage_version="v1",
              to_storage=_event_to_core, from_storage=_event_from_core,
              selectable=("reason", "type")),
    _built_in("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short_names=("hpa",),
              categories=_ALL, has_status=True),
    _built_in("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short_names=("pdb",), has_status=True),
    _built_in("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", short_names=("netpol",)),
    _built_in("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    _built_in("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    _built_in("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False),
    _built_in("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _built_in("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration",
              namespaced=False, categories=("api-extensions",)),
    _built_in("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations",
              "ValidatingWebhookConfiguration", namespaced=False, categories=("api-extensions",)),
    _built_in("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False,
              short_names=("crd", "crds"), categories=("api-extensions",), has_status=True),
)  # fmt: skip
