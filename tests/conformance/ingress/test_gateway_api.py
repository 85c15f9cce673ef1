"""Ingresses by the Gateway API (statements 49 to 53), with a gateway that is played, as the API and HTTP show it."""

import asyncio
import dataclasses
import functools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from controller.config import Config
from controller.gateway_api.app import CLASS, GatewayApi
from controller.gateway_api.settings import GatewayApiSettings
from kube.autoscaling.config import InvalidConfig
from kube.client import Client
from kube.errors import NotFound
from kube.ingress.spec import defaulted
from kube.ingress.version_hash import version_hash
from kube.models import serving
from kube.models.core import ConfigMap, EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Namespace
from kube.models.gateway_api import Gateway, GatewayAddress, GatewayStatus, HTTPRoute, ReferenceGrant
from kube.models.meta import ObjectMeta
from kube.models.networking import Ingress, IngressTLS
from proxies.logs import Logger
from tests.controller.add_on_rights import IDENTITY, TOKEN, allowed, note_requests
from tests.controller.cluster import control_plane, service
from tests.controller.custom_kinds import define
from tests.controller.played_gateway import PlayedGateway, stamped
from tests.gateway.objects import NAMESPACE, ingress, path, rule, split
from tests.support.api import running_api_server
from tests.support.processes import eventually

SYSTEM = "knative-serving"
ISTIO = "istio-system"
EXTERNAL, LOCAL = "knative-gateway", "knative-local-gateway"
PROBES = "/.well-known/knative/revision/"
LOOP = pytest.mark.asyncio(loop_scope="module")
soon = functools.partial(eventually, timeout_s=40.0)
"""A machine that is busy is no failure."""


class World:
    """The implementation, a gateway that is played, and clients."""

    def __init__(self, client: Client, gateway: PlayedGateway, session: aiohttp.ClientSession) -> None:
        self.client = client
        self.gateway = gateway
        self.session = session
        self.lines: list[bytes] = []

    async def apply(self, wanted: Ingress) -> str:
        """Create it or change its spec; its hash."""
        try:
            await self.client.get(Ingress, wanted.name, NAMESPACE)
        except NotFound:
            await self.client.create(wanted)
        else:
            spec = json.loads(msgspec.json.encode(wanted.spec))
            await self.client.patch(Ingress, wanted.name, NAMESPACE, {"spec": spec})
        return version_hash(defaulted(wanted.spec), NAMESPACE, wanted.name)

    async def until(self, name: str, holds: Callable[[Ingress], object]) -> Ingress:
        last: list[Ingress] = []

        async def check() -> bool:
            last[:] = [await self.client.get(Ingress, name, NAMESPACE)]
            return last[0].status.observed_generation == last[0].metadata.generation and bool(holds(last[0]))

        try:
            await soon(check)
        except AssertionError as error:
            raise AssertionError(f"{error}; {last}; {self.lines[-5:]}") from None
        return last[0]

    async def until_ready(self, name: str) -> Ingress:
        return await self.until(name, lambda i: condition(i) == ("True", ""))

    async def route(self, name: str) -> HTTPRoute:
        return await self.client.get(HTTPRoute, name, NAMESPACE)

    async def get(self, host: str, path: str = "/") -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.gateway.port}{path}"
        async with self.session.get(url, headers={"Host": host}) as response:
            return response.status, await response.text()


def condition(of: Ingress, type_: str = "Ready") -> tuple[str, str]:
    return next(((c.status, c.reason) for c in of.status.conditions if c.type == type_), ("", ""))


def ours(name: str, *rules: Any, **more: Any) -> Ingress:
    """An Ingress of the class."""
    return ingress(name, *rules, class_=CLASS, **more)


def secured(name: str, host: str) -> Ingress:
    """The same with a certificate."""
    found = ours(name, rule(host))
    found.spec.tls = [IngressTLS(hosts=[host], secret_name="secret", secret_namespace=NAMESPACE)]
    return found


