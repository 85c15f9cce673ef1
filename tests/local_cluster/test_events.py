"""`local_cluster/events.py` against a real API server."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from kube.models.core import Event, Pod
from local_cluster.apiserver.admission import AdmissionRequest
from local_cluster.events import EventRecorder
from tests.support.cluster import Cluster, running_cluster
from tests.support.processes import eventually


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path, node=False, workloads=False) as cluster:
        yield cluster


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_767_225_600.0

    def __call__(self) -> float:
        return self.now_s


async def stored(cluster: Cluster) -> list[Event]:
    return (await cluster.client.list(Event, "default")).items


async def test_a_repeated_event_is_counted_and_written_seldom(cluster: Cluster) -> None:
    clock = Clock()
    recorder = EventRecorder(cluster.client, component="kubelet", host="local", clock=clock)
    pod = msgspec.convert(await cluster.create_pod("p", {"command": ["x"]}), Pod)
    writes: list[str] = []

    def note(request: AdmissionRequest) -> None:
        writes.append(f"{request.operation} {request.object['reason']}")

    cluster.api.server.add_admission(note, name="note.example.com", validating=True)
    await recorder.start()
    for _ in range(5):
        recorder.report(pod, "Warning", "BackOff", "it ended again")
    recorder.report(pod, "Normal", "Killing", "last, so that those before were written")

    async def both() -> list[Event]:
        events = await stored(cluster)
        return events if len(events) == 2 else []

    events = {event.reason: event for event in await eventually(both)}
    backoff = events["BackOff"]
    assert (backoff.count, backoff.type, backoff.message) == (5, "Warning", "it ended again")
    assert (backoff.involved_object.kind, backoff.involved_object.uid) == ("Pod", pod.metadata.uid)
    assert backoff.source == {"component": "kubelet", "host": "local"}
    recorder.report(pod, "Warning", "BackOff", "it ended again")
    clock.now_s += 10
    recorder.report(pod, "Warning", "BackOff", "it ended again")

    async def counted() -> bool:
        return any(event.count == 7 for event in await stored(cluster))

    await eventually(counted)
    assert writes == ["CREATE BackOff", "CREATE Killing", "UPDATE BackOff"]
    await recorder.stop()


async def test_events_that_cannot_be_written_do_not_stop_the_others(cluster: Cluster) -> None:
    recorder = EventRecorder(cluster.client, component="kubelet", host="local", clock=Clock())
    pod = msgspec.convert(await cluster.create_pod("p", {"command": ["x"]}), Pod)
    lost = msgspec.convert({"metadata": {"name": "q", "namespace": "no-such-namespace", "uid": "u"}}, Pod)
    await recorder.start()
    recorder.report(lost, "Warning", "Failed", "nobody will read this")
    recorder.report(pod, "Warning", "Failed", "but this")

    async def written() -> list[Event]:
        return await stored(cluster)

    assert [event.message for event in await eventually(written)] == ["but this"]
    await recorder.stop()
