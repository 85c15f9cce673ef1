"""A stack on the state of one before it: the objects are there, the processes behind them are not.

The system's own pods are the stack's and are made anew, with the addresses that it has this time. All others keep their
objects; until the node has started them again they say that they are not ready, so that nobody is led to addresses at
which nobody listens.
"""

import asyncio
import json
import time
from typing import Any

from kube.client import Client
from kube.errors import AlreadyExists, NotFound
from kube.models.apps import Deployment, ReplicaSet
from kube.models.coordination import Lease
from kube.models.core import Pod
from kube.timestamps import format_time
from local_cluster.system import MANAGED

__all__ = ["create", "revive"]

_KEPT = ("ConfigMap", "Namespace", "Secret", "ServiceAccount")
"""What people may have changed, or what has nothing to change."""
_PLURALS = {
    "ConfigMap": "configmaps",
    "CustomResourceDefinition": "customresourcedefinitions",
    "Deployment": "deployments",
    "Endpoints": "endpoints",
    "Ingress": "ingresses",
    "MutatingWebhookConfiguration": "mutatingwebhookconfigurations",
    "Namespace": "namespaces",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "StatefulSet": "statefulsets",
    "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
}
_AT_ONCE = 32
_SELECTOR = ",".join(f"{key}={value}" for key, value in MANAGED.items())


async def revive(client: Client) -> None:
    """Bring the objects in line with the fact that no pod runs. Raises `ApiError`."""
    deployments = (await client.list(Deployment, label_selector=_SELECTOR)).items
    owners = {deployment.metadata.uid for deployment in deployments}
    replica_sets = [each for each in (await client.list(ReplicaSet)).items if _is_owned(each, owners)]
    owners |= {each.metadata.uid for each in replica_sets}
    pods = (await client.list(Pod)).items
    ours = [pod for pod in pods if _is_owned(pod, owners)]
    for deployment in deployments:
        await _delete(client, Deployment, deployment)
    for replica_set in replica_sets:
        await _delete(client, ReplicaSet, replica_set)
    for pod in ours:
        await _delete(client, Pod, pod)
    await _release_leases(client, {pod.name for pod in ours})
    gone = {pod.metadata.uid for pod in ours}
    rest = [pod for pod in pods if pod.metadata.uid not in gone and pod.status.phase == "Running"]
    limit = asyncio.Semaphore(_AT_ONCE)
    now = format_time(time.time())
    async with asyncio.TaskGroup() as group:
        for pod in rest:
            group.create_task(_mark_unready(client, pod, now, limit))


async def create(client: Client, manifest: dict[str, Any]) -> None:
    """Create one of the system's objects; one that is there is brought to `manifest`, unless people configure it."""
    version, metadata = manifest["apiVersion"], manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = metadata.get("namespace")
    path = f"{root}/namespaces/{namespace}" if namespace else root
    path += f"/{_PLURALS[manifest['kind']]}"
    body = json.dumps(manifest).encode()
    try:
        await client.raw("POST", path, body=body)
    except AlreadyExists:
        if manifest["kind"] not in _KEPT:
            await client.raw("PUT", f"{path}/{metadata['name']}", body=body)


def _is_owned(obj: Any, owners: set[str]) -> bool:
    return any(owner.uid in owners for owner in obj.metadata.owner_references)


async def _delete(client: Client, kind: Any, obj: Any) -> None:
    try:
        await client.delete(kind, obj.metadata.name, obj.metadata.namespace, uid=obj.metadata.uid, grace_period_s=0)
    except NotFound:
        return  # the collector was faster


async def _release_leases(client: Client, holders: set[str]) -> None:
    """Leases of pods that are gone: their successors need not wait until they run out."""
    for lease in (await client.list(Lease)).items:
        holder = str(lease.spec.holder_identity or "")
        if any(holder == name or holder.startswith(f"{name}_") for name in holders):
            await _delete(client, Lease, lease)


async def _mark_unready(client: Client, pod: Pod, now: str, limit: asyncio.Semaphore) -> None:
    conditions = [
        {
            "type": condition.type,
            "status": "False" if condition.type in ("Ready", "ContainersReady") else condition.status,
            "reason": "NodeRestarted" if condition.type in ("Ready", "ContainersReady") else condition.reason,
            "lastTransitionTime": now,
        }
        for condition in pod.status.conditions
    ]
    status = {"conditions": conditions, "podIP": None, "podIPs": None}
    async with limit:
        try:
            await client.patch(Pod, pod.name, pod.namespace, {"status": status}, subresource="status")
        except NotFound:
            return  # deleted meanwhile