def endpoints(name: str, *addresses: str, port: int) -> Endpoints:
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip=address) for address in addresses],
        ports=[EndpointPort(name="status-port", port=1), EndpointPort(name="http2", port=port)],
    )
    return Endpoints(metadata=ObjectMeta(name=name, namespace=ISTIO), subsets=[subset] if addresses else [])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    """One for the module."""
    async with (
        running_api_server(tokens={TOKEN: IDENTITY}) as api,
        Client(api.config) as client,
        aiohttp.ClientSession() as session,
    ):
        asked = note_requests(api.server)
        for name in (NAMESPACE, SYSTEM, ISTIO):
            await client.create(Namespace(metadata=ObjectMeta(name=name)))
        await define(client, HTTPRoute, Gateway, ReferenceGrant)
        gateway = PlayedGateway(client)
        running = World(client, gateway, session)
        config = Config(api=dataclasses.replace(api.config, token=TOKEN), system_namespace=SYSTEM)
        implementation = GatewayApi(config, Logger("gateway-api", write=running.lines.append))
        try:
            await gateway.start()
            for name in (EXTERNAL, LOCAL):
                http = {"name": "http", "port": 80, "protocol": "HTTP"}
                meta = ObjectMeta(name=name, namespace=ISTIO)
                await client.create(Gateway(metadata=meta, spec={"gatewayClassName": "istio", "listeners": [http]}))
            for name in ("istio-ingressgateway", LOCAL):
                await client.create(endpoints(name, "127.0.0.1", port=gateway.port))
            await implementation.start()
            yield running
        finally:
            await implementation.stop()
            await gateway.stop()
        assert not [line for line in running.lines if b"reconcile_failed" in line], running.lines
        assert asked - allowed("gateway.md", "knuv-gateway-api") == set()


@LOOP
async def test_49_each_rule_is_a_route_by_its_last_host_at_the_gateway_of_its_visibility(world: World) -> None:
    tagged = ours(
        "web",
        rule("web.shop", "web.shop.svc", "web.shop.svc.cluster.local", visibility="ClusterLocal"),
        rule("web.com"),
        rule("v2-web.com", to=[path(split("web-2", port=81), prefix="/a", match={"X": "y"}), path(split("web-2"))]),
    )
    tagged.metadata.annotations["networking.internal.knative.dev/tag-to-host"] = '{"v2": ["v2-web.com"]}'
    tagged.metadata.labels = {"team": "x"}
    hash_ = await world.apply(tagged)
    made = await world.until_ready("web")
    routes = {route.name: route for route in (await world.client.list(HTTPRoute, NAMESPACE)).items}
    assert routes.keys() == {"web.shop.svc.cluster.local", "web.com", "v2-web.com"}
    of_labels = {
        name: (
            route.spec["parentRefs"][0]["name"],
            route.metadata.labels["networking.knative.dev/visibility"],
            route.metadata.labels.get("networking.knative.dev/tag"),
        )
        for name, route in routes.items()
    }
    assert of_labels == {
        "web.shop.svc.cluster.local": (LOCAL, "cluster-local", None),
        "web.com": (EXTERNAL, "", None),
        "v2-web.com": (EXTERNAL, "", "v2"),
    }
    local = routes["web.shop.svc.cluster.local"]
    assert local.spec["hostnames"] == ["web.shop", "web.shop.svc", "web.shop.svc.cluster.local"]
    assert local.metadata.labels.items() >= {"team": "x", "networking.internal.knative.dev/ingress": "web"}.items()
    assert all(route.is_controlled_by(made) for route in routes.values())
    probe, _, plain, _ = routes["v2-web.com"].spec["rules"]
    assert plain == {
        "matches": [
            {"path": {"type": "PathPrefix", "value": "/a"}, "headers": [{"type": "Exact", "name": "X", "value": "y"}]}
        ],
        "backendRefs": [
            {"group": "", "kind": "Service", "namespace": NAMESPACE, "name": "web-2", "port": 81, "weight": 100}
        ],
        "timeouts": {"request": "0s"},
    }
    assert {"type": "Exact", "name": "K-Network-Hash", "value": "override"} in probe["matches"][0]["headers"]
    assert stamped(probe) == hash_
    host = "istio-ingressgateway.istio-system.svc.cluster.local"
    assert made.status.public_load_balancer is not None
    assert made.status.public_load_balancer.ingress[0].domain_internal == host


