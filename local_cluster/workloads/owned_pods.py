"""Pods that a controller makes and takes away for its objects, and what it knows of that before the watch tells."""

import copy
import json
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from kube.client import Client
from kube.errors import Conflict, NotFound
from kube.models.core import Pod
from kube.models.meta import Resource
from local_cluster.workloads.local_writes import Expectations
from local_cluster.workloads.naming import generated_name

__all__ = ["OwnedPods", "pod_of"]

Key = tuple[str, str]


class OwnedPods:
    """The pods of all objects of one `kind`."""

    def __init__(self, client: Client, kind: str) -> None:
        self._client = client
        self._kind = kind
        self._expectations: dict[str, Expectations] = {}

    def expectations(self, uid: str) -> Expectations:
        """What is on its way for the owner `uid`."""
        return self._expectations.setdefault(uid, Expectations(time.monotonic))

    def owner_changed(self, old: Resource | None, new: Resource | None) -> None:
        """Forget an owner that is gone."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._expectations.pop(old.metadata.uid, None)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> list[Key]:
        """Take notice of what the watch told; the owners that it concerns."""
        keys: list[Key] = []
        for pod in (old, new):
            owner = pod.metadata.controller() if pod is not None else None
            if pod is None or owner is None or owner.kind != self._kind:
                continue
            expectations = self._expectations.get(owner.uid)
            if expectations is not None:
                expectations.seen(pod.name)
                if new is None or new.metadata.deletion_timestamp is not None:
                    expectations.leaving(pod.name)
            keys.append((pod.namespace, owner.name))
        return keys

    async def create(self, owner: Resource, manifest: Mapping[str, Any]) -> None:
        """Create one pod of `manifest` (`pod_of`) under a name of its own. Raises `ApiError`."""
        name = generated_name(f"{owner.metadata.name}-")
        metadata = {**manifest["metadata"], "name": name}
        expectations = self.expectations(owner.metadata.uid)
        expectations.creates(name)
        try:
            path = Pod.RESOURCE.path(owner.metadata.namespace)
            await self._client.raw("POST", path, body=json.dumps({**manifest, "metadata": metadata}).encode())
        except BaseException:
            expectations.seen(name)  # if it was made after all, the watch shows it
            raise

    async def delete(self, owner: Resource, pod: Pod) -> None:
        """Delete one pod, which may be gone already. Raises `ApiError`."""
        expectations = self.expectations(owner.metadata.uid)
        expectations.deletes(pod.name)
        try:
            await self._client.delete(Pod, pod.name, pod.namespace, uid=pod.metadata.uid)
        except (NotFound, Conflict):
            return  # the watch will say so
        except BaseException:
            expectations.leaving(pod.name)
            raise


def pod_of(
    owner: Resource, template: Mapping[str, Any], node_name: str, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The pod that an owner's template describes, without its name, with `labels` besides its own."""
    given = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{owner.metadata.name}-",
            "namespace": owner.metadata.namespace,
            "labels": {**(given.get("labels") or {}), **(labels or {})},
            "annotations": given.get("annotations") or {},
            "ownerReferences": [msgspec.to_builtins(owner.owner_reference())],
        },
        "spec": {"nodeName": node_name, **copy.deepcopy(template.get("spec") or {})},
    }
