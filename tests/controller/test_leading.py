"""To begin and to end to act, when one of them fails."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.collection import Collection
from controller.leading import Leading
from kube.client import Client
from kube.models.coordination import Lease
from kube.models.core import ConfigMap, Namespace
from kube.models.meta import ObjectMeta
from proxies.logs import Logger
from tests.support.api import running_api_server
from tests.support.processes import eventually

SYSTEM = "knative-serving"


class World:
    """A candidate whose turns fail as told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.turns: list[str] = []
        self.failing: set[str] = set()
        self.lines: list[dict[str, Any]] = []
        log = Logger("t", write=lambda line: self.lines.append(json.loads(line)))
        self.leading = Leading(
            client, name="t", namespace=SYSTEM, pod_name="a", begin=self._begin, end=self._end, log=log
        )

    async def _begin(self) -> None:
        await self._turn("begin")

    async def _end(self) -> None:
        await self._turn("end")

    async def _turn(self, name: str) -> None:
        self.turns.append(name)
        if name in self.failing:
            raise LookupError(f"no {name}")

    def told(self) -> list[str]:
        return [line["error"] for line in self.lines if line["message"] == "election_turn_failed"]

    async def holder(self) -> str | None:
        return (await self.client.get(Lease, "knuv-t", SYSTEM)).spec.holder_identity


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_api_server() as api, Client(api.config) as client:
        await client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        maps = Collection(client, ConfigMap, namespace=SYSTEM)
        await maps.informer.start()
        running = World(client)
        running.failing.add("begin")
        await running.leading.start(maps)
        try:
            yield running
        finally:
            await running.leading.stop()
            await maps.informer.stop()


async def test_who_cannot_begin_says_so_and_ends_when_the_lease_is_gone(world: World) -> None:
    await eventually(lambda: world.turns == ["begin"])
    lease = await world.client.get(Lease, "knuv-t", SYSTEM)
    await world.client.patch(Lease, lease.name, SYSTEM, {"spec": {"holderIdentity": "b", "leaseDurationSeconds": 60}})
    await eventually(lambda: world.turns == ["begin", "end"])
    assert world.told() == ["LookupError('no begin')"]


async def test_who_cannot_end_says_so_and_gives_the_lease_back(world: World) -> None:
    world.failing.add("end")
    await world.leading.stop()
    assert world.turns[-1] == "end"
    assert "no end" in world.told()[-1]
    assert await world.holder() == ""
