"""Statements 26-36 of eventing-sources.md, by an adapter that watches a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxies.environment import ConfigError
from proxies.logs import Logger
from sources.apiserver import ApiServerConfig, App
from tests.conformance.eventing_sources.conftest import Api
from tests.sources.support import Sink, running_sink

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAPS = "/api/v1/namespaces/default/configmaps"
CONFIG_MAPS = {"gvr": {"Group": "", "Version": "v1", "Resource": "configmaps"}}


def config_map(name: str, **metadata: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "b"}}


@asynccontextmanager
async def watching(api: Api, *statuses: int, **source: object) -> AsyncIterator[Sink]:
    content = {"namespaces": ["default"], "resources": [CONFIG_MAPS], **source}
    async with running_sink(*statuses) as sink:
        environ = {
            "KUBECONFIG": str(api.running.kubeconfig),
            "KNUV_BIND_ADDRESS": "127.0.0.1",
            "KNUV_HEALTH_PORT": "0",
            "NAMESPACE": "default",
            "NAME": "src",
            "K_SINK": sink.url,
            "K_SOURCE_CONFIG": json.dumps(content),
        }
        app = App(ApiServerConfig.from_env(environ), Logger("test", write=lambda _line: None))
        try:
            await app.start()
            yield sink
        finally:
            await app.stop()


@asynccontextmanager
async def marked(api: Api, sink: Sink) -> AsyncIterator[None]:
    """What happens within, and then a change that is seen in any case: nothing is missing when that has arrived."""
    yield
    await api.create(MAPS, config_map("the-end", labels={"a": "b"}))
    async with asyncio.timeout(20):
        while not any(got.headers["ce-name"] == "the-end" for got in sink.got):
            sink.arrived.clear()
            await sink.arrived.wait()
    await api.delete(f"{MAPS}/the-end")


def told(sink: Sink) -> list[tuple[str, str]]:
    """Verb and name of what came, without the end mark."""
    return [
        (got.headers["ce-type"].rpartition(".")[2], got.headers["ce-name"])
        for got in sink.got
        if got.headers["ce-name"] != "the-end"
    ]


async def change_everything(api: Api, name: str) -> None:
    await api.create(MAPS, config_map(name))
    await api.merge(f"{MAPS}/{name}", {"data": {"a": "c"}})
    await api.delete(f"{MAPS}/{name}")


async def test_26_28_30_31_and_32_references(api: Api) -> None:
    async with watching(api) as sink, marked(api, sink):
        await change_everything(api, "m")
    assert told(sink) == [("add", "m"), ("update", "m"), ("delete", "m")]
    got = sink.got[0]
    assert got.headers["ce-type"] == "dev.knative.apiserver.ref.add"
    assert json.loads(got.body) == {"kind": "ConfigMap", "name": "m", "namespace": "default", "apiVersion": "v1"}
    extensions = {name: got.headers[f"ce-{name}"] for name in ("kind", "apiversion", "name", "namespace")}
    assert extensions == {"kind": "ConfigMap", "apiversion": "v1", "name": "m", "namespace": "default"}
    assert got.headers["ce-subject"] == "/apis/v1/namespaces/default/configmaps/m"
    assert got.headers["ce-source"] == api.running.config.server
    assert got.headers["content-type"] == "application/json"
    assert got.headers["kn-namespace"] == "default"


async def test_27_whole_objects(api: Api) -> None:
    async with watching(api, mode="Resource") as sink, marked(api, sink):
        await change_everything(api, "m")
    assert [got.headers["ce-type"] for got in sink.got[:3]] == [
        f"dev.knative.apiserver.resource.{verb}" for verb in ("add", "update", "delete")
    ]
    assert [json.loads(got.body)["data"] for got in sink.got[:3]] == [{"a": "b"}, {"a": "c"}, {"a": "c"}]


async def test_29_what_exists_already_is_no_news(api: Api) -> None:
    await api.create(MAPS, config_map("old"))
    async with watching(api) as sink, marked(api, sink):
        await api.delete(f"{MAPS}/old")
    assert told(sink) == [("delete", "old")]


async def test_33_only_what_has_the_labels(api: Api) -> None:
    async with watching(api, resources=[{**CONFIG_MAPS, "selector": "a=b"}]) as sink, marked(api, sink):
        await api.create(MAPS, config_map("without"))
        await api.create(MAPS, config_map("with", labels={"a": "b"}))
        await api.merge(f"{MAPS}/with", {"metadata": {"labels": {"a": "c"}}})
        await api.delete(f"{MAPS}/with")
        await api.delete(f"{MAPS}/without")
    assert told(sink) == [("add", "with"), ("delete", "with")]  # what stops to match is gone


async def test_34_only_what_such_an_owner_controls(api: Api) -> None:
    owner = await api.create(MAPS, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    async with watching(api, owner={"apiVersion": "v1", "kind": "ConfigMap"}) as sink:
        await api.create(MAPS, config_map("owned", ownerReferences=[reference]))
        await api.create(MAPS, config_map("controlled", ownerReferences=[{**reference, "controller": True}]))
        await sink.until(1)
    for name in ("owned", "controlled", "owner"):
        await api.delete(f"{MAPS}/{name}")
    assert told(sink) == [("add", "controlled")]


async def test_35_other_namespaces_only_when_asked_for(api: Api) -> None:
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    elsewhere = "/api/v1/namespaces/other/configmaps"
    async with (
        watching(api) as own,
        watching(api, allNamespaces=True, namespaces=[""]) as every,
        marked(api, every),
        marked(api, own),
    ):
        await api.create(elsewhere, config_map("m"))
        await api.delete(f"{elsewhere}/m")
    assert told(own) == []
    assert [each for each in told(every) if each[1] == "m"] == [("add", "m"), ("delete", "m")]


async def test_36_only_what_the_filters_pass(api: Api) -> None:
    filters = [{"exact": {"type": "dev.knative.apiserver.ref.add"}}]
    async with watching(api, filters=filters) as sink, marked(api, sink):
        await change_everything(api, "m")
    assert told(sink) == [("add", "m")]


async def test_the_order_of_a_collection_stays_while_the_sink_is_slow(api: Api) -> None:
    async with watching(api) as sink:
        sink.gate.clear()
        async with marked(api, sink):
            for number in range(5):
                await api.create(MAPS, config_map(f"m{number}"))
            assert len(await sink.until(1)) == 1
            sink.gate.set()
    assert told(sink) == [("add", f"m{number}") for number in range(5)]
    for number in range(5):
        await api.delete(f"{MAPS}/m{number}")


async def test_a_resource_that_does_not_exist_is_passed_over_and_a_group_is_not(api: Api) -> None:
    unknown = {"gvr": {"Group": "", "Version": "v1", "Resource": "unicorns"}}
    async with watching(api, resources=[unknown, CONFIG_MAPS]) as sink, marked(api, sink):
        pass
    with pytest.raises(ConfigError, match="stable/v1"):
        async with watching(api, resources=[{"gvr": {"Group": "stable", "Version": "v1", "Resource": "unicorns"}}]):
            pass