@LOOP
async def test_50_a_new_backend_is_probed_before_it_has_traffic(world: World) -> None:
    first = await world.apply(ours("moves", rule("moves.com", to="old")))
    await world.until_ready("moves")
    world.gateway.absent.add("new")
    second = await world.apply(ours("moves", rule("moves.com", to="new")))
    await soon(lambda: len(world.gateway.history["moves.com"]) > 1)
    held = await world.until("moves", lambda i: condition(i) == ("Unknown", "Uninitialized"))
    assert held.status.observed_generation == 2
    assert await world.get("moves.com") == (200, "old")
    answers = set()
    is_over = asyncio.Event()

    async def ask() -> None:
        while not is_over.is_set():
            answers.add(await world.get("moves.com"))

    asking = asyncio.get_running_loop().create_task(ask())
    world.gateway.absent.discard("new")
    await world.client.create(Endpoints(metadata=ObjectMeta(name="new", namespace=NAMESPACE)))  # ends a long pause
    await world.until_ready("moves")
    is_over.set()
    await asking
    assert answers <= {(200, "old"), (200, "new")}
    assert await world.get("moves.com") == (200, "new")
    steps = [
        (
            stamped(rules[0]),
            sorted({backend(each) for each in rules if not is_probe(each)}),
            sorted({backend(each) for each in rules if is_probe(each)}),
        )
        for rules in world.gateway.history["moves.com"]
    ]
    assert steps == [
        (first, ["old"], []),
        (f"ep-{second}", ["old"], ["new", "old"]),
        (f"tr-{second}", ["new"], ["new", "old"]),
        (second, ["new"], []),
    ]


@LOOP
async def test_50_who_has_the_backends_already_is_changed_at_once(world: World) -> None:
    await world.apply(ours("shares", rule("shares.com", to=[path(split("a", 90), split("b", 10))])))
    await world.until_ready("shares")
    last = await world.apply(ours("shares", rule("shares.com", to=[path(split("a", 10), split("b", 90))])))
    await world.until("shares", lambda i: condition(i)[0] == "True" and i.metadata.generation == 2)
    assert [stamped(rules[0]) for rules in world.gateway.history["shares.com"]][1:] == [last]


@LOOP
async def test_50_a_change_of_mind_on_the_way_goes_on_from_there(world: World) -> None:
    await world.apply(ours("minds", rule("minds.com", to="one")))
    await world.until_ready("minds")
    world.gateway.absent.add("never")
    abandoned = await world.apply(ours("minds", rule("minds.com", to="never")))
    await soon(lambda: stamped(world.gateway.history["minds.com"][-1][0]) == f"ep-{abandoned}")
    last = await world.apply(ours("minds", rule("minds.com", to="two")))
    await world.until("minds", lambda i: condition(i)[0] == "True" and i.metadata.generation == 3)
    versions = [stamped(rules[0]) for rules in world.gateway.history["minds.com"]]
    assert versions[2:] == [f"ep-{last}", f"tr-{last}", last]
    assert await world.get("minds.com") == (200, "two")
    assert all(
        backend(each) != "never" or is_probe(each) for rules in world.gateway.history["minds.com"] for each in rules
    )


@LOOP
async def test_51_the_route_of_a_rule_that_is_gone_goes(world: World) -> None:
    await world.apply(ours("shrinks", rule("stays.com"), rule("goes.com")))
    await world.until_ready("shrinks")
    await world.apply(ours("shrinks", rule("stays.com")))
    await soon(lambda: is_gone(world, "goes.com"))
    await world.until_ready("shrinks")
    assert (await world.route("stays.com")).spec["hostnames"] == ["stays.com"]


