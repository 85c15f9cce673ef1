"""What happens after a deletion: finalizers, grace periods, dependents, namespaces. Numbers are the api-clients
statements."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.local_cluster.apiserver.raw import (
    CONFIGMAPS,
    DEPLOYMENTS,
    JSON_PATCH,
    PODS,
    Api,
    Events,
    config_map,
    deployment,
    owned_by,
    pod,
)


async def until(events: Events, wanted: tuple[str, str]) -> list[tuple[str, str]]:
    """Read events up to and including `wanted`; everything that was seen."""
    seen: list[tuple[str, str]] = []
    while wanted not in seen:
        seen += await events.names(1)
    return seen


async def status_of(api: Api, path: str) -> int:
    return (await api.get(path)).status


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        done = False
        while not done:
            done = await check()


async def test_37_finalizers_hold_an_object_until_the_last_is_gone(api: Api) -> None:
    sent = config_map("a")
    sent["metadata"]["finalizers"] = ["a.example/one", "a.example/two"]
    created = await api.create(CONFIGMAPS, sent)
    async with api.watch(CONFIGMAPS, resourceVersion=created["metadata"]["resourceVersion"]) as events:
        held = await api.call("DELETE", f"{CONFIGMAPS}/a")
        assert held.data["metadata"]["deletionTimestamp"]
        assert held.data["metadata"]["uid"] == created["metadata"]["uid"]
        await api.call("DELETE", f"{CONFIGMAPS}/a")
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["a.example/two"]}})
        assert await status_of(api, f"{CONFIGMAPS}/a") == 200
        await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": None}})
        assert await events.names(3) == [("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert await status_of(api, f"{CONFIGMAPS}/a") == 404


async def test_an_object_that_ends_takes_no_further_finalizer(api: Api) -> None:
    sent = config_map("a")
    sent["metadata"]["finalizers"] = ["a.example/one"]
    await api.create(CONFIGMAPS, sent)
    await api.call("DELETE", f"{CONFIGMAPS}/a")
    answer = await api.patch(f"{CONFIGMAPS}/a", {"metadata": {"finalizers": ["a.example/one", "a.example/two"]}})
    assert (answer.status, answer.data["reason"]) == (422, "Invalid")


async def test_a_pod_on_a_node_ends_when_the_node_says_so(api: Api) -> None:
    await api.create(PODS, pod("a", node="one", terminationGracePeriodSeconds=7))
    ending = (await api.call("DELETE", f"{PODS}/a")).data
    assert ending["metadata"]["deletionGracePeriodSeconds"] == 7
    assert ending["metadata"]["deletionTimestamp"]
    assert await status_of(api, f"{PODS}/a") == 200
    done = await api.call("DELETE", f"{PODS}/a", {"gracePeriodSeconds": 0})
    assert done.data["status"] == "Success"
    assert await status_of(api, f"{PODS}/a") == 404


async def test_a_pod_without_a_node_or_already_ended_goes_at_once(api: Api) -> None:
    await api.create(PODS, pod("unplaced"))
    await api.create(PODS, pod("ended", node="one"))
    await api.patch(f"{PODS}/ended/status", {"status": {"phase": "Succeeded"}})
    for name in ("unplaced", "ended"):
        assert (await api.call("DELETE", f"{PODS}/{name}")).data["status"] == "Success"


async def test_38_dependents_go_in_the_background_over_generations(api: Api) -> None:
    owner = await api.create(DEPLOYMENTS, deployment("web"))
    child = await api.create(CONFIGMAPS, owned_by(config_map("child"), owner))
    await api.create(CONFIGMAPS, owned_by(config_map("grandchild"), child))
    await api.create(CONFIGMAPS, config_map("stranger"))
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as events:
        await api.call("DELETE", f"{DEPLOYMENTS}/web")
        assert await events.names(2) == [("DELETED", "child"), ("DELETED", "grandchild")]
    assert await status_of(api, f"{CONFIGMAPS}/stranger") == 200


async def test_38_a_dependent_of_two_owners_loses_only_the_reference(api: Api) -> None:
    first = await api.create(CONFIGMAPS, config_map("first"))
    second = await api.create(CONFIGMAPS, config_map("second"))
    await api.create(CONFIGMAPS, owned_by(config_map("child"), first, second))
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as events:
        await api.call("DELETE", f"{CONFIGMAPS}/first")
        assert await events.names(2) == [("DELETED", "first"), ("MODIFIED", "child")]
        child = (await api.get(f"{CONFIGMAPS}/child")).data
        assert [owner["name"] for owner in child["metadata"]["ownerReferences"]] == ["second"]
        await api.call("DELETE", f"{CONFIGMAPS}/second")
        assert await events.names(2) == [("DELETED", "second"), ("DELETED", "child")]


async def test_38_an_object_whose_owner_is_already_gone_goes_too(api: Api) -> None:
    ghost = config_map("ghost") | {"apiVersion": "v1"}
    ghost["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as events:
        await api.create(CONFIGMAPS, owned_by(config_map("late"), ghost))
        assert await events.names(2) == [("ADDED", "late"), ("DELETED", "late")]


async def test_a_dependent_with_a_finalizer_waits_for_it(api: Api) -> None:
    owner = await api.create(CONFIGMAPS, config_map("owner"))
    sent = owned_by(config_map("child"), owner)
    sent["metadata"]["finalizers"] = ["a.example/one"]
    await api.create(CONFIGMAPS, sent)
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as events:
        await api.call("DELETE", f"{CONFIGMAPS}/owner")
        assert await events.names(2) == [("DELETED", "owner"), ("MODIFIED", "child")]
        await api.patch(f"{CONFIGMAPS}/child", [{"op": "remove", "path": "/metadata/finalizers"}], JSON_PATCH)
        assert await events.names(1) == [("DELETED", "child")]


async def test_foreground_deletion_takes_the_owner_last(api: Api) -> None:
    owner = await api.create(CONFIGMAPS, config_map("owner"))
    for name in ("one", "two"):
        await api.create(CONFIGMAPS, owned_by(config_map(name), owner, block=True))
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as events:
        answer = await api.call("DELETE", f"{CONFIGMAPS}/owner", {"propagationPolicy": "Foreground"})
        assert answer.data["metadata"]["finalizers"] == ["foregroundDeletion"]
        seen = await until(events, ("DELETED", "owner"))
    assert {("DELETED", "one"), ("DELETED", "two")} < set(seen)


async def test_orphaning_leaves_the_dependents_without_reference(api: Api) -> None:
    owner = await api.create(CONFIGMAPS, config_map("owner"))
    await api.create(CONFIGMAPS, owned_by(config_map("child"), owner))
    async with api.watch(CONFIGMAPS, resourceVersion=await api.version()) as events:
        await api.call("DELETE", f"{CONFIGMAPS}/owner", propagationPolicy="Orphan")
        await until(events, ("DELETED", "owner"))
    assert "ownerReferences" not in (await api.get(f"{CONFIGMAPS}/child")).data["metadata"]


async def test_40_a_namespace_is_labelled_has_an_account_and_is_emptied(api: Api) -> None:
    created = await api.create("/api/v1/namespaces", {"metadata": {"name": "team"}})
    assert created["metadata"]["labels"] == {"kubernetes.io/metadata.name": "team"}
    assert created["status"] == {"phase": "Active"}
    inside = "/api/v1/namespaces/team"
    assert await status_of(api, f"{inside}/serviceaccounts/default") == 200
    await api.create(f"{inside}/configmaps", config_map("plain"))
    held = config_map("held")
    held["metadata"]["finalizers"] = ["a.example/one"]
    await api.create(f"{inside}/configmaps", held)
    ending = await api.call("DELETE", "/api/v1/namespaces/team")
    assert ending.data["status"]["phase"] == "Terminating"

    async def is_held_alone() -> bool:
        items = (await api.get(f"{inside}/configmaps")).data["items"]
        return [item["metadata"]["name"] for item in items] == ["held"]

    await eventually(is_held_alone)
    refused = await api.call("POST", f"{inside}/configmaps", config_map("late"))
    assert (refused.status, refused.data["reason"]) == (403, "Forbidden")
    assert refused.data["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    await api.patch(f"{inside}/configmaps/held", {"metadata": {"finalizers": []}})

    async def is_gone() -> bool:
        return await status_of(api, inside) == 404

    await eventually(is_gone)
    assert await status_of(api, f"{inside}/serviceaccounts/default") == 404


async def test_the_default_namespace_stays(api: Api) -> None:
    answer: Any = await api.call("DELETE", "/api/v1/namespaces/default")
    assert (answer.status, answer.data["reason"]) == (403, "Forbidden")
