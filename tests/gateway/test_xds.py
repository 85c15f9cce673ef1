"""What travels to an Envoy (xDS, incremental): differences only, clusters before the routes that name them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import grpc.aio
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.ads_pb2_grpc import AggregatedDiscoveryServiceStub
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from hypothesis import given
from hypothesis import strategies as st

from gateway.xds import CLUSTER, ENDPOINTS, ROUTES, Resources, Subscription, XdsServer
from proxies.logs import Logger
from tests.support.processes import eventually

Offered = dict[str, bytes]


def offer(**versions: str) -> Offered:
    return {name: f"{name}@{version}".encode() for name, version in versions.items()}


def change(resources: Resources, offered: Offered) -> Resources:
    """Let exactly that be offered."""
    for name in list(resources.of(CLUSTER)):
        if name not in offered:
            resources.remove(CLUSTER, name)
    for name, content in offered.items():
        resources.put_bytes(CLUSTER, name, content)
    return resources


class Follower:
    """A client of one type that believes every difference; `names` None: it follows everything."""

    def __init__(self, names: set[str] | None) -> None:
        self.names = names
        self.holds: Offered = {}
        self.resources = Resources()
        self._versions: dict[str, str] = {}
        self.connect()

    def connect(self) -> int:
        """A new stream, on which it says what it holds."""
        self.stream = Subscription(CLUSTER)
        initial = {name: self._versions[name] for name in self.holds}
        self.stream.request(sorted(self.names) if self.names is not None else [], [], initial)
        return len(initial)

    def fetch(self, offered: Offered) -> tuple[list[str], list[str]]:
        """Take the difference; the names in it."""
        changed, removed = self.stream.difference(change(self.resources, offered))
        for resource in changed:
            assert resource.resource.type_url == CLUSTER
            self.holds[resource.name] = resource.resource.value
            self._versions[resource.name] = resource.version
        for name in removed:
            self.holds.pop(name, None)
        return [resource.name for resource in changed], removed

    def follow(self, name: str) -> None:
        assert self.names is not None
        self.names.add(name)
        self.stream.request([name], [], {})

    def forget(self, name: str) -> None:
        assert self.names is not None
        self.names.discard(name)
        self.holds.pop(name, None)
        self.stream.request([], [name], {})

    def wanted(self, offered: Offered) -> Offered:
        return {name: value for name, value in offered.items() if self.names is None or name in self.names}


class TestResources:
    def test_equal_content_is_the_same_version(self) -> None:
        resources = Resources()
        assert resources.put(CLUSTER, "a", Cluster(name="a"))
        first = resources.of(CLUSTER)["a"]
        assert not resources.put(CLUSTER, "a", Cluster(name="a"))
        assert resources.put(CLUSTER, "a", Cluster(name="a", alt_stat_name="x"))
        assert resources.of(CLUSTER)["a"] != first
        resources.put(CLUSTER, "a", Cluster(name="a"))
        assert resources.of(CLUSTER)["a"] == first

    def test_removal_tells_whether_there_was_something(self) -> None:
        resources = Resources()
        resources.put(CLUSTER, "a", Cluster(name="a"))
        assert not resources.remove(ENDPOINTS, "a")
        assert resources.remove(CLUSTER, "a")
        assert not resources.remove(CLUSTER, "a")
        assert resources.of(CLUSTER) == {}


class TestSubscription:
    def test_nothing_is_sent_to_who_has_not_asked(self) -> None:
        assert Subscription(CLUSTER).difference(change(Resources(), offer(a="1"))) == ([], [])
        assert not Subscription(CLUSTER).is_owed

    def test_who_asks_first_is_owed_an_answer_even_when_there_is_nothing(self) -> None:
        stream = Follower(None).stream
        assert stream.is_owed
        assert stream.difference(Resources()) == ([], [])

    def test_an_acknowledgement_is_owed_nothing(self) -> None:
        stream = Follower(None).stream
        stream.is_owed = False
        stream.request([], [], {})
        assert not stream.is_owed
        assert stream.is_wildcard, "a later request without names is no subscription"

    def test_wildcard_gets_everything_and_names_get_theirs(self) -> None:
        assert Follower(None).fetch(offer(a="1", b="1")) == (["a", "b"], [])
        assert Follower({"b"}).fetch(offer(a="1", b="1")) == (["b"], [])

    def test_a_star_is_a_wildcard_too_and_can_be_given_up(self) -> None:
        stream = Subscription(CLUSTER)
        stream.request(["*", "b"], [], {})
        resources = Resources()
        changed, _ = stream.difference(change(resources, offer(a="1", b="1")))
        assert [resource.name for resource in changed] == ["a", "b"]
        stream.request([], ["*"], {})
        changed, _ = stream.difference(change(resources, offer(a="2", b="2")))
        assert [resource.name for resource in changed] == ["b"]
        stream.request(["*"], [], {})
        changed, _ = stream.difference(resources)
        assert [resource.name for resource in changed] == ["a"]

    def test_what_is_held_is_not_sent_again(self) -> None:
        client = Follower(None)
        client.fetch(offer(a="1", b="1"))
        assert client.fetch(offer(a="1", b="1")) == ([], [])
        assert client.fetch(offer(a="2", b="1")) == (["a"], [])
        assert client.fetch(offer(a="2")) == ([], ["b"])
        assert client.fetch(offer(a="2")) == ([], [])

    def test_a_name_that_is_asked_for_anew_is_sent_again(self) -> None:
        client = Follower({"a"})
        client.fetch(offer(a="1"))
        client.follow("a")
        assert client.fetch(offer(a="1")) == (["a"], [])

    def test_a_name_that_is_not_offered_is_told_to_be_absent_once(self) -> None:
        client = Follower({"a"})
        assert client.fetch({}) == ([], ["a"])
        assert client.fetch({}) == ([], [])
        assert client.fetch(offer(a="1")) == (["a"], [])

    @pytest.mark.parametrize("names", [None, {"a", "b", "c", "d"}], ids=["wildcard", "named"])
    def test_a_resumed_stream_sends_only_differences(self, names: set[str] | None) -> None:
        client = Follower(names)
        client.fetch(offer(a="1", b="1", c="1"))
        client.connect()
        assert client.fetch(offer(a="1", b="2", d="1")) == (["b", "d"], ["c"])

    def test_a_resumed_stream_without_differences_is_silent(self) -> None:
        client = Follower({"a"})
        client.fetch(offer(a="1"))
        client.connect()
        assert client.fetch(offer(a="1")) == ([], [])
        assert client.stream.is_owed

    def test_what_has_not_changed_is_not_looked_at(self) -> None:
        resources = change(Resources(), {f"c{number}": b"1" for number in range(100)})
        assert resources.since(CLUSTER, 0) is not None
        before = resources.changes(CLUSTER)
        resources.put_bytes(CLUSTER, "c7", b"2")
        resources.remove(CLUSTER, "c9")
        assert resources.since(CLUSTER, before) == {"c7", "c9"}
        assert resources.since(CLUSTER, resources.changes(CLUSTER)) == set()

    def test_names_that_come_and_go_are_not_remembered_for_ever(self) -> None:
        client = Follower(None)
        client.fetch({})
        before = client.resources.changes(CLUSTER)
        for number in range(3_000):
            client.fetch({f"c{number}": b"1"})
        assert client.resources.since(CLUSTER, before) is None, "who was away for so long looks at everything"
        assert len(client.resources._changed_at[CLUSTER]) < 1_100
        assert client.stream.held == {"c2999": client.stream.held["c2999"]}

    @given(st.data(), st.booleans())
    def test_who_applies_every_difference_ends_with_exactly_what_is_offered(
        self, data: st.DataObject, is_wildcard: bool
    ) -> None:
        with mock.patch("gateway.xds._REMOVED_MAX", 1):
            self._follow_what_happens(data, is_wildcard)

    def _follow_what_happens(self, data: st.DataObject, is_wildcard: bool) -> None:
        names = st.sampled_from("abcd")
        client = Follower(None if is_wildcard else data.draw(st.sets(names)) | {"e"})
        offered: Offered = {}
        verbs = ["put", "remove", "fetch", "connect"] + ([] if is_wildcard else ["follow", "forget"])
        for verb in data.draw(st.lists(st.sampled_from(verbs), max_size=40)):
            name = data.draw(names)
            if verb == "put":
                offered |= offer(**{name: data.draw(st.sampled_from("123"))})
            elif verb == "remove":
                offered.pop(name, None)
            elif verb == "fetch":
                client.fetch(offered)
                assert client.holds == client.wanted(offered)
            elif verb == "connect":
                before = dict(client.holds)
                client.connect()
                changed, _ = client.fetch(offered)
                assert all(before.get(each) != offered[each] for each in changed), "sent although it was held"
            else:
                getattr(client, verb)(name)
        client.fetch(offered)
        assert client.holds == client.wanted(offered)
        assert client.fetch(offered) == ([], [])


class Envoy:
    """A client on the wire that acknowledges when a test says so."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def ask(self, type_url: str, *names: str, **held: str) -> None:
        await self._call.write(
            DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names, initial_resource_versions=held)
        )

    async def next(self) -> DeltaDiscoveryResponse:
        async with asyncio.timeout(10):
            response: DeltaDiscoveryResponse = await self._call.read()
        return response

    def hang_up(self) -> None:
        self._call.cancel()

    async def answer(self, response: DeltaDiscoveryResponse, refusal: str = "") -> None:
        request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if refusal:
            request.error_detail.message = refusal
        await self._call.write(request)