@LOOP
async def test_a_route_that_is_not_accepted_is_waited_for(world: World) -> None:
    world.gateway.rejected.add("rejected.com")
    await world.apply(ours("rejected", rule("rejected.com")))
    found = await world.until("rejected", lambda i: "Played" in message(i))
    assert condition(found) == ("Unknown", "HTTPRouteNotReady")
    assert message(found) == "HTTPRoute rejected.com: Played: as the test says"
    world.gateway.rejected.clear()
    world.gateway.look_again()
    await world.until_ready("rejected")


@LOOP
async def test_a_label_reaches_the_route_and_is_no_reason_to_doubt_it(world: World) -> None:
    await world.apply(ours("labelled", rule("labelled.com")))
    await world.until_ready("labelled")
    world.gateway.frozen["labelled.com"] = []  # a probe would not be answered
    for value in ("x", "y"):  # what the first one does to the status is done when the second one arrives
        await world.client.patch(Ingress, "labelled", NAMESPACE, {"metadata": {"labels": {"team": value}}})
        await soon(lambda value=value: has_label(world, "labelled.com", value))  # type: ignore[misc]
    assert condition(await world.client.get(Ingress, "labelled", NAMESPACE)) == ("True", "")


@LOOP
async def test_what_the_ingress_has_no_more_goes_from_the_route_and_what_others_added_stays(world: World) -> None:
    made = ours("sheds", rule("sheds.com"))
    made.metadata.labels = {"team": "x", "stays": "y"}
    made.metadata.annotations["note"] = "n"
    tags = "networking.internal.knative.dev/tag-to-host"
    made.metadata.annotations[tags] = '{"v1": ["sheds.com"]}'
    await world.apply(made)
    await world.until_ready("sheds")
    others = {"labels": {"theirs": "z"}, "annotations": {"theirs": "z"}}
    await world.client.patch(HTTPRoute, "sheds.com", NAMESPACE, {"metadata": others})
    gone = {"labels": {"team": None}, "annotations": {"note": None, tags: None}}
    await world.client.patch(Ingress, "sheds", NAMESPACE, {"metadata": gone})

    async def is_shed() -> bool:
        found = (await world.route("sheds.com")).metadata
        return not {"team", "networking.knative.dev/tag"} & found.labels.keys() and "note" not in found.annotations

    await soon(is_shed)
    found = (await world.route("sheds.com")).metadata
    assert found.labels.items() >= {"stays": "y", "theirs": "z"}.items()
    assert found.annotations["theirs"] == "z"
    await world.until_ready("sheds")


async def has_label(world: World, name: str, value: str) -> bool:
    return (await world.route(name)).metadata.labels.get("team") == value


@LOOP
async def test_52_a_gateway_that_turns_out_to_know_no_timeouts_is_asked_for_none(world: World) -> None:
    await world.apply(ours("timed", rule("timed.com")))
    await world.until_ready("timed")

    async def has_timeouts(expected: bool) -> bool:
        return all(("timeouts" in each) == expected for each in (await world.route("timed.com")).spec["rules"])

    assert await has_timeouts(True)
    entry = {"class": "istio", "gateway": f"{ISTIO}/{EXTERNAL}", "service": f"{ISTIO}/istio-ingressgateway"}
    meta = ObjectMeta(name="config-gateway", namespace=SYSTEM)
    await world.client.create(ConfigMap(metadata=meta, data={"external-gateways": json.dumps([entry])}))
    try:
        await soon(lambda: has_timeouts(False))
        await world.until_ready("timed")
    finally:
        await world.client.delete(ConfigMap, "config-gateway", SYSTEM)
    await soon(lambda: has_timeouts(True))


