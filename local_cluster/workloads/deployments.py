"""The Deployment controller: a ReplicaSet per pod template, and the steps from the old ones to the new one."""

import time
from typing import Any

import msgspec

from kube.client import Client
from kube.errors import AlreadyExists, Forbidden, NotFound
from kube.informer import Informer
from kube.models.apps import Deployment, ReplicaSet, ReplicaSetSpec
from kube.models.meta import LabelSelector, ObjectMeta
from kube.reconcile import Loop
from local_cluster.workloads.local_writes import take_in
from local_cluster.workloads.replica_sets import OWNER_INDEX
from local_cluster.workloads.rollout import (
    Bounds,
    deployment_status,
    plan_replicas,
    progress_due_s,
    template_hash,
    wanted_replicas,
)
from proxies.logs import Logger

__all__ = ["DeploymentController"]

_HASH_LABEL = "pod-template-hash"
_REVISION = "deployment.kubernetes.io/revision"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MAX = "deployment.kubernetes.io/max-replicas"
_HISTORY_LIMIT = 10
_NAMESPACE_RETRY_S = 1.0
Key = tuple[str, str]


class DeploymentController:
    """Keeps the ReplicaSets of every Deployment. The informers are shared; ReplicaSets are indexed by `OWNER_INDEX`."""

    def __init__(
        self, client: Client, deployments: Informer[Deployment], replica_sets: Informer[ReplicaSet], *, log: Logger
    ) -> None:
        self._client = client
        self._deployments = deployments
        self._sets = replica_sets
        self.loop: Loop[Key] = Loop("deployments", self._reconcile, workers=16, log=log)
        deployments.on_change(self._deployment_changed)
        replica_sets.on_change(self._set_changed)

    def _deployment_changed(self, old: Deployment | None, new: Deployment | None) -> None:
        changed = new or old
        if changed is not None:
            self.loop.add(changed.key)

    def _set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        changed = new or old
        owner = changed.metadata.controller() if changed is not None else None
        if changed is not None and owner is not None and owner.kind == "Deployment":
            self.loop.add((changed.namespace, owner.name))

    async def _reconcile(self, key: Key) -> float | None:
        deployment = self._deployments.get(*key)
        if deployment is None or deployment.metadata.deletion_timestamp is not None:
            return None
        wanted_hash = template_hash(deployment)
        owned = self._sets.by_index(OWNER_INDEX, deployment.metadata.uid)
        sets = sorted(owned, key=lambda s: (_revision(s), s.metadata.creation_timestamp or "", s.name))
        new = next((s for s in sets if s.metadata.labels.get(_HASH_LABEL) == wanted_hash), None)
        old = [s for s in sets if s is not new]
        try:
            if new is None and not deployment.spec.paused:
                new = await self._create_set(deployment, wanted_hash, old)
            elif new is not None and old and _revision(new) < _revision(old[-1]):
                new = await self._annotate(new, {_REVISION: str(_revision(old[-1]) + 1)})  # a roll-back
            new, old = await self._scale(deployment, new, old)
            if new is not None:
                await self._note_revision(deployment, new)
            status = deployment_status(deployment, new, old, time.time())
            if msgspec.json.encode(status) != msgspec.json.encode(deployment.status):
                take_in(self._deployments, await self._client.patch_status(deployment, status))
            if new is not None and status.updated_replicas == status.replicas == wanted_replicas(deployment):
                await self._forget_history(deployment, old)
        except NotFound:
            return None  # deleted meanwhile; the watch brings the news
        except Forbidden:
            return _NAMESPACE_RETRY_S  # the namespace is going
        return progress_due_s(deployment, status, time.time())

    async def _create_set(self, deployment: Deployment, wanted_hash: str, old: list[ReplicaSet]) -> ReplicaSet:
        template: dict[str, Any] = {**deployment.spec.template}
        metadata = dict(template.get("metadata") or {})
        labels = {**(metadata.get("labels") or {}), _HASH_LABEL: wanted_hash}
        template["metadata"] = {**metadata, "labels": labels}
        selector = deployment.spec.selector
        replica_set = ReplicaSet(
            metadata=ObjectMeta(
                name=f"{deployment.name}-{wanted_hash}",
                namespace=deployment.namespace,
                labels=labels,
                annotations={
                    **{k: v for k, v in deployment.metadata.annotations.items() if not k.startswith("kubectl.")},
                    _REVISION: str(max((_revision(s) for s in old), default=0) + 1),
                    **_size_annotations(deployment),
                },
                owner_references=[deployment.owner_reference()],
            ),
            spec=ReplicaSetSpec(
                # Never more than allowed from the start, so that the first step is not a second write.
                replicas=_first_size(deployment, old),
                selector=LabelSelector(
                    match_labels={**selector.match_labels, _HASH_LABEL: wanted_hash},
                    match_expressions=selector.match_expressions,
                ),
                template=template,
                min_ready_seconds=deployment.spec.min_ready_seconds,
            ),
        )
        try:
            return await self._client.create(replica_set)
        except AlreadyExists:
            # Ours from an instant ago, or a leftover of a namesake that is being collected: either way, read again.
            return await self._adopt(deployment, replica_set)

    async def _adopt(self, deployment: Deployment, replica_set: ReplicaSet) -> ReplicaSet:
        found = await self._client.get(ReplicaSet, replica_set.name, replica_set.namespace)
        if not found.is_controlled_by(deployment):
            raise AlreadyExists(409, "AlreadyExists", f"ReplicaSet {found.name} belongs to another owner")
        return found

    async def _scale(
        self, deployment: Deployment, new: ReplicaSet | None, old: list[ReplicaSet]
    ) -> tuple[ReplicaSet | None, list[ReplicaSet]]:
        plan = plan_replicas(deployment, new, old)
        sizes = _size_annotations(deployment)
        written: dict[str, ReplicaSet] = {}
        for name, replicas in plan.items():
            patch = {"metadata": {"annotations": sizes}, "spec": {"replicas": replicas}}
            written[name] = await self._client.patch(ReplicaSet, name, deployment.namespace, patch)
            take_in(self._sets, written[name])
        return (
            written.get(new.name, new) if new is not None else None,
            [written.get(s.name, s) for s in old],
        )

    async def _annotate(self, replica_set: ReplicaSet, annotations: dict[str, str]) -> ReplicaSet:
        patch = {"metadata": {"annotations": annotations}}
        written = await self._client.patch(ReplicaSet, replica_set.name, replica_set.namespace, patch)
        take_in(self._sets, written)
        return written

    async def _note_revision(self, deployment: Deployment, new: ReplicaSet) -> None:
        revision = new.metadata.annotations.get(_REVISION, "")
        if deployment.metadata.annotations.get(_REVISION) != revision:
            patch = {"metadata": {"annotations": {_REVISION: revision}}}
            take_in(
                self._deployments,
                await self._client.patch(Deployment, deployment.name, deployment.namespace, patch),
            )

    async def _forget_history(self, deployment: Deployment, old: list[ReplicaSet]) -> None:
        limit = deployment.spec.revision_history_limit
        empty = [s for s in old if s.spec.replicas == 0 and s.status.replicas == 0]
        for replica_set in empty[: max(0, len(empty) - (_HISTORY_LIMIT if limit is None else limit))]:
            try:
                await self._client.delete(
                    ReplicaSet, replica_set.name, replica_set.namespace, uid=replica_set.metadata.uid
                )
            except NotFound:
                continue


def _revision(replica_set: ReplicaSet) -> int:
    text = replica_set.metadata.annotations.get(_REVISION, "0")
    return int(text) if text.isdigit() else 0


def _size_annotations(deployment: Deployment) -> dict[str, str]:
    wanted = wanted_replicas(deployment)
    return {_DESIRED: str(wanted), _MAX: str(wanted + Bounds.of(deployment).surge)}


def _first_size(deployment: Deployment, old: list[ReplicaSet]) -> int:
    wanted = wanted_replicas(deployment)
    running = sum(s.spec.replicas or 0 for s in old)
    if deployment.spec.strategy.get("type") == "Recreate":
        return 0 if running or any(s.status.replicas for s in old) else wanted
    return min(wanted, max(0, wanted + Bounds.of(deployment).surge - running))
