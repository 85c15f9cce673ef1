"""`local_cluster/direct_client.py`: what a client says and hears is the same as over HTTPS."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from kube.client import Client
from kube.errors import AlreadyExists, ApiError, ApiUnreachable, Gone, NotFound
from kube.informer import Informer
from kube.models.core import ConfigMap
from kube.models.meta import ObjectMeta
from local_cluster.apiserver.server import Identity
from local_cluster.direct_client import DirectClient
from tests.support.api import running_api_server

REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
async def clients() -> AsyncIterator[tuple[Client, DirectClient]]:
    """The same identity twice: over HTTPS and without a connection."""
    async with running_api_server() as running, Client(running.config) as far:
        identity = Identity("kubernetes-admin", ("system:masters", "system:authenticated"))
        async with DirectClient(running.server, identity, agent="test") as near:
            yield far, near


def config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)


async def test_calls_and_refusals_are_the_same(clients: tuple[Client, Client]) -> None:
    for name, client in zip(("far", "near"), clients, strict=True):
        made = await client.create(config_map(name, a="1"))
        assert (made.metadata.uid != "", made.data) == (True, {"a": "1"})
        patched = await client.patch(ConfigMap, name, "default", {"data": {"b": "2"}})
        assert patched.data == {"a": "1", "b": "2"}
        with pytest.raises(AlreadyExists, match=f'configmaps "{name}" already exists'):
            await client.create(config_map(name))
        listed = await client.list(ConfigMap, "default", page_size=1)
        assert name in [item.name for item in listed.items]
        await client.delete(ConfigMap, name, "default")
        with pytest.raises(NotFound, match=f'configmaps "{name}" not found'):
            await client.get(ConfigMap, name, "default")
        for method, path, code in (("PATCH", "/api/v1/nothing", 404), ("PUT", "/api/v1", 405), ("GET", "/nope", 404)):
            with pytest.raises(ApiError) as refused:
                await client.raw(method, path, body=b"{}" if method != "GET" else None)
            assert refused.value.code == code
        with pytest.raises(ApiError, match="the body is not valid JSON"):
            await client.raw("POST", "/api/v1/namespaces/default/configmaps", body=b"{")


async def test_pages_about_the_server_and_the_own_identity_are_the_same(clients: tuple[Client, Client]) -> None:
    for path in ("/version", "/api/v1", "/apis"):
        answers = [json.loads(await client.raw("GET", path)) for client in clients]
        assert answers[0] == answers[1]
    seen = [json.loads(await client.raw("POST", REVIEWS, body=b'{"kind":"SelfSubjectReview"}')) for client in clients]
    assert seen[0]["status"] == seen[1]["status"]


async def test_an_informer_follows_what_others_write(clients: tuple[Client, Client]) -> None:
    far, near = clients
    await far.create(config_map("first"))
    informer = Informer(near, ConfigMap, namespace="default")
    changed = asyncio.Event()
    informer.on_change(lambda _old, _new: changed.set())
    await informer.start()
    for number in range(50):
        await far.create(config_map(f"n{number}", text="line\r\n end"))
    await far.delete(ConfigMap, "first", "default")
    wanted = {f"n{number}" for number in range(50)}
    async with asyncio.timeout(10):
        while {obj.name for obj in informer.list()} != wanted:
            changed.clear()
            await changed.wait()
    await informer.stop()


async def test_a_watch_from_before_the_history_is_gone_and_a_closed_client_refuses(
    clients: tuple[Client, Client],
) -> None:
    _, near = clients
    with pytest.raises(Gone):
        async for _ in near.watch(ConfigMap, "default", resource_version="1"):
            pass
    await near.close()
    with pytest.raises(ApiUnreachable, match="closed"):
        await near.get(ConfigMap, "any", "default")