@LOOP
async def test_it_is_not_ready_before_the_gateway_serves_the_version(world: World) -> None:
    await world.apply(ours("late", rule("late.com", to=[path(split("a", 90), split("b", 10))])))
    await world.until_ready("late")
    # A gateway that has accepted what it does not serve yet.
    world.gateway.frozen["late.com"] = (await world.route("late.com")).spec["rules"]
    hash_ = await world.apply(ours("late", rule("late.com", to=[path(split("a", 10), split("b", 90))])))
    await soon(lambda: stamped(world.gateway.history["late.com"][-1][0]) == hash_)
    await world.until("late", lambda i: condition(i) == ("Unknown", "Uninitialized"))
    del world.gateway.frozen["late.com"]
    await world.until_ready("late")


@LOOP
async def test_a_pod_of_the_gateway_that_goes_is_waited_for_no_longer(world: World) -> None:
    name = "istio-ingressgateway"
    subsets = json.loads(
        msgspec.json.encode(endpoints(name, "127.0.0.1", "127.0.0.9", port=world.gateway.port).subsets)
    )
    await world.client.patch(Endpoints, name, ISTIO, {"subsets": subsets})
    await world.apply(ours("pods", rule("pods.com")))
    await world.until("pods", lambda i: condition(i) == ("Unknown", "Uninitialized"))
    subsets[0]["addresses"].pop()
    await world.client.patch(Endpoints, name, ISTIO, {"subsets": subsets})
    await world.until_ready("pods")