async def envoy_answers(envoy: Envoy) -> None:
    """Take the next response, and say so."""
    await envoy.answer(await envoy.next())


@asynccontextmanager
async def serving(
    directory: Path, resources: Resources, **callbacks: Callable[..., None]
) -> AsyncIterator[tuple[XdsServer, Callable[[], Envoy]]]:
    """A server on a socket file, and how to connect to it."""
    server = XdsServer(resources, log=Logger("test", write=lambda _line: None), **callbacks)
    address = f"unix:{directory}/xds"
    await server.start(address)
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            stub = AggregatedDiscoveryServiceStub(channel)
            yield server, lambda: Envoy(stub.DeltaAggregatedResources())
    finally:
        await server.stop()


def with_cluster(resources: Resources, name: str, route_name: str = "face") -> None:
    """A cluster, its endpoints, and another version of the routes."""
    resources.put(CLUSTER, name, Cluster(name=name))
    resources.put(ENDPOINTS, name, ClusterLoadAssignment(cluster_name=name))
    resources.put(ROUTES, route_name, RouteConfiguration(name=route_name, internal_only_headers=[name]))


def named(response: DeltaDiscoveryResponse) -> tuple[str, list[str], list[str]]:
    return response.type_url, [each.name for each in response.resources], list(response.removed_resources)


