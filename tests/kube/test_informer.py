"""The informer and the client against a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from kube.client import Client
from kube.errors import AlreadyExists, ApiUnreachable, Conflict, Forbidden, Gone, NotFound
from kube.informer import Informer
from kube.models.core import ConfigMap, Service
from kube.models.meta import ObjectMeta
from kube.resolve import Resolver, service_of_host
from local_cluster.apiserver.server import ApiServer
from proxies.logs import Logger
from tests.support.api import RunningApiServer, running_api_server
from tests.support.processes import eventually


def config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)


@pytest.fixture
async def api() -> AsyncIterator[RunningApiServer]:
    async with running_api_server() as server:
        yield server


@pytest.fixture
async def client(api: RunningApiServer) -> AsyncIterator[Client]:
    async with Client(api.config) as opened:
        yield opened


class Seen:
    """What an informer reported, and a way to wait for it."""

    def __init__(self, informer: Informer[ConfigMap]) -> None:
        self.changes: list[tuple[str | None, str | None]] = []
        self._more = asyncio.Event()
        informer.on_change(self._note)

    def _note(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        self.changes.append((old.data.get("k") if old else None, new.data.get("k") if new else None))
        self._more.set()

    async def wait(self, count: int) -> list[tuple[str | None, str | None]]:
        async with asyncio.timeout(10):
            while len(self.changes) < count:
                self._more.clear()
                await self._more.wait()
        return self.changes


async def test_changes_arrive_in_order_with_old_and_new(client: Client) -> None:
    await client.create(config_map("a", k="1"))
    informer = Informer(client, ConfigMap)
    seen = Seen(informer)
    await informer.start()
    assert seen.changes == [(None, "1")]
    await client.patch(ConfigMap, "a", "default", {"data": {"k": "2"}})
    await client.delete(ConfigMap, "a", "default")
    assert await seen.wait(3) == [(None, "1"), ("1", "2"), ("2", None)]
    assert informer.get("default", "a") is None
    await informer.stop()


async def test_an_answer_that_comes_after_the_deletion_brings_nothing_back(client: Client) -> None:
    informer = Informer(client, ConfigMap)
    seen = Seen(informer)
    await informer.start()
    answer = await client.create(config_map("a", k="1"))
    await client.delete(ConfigMap, "a", "default")
    await seen.wait(2)
    informer.apply_local(answer)
    assert informer.get("default", "a") is None
    informer.apply_local(await client.create(config_map("a", k="2")))
    held = informer.get("default", "a")
    assert held is not None
    assert held.data == {"k": "2"}
    await informer.stop()


async def test_an_index_follows_the_objects(client: Client) -> None:
    informer = Informer(client, ConfigMap)
    informer.add_index("k", lambda c: [c.data["k"]] if "k" in c.data else [])
    seen = Seen(informer)
    await informer.start()
    await client.create(config_map("a", k="x"))
    await client.create(config_map("b", k="x"))
    await seen.wait(2)
    assert sorted(c.name for c in informer.by_index("k", "x")) == ["a", "b"]
    await client.patch(ConfigMap, "a", "default", {"data": {"k": "y"}})
    await seen.wait(3)
    assert [c.name for c in informer.by_index("k", "x")] == ["b"]
    assert [c.name for c in informer.by_index("k", "y")] == ["a"]
    await informer.stop()


async def test_an_index_that_cannot_tell_an_objects_keys_is_said_and_everything_goes_on(client: Client) -> None:
    lines: list[dict[str, Any]] = []
    is_broken = False

    def keys(found: ConfigMap) -> list[str]:
        if is_broken or "k" not in found.data:
            raise KeyError("k")
        return [found.data["k"]]

    informer = Informer(
        client, ConfigMap, namespace="default", log=Logger("t", write=lambda b: lines.append(json.loads(b)))
    )
    informer.add_index("k", keys)
    await informer.start()
    try:
        await client.create(config_map("without"))
        await client.create(config_map("with", k="one"))
        await eventually(lambda: [found.name for found in informer.by_index("k", "one")] == ["with"])
        assert {found.name for found in informer.list()} == {"with", "without"}
        told = next(line for line in lines if line["message"] == "informer_index_failed")
        assert (told["index"], told["object"]) == ("k", "default/without")
        # What was filed is found and taken out, although nobody says any more where it is.
        is_broken = True
        await client.delete(ConfigMap, "with", "default")
        await eventually(lambda: informer.get("default", "with") is None)
        assert informer.by_index("k", "one") == []
    finally:
        await informer.stop()


class Refusing:
    """As much of a client as an informer asks; the answers of a test."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.lists: Exception | None = None
        self.watches: Exception | None = None
        self.asked = 0

    async def list(self, *arguments: Any, **options: Any) -> Any:
        self.asked += 1
        if self.lists is not None:
            raise self.lists
        return await self._client.list(*arguments, **options)

    async def watch(self, *arguments: Any, **options: Any) -> Any:
        if self.watches is not None:
            raise self.watches
        async for event in self._client.watch(*arguments, **options):
            yield event


