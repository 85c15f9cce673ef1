"""The event recorder against a real API server."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from kube import events
from kube.events import EventRecorder
from kube.models.core import Event, Node, Pod
from kube.models.meta import ObjectMeta
from local_cluster.apiserver.admission import AdmissionRequest
from proxies.logs import Logger
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


async def test_repetitions_are_counted_though_no_other_follows(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_REPEAT_S", 0.2)
    recorder = EventRecorder(cluster.client, component="kubelet", clock=time.monotonic)
    pod = msgspec.convert(await cluster.create_pod("p", {"command": ["x"]}), Pod)
    await recorder.start()
    recorder.report(pod, "Warning", "BackOff", "it ended again")
    await eventually(lambda: stored(cluster))
    for _ in range(3):
        recorder.report(pod, "Warning", "BackOff", "it ended again")
    recorder.report(pod, "Normal", "BackOff", "it ended again")

    async def counts() -> dict[str, int]:
        return {event.type: event.count for event in await stored(cluster)}

    async def all_counted() -> bool:
        return await counts() == {"Warning": 4, "Normal": 1}

    await eventually(all_counted)
    assert not recorder._late
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


async def test_an_event_that_the_cluster_forgot_is_written_anew(cluster: Cluster) -> None:
    clock = Clock()
    recorder = EventRecorder(cluster.client, component="kubelet", clock=clock)
    pod = msgspec.convert(await cluster.create_pod("p", {"command": ["x"]}), Pod)
    await recorder.start()
    recorder.report(pod, "Warning", "BackOff", "it ended again")
    (first,) = await eventually(lambda: stored(cluster))
    await cluster.client.delete(Event, first.name, "default")
    clock.now_s += 10
    recorder.report(pod, "Warning", "BackOff", "it ended again")
    (second,) = await eventually(lambda: stored(cluster))
    assert second.count == 2
    assert second.first_timestamp == first.first_timestamp
    await recorder.stop()


async def test_one_object_gets_a_burst_of_events_and_then_few(cluster: Cluster) -> None:
    clock = Clock()
    recorder = EventRecorder(cluster.client, component="kubelet", clock=clock)
    pod = msgspec.convert(await cluster.create_pod("p", {"command": ["x"]}), Pod)
    other = msgspec.convert(await cluster.create_pod("q", {"command": ["x"]}), Pod)
    await recorder.start()
    for number in range(30):
        recorder.report(pod, "Warning", "Failed", f"attempt {number}")
    assert recorder.dropped == 5
    recorder.report(other, "Warning", "Failed", "another object is not kept from talking")
    clock.now_s += 300
    recorder.report(pod, "Warning", "Failed", "attempt 30")
    recorder.report(pod, "Warning", "Failed", "attempt 31")
    assert recorder.dropped == 6

    async def all_written() -> list[Event]:
        events = await stored(cluster)
        return events if len(events) == 27 else []

    texts = {event.message for event in await eventually(all_written)}
    assert "attempt 24" in texts
    assert "attempt 30" in texts
    assert not texts & {"attempt 25", "attempt 31"}
    await recorder.stop()


async def test_an_object_of_the_whole_cluster_has_its_events_in_the_default_namespace(cluster: Cluster) -> None:
    recorder = EventRecorder(cluster.client, component="kubelet", clock=Clock())
    node = Node(metadata=ObjectMeta(name="local", uid="u"))
    await recorder.start()
    recorder.report(node, "Normal", "Starting", "x" * 2000)
    (event,) = await eventually(lambda: stored(cluster))
    assert event.involved_object.kind == "Node"
    assert len(event.message) == 1024
    await recorder.stop()


async def test_an_api_that_takes_no_events_is_said_once(cluster: Cluster) -> None:
    lines: list[bytes] = []
    log = Logger("test", write=lines.append)
    recorder = EventRecorder(cluster.client, component="kubelet", clock=Clock(), log=log)
    lost = Pod(metadata=ObjectMeta(name="q", namespace="no-such-namespace", uid="u"))
    await recorder.start()
    for number in range(3):
        recorder.report(lost, "Warning", "Failed", f"attempt {number}")
    await eventually(lambda: recorder.dropped == 3)
    assert len(lines) == 1
    assert b"events_not_written" in lines[0]
    await recorder.stop()