@LOOP
async def test_certificates_are_listeners_that_go_with_the_ingress(world: World) -> None:
    secured = ours("tls", rule("a.tls.com"), rule("b.tls.com"))
    secured.spec.tls = [
        IngressTLS(hosts=[host], secret_name=f"secret-{host[0]}", secret_namespace=NAMESPACE)
        for host in ("a.tls.com", "b.tls.com")
    ]
    await world.apply(secured)
    made = await world.until_ready("tls")
    own = f"kni-{made.metadata.uid}"
    gateway = await world.client.get(Gateway, EXTERNAL, ISTIO)
    assert [(each["name"], each.get("hostname"), each["port"]) for each in gateway.spec["listeners"]] == [
        ("http", None, 80),
        (own, "a.tls.com", 443),
        (f"{own}-1", "b.tls.com", 443),
    ]
    assert gateway.spec["listeners"][1]["tls"]["certificateRefs"][0]["name"] == "secret-a"
    grant = await world.client.get(ReferenceGrant, own, NAMESPACE)
    assert grant.spec["from"] == [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": ISTIO}]
    assert [each["name"] for each in grant.spec["to"]] == ["secret-a", "secret-b"]
    await world.client.delete(Ingress, "tls", NAMESPACE)

    async def is_clean() -> bool:
        gateway = await world.client.get(Gateway, EXTERNAL, ISTIO)
        grants = (await world.client.list(ReferenceGrant)).items
        ingresses = [found.name for found in (await world.client.list(Ingress, NAMESPACE)).items]
        return len(gateway.spec["listeners"]) == 1 and not grants and "tls" not in ingresses

    await soon(is_clean)


@LOOP
async def test_a_grant_that_somebody_deletes_is_made_anew(world: World) -> None:
    await world.apply(secured("granted", "granted.com"))
    made = await world.until_ready("granted")
    name = f"kni-{made.metadata.uid}"
    first = await world.client.get(ReferenceGrant, name, NAMESPACE)
    await world.client.delete(ReferenceGrant, name, NAMESPACE)

    async def is_back() -> bool:
        found = [each for each in (await world.client.list(ReferenceGrant, NAMESPACE)).items if each.name == name]
        return bool(found) and found[0].metadata.uid != first.metadata.uid

    await soon(is_back)
    await world.client.delete(Ingress, "granted", NAMESPACE)

    async def is_gone() -> bool:
        found = (await world.client.get(Gateway, EXTERNAL, ISTIO)).spec["listeners"]
        return name not in [each["name"] for each in found]

    await soon(is_gone)


@LOOP
async def test_a_gateway_that_is_exchanged_keeps_no_listener_of_ours(world: World) -> None:
    await world.apply(secured("exchanged", "exchanged.com"))
    made = await world.until_ready("exchanged")
    own = f"kni-{made.metadata.uid}"
    theirs = {"name": "kni-of-somebody-else", "port": 444, "protocol": "HTTPS"}
    first = await world.client.get(Gateway, EXTERNAL, ISTIO)
    listeners = {"listeners": [*first.spec["listeners"], theirs]}
    await world.client.patch(Gateway, EXTERNAL, ISTIO, {"spec": listeners})
    meta = ObjectMeta(name="other", namespace=NAMESPACE)
    await world.client.create(Gateway(metadata=meta, spec={"listeners": [{"name": "http", "port": 80}]}))

    async def names(gateway: str, namespace: str) -> list[str]:
        found = await world.client.get(Gateway, gateway, namespace)
        return [each["name"] for each in found.spec["listeners"]]

    entry = {"class": "istio", "gateway": f"{NAMESPACE}/other", "service": f"{ISTIO}/istio-ingressgateway"}
    config = ConfigMap(metadata=ObjectMeta(name="config-gateway", namespace=SYSTEM))
    config.data = {"external-gateways": json.dumps([entry])}
    await world.client.create(config)
    try:

        async def is_moved() -> bool:
            return own in await names("other", NAMESPACE) and own not in await names(EXTERNAL, ISTIO)

        await soon(is_moved)
        assert await names(EXTERNAL, ISTIO) == ["http", theirs["name"]]
        await world.until_ready("exchanged")
        # Whoever goes is taken away where it is.
        await world.client.delete(Ingress, "exchanged", NAMESPACE)

        async def is_clean() -> bool:
            return await names("other", NAMESPACE) == ["http"]

        await soon(is_clean)
    finally:
        await world.client.delete(ConfigMap, "config-gateway", SYSTEM)
        await world.client.patch(Gateway, EXTERNAL, ISTIO, {"spec": {"listeners": [first.spec["listeners"][0]]}})
    # All others are back before the next test.
    await world.apply(ours("back", rule("back.com")))
    await world.until_ready("back")


@LOOP
async def test_no_gateway_is_left_without_a_listener_which_the_api_would_refuse(world: World) -> None:
    await world.apply(secured("last", "last.com"))
    made = await world.until_ready("last")
    only = {"name": f"kni-{made.metadata.uid}", "port": 443, "protocol": "HTTPS"}
    meta = ObjectMeta(name="emptied", namespace=NAMESPACE)
    await world.client.create(Gateway(metadata=meta, spec={"listeners": [only]}))
    await world.client.delete(Ingress, "last", NAMESPACE)

    async def is_deleted() -> bool:
        return "last" not in [found.name for found in (await world.client.list(Ingress, NAMESPACE)).items]

    await soon(is_deleted)
    assert (await world.client.get(Gateway, "emptied", NAMESPACE)).spec["listeners"] == [only]
    assert only["name"] not in [
        each["name"] for each in (await world.client.get(Gateway, EXTERNAL, ISTIO)).spec["listeners"]
    ]
    await world.client.delete(Gateway, "emptied", NAMESPACE)


@LOOP
async def test_48_another_class_is_left_alone(world: World) -> None:
    await world.client.create(ingress("other", rule("other.com")))
    await world.apply(ours("after-other", rule("after-other.com")))
    await world.until_ready("after-other")
    found = await world.client.get(Ingress, "other", NAMESPACE)
    assert (found.metadata.finalizers, found.status.conditions) == ([], [])
    assert await is_gone(world, "other.com")


@LOOP
async def test_who_goes_to_another_class_is_let_go(world: World) -> None:
    moved = ours("moved", rule("moved.com"))
    moved.spec.tls = [IngressTLS(hosts=["moved.com"], secret_name="secret", secret_namespace=NAMESPACE)]
    await world.apply(moved)
    await world.until_ready("moved")
    other = {key: "somebody.else" for key, value in moved.metadata.annotations.items() if value == CLASS}
    await world.client.patch(Ingress, "moved", NAMESPACE, {"metadata": {"annotations": other}})

    async def is_free() -> bool:
        found = await world.client.get(Ingress, "moved", NAMESPACE)
        listeners = (await world.client.get(Gateway, EXTERNAL, ISTIO)).spec["listeners"]
        is_listed = any(found.metadata.uid in each["name"] for each in listeners)
        return not found.metadata.finalizers and not is_listed and await is_gone(world, "moved.com")

    await soon(is_free)
    assert condition(await world.client.get(Ingress, "moved", NAMESPACE)) == ("True", ""), "its status is another's"
    await world.client.delete(Ingress, "moved", NAMESPACE)


@LOOP
async def test_who_goes_to_another_class_before_there_is_a_route_is_let_go(world: World) -> None:
    made = ours("early", rule("early.com", to=[path(split("web", port="http"))]))
    await world.apply(made)
    found = await world.until("early", lambda i: condition(i) == ("Unknown", "ReconcileIngressFailed"))
    assert found.metadata.finalizers
    other = {key: "somebody.else" for key, value in made.metadata.annotations.items() if value == CLASS}
    await world.client.patch(Ingress, "early", NAMESPACE, {"metadata": {"annotations": other}})

    async def is_free() -> bool:
        return not (await world.client.get(Ingress, "early", NAMESPACE)).metadata.finalizers

    await soon(is_free)
    # What the other class writes from then on is its own.
    theirs = {"metadata": {"finalizers": found.metadata.finalizers, "labels": {"by": "another"}}}
    await world.client.patch(Ingress, "early", NAMESPACE, theirs)
    await world.apply(ours("after-early", rule("after-early.com")))
    await world.until_ready("after-early")
    assert (await world.client.get(Ingress, "early", NAMESPACE)).metadata.finalizers == found.metadata.finalizers
    await world.client.patch(Ingress, "early", NAMESPACE, {"metadata": {"finalizers": []}})
    await world.client.delete(Ingress, "early", NAMESPACE)


@LOOP
async def test_what_no_route_can_say_is_told(world: World) -> None:
    await world.apply(ours("named", rule("named.com", to=[path(split("web", port="http"))])))
    found = await world.until("named", lambda i: condition(i) == ("Unknown", "ReconcileIngressFailed"))
    assert message(found) == "servicePort: expected a number for an HTTPRoute, got 'http'"
    foreign = HTTPRoute(metadata=ObjectMeta(name="foreign.com", namespace=NAMESPACE))
    foreign.spec = {"hostnames": [], "rules": [], "parentRefs": [{"name": "x"}]}
    await world.client.create(foreign)
    await world.apply(ours("foreign", rule("foreign.com")))
    await world.until("foreign", lambda i: condition(i) == ("False", "NotOwned"))
    assert (await world.route("foreign.com")).spec == foreign.spec


@LOOP
async def test_53_a_gateway_that_is_missing_is_told_and_waited_for(world: World) -> None:
    data = {"local-gateways": f"- class: istio\n  gateway: {ISTIO}/missing"}
    await world.client.create(ConfigMap(metadata=ObjectMeta(name="config-gateway", namespace=SYSTEM), data=data))
    try:
        await soon(lambda: any(b"settings_changed" in line for line in world.lines))
        await world.apply(ours("missing", rule("missing.com"), rule("missing.shop", visibility="ClusterLocal")))
        failed = ("False", "GatewayDoesNotExist")
        found = await world.until("missing", lambda i: condition(i, "LoadBalancerReady") == failed)
        assert message(found) == f"Gateway {ISTIO}/missing does not exist"
        meta = ObjectMeta(name="missing", namespace=ISTIO)
        made = await world.client.create(Gateway(metadata=meta, spec={"listeners": []}))
        world.gateway.look_again()
        await world.until("missing", lambda i: condition(i) == ("Unknown", "Uninitialized"))
        # Without local rules it waits for nothing but to be able to say where that Gateway is.
        await world.apply(ours("missing", rule("missing.com")))
        await world.until("missing", lambda i: "no address yet" in message(i))
        address = GatewayAddress(type="IPAddress", value="10.0.0.7")
        await world.client.patch_status(made, GatewayStatus(addresses=[address]))
        found = await world.until_ready("missing")
        assert found.status.private_load_balancer is not None
        assert found.status.private_load_balancer.ingress[0].ip == "10.0.0.7"
    finally:
        await world.client.delete(ConfigMap, "config-gateway", SYSTEM)


async def test_a_service_with_a_tag_is_served_by_routes_alone() -> None:
    async with control_plane(network={"ingress-class": CLASS}) as kn:
        kn.peers.lets_ingresses_ready = False
        await define(kn.client, HTTPRoute, Gateway, ReferenceGrant)
        gateway = PlayedGateway(kn.client)
        implementation = GatewayApi(
            Config(api=kn.client.config, system_namespace=SYSTEM), Logger("x", write=lambda _line: None)
        )
        try:
            await gateway.start()
            await kn.client.create(Namespace(metadata=ObjectMeta(name=ISTIO)))
            for name in (EXTERNAL, LOCAL):
                await kn.client.create(Gateway(metadata=ObjectMeta(name=name, namespace=ISTIO), spec={"listeners": []}))
            for name in ("istio-ingressgateway", LOCAL):
                await kn.client.create(endpoints(name, "127.0.0.1", port=gateway.port))
            await implementation.start()
            body = service("web")
            body["spec"]["traffic"] = [{"latestRevision": True, "percent": 100, "tag": "v1"}]
            await kn.create(serving.Service, body)
            ready = await kn.until_ready("web")
            assert ready.status.url == "http://web.default.example.com"
            found = {route.name: route.spec["rules"][-1] for route in (await kn.client.list(HTTPRoute)).items}
            assert found.keys() == {
                "web.default.example.com",
                "web.default.svc.cluster.local",
                "v1-web.default.example.com",
                "v1-web.default.svc.cluster.local",
            }
            assert {backend(each) for each in found.values()} == {"web-00001"}
        finally:
            await implementation.stop()
            await gateway.stop()


def test_52_everything_that_is_wrong_with_gateways_is_told_together() -> None:
    two = "[{class: a, gateway: n/a}, {class: b, gateway: n/b}]"
    with pytest.raises(InvalidConfig) as caught:
        GatewayApiSettings.from_data({"external-gateways": two, "local-gateways": "[{gateway: n, service: 1}]"})
    text = str(caught.value)
    assert "external-gateways: expected a list with exactly one Gateway" in text
    assert "local-gateways: class: expected a text, got None" in text
    assert "local-gateways: gateway: expected namespace/name, got 'n'" in text
    assert "local-gateways: service: expected namespace/name, got 1" in text


@pytest.mark.parametrize("text", ["", "[]", "{class: a, gateway: n/a}", "[a]", "[", "[{class: a}]"])
def test_52_what_names_no_gateway_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfig, match="config-gateway: external-gateways: "):
        GatewayApiSettings.from_data({"external-gateways": text})


def test_52_the_default_gateways_are_the_originals() -> None:
    settings = GatewayApiSettings.from_data({"external-gateways": "[{class: x, gateway: a/b, supported-features: []}]"})
    assert (settings.external.gateway, settings.external.service, settings.external.features) == (
        ("a", "b"),
        None,
        frozenset(),
    )
    assert settings.local == GatewayApiSettings().local
    assert GatewayApiSettings().external.service == (ISTIO, "istio-ingressgateway")


def message(of: Ingress) -> str:
    """What Ready says."""
    return next((c.message for c in of.status.conditions if c.type == "Ready"), "")


def is_probe(rule_: dict[str, Any]) -> bool:
    return str(rule_["matches"][0]["path"]["value"]).startswith(PROBES)


def backend(rule_: dict[str, Any]) -> str:
    return str(rule_["backendRefs"][0]["name"])


async def is_gone(world: World, name: str) -> bool:
    try:
        await world.route(name)
    except NotFound:
        return True
    return False
