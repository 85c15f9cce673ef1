"""`local_cluster/node/status_writer.py` against a real API server."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from kube.models.core import Pod, PodStatus
from local_cluster.apiserver.admission import AdmissionRequest
from local_cluster.node.status_writer import StatusWriter
from tests.support.cluster import Cluster, running_cluster
from tests.support.processes import eventually


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path, node=False, workloads=False) as cluster:
        yield cluster


async def stored_pod(cluster: Cluster) -> Pod:
    return msgspec.convert(await cluster.create_pod("p", {"command": ["x"]}), Pod)


async def test_the_newest_status_wins_with_few_writes(cluster: Cluster) -> None:
    writes: list[str] = []

    def note(request: AdmissionRequest) -> None:
        writes.append(request.operation)

    pod = await stored_pod(cluster)
    cluster.api.server.add_admission(note, name="note.example.com", validating=True)
    status = PodStatus(phase="Pending")
    writer = StatusWriter(cluster.client, pod, lambda: status)
    for number in range(50):
        status = PodStatus(phase="Running", message=str(number))
        writer.wanted()
    await writer.finished()
    assert (await cluster.get(Pod, "p")).status.message == "49"
    writer.wanted()
    await writer.finished()
    assert len(writes) == 1


async def test_a_namesake_is_not_touched(cluster: Cluster) -> None:
    pod = await stored_pod(cluster)
    pod.metadata.uid = "of-an-earlier-pod"
    writer = StatusWriter(cluster.client, pod, lambda: PodStatus(phase="Failed"))
    writer.wanted()
    await writer.finished()
    writer.remove()
    await writer.finished()
    assert (await cluster.get(Pod, "p")).status.phase != "Failed"


async def test_removal_follows_the_last_status(cluster: Cluster) -> None:
    seen: list[str] = []

    def note(request: AdmissionRequest) -> None:
        seen.append(f"{request.operation} {request.object.get('status', {}).get('phase', '')}".strip())

    pod = await stored_pod(cluster)
    cluster.api.server.add_admission(note, name="note.example.com", validating=True)
    writer = StatusWriter(cluster.client, pod, lambda: PodStatus(phase="Succeeded"))
    writer.remove()
    await writer.finished()
    await cluster.until_gone(Pod, "p")
    assert seen == ["UPDATE Succeeded", "DELETE"]


async def test_a_server_that_refuses_for_a_while_gets_the_status_later(cluster: Cluster) -> None:
    pod = await stored_pod(cluster)
    refusals = 3

    def refuse(_request: AdmissionRequest) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise RuntimeError("not now")

    cluster.api.server.add_admission(refuse, name="refuse.example.com", validating=True)
    writer = StatusWriter(cluster.client, pod, lambda: PodStatus(phase="Running"))
    writer.wanted()

    async def written() -> bool:
        return (await cluster.get(Pod, "p")).status.phase == "Running"

    await eventually(written)
    await writer.stop()
