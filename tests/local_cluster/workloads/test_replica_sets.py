"""`local_cluster/workloads/replica_sets.py` when the watch lags behind its own writes."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kube.events import EventRecorder
from kube.informer import Informer
from kube.models.apps import ReplicaSet
from kube.models.core import Pod
from local_cluster.apiserver.admission import AdmissionRequest
from local_cluster.workloads.replica_sets import OWNER_INDEX, ReplicaSetController, owner_uids
from tests.support.cluster import Cluster, running_cluster
from tests.support.processes import eventually

LABELS = {"app": "web"}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path, node=False, workloads=False) as cluster:
        yield cluster


async def frozen_controller(cluster: Cluster) -> tuple[ReplicaSetController, Informer[ReplicaSet]]:
    """A controller whose copy of the pods is as it is now and stays so."""
    sets = Informer(cluster.client, ReplicaSet)
    pods = Informer(cluster.client, Pod)
    sets.add_index(OWNER_INDEX, owner_uids)
    pods.add_index(OWNER_INDEX, owner_uids)
    events = EventRecorder(cluster.client, component="test", host="test", clock=time.time)
    controller = ReplicaSetController(cluster.client, sets, pods, node_name="local", events=events, log=cluster.log)
    await sets.start()
    await pods.start()
    await pods.stop()
    return controller, sets


def count(cluster: Cluster, operation: str) -> list[str]:
    """The pods' writes of one kind, as they come in."""
    seen: list[str] = []

    def note(request: AdmissionRequest) -> None:
        if request.plural == "pods" and request.operation == operation:
            seen.append(request.name)

    cluster.api.server.add_admission(note, name="note.example.com", validating=True)
    return seen


async def create_set(cluster: Cluster, replicas: int) -> str:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    created = await cluster.create(ReplicaSet, "web", spec=spec)
    return str(created["metadata"]["uid"])


async def many_rounds(cluster: Cluster, controller: ReplicaSetController, sets: Informer[ReplicaSet]) -> None:
    """Reconcile again and again: each status that is written stands for one more round."""
    client = cluster.client
    for generation in range(2, 5):
        controller.loop.add(("default", "web"))
        patch = {"spec": {"minReadySeconds": generation}}
        await client.patch(ReplicaSet, "web", "default", patch)

        def observed(generation: int = generation) -> bool:
            held = sets.get("default", "web")
            return held is not None and held.status.observed_generation >= generation

        await eventually(observed)


async def test_pods_that_the_copy_does_not_show_yet_are_not_created_twice(cluster: Cluster) -> None:
    created = count(cluster, "CREATE")
    await create_set(cluster, 3)
    controller, sets = await frozen_controller(cluster)
    controller.loop.start()
    await eventually(lambda: len(created) == 3)
    await many_rounds(cluster, controller, sets)
    await controller.loop.stop()
    await sets.stop()
    assert len(created) == 3


async def test_pods_that_the_copy_still_shows_are_not_deleted_twice(cluster: Cluster) -> None:
    uid = await create_set(cluster, 1)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": True}
    for name in ("a", "b", "c"):
        metadata = {"labels": LABELS, "ownerReferences": [owner]}
        spec = {"nodeName": "local", "containers": [{"name": "c", "image": "x"}]}
        await cluster.create(Pod, name, metadata=metadata, spec=spec)
    deleted = count(cluster, "DELETE")
    controller, sets = await frozen_controller(cluster)
    controller.loop.start()
    await eventually(lambda: len(deleted) == 2)
    await many_rounds(cluster, controller, sets)
    await controller.loop.stop()
    await sets.stop()
    assert len(set(deleted)) == len(deleted) == 2
