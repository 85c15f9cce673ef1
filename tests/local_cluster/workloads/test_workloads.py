"""`local_cluster/workloads` with a real API server and real pods."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kube.models.apps import Deployment, ReplicaSet
from kube.models.core import Endpoints, Pod, Service
from kube.models.discovery import EndpointSlice
from local_cluster.apiserver.admission import AdmissionDenied, AdmissionRequest
from tests.support.cluster import Cluster, JsonObject, running_cluster
from tests.support.processes import eventually, is_running

SERVER = """
import http.server, os
http.server.HTTPServer((os.environ["IP"], 8080), http.server.BaseHTTPRequestHandler).serve_forever()
"""
LABELS = {"app": "web"}


def template(version: str = "1", *, ready: bool = True) -> JsonObject:
    """A pod template: a server on the pod's own address that becomes ready, or never does."""
    handler: JsonObject = {"tcpSocket": {"port": 8080}} if ready else {"exec": {"command": ["false"]}}
    container = {
        "name": "c",
        "image": "dev.local/test",
        "command": [sys.executable, "-I", "-S", "-c", SERVER],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "VERSION", "value": version},
        ],
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": handler,
    }
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 5}}


async def create_deployment(
    cluster: Cluster, replicas: int, pod_template: JsonObject | None = None, **spec: Any
) -> None:
    await cluster.create(
        Deployment,
        "web",
        spec={
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": pod_template or template(),
            **spec,
        },
    )


async def create_service(cluster: Cluster, **parts: Any) -> None:
    spec = {"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": "web"}], **parts.pop("spec", {})}
    await cluster.create(Service, "web", spec=spec, **parts)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
