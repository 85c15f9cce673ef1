"""Waking against a real API server: from zero to one and nothing else, with few words when it cannot be done."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from activator.loads import RevisionKey
from activator.waker import WAKES_AT_ONCE_MAX, Waker
from kube.client import Client
from kube.models.apps import Deployment, DeploymentSpec
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerSpec
from kube.models.core import Namespace, ObjectReference
from kube.models.meta import LabelSelector, ObjectMeta
from proxies.logs import Logger
from tests.support.api import running_api_server
from tests.support.processes import eventually

AFTER_S = 2.0


def key(name: str) -> RevisionKey:
    return RevisionKey(b"ns", name.encode())


class Rig:
    """A waker under a stepped clock, and the cluster that it wakes revisions in."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.lines: list[dict[str, Any]] = []
        self.waker = Waker(
            client, Logger("test", write=lambda line: self.lines.append(json.loads(line))), after_s=AFTER_S
        )

    async def revision(
        self, name: str, replicas: int, *, kind: str = "Deployment", annotations: dict[str, str] | None = None
    ) -> None:
        """A PodAutoscaler and the Deployment that it scales."""
        deployment = f"{name}-deployment"
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "dev.local/app"}]}}
        spec = DeploymentSpec(replicas=replicas, selector=LabelSelector(match_labels=labels), template=template)
        await self.client.create(Deployment(metadata=ObjectMeta(name=deployment, namespace="ns"), spec=spec))
        target = ObjectReference(api_version="apps/v1", kind=kind, name=deployment)
        await self.client.create(
            PodAutoscaler(
                metadata=ObjectMeta(name=name, namespace="ns", annotations=annotations or {}),
                spec=PodAutoscalerSpec(scale_target_ref=target),
            )
        )

    async def replicas(self, name: str) -> int | None:
        return (await self.client.get(Deployment, f"{name}-deployment", "ns")).spec.replicas

    def wait_for(self, *names: str, from_s: float = 100.0) -> None:
        """The revisions are stuck for as long as it takes."""
        self.waker.tick([key(name) for name in names], from_s)
        self.waker.tick([key(name) for name in names], from_s + AFTER_S)

    async def said(self, event: str, count: int = 1) -> dict[str, Any]:
        await eventually(lambda: len([line for line in self.lines if line["message"] == event]) >= count)
        return [line for line in self.lines if line["message"] == event][-1]


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    async with running_api_server() as api, Client(api.config) as client:
        await client.create(Namespace(metadata=ObjectMeta(name="ns")))
        made = Rig(client)
        try:
            yield made
        finally:
            await made.waker.stop()


async def test_a_revision_that_waits_long_enough_goes_from_zero_to_one_and_no_further() -> None:
    async with rig() as made:
        await made.revision("rev", 0)
        made.waker.tick([key("rev")], 100.0)
        made.waker.tick([], 101.0)
        made.waker.tick([key("rev")], 102.0)
        made.waker.tick([key("rev")], 103.9)
        assert await made.replicas("rev") == 0
        made.waker.tick([key("rev")], 104.0)
        line = await made.said("woken_without_autoscaler")
        assert (line["namespace"], line["revision"], line["deployment"], line["waited_s"]) == (
            *("ns", "rev", "rev-deployment"),
            2.0,
        )
        assert await made.replicas("rev") == 1
        # Whoever takes it back to zero is not fought.
        await made.client.patch_scale(Deployment, "rev-deployment", "ns", 0)
        made.waker.tick([key("rev")], 163.0)
        await asyncio.gather(*made.waker._tasks)
        assert await made.replicas("rev") == 0
        made.waker.tick([key("rev")], 165.0)
        await made.said("woken_without_autoscaler", 2)


async def test_what_is_not_at_zero_is_left_alone() -> None:
    async with rig() as made:
        await made.revision("rev", 3)
        made.wait_for("rev")
        await asyncio.gather(*made.waker._tasks)
        assert await made.replicas("rev") == 3
        assert made.lines == []


class OvertakenClient(Client):
    """Somebody else scales whatever this one has just looked at."""

    async def raw(self, method: str, path: str, **call: Any) -> bytes:
        answer = await super().raw(method, path, **call)
        if method == "GET" and path.endswith("/scale"):
            await self.patch_scale(Deployment, path.split("/")[-2], "ns", 5)
        return answer


async def test_whoever_is_faster_wins() -> None:
    async with rig() as made, OvertakenClient(made.client.config) as overtaken:
        await made.revision("rev", 0)
        made.waker = Waker(overtaken, Logger("test", write=lambda line: made.lines.append(json.loads(line))), after_s=0)
        made.wait_for("rev")
        await asyncio.gather(*made.waker._tasks)
        assert await made.replicas("rev") == 5
        assert made.lines == []


async def test_what_another_kind_of_autoscaler_scales_is_left_to_it() -> None:
    async with rig() as made:
        await made.revision("own", 0, annotations={"autoscaling.knative.dev/class": "own.example.com"})
        made.wait_for("own")
        assert "own.example.com" in (await made.said("wake_impossible"))["error"]
        assert await made.replicas("own") == 0


async def test_a_target_that_is_no_deployment_or_missing_is_said_once() -> None:
    async with rig() as made:
        await made.revision("other", 0, kind="StatefulSet")
        made.wait_for("other", "none")
        await made.said("wake_impossible", 2)
        made.waker.tick([key("other"), key("none")], 110.0)
        await made.waker.stop()
        assert len(made.lines) == 2
        assert await made.replicas("other") == 0


async def test_an_api_server_that_does_not_answer_is_said_once_and_asked_again_later() -> None:
    async with running_api_server() as api, Client(api.config) as client:
        made = Rig(client)
        await api.server.stop()
        now_s = asyncio.get_running_loop().time()
        names = [f"rev-{number}" for number in range(WAKES_AT_ONCE_MAX + 5)]
        made.wait_for(*names, from_s=now_s - AFTER_S)
        assert len(made.waker._tasks) == WAKES_AT_ONCE_MAX
        await asyncio.gather(*made.waker._tasks)
        assert [line["message"] for line in made.lines] == ["wake_refused"]
        made.waker.tick([key(name) for name in names], now_s + 1.9)
        assert not made.waker._tasks
        made.waker.tick([key(name) for name in names], asyncio.get_running_loop().time() + 2.1)
        assert made.waker._tasks
        await made.waker.stop()