def no_right(verb: str) -> Forbidden:
    return Forbidden(403, "Forbidden", f"a may not {verb} configmaps")


async def test_what_is_refused_again_and_again_is_said_once_and_again_when_it_is_over_or_another(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kube.informer._BACKOFF_MAX_S", 0.01)
    told: list[tuple[str, str]] = []

    def note(line: bytes) -> None:
        fields = json.loads(line)
        told.append((fields["message"], fields.get("error", "")))

    refusing = Refusing(client)
    refusing.lists = no_right("list")
    informer = Informer(cast(Client, refusing), ConfigMap, namespace="default", log=Logger("t", write=note))
    starting = asyncio.get_running_loop().create_task(informer.start())
    lost, regained = "watch_lost", ("watch_regained", "")
    first, second = (lost, str(no_right("list"))), (lost, str(no_right("watch")))
    try:
        await eventually(lambda: refusing.asked > 5)
        assert told == [first]
        refusing.watches = no_right("watch")
        refusing.lists = None
        await starting
        asked = refusing.asked
        await eventually(lambda: refusing.asked > asked + 5)
        assert told == [first, second]
        # A server that is away is one trouble, whatever it says.
        refusing.lists = ApiUnreachable("refused")
        asked = refusing.asked
        await eventually(lambda: refusing.asked > asked + 5)
        refusing.lists = ApiUnreachable("timed out")
        asked = refusing.asked
        await eventually(lambda: refusing.asked > asked + 5)
        assert told == [first, second, (lost, "refused")]
        # An object that does not fit its model is another.
        refusing.lists = ApiUnreachable("odd")
        refusing.lists.__cause__ = msgspec.DecodeError("expected a text")
        await eventually(lambda: told == [first, second, (lost, "refused"), (lost, "odd")])
        refusing.lists = refusing.watches = None
        await eventually(lambda: informer.is_current)
        await client.create(config_map("a", k="1"))
        await eventually(lambda: regained in told)
        assert told == [first, second, (lost, "refused"), (lost, "odd"), regained]
    finally:
        starting.cancel()
        await informer.stop()


async def test_a_list_that_fails_late_is_not_taken_for_a_watch_that_was_a_good_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kube.informer._BACKOFF_MAX_S", 0.01)
    monkeypatch.setattr("kube.informer._LASTING_S", -1.0)
    told: list[str] = []
    refusing = Refusing(client)
    refusing.lists = ApiUnreachable("timed out")
    log = Logger("t", write=lambda line: told.append(json.loads(line)["message"]))
    informer = Informer(cast(Client, refusing), ConfigMap, namespace="default", log=log)
    starting = asyncio.get_running_loop().create_task(informer.start())
    try:
        await eventually(lambda: refusing.asked > 5)
        assert told == ["watch_lost"]
    finally:
        starting.cancel()
        await informer.stop()


async def test_a_server_that_lost_its_state_is_listed_again_and_what_vanished_is_reported(
    api: RunningApiServer,
) -> None:
    async with Client(api.config) as client:
        await client.create(config_map("a", k="1"))
        informer = Informer(client, ConfigMap)
        seen = Seen(informer)
        await informer.start()
        await api.server.stop()
        fresh = ApiServer(replace(api.server.config, port=api.server.port))
        await fresh.start()
        try:
            assert await seen.wait(2) == [(None, "1"), ("1", None)]
            await client.create(config_map("b", k="2"))
            assert (await seen.wait(3))[2] == (None, "2")
        finally:
            await informer.stop()
            await fresh.stop()


async def test_errors_are_told_apart_by_class(client: Client) -> None:
    with pytest.raises(NotFound, match="not found"):
        await client.get(ConfigMap, "none", "default")
    made = await client.create(config_map("a", k="1"))
    with pytest.raises(AlreadyExists):
        await client.create(config_map("a"))
    await client.patch(ConfigMap, "a", "default", {"data": {"k": "2"}})
    with pytest.raises(Conflict):
        await client.patch(
            ConfigMap, "a", "default", {"metadata": {"resourceVersion": made.metadata.resource_version}, "data": {}}
        )
    with pytest.raises(Conflict):
        await client.delete(ConfigMap, "a", "default", uid="another")


async def test_a_list_follows_pages_to_the_end(client: Client) -> None:
    for index in range(7):
        await client.create(config_map(f"c{index}"))
    page = await client.list(ConfigMap, "default", page_size=3)
    assert [c.name for c in page.items if c.name.startswith("c")] == [f"c{index}" for index in range(7)]


async def test_a_closed_client_says_so(api: RunningApiServer) -> None:
    client = Client(api.config)
    with pytest.raises(ApiUnreachable, match="closed"):
        await client.get(ConfigMap, "a", "default")


async def test_cluster_names_resolve_through_endpoints_by_port_name(client: Client) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8012}, {"name": "other", "port": 81, "targetPort": 9}]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}}
    subset = {"addresses": [{"ip": "127.9.0.1"}], "ports": [{"name": "http", "port": 8012}]}
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "s"}, "subsets": [subset]}
    await client.raw("POST", Service.RESOURCE.path("default"), body=msgspec.json.encode(service))
    await client.raw("POST", "/api/v1/namespaces/default/endpoints", body=msgspec.json.encode(endpoints))
    resolver = Resolver(client, by_endpoints=True)
    assert await resolver.resolve("s.default.svc.cluster.local", 80) == [("127.9.0.1", 8012)]
    assert await resolver.resolve("s.default.svc", 81) == []
    assert await resolver.resolve("none.default.svc", 80) == []
    assert await resolver.resolve("example.com", 80) == [("example.com", 80)]
    headless = service | {"metadata": {"name": "only-slices"}}
    await client.raw("POST", Service.RESOURCE.path("default"), body=msgspec.json.encode(headless))
    part = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "p", "labels": {"kubernetes.io/service-name": "only-slices"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["127.9.0.3"]},
            {"addresses": ["127.9.0.4"], "conditions": {"ready": False}},
        ],
        "ports": [{"name": "http", "port": 8012}, {"name": "other", "port": 1}],
    }
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    await client.raw("POST", path, body=msgspec.json.encode(part))
    assert await resolver.resolve("only-slices.default.svc", 80) == [("127.9.0.3", 8012)]
    by_name = Resolver(client, by_endpoints=False)
    assert await by_name.resolve("s.default.svc", 80) == [("s.default.svc", 80)]