async def controllers(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Without a node: pods exist on paper only."""
    async with running_cluster(tmp_path, node=False) as cluster:
        yield cluster


def ready_addresses(endpoints: Endpoints) -> list[str]:
    return [address.ip for subset in endpoints.subsets for address in subset.addresses]


async def pods(cluster: Cluster) -> list[Pod]:
    return (await cluster.client.list(Pod, "default")).items


async def test_a_deployment_goes_from_zero_to_three_and_back(cluster: Cluster) -> None:
    await create_service(cluster, metadata={"labels": {"team": "a"}})
    await create_deployment(cluster, 0)
    await cluster.until(Deployment, "web", lambda d: d.status.observed_generation == 1)

    await cluster.client.patch_scale(Deployment, "web", "default", 3)
    deployment = await cluster.until(Deployment, "web", lambda d: d.status.available_replicas == 3)
    conditions = {c.type: (c.status, c.reason) for c in deployment.status.conditions}
    assert conditions == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    endpoints = await cluster.until(Endpoints, "web", lambda e: len(ready_addresses(e)) == 3)
    running = await pods(cluster)
    assert sorted(ready_addresses(endpoints)) == sorted(pod.status.pod_ip for pod in running)
    assert endpoints.metadata.labels["team"] == "a"
    assert [(p.name, p.port) for subset in endpoints.subsets for p in subset.ports] == [("http", 8080)]
    (replica_set,) = (await cluster.client.list(ReplicaSet, "default")).items
    assert all(pod.name.startswith(f"{replica_set.name}-") for pod in running)
    assert all(pod.is_controlled_by(replica_set) for pod in running)
    assert replica_set.metadata.annotations["deployment.kubernetes.io/revision"] == "1"

    processes = [line["pid"] for line in cluster.events("container_started")]
    await cluster.client.patch_scale(Deployment, "web", "default", 0)
    await cluster.until(Endpoints, "web", lambda e: not e.subsets)
    await eventually(lambda: not any(is_running(pid) for pid in processes))

    async def empty() -> bool:
        return not await pods(cluster)

    await eventually(empty)
    assert (await cluster.raw(Deployment, "web"))["status"].get("replicas", 0) == 0
    assert not [line for line in cluster.logged if line["severity"] == "ERROR"]


async def test_a_new_template_replaces_the_pods_without_a_gap(cluster: Cluster) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await create_service(cluster)
    await create_deployment(cluster, 2, strategy=strategy)
    await cluster.until(Deployment, "web", lambda d: d.status.available_replicas == 2)
    before = {pod.name for pod in await pods(cluster)}
    patch = {"spec": {"template": template("2")}}
    await cluster.client.patch(Deployment, "web", "default", patch)
    fewest = []

    async def replaced() -> bool:
        fewest.append(len(ready_addresses(await cluster.get(Endpoints, "web"))))
        found = await cluster.get(Deployment, "web")
        return (
            found.status.observed_generation == found.metadata.generation
            and {condition.reason for condition in found.status.conditions} >= {"NewReplicaSetAvailable"}
            and found.status.updated_replicas == found.status.replicas == 2
        )

    await eventually(replaced)
    assert min(fewest) >= 2
    remaining = [pod for pod in await pods(cluster) if pod.metadata.deletion_timestamp is None]
    assert len(remaining) == 2
    assert not before & {pod.name for pod in remaining}
    sets = (await cluster.client.list(ReplicaSet, "default")).items
    revisions = {s.metadata.annotations["deployment.kubernetes.io/revision"]: s.spec.replicas for s in sets}
    assert revisions == {"1": 0, "2": 2}
    assert (await cluster.get(Deployment, "web")).metadata.annotations["deployment.kubernetes.io/revision"] == "2"

    await cluster.client.patch(Deployment, "web", "default", {"spec": {"revisionHistoryLimit": 0}})
    await cluster.until_gone(ReplicaSet, next(s.name for s in sets if not s.spec.replicas))


async def test_a_deployment_whose_pods_never_become_ready_misses_its_deadline(cluster: Cluster) -> None:
    await create_deployment(cluster, 1, template(ready=False), progressDeadlineSeconds=1)

    def exceeded(deployment: Deployment) -> bool:
        return any(c.type == "Progressing" and c.status == "False" for c in deployment.status.conditions)

    deployment = await cluster.until(Deployment, "web", exceeded)
    progressing = next(c for c in deployment.status.conditions if c.type == "Progressing")
    assert progressing.reason == "ProgressDeadlineExceeded"
    assert progressing.message.startswith('ReplicaSet "web-')


async def test_pods_that_cannot_be_created_are_a_replica_failure(controllers: Cluster) -> None:
    refusing = True

    def quota(request: AdmissionRequest) -> None:
        if request.plural == "pods" and request.operation == "CREATE" and refusing:
            raise AdmissionDenied("exceeded quota: pods", 403)

    controllers.api.server.add_admission(quota, name="quota.example.com", validating=True)
    await create_deployment(controllers, 1)

    def failed(deployment: Deployment) -> bool:
        return any(c.type == "ReplicaFailure" and c.status == "True" for c in deployment.status.conditions)

    deployment = await controllers.until(Deployment, "web", failed)
    failure = next(c for c in deployment.status.conditions if c.type == "ReplicaFailure")
    assert failure.reason == "FailedCreate"
    assert "exceeded quota: pods" in failure.message
    refusing = False
    await controllers.until(Deployment, "web", lambda d: d.status.replicas == 1 and not failed(d))


async def test_scaling_quickly_up_and_down_ends_with_the_last_number(controllers: Cluster) -> None:
    await create_deployment(controllers, 0)
    for replicas in (5, 1, 8, 0, 3, 7, 2):
        await controllers.client.patch_scale(Deployment, "web", "default", replicas)

    async def settled() -> bool:
        live = [pod for pod in await pods(controllers) if pod.metadata.deletion_timestamp is None]
        deployment = await controllers.get(Deployment, "web")
        is_observed = deployment.status.observed_generation == deployment.metadata.generation
        return is_observed and len(live) == deployment.status.replicas == 2

    await eventually(settled)
    assert not [line for line in controllers.logged if line["severity"] == "ERROR"]


async def test_a_deleted_pod_is_replaced(controllers: Cluster) -> None:
    await create_deployment(controllers, 2)

    async def two() -> list[Pod]:
        live = [pod for pod in await pods(controllers) if pod.metadata.deletion_timestamp is None]
        return live if len(live) == 2 else []

    first = (await eventually(two))[0]
    await controllers.client.delete(Pod, first.name, "default", grace_period_s=0)

    async def replaced() -> bool:
        return first.name not in {pod.name for pod in await two()} and bool(await two())

    await eventually(replaced)


async def test_pods_without_an_address_or_not_ready_show_where_the_activator_looks(cluster: Cluster) -> None:
    await create_service(cluster)
    await create_deployment(cluster, 1, template(ready=False))
    endpoints = await cluster.until(Endpoints, "web", lambda e: e.subsets)
    assert not ready_addresses(endpoints)
    assert len(endpoints.subsets[0].not_ready_addresses) == 1


async def test_slices_follow_the_pods_and_go_with_the_service(controllers: Cluster) -> None:
    await create_service(controllers, metadata={"labels": {"team": "a"}})
    await add_pod(controllers, "one", "127.80.1.1", ready=True)
    await add_pod(controllers, "two", "127.80.1.2", ready=False)
    found = await the_slice(controllers, lambda s: len(s.endpoints) == 2)
    assert found.address_type == "IPv4"
    assert found.name.startswith("web-")
    assert found.metadata.labels == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert found.metadata.controller().kind == "Service"  # type: ignore[union-attr]
    assert [(e.addresses, e.conditions.ready) for e in found.endpoints] == [
        (["127.80.1.1"], True),
        (["127.80.1.2"], False),
    ]
    await controllers.client.delete(Pod, "one", "default", grace_period_s=0)
    kept = await the_slice(controllers, lambda s: len(s.endpoints) == 1)
    assert kept.name == found.name
    await controllers.client.patch(Service, "web", "default", {"metadata": {"labels": {"team": None, "tier": "b"}}})
    relabelled = await controllers.until(Endpoints, "web", lambda e: e.metadata.labels.get("tier"))
    assert relabelled.metadata.labels == {"tier": "b", "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
    await the_slice(controllers, lambda s: "team" not in s.metadata.labels and s.metadata.labels.get("tier") == "b")
    await controllers.client.delete(Service, "web", "default")

    async def gone() -> bool:
        slices = (
            await controllers.client.list(EndpointSlice, "default", label_selector="kubernetes.io/service-name=web")
        ).items
        return not slices

    await eventually(gone)
    await controllers.until_gone(Endpoints, "web")


async def test_endpoints_of_a_service_without_selector_are_left_alone_and_mirrored(controllers: Cluster) -> None:
    await create_service(
        controllers, spec={"selector": {}, "ports": [{"name": "http", "port": 80, "targetPort": 8012}]}
    )
    await add_pod(controllers, "one", "127.80.1.1", ready=True)
    subsets = [{"addresses": [{"ip": "127.80.0.2"}], "ports": [{"name": "http", "port": 8012}]}]
    await controllers.create(Endpoints, "web", subsets=subsets, metadata={"labels": {"k": "v"}})
    found = await the_slice(controllers, lambda s: s.endpoints)
    assert found.metadata.labels == {
        "k": "v",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert [(e.addresses, e.conditions.ready) for e in found.endpoints] == [(["127.80.0.2"], True)]
    await controllers.client.patch(
        Endpoints, "web", "default", {"subsets": [{**subsets[0], "addresses": [{"ip": "127.80.1.9"}]}]}
    )
    moved = await the_slice(controllers, lambda s: s.endpoints[0].addresses == ["127.80.1.9"])
    assert moved.name == found.name
    endpoints = await controllers.get(Endpoints, "web")
    assert ready_addresses(endpoints) == ["127.80.1.9"]
    assert endpoints.metadata.labels == {"k": "v"}


async def test_nothing_is_written_when_nothing_changes(controllers: Cluster) -> None:
    await create_service(controllers)
    await add_pod(controllers, "one", "127.80.1.1", ready=True)
    await controllers.until(Endpoints, "web", ready_addresses)
    await the_slice(controllers, lambda s: len(s.endpoints) == 1)
    written: list[str] = []

    def note(request: AdmissionRequest) -> None:
        if request.plural in ("endpoints", "endpointslices"):
            written.append(request.name)

    controllers.api.server.add_admission(note, name="note.example.com", validating=True)
    # A change that endpoints do not show, then one that they do: the first must not have written anything.
    await controllers.client.patch(Pod, "one", "default", {"metadata": {"annotations": {"note": "x"}}})
    await add_pod(controllers, "other", "127.80.1.9", ready=True, labels={"app": "other"})
    await controllers.create(Service, "other", spec={"selector": {"app": "other"}, "ports": [{"port": 1}]})
    await controllers.until(Endpoints, "other", ready_addresses)
    assert {name.partition("-")[0] for name in written} == {"other"}


async def test_a_pod_without_a_node_is_placed(cluster: Cluster) -> None:
    spec = {"containers": [{"name": "c", "image": "x", "command": ["sleep", "600"]}]}
    await cluster.create(Pod, "bare", spec=spec)
    pod = await cluster.until(Pod, "bare", Pod.is_ready)
    assert pod.spec.node_name == "local"


# Helpers.


async def add_pod(cluster: Cluster, name: str, ip: str, *, ready: bool, labels: dict[str, str] | None = None) -> None:
    """A pod on paper with a status."""
    container = {"name": "c", "image": "x", "ports": [{"name": "web", "containerPort": 8080}]}
    spec = {"nodeName": "elsewhere", "containers": [container]}
    await cluster.create(Pod, name, metadata={"labels": labels or LABELS}, spec=spec)
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"phase": "Running", "podIP": ip, "conditions": [condition]}
    await cluster.client.patch_status(await cluster.get(Pod, name), status)


async def the_slice(cluster: Cluster, holds: Any) -> EndpointSlice:
    """The one slice of Service `web`, once `holds` is true of it."""

    async def find() -> EndpointSlice | None:
        selector = "kubernetes.io/service-name=web"
        found = (await cluster.client.list(EndpointSlice, "default", label_selector=selector)).items
        return found[0] if len(found) == 1 and holds(found[0]) else None

    found = await eventually(find)
    assert found is not None
    return found
