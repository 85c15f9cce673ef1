"""Short ways to write the objects that workload tests are about."""

from typing import Any

import msgspec

from kube.models.apps import Deployment, ReplicaSet
from kube.models.core import Pod, Service

CREATED = "2026-01-01T00:00:00Z"


def deployment(replicas: int = 4, **parts: Any) -> Deployment:
    """A Deployment with a rolling update of 25 % unless `strategy` says otherwise."""
    spec = {"replicas": replicas, "template": {"spec": {"containers": []}}, **parts.pop("spec", {})}
    data = {"metadata": {"name": "d", "namespace": "ns", "uid": "d-uid", "generation": 2}, "spec": spec, **parts}
    return msgspec.convert(data, Deployment)


def replica_set(name: str, replicas: int, *, pods: int | None = None, available: int = 0, **status: Any) -> ReplicaSet:
    """A ReplicaSet that wants `replicas` pods and has `pods` (default: as many), of which `available` are available."""
    data = {
        "metadata": {"name": name, "namespace": "ns", "creationTimestamp": CREATED},
        "spec": {"replicas": replicas},
        "status": {
            "replicas": replicas if pods is None else pods,
            "readyReplicas": available,
            "availableReplicas": available,
            **status,
        },
    }
    return msgspec.convert(data, ReplicaSet)


def pod(
    name: str, ip: str = "127.80.1.1", *, ready: bool = True, labels: dict[str, str] | None = None, **parts: Any
) -> Pod:
    """A running pod; `ports` are those of its container, `deleted` marks it as terminating."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "ns",
        "uid": f"{name}-uid",
        "labels": {"app": "web"} if labels is None else labels,
        "annotations": parts.get("annotations", {}),
        "creationTimestamp": parts.get("created", CREATED),
    }
    if parts.get("deleted"):
        metadata["deletionTimestamp"] = CREATED
    ready_since = {"lastTransitionTime": parts.get("since", CREATED)}
    return msgspec.convert(
        {
            "metadata": metadata,
            "spec": {
                "nodeName": parts.get("node", "local"),
                "containers": [{"name": "c", "ports": parts.get("ports", [])}],
            },
            "status": {
                "phase": parts.get("phase", "Running"),
                "podIP": ip,
                "conditions": [{"type": "Ready", "status": str(ready), **ready_since}],
                "containerStatuses": [{"name": "c", "restartCount": parts.get("restarts", 0)}],
            },
        },
        Pod,
    )


def service(*ports: dict[str, Any], **spec: Any) -> Service:
    """A Service that selects `app: web`; its first port is 80 to 8080 unless `ports` are given."""
    listed = list(ports) or [{"name": "http", "port": 80, "targetPort": 8080}]
    data = {"metadata": {"name": "s", "namespace": "ns"}, "spec": {"selector": {"app": "web"}, "ports": listed, **spec}}
    return msgspec.convert(data, Service)
