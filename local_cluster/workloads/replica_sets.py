"""The ReplicaSet controller: as many pods as wanted, created at once and side by side.

Pods are created with their node already named: with one node, placing is no decision, and a round trip is saved.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from kube.client import Client
from kube.errors import ApiError, NotFound
from kube.events import EventRecorder
from kube.informer import Informer
from kube.models.apps import ReplicaSet, ReplicaSetStatus
from kube.models.core import Pod
from kube.models.meta import Condition
from kube.reconcile import Loop
from kube.timestamps import format_time
from local_cluster.workloads.local_writes import Expectations, take_in
from local_cluster.workloads.owned_pods import OwnedPods, pod_of
from local_cluster.workloads.pod_ranking import available_after_s, is_active, to_delete
from proxies.logs import Logger

__all__ = ["OWNER_INDEX", "ReplicaSetController", "owner_uids"]

OWNER_INDEX = "owner"
_WRITES_MAX = 64
"""Pods that are created or deleted at once, of one ReplicaSet."""
_RETRY_S = 1.0
Key = tuple[str, str]


def owner_uids(obj: Pod | ReplicaSet) -> Iterable[str]:
    """Index by the controlling owner."""
    owner = obj.metadata.controller()
    return () if owner is None else (owner.uid,)


class ReplicaSetController:
    """Keeps the pods of every ReplicaSet. `replica_sets` and `pods` (indexed by `OWNER_INDEX`) are shared."""

    def __init__(
        self,
        client: Client,
        replica_sets: Informer[ReplicaSet],
        pods: Informer[Pod],
        *,
        node_name: str,
        events: EventRecorder,
        log: Logger,
    ) -> None:
        self._client = client
        self._sets = replica_sets
        self._pods = pods
        self._node_name = node_name
        self._events = events
        self._owned = OwnedPods(client, "ReplicaSet")
        self.loop: Loop[Key] = Loop("replica-sets", self._reconcile, workers=16, log=log)
        replica_sets.on_change(self._set_changed)
        pods.on_change(self._pod_changed)

    def _set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        changed = new or old
        if changed is not None:
            self.loop.add(changed.key)
        self._owned.owner_changed(old, new)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for key in self._owned.pod_changed(old, new):
            self.loop.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        replica_set = self._sets.get(*key)
        if replica_set is None:
            return None
        uid = replica_set.metadata.uid
        problem: ApiError | None = None
        if replica_set.metadata.deletion_timestamp is None:
            problem = await self._scale(replica_set, self._owned.expectations(uid))
        # What happened to pods meanwhile counts as well.
        replica_set = self._sets.get(*key)
        if replica_set is None or replica_set.metadata.uid != uid:
            return None
        again_s = await self._write_status(replica_set, problem)
        return _RETRY_S if problem is not None else again_s

    async def _scale(self, replica_set: ReplicaSet, expectations: Expectations) -> ApiError | None:
        """Create or delete pods; the first refusal, if any."""
        wanted = 1 if replica_set.spec.replicas is None else replica_set.spec.replicas
        owned = self._pods.by_index(OWNER_INDEX, replica_set.metadata.uid)
        active = [pod for pod in owned if is_active(pod) and not expectations.is_deleting(pod.name)]
        missing = wanted - len(active) - expectations.creating()
        if missing > 0:
            pod = pod_of(replica_set, replica_set.spec.template, self._node_name)
            results = await asyncio.gather(*(self._create(replica_set, pod) for _ in range(min(missing, _WRITES_MAX))))
        elif missing < 0:
            victims = to_delete(active, min(-missing, _WRITES_MAX))
            await asyncio.gather(*(self._owned.delete(replica_set, pod) for pod in victims))
            results = []
        else:
            return None
        problem = next((error for error in results if error is not None), None)
        if problem is not None:
            self._events.report(replica_set, "Warning", "FailedCreate", f"Error creating: {problem.message}")
        elif abs(missing) > _WRITES_MAX:
            self.loop.add(replica_set.key)
        return problem

    async def _create(self, replica_set: ReplicaSet, pod: Mapping[str, Any]) -> ApiError | None:
        try:
            await self._owned.create(replica_set, pod)
        except ApiError as error:
            return error
        return None

    async def _write_status(self, replica_set: ReplicaSet, problem: ApiError | None) -> float | None:
        now_s = time.time()
        pods = [p for p in self._pods.by_index(OWNER_INDEX, replica_set.metadata.uid) if is_active(p)]
        waits = [available_after_s(pod, replica_set.spec.min_ready_seconds, now_s) for pod in pods]
        labels = ((replica_set.spec.template.get("metadata") or {}).get("labels") or {}).items()
        status = ReplicaSetStatus(
            replicas=len(pods),
            fully_labeled_replicas=sum(labels <= pod.metadata.labels.items() for pod in pods),
            ready_replicas=sum(wait is not None for wait in waits),
            available_replicas=sum(wait == 0 for wait in waits),
            observed_generation=replica_set.metadata.generation,
            conditions=_failure(replica_set, problem, now_s),
        )
        if msgspec.json.encode(status) != msgspec.json.encode(replica_set.status):
            try:
                take_in(self._sets, await self._client.patch_status(replica_set, status))
            except NotFound:
                return None
        return min((wait for wait in waits if wait), default=None)


def _failure(replica_set: ReplicaSet, problem: ApiError | None, now_s: float) -> list[Condition]:
    """The condition ReplicaFailure while pods cannot be created, else nothing."""
    if problem is None:
        return []
    held = next((c for c in replica_set.status.conditions if c.type == "ReplicaFailure"), None)
    since = held.last_transition_time if held is not None else format_time(now_s)
    return [
        Condition(
            type="ReplicaFailure",
            status="True",
            reason="FailedCreate",
            message=problem.message,
            last_transition_time=since,
        )
    ]