def test_which_hosts_are_services() -> None:
    assert service_of_host("a.b.svc.cluster.local", "cluster.local") == ("b", "a")
    assert service_of_host("a.b.svc.", "cluster.local") == ("b", "a")
    assert service_of_host("a.b.svc.elsewhere", "cluster.local") is None
    assert service_of_host("a.b", "cluster.local") is None


class Forgetful(Client):
    """A client whose first watch is told that the history is too short."""

    watches = 0

    async def watch(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        self.watches += 1
        if self.watches == 1:
            await self.create(config_map("meanwhile", k="2"))
            raise Gone(410, "Expired", "too old resource version")
        async for event in super().watch(*args, **options):
            yield event


async def test_a_version_that_is_too_old_is_answered_by_listing_again(api: RunningApiServer) -> None:
    client = Forgetful(api.config)
    async with client:
        await client.create(config_map("before", k="1"))
        informer = Informer(client, ConfigMap)
        seen = Seen(informer)
        await informer.start()
        assert await seen.wait(2) == [(None, "1"), (None, "2")]
        await client.create(config_map("after", k="3"))
        assert (await seen.wait(3))[2] == (None, "3")
        await informer.stop()
        assert client.watches == 2


class Deaf(Client):
    """A client whose watches never say anything."""

    async def watch(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield


async def test_an_audit_repairs_what_a_watch_did_not_say(api: RunningApiServer) -> None:
    async with Deaf(api.config) as client:
        await client.create(config_map("changes", k="1"))
        await client.create(config_map("vanishes", k="2"))
        informer = Informer(client, ConfigMap, namespace="default")
        seen = Seen(informer)
        await informer.start()
        assert await informer.audit(settle_s=0) == []
        await client.create(config_map("comes", k="3"))
        await client.patch(ConfigMap, "changes", "default", {"data": {"k": "4"}})
        await client.delete(ConfigMap, "vanishes", "default")
        wrong = await informer.audit(settle_s=0)
        assert sorted(name for _, name in wrong) == ["changes", "comes", "vanishes"]
        assert sorted(seen.changes[2:], key=str) == [("1", "4"), ("2", None), (None, "3")]
        assert await informer.audit(settle_s=0) == []
        await informer.stop()


async def test_an_audit_leaves_alone_what_changes_as_it_looks(api: RunningApiServer) -> None:
    async with Deaf(api.config) as client:
        await client.create(config_map("a", k="1"))
        informer = Informer(client, ConfigMap, namespace="default")
        await informer.start()
        await client.patch(ConfigMap, "a", "default", {"data": {"k": "2"}})
        lists = 0
        listed = client.list

        async def list_and_change(*args: Any, **options: Any) -> Any:
            nonlocal lists
            page = await listed(*args, **options)
            lists += 1
            if lists == 1:
                await client.patch(ConfigMap, "a", "default", {"data": {"k": "3"}})
            return page

        client.list = list_and_change  # type: ignore[method-assign]
        assert await informer.audit(settle_s=0) == []
        assert await informer.audit(settle_s=0) == [("default", "a")]
        await informer.stop()


@pytest.mark.parametrize("problem", [None, Gone(410, "Expired", "too old")])
async def test_a_server_that_ends_every_watch_at_once_is_asked_with_pauses(
    client: Client, monkeypatch: pytest.MonkeyPatch, problem: Exception | None
) -> None:
    watches = 0
    enough = asyncio.Event()

    async def watch(*_: object, **__: object) -> AsyncIterator[tuple[str, ConfigMap]]:
        nonlocal watches
        watches += 1
        if watches == 5:
            enough.set()
        if problem is not None:
            raise problem
        for nothing in ():
            yield nothing

    monkeypatch.setattr(client, "watch", watch)
    informer = Informer(client, ConfigMap)
    began_s = asyncio.get_running_loop().time()
    await informer.start()
    async with asyncio.timeout(20):
        await enough.wait()
    # Four pauses that grow: 50, 100, 200, 400 ms, of which chance takes half at most.
    assert asyncio.get_running_loop().time() - began_s > 0.35
    await informer.stop()
