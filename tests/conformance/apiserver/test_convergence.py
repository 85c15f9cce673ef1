"""Whoever follows ends with exactly the server's state, whatever five clients write at the same time.

Watchers follow different selections in different ways: without interruption, by leaving and coming back with the last
version seen, and from a server that forgets so fast that they have to list again.
"""

import asyncio
import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.apiserver.rig import Rig
from tests.local_cluster.apiserver.raw import JSON_PATCH, STREAMING_LIST, Api

WRITERS, WRITES = 5, 25
_NAMES = tuple("abcdef")
_END = "end"
_SELECTIONS: tuple[dict[str, str], ...] = (
    {},
    {"labelSelector": "colour=red"},
    {"labelSelector": "colour!=blue,size"},
    {"labelSelector": "colour in (red,blue)"},
    {"fieldSelector": "metadata.name!=a"},
    {"labelSelector": "size", "fieldSelector": "metadata.name!=b"},
)
_ALL_LABELS = {"colour": "red", "size": "1"}
"""What every selection selects."""

State = dict[str, str]
"""Versions by name."""


async def _write(api: Api, path: str, chance: random.Random) -> None:
    """One client's writes; that some are refused belongs to it."""
    for number in range(WRITES):
        name = chance.choice(_NAMES)
        labels = {key: chance.choice(("red", "blue", "1")) for key in _ALL_LABELS if chance.random() < 0.6}
        metadata: dict[str, Any] = {"name": name, "labels": labels}
        if chance.random() < 0.1:
            metadata["finalizers"] = ["a.example/held"]
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": str(number)}}
        match chance.randrange(6):
            case 0 | 1:
                await api.call("POST", path, obj)
            case 2:
                await api.call("PUT", f"{path}/{name}", obj)
            case 3:
                await api.patch(f"{path}/{name}", {"metadata": {"labels": labels or None}, "data": {"n": "same"}})
            case 4:
                await api.patch(
                    f"{path}/{name}", [{"op": "add", "path": "/metadata/finalizers", "value": []}], JSON_PATCH
                )
            case _:
                await api.call("DELETE", f"{path}/{name}")


async def _follow(api: Api, path: str, selection: dict[str, str], chance: random.Random, *, is_restless: bool) -> State:
    """What a client that starts now holds when it sees the last write."""
    state: State = {}
    version = ""
    while True:
        query = {"resourceVersion": version} if version else STREAMING_LIST
        if not version:
            state.clear()
        stay = chance.randrange(1, 12) if is_restless else 1 << 30
        async with api.watch(path, **query, **selection) as events:
            if events.status == 410:
                version = ""
                continue
            assert events.status == 200
            for _ in range(stay):
                event = await events.next()
                if event["type"] == "ERROR":
                    assert event["object"]["code"] == 410
                    version = ""
                    break
                metadata = event["object"]["metadata"]
                name, seen = metadata.get("name", ""), metadata["resourceVersion"]
                if event["type"] == "DELETED":
                    assert name in state, f"{name} is deleted before it is there"
                    del state[name]
                elif event["type"] != "BOOKMARK":
                    assert (name in state) == (event["type"] == "MODIFIED"), f"{name} is {event['type']}"
                    state[name] = seen
                # During the list, versions come in the order of names: only afterwards they may be resumed from.
                if version or event["type"] == "BOOKMARK":
                    assert not version or int(seen) >= int(version), "versions go back"
                    version = seen
                if name == _END and version:
                    return state
                if event["type"] == "BOOKMARK" and _END in state:
                    return state


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
@pytest.mark.asyncio(loop_scope="session")
async def test_every_watcher_ends_with_exactly_the_servers_state(rig: Rig, seed: int) -> None:
    namespace = await rig.namespace()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    followers = [
        asyncio.create_task(
            _follow(rig.api, path, selection, random.Random(f"{seed}{number}"), is_restless=is_restless)
        )
        for number, (selection, is_restless) in enumerate(itertools.product(_SELECTIONS, (False, True)))
    ]
    try:
        await asyncio.gather(*(_write(rig.api, path, random.Random(f"{seed}w{number}")) for number in range(WRITERS)))
        last = {"metadata": {"name": _END, "labels": _ALL_LABELS}}
        await rig.api.create(path, last)
        async with asyncio.timeout(20):
            states = await asyncio.gather(*followers)
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)
    for state, (selection, _) in zip(states, itertools.product(_SELECTIONS, (False, True)), strict=True):
        items = (await rig.api.get(path, **selection)).data["items"]
        assert state == {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}