class TestServer:
    @pytest.fixture(autouse=True)
    def _routes_wait_for_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Longer than any test: what comes has been sent for its own reason."""
        monkeypatch.setattr("gateway.xds.ROUTES_WAIT_S", 100.0)

    async def test_an_empty_gateway_answers_and_changes_follow(self, tmp_path: Path) -> None:
        resources = Resources()
        async with serving(tmp_path, resources) as (server, connect):
            envoy = connect()
            await envoy.ask(CLUSTER)
            assert named(await envoy.next()) == (CLUSTER, [], [])
            resources.put(CLUSTER, "a", Cluster(name="a"))
            server.push()
            response = await envoy.next()
            assert named(response) == (CLUSTER, ["a"], [])
            sent = Cluster()
            assert response.resources[0].resource.Unpack(sent)
            assert sent.name == "a"
            resources.remove(CLUSTER, "a")
            server.push()
            assert named(await envoy.next()) == (CLUSTER, [], ["a"])

    async def test_every_envoy_is_told(self, tmp_path: Path) -> None:
        resources = Resources()
        async with serving(tmp_path, resources) as (server, connect):
            envoys = [connect(), connect()]
            for envoy in envoys:
                await envoy.ask(CLUSTER)
                await envoy.next()
            resources.put(CLUSTER, "a", Cluster(name="a"))
            server.push()
            for envoy in envoys:
                assert named(await envoy.next()) == (CLUSTER, ["a"], [])

    async def test_an_envoy_that_comes_back_gets_what_it_lacks(self, tmp_path: Path) -> None:
        resources = Resources()
        for name in "ab":
            with_cluster(resources, name)
        versions = {name: version for name, (version, _) in resources.of(CLUSTER).items()}
        async with serving(tmp_path, resources) as (_, connect):
            envoy = connect()
            await envoy.ask(CLUSTER, "*", a=versions["a"], b="older", gone="1")
            assert named(await envoy.next()) == (CLUSTER, ["b"], ["gone"])

    async def test_types_that_are_never_offered_are_passed_over(self, tmp_path: Path) -> None:
        async with serving(tmp_path, Resources()) as (_, connect):
            envoy = connect()
            await envoy.ask("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "x")
            await envoy.ask(CLUSTER)
            assert (await envoy.next()).type_url == CLUSTER

    @pytest.mark.parametrize("refusal", ["", "no such filter"])
    async def test_routes_wait_until_the_clusters_they_may_name_are_answered(
        self, tmp_path: Path, refusal: str
    ) -> None:
        resources = Resources()
        with_cluster(resources, "a")
        async with serving(tmp_path, resources) as (server, connect):
            envoy = connect()
            for type_url, names in ((CLUSTER, ()), (ENDPOINTS, ("a", "b")), (ROUTES, ("face",))):
                await envoy.ask(type_url, *names)
                response = await envoy.next()
                assert response.type_url == type_url
                await envoy.answer(response)
            with_cluster(resources, "b")
            server.push()
            clusters = await envoy.next()
            assert named(clusters) == (CLUSTER, ["b"], [])
            assert named(await envoy.next()) == (ENDPOINTS, ["b"], [])
            # Another change meanwhile shows that the stream is alive, and that it was not the routes' turn.
            resources.put(
                ENDPOINTS, "a", ClusterLoadAssignment(cluster_name="a", policy={"weighted_priority_health": True})
            )
            server.push()
            assert named(await envoy.next()) == (ENDPOINTS, ["a"], [])
            await envoy.answer(clusters, refusal)
            assert named(await envoy.next()) == (ROUTES, ["face"], [])

    async def test_routes_do_not_wait_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.xds.ROUTES_WAIT_S", 0.01)
        resources = Resources()
        with_cluster(resources, "a")
        async with serving(tmp_path, resources) as (_, connect):
            envoy = connect()
            await envoy.ask(CLUSTER)
            await envoy.next()
            await envoy.ask(ROUTES, "face")
            assert named(await envoy.next()) == (ROUTES, ["face"], [])

    async def test_a_cluster_that_changed_gets_its_endpoints_again(self, tmp_path: Path) -> None:
        resources = Resources()
        for name in "ab":
            with_cluster(resources, name)
        async with serving(tmp_path, resources) as (server, connect):
            envoy = connect()
            await envoy.ask(CLUSTER)
            await envoy.answer(await envoy.next())
            await envoy.ask(ENDPOINTS, "a", "b")
            assert named(await envoy.next()) == (ENDPOINTS, ["a", "b"], [])
            resources.put(CLUSTER, "a", Cluster(name="a", alt_stat_name="x"))
            server.push()
            assert named(await envoy.next()) == (CLUSTER, ["a"], [])
            assert named(await envoy.next()) == (ENDPOINTS, ["a"], [])

    async def test_a_refusal_is_reported_and_the_stream_goes_on(self, tmp_path: Path) -> None:
        resources = Resources()
        refused: list[tuple[str, ...]] = []
        with_cluster(resources, "a")
        async with serving(tmp_path, resources, on_nack=lambda *what: refused.append(what)) as (server, connect):
            envoy = connect()
            await envoy.ask(CLUSTER)
            await envoy.answer(await envoy.next(), "bad cluster")
            with_cluster(resources, "b")
            server.push()
            await envoy.answer(await envoy.next())
            with_cluster(resources, "c")
            server.push()
            await envoy.next()
            assert refused == [(CLUSTER, "bad cluster")]

    async def test_what_was_refused_is_sent_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.xds._RESEND_FIRST_S", 0.01)
        resources = Resources()
        with_cluster(resources, "a")
        async with serving(tmp_path, resources) as (server, connect):
            envoy = connect()
            await envoy.ask(ROUTES, "face")
            first = await envoy.next()
            await envoy.answer(first, "unknown weighted cluster")
            again = await envoy.next()
            assert named(again) == named(first) == (ROUTES, ["face"], [])
            await envoy.answer(again)
            # Nothing more of it comes: what comes next is something else.
            with_cluster(resources, "b")
            server.push()
            assert (await envoy.next()).resources[0].version not in (first.resources[0].version, "")

    async def test_routes_that_change_while_envoy_takes_them_in_are_one_response(self, tmp_path: Path) -> None:
        resources = Resources()
        with_cluster(resources, "a")
        async with serving(tmp_path, resources) as (server, connect):
            envoy = connect()
            await envoy.ask(CLUSTER)
            clusters = await envoy.next()
            await envoy.answer(clusters)
            await envoy.ask(ROUTES, "face")
            routes = await envoy.next()
            for name in ("x", "y", "z"):
                resources.put(ROUTES, "face", RouteConfiguration(name="face", internal_only_headers=[name]))
                server.push()
                # The stream has had its turn when it has sent this.
                resources.put(CLUSTER, name, Cluster(name=name))
                server.push()
                response = await envoy.next()
                assert response.type_url == CLUSTER
                await envoy.answer(response)
            assert server.routes_answered < resources.changes(ROUTES)
            await envoy.answer(routes)
            last = await envoy.next()
            assert RouteConfiguration.FromString(last.resources[0].resource.value).internal_only_headers == ["z"]
            await envoy.answer(last)
            await eventually(lambda: server.routes_answered == resources.changes(ROUTES))

    async def test_19_an_envoy_that_goes_is_waited_for_no_longer(self, tmp_path: Path) -> None:
        resources = Resources()
        with_cluster(resources, "a")
        answers: list[int] = []
        async with serving(tmp_path, resources, on_answer=lambda: answers.append(server.routes_answered)) as (
            server,
            connect,
        ):
            quick, slow = connect(), connect()
            for envoy in (quick, slow):
                await envoy.ask(ROUTES, "face")
            await envoy_answers(quick)
            await slow.next()
            await eventually(lambda: answers)
            assert answers[-1] < resources.changes(ROUTES), "one of them may still have the former routes"
            slow.hang_up()
            await eventually(lambda: answers[-1] == resources.changes(ROUTES))

    async def test_what_is_composed_late_is_composed_when_it_is_sent(self, tmp_path: Path) -> None:
        resources = Resources()
        composed: list[int] = []

        def compose() -> None:
            composed.append(resources.changes(ROUTES))
            resources.put(ROUTES, "face", RouteConfiguration(name="face"))

        resources.compose(ROUTES, compose)
        answers: list[int] = []
        async with serving(tmp_path, resources, on_answer=lambda: answers.append(1)) as (server, connect):
            assert server.routes_answered == -1
            for _ in range(3):
                resources.touch(ROUTES)
            assert not composed
            envoy = connect()
            await envoy.ask(ROUTES, "face")
            await envoy.answer(await envoy.next())
            await eventually(lambda: server.routes_answered == resources.changes(ROUTES))
            # A change that composes to the same is nothing to send, and still answered for.
            resources.touch(ROUTES)
            server.push()
            await eventually(lambda: server.routes_answered == resources.changes(ROUTES))
            assert answers

    async def test_an_address_that_is_taken_is_an_error(self, tmp_path: Path) -> None:
        server = XdsServer(Resources(), log=Logger("test", write=lambda _line: None))
        with pytest.raises(OSError, match="xds"):
            await server.start(f"unix:{tmp_path}/missing/xds")
