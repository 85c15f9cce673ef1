"""The gateway with a real Envoy, a real API server and real backends: what clients see (spec ingress.md 3, 4, 9)."""

import asyncio
import collections
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from websockets.asyncio.client import connect as websocket_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websocket_serve

from kube.ingress.spec import defaulted
from kube.ingress.version_hash import version_hash
from kube.models.core import Service, ServicePort
from kube.models.discovery import EndpointSlice
from kube.models.networking import Ingress
from tests.gateway.objects import NAMESPACE, endpoint_slice, ingress, path, rule, service, split
from tests.gateway.world import WITHIN_S, World, condition, running_world

pytestmark = pytest.mark.asyncio(loop_scope="module")
REQUEST = b"GET / HTTP/1.1\r\nHost: bounded.com\r\n\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The module's cluster, gateway and Envoy."""
    async with running_world(tmp_path_factory.mktemp("gateway")) as running:
        await running.start_gateway()
        await running.start_envoy()
        yield running


async def test_clients_beyond_the_bound_are_closed_and_the_others_are_served(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.start_gateway()
        await world.start_envoy(connections_max=50)
        await world.deploy("bounded")
        await world.ingress("bounded", rule("bounded.com", to="bounded"))
        host, port = world.external.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(REQUEST)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN_S)).startswith(b"HTTP/1.1 200")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(50)]
        ended = [asyncio.ensure_future(each.read()) for each, _ in idle]
        try:
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED, timeout=WITHIN_S)
            assert any(each.done() for each in ended)
            writer.write(REQUEST)
            assert b"HTTP/1.1 200" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN_S)
        finally:
            for each in (writer, *(each for _, each in idle)):
                each.close()
            await asyncio.gather(*ended, return_exceptions=True)


class TestReadiness:
    async def test_an_ingress_is_ready_only_when_envoy_serves_it(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            await world.start_gateway()
            await world.deploy("web")
            await world.apply(ingress("late", rule("late.com")))
            waiting = await world.until("late", lambda i: condition(i, "NetworkConfigured")[0] == "True")
            assert condition(waiting) == ("Unknown", "Uninitialized")
            assert condition(waiting, "LoadBalancerReady") == ("Unknown", "Uninitialized")
            assert waiting.status.public_load_balancer is None
            await world.start_envoy()
            ready = await world.until_ready("late")
            assert ready.status.observed_generation == ready.metadata.generation == 1
            assert condition(ready, "LoadBalancerReady")[0] == "True"
            assert await world.get("late.com") == (200, "web")

    async def test_44_a_ready_ingress_says_where_the_gateway_is(self, world: World) -> None:
        await world.deploy("where")
        status = (await world.ingress("where", rule("where.com", to="where"))).status
        assert status.public_load_balancer is not None
        assert status.private_load_balancer is not None
        assert [b.domain_internal for b in status.public_load_balancer.ingress] == [
            "gateway.knative-serving.svc.cluster.local"
        ]
        assert [b.domain_internal for b in status.private_load_balancer.ingress] == [
            "gateway-internal.knative-serving.svc.cluster.local"
        ]

    @pytest.mark.parametrize("class_", ["istio.ingress.networking.knative.dev", ""], ids=["foreign", "none"])
    async def test_48_an_ingress_of_another_class_is_not_touched(self, world: World, class_: str) -> None:
        name = f"other{len(class_)}"
        created = await world.client.create(ingress(name, rule(f"{name}.com", to="fence"), class_=class_))
        await world.client.patch(Ingress, name, NAMESPACE, {"metadata": {"labels": {"a": "b"}}})
        await world.deploy(f"fence{len(class_)}")
        # One that came later is done: so the gateway has seen both.
        await world.ingress(f"fence{len(class_)}", rule(f"fence{len(class_)}.com", to=f"fence{len(class_)}"))
        found = await world.client.get(Ingress, name, NAMESPACE)
        assert found.status == created.status
        assert found.metadata.finalizers == []
        assert (await world.get(f"{name}.com"))[0] == 404

    async def test_an_ingress_that_changes_its_class_is_given_up(self, world: World) -> None:
        await world.deploy("leaving")
        await world.ingress("leaving", rule("leaving.com", to="leaving"))
        annotations = {"networking.knative.dev/ingress.class": "other"}
        await world.client.patch(Ingress, "leaving", NAMESPACE, {"metadata": {"annotations": annotations}})
        await world.until_status("leaving.com", 404)

    async def test_a_deleted_ingress_is_gone(self, world: World) -> None:
        await world.deploy("doomed")
        await world.ingress("doomed", rule("doomed.com", to="doomed"))
        await world.client.delete(Ingress, "doomed", NAMESPACE)
        await world.until_status("doomed.com", 404)

    async def test_35_the_second_of_a_host_is_refused_and_recovers(self, world: World) -> None:
        await world.deploy("first")
        await world.deploy("second")
        await world.ingress("first", rule("both.com", to="first"))
        await world.apply(ingress("second", rule("both.com", to="second")))
        refused = await world.until("second", lambda i: condition(i, "LoadBalancerReady")[0] == "False")
        assert condition(refused) == condition(refused, "LoadBalancerReady") == ("False", "DomainConflict")
        assert await world.get("both.com") == (200, "first")
        await world.client.delete(Ingress, "first", NAMESPACE)
        await world.until_ready("second")
        assert await world.get("both.com") == (200, "second")

    async def test_35_it_recovers_too_when_the_first_gives_the_host_up(self, world: World) -> None:
        await world.deploy("giver")
        await world.deploy("taker")
        await world.ingress("giver", rule("given.com", to="giver"))
        await world.apply(ingress("taker", rule("given.com", to="taker")))
        await world.until("taker", lambda i: condition(i)[1] == "DomainConflict")
        await world.ingress("giver", rule("kept.com", to="giver"))
        await world.until_ready("taker")
        assert await world.get("given.com") == (200, "taker")

    @pytest.mark.parametrize("detour", ["conflict", "unproved"])
    async def test_a_version_that_was_served_before_is_proved_again(self, world: World, detour: str) -> None:
        name, host = f"back-{detour}", f"{detour}.com"
        await world.deploy(name)
        await world.deploy(f"{name}-blocker")
        await world.ingress(f"{name}-blocker", rule(f"blocked.{host}", to=f"{name}-blocker"))
        await world.ingress(name, rule(host, to=name))
        proofs = len(world.logged("ingress_served"))
        way = rule(f"blocked.{host}", to=name) if detour == "conflict" else rule(host, to=f"{name}-absent")
        await world.apply(ingress(name, way))
        reason = "DomainConflict" if detour == "conflict" else "Uninitialized"
        await world.until(name, lambda i: condition(i)[1] == reason)
        await world.ingress(name, rule(host, to=name))
        assert len(world.logged("ingress_served")) == proofs + 1
        assert await world.get(host) == (200, name)


class TestRouting:
    async def test_20_21_22_hosts_are_exact_with_any_port_on_their_faces(self, world: World) -> None:
        await world.deploy("hosts")
        await world.ingress(
            "hosts", rule("pub.com", to="hosts"), rule("hosts.shop", to="hosts", visibility="ClusterLocal")
        )
        for host in ("pub.com", "pub.com:8080", "PUB.com"):
            assert await world.get(host) == (200, "hosts")
        assert await world.get("pub.com", local=True) == (200, "hosts")
        assert await world.get("hosts.shop", local=True) == (200, "hosts")
        for host in ("hosts.shop", "unknown.com", "x.pub.com"):
            assert (await world.get(host))[0] == 404
        assert (await world.get("unknown.com", local=True))[0] == 404

    async def test_23_shares_are_kept(self, world: World) -> None:
        await world.deploy("large")
        await world.deploy("small")
        none = await world.deploy("none")
        await world.ingress(
            "shares", rule("shares.com", to=[path(split("large", 80), split("small", 20), split("none", 0))])
        )
        seen = collections.Counter([await world.get("shares.com") for _ in range(1000)])
        assert set(seen) == {(200, "large"), (200, "small")}
        assert abs(seen[200, "large"] - 800) <= 100
        assert none.requests == []

    async def test_25_appended_headers_overwrite_the_clients(self, world: World) -> None:
        backend = await world.deploy("headers")
        to = path(split("headers", Knative_Serving_Revision="headers-1"))
        to.append_headers = {"K-Path": "set"}
        await world.ingress("headers", rule("headers.com", to=[to]))
        sent = {"Knative-Serving-Revision": "evil", "k-path": "evil", "Other": "kept"}
        await world.get("headers.com", headers=sent)
        (request,) = backend.requests
        assert request.headers.getall("Knative-Serving-Revision") == ["headers-1"]
        assert request.headers.getall("K-Path") == ["set"]
        assert request.headers["Other"] == "kept"
        assert request.host == "headers.com"

    async def test_26_a_tag_header_picks_its_path_and_others_the_default(self, world: World) -> None:
        await world.deploy("default")
        await world.deploy("tagged")
        tagged = path(split("tagged"), match={"Knative-Serving-Tag": "v2"})
        await world.ingress("tags", rule("tags.com", to=[tagged, path(split("default"))]))
        for tag, expected in (("v2", "tagged"), ("v3", "default"), ("", "default")):
            assert await world.get("tags.com", headers={"Knative-Serving-Tag": tag}) == (200, expected)
        assert await world.get("tags.com") == (200, "default")

    async def test_24_a_longer_prefix_wins_and_paths_are_left_alone(self, world: World) -> None:
        backend = await world.deploy("prefix")
        await world.deploy("rest")
        await world.ingress("paths", rule("paths.com", to=[path(split("rest")), path(split("prefix"), prefix="/foo")]))
        for asked, expected in (
            ("/foo", "prefix"),
            ("/foo/x", "prefix"),
            ("/foobar", "prefix"),
            ("/", "rest"),
            ("/x/foo", "rest"),
        ):
            assert await world.get("paths.com", asked) == (200, expected)
        reader, writer = await asyncio.open_connection(*world.external.split(":"))
        writer.write(b"GET /foo//a/../b%2fc?q=%20 HTTP/1.1\r\nHost: paths.com\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        assert backend.requests[-1].raw_path == "/foo//a/../b%2fc?q=%20"

    async def test_11_12_a_probe_is_answered_with_the_version_or_with_the_callers_hash(self, world: World) -> None:
        await world.deploy("probed")
        served = await world.ingress("probed", rule("probed.com", to="probed"))

        async def hash_for(sent: str) -> str:
            headers = {"Host": "probed.com", "K-Network-Probe": "probe", "K-Network-Hash": sent}
            async with world.session.get(f"http://{world.external}/healthz", headers=headers) as response:
                return response.headers["K-Network-Hash"]

        assert await hash_for("abc") == "abc"
        assert await hash_for("override") == version_hash(defaulted(served.spec), *served.key)

    async def test_28_a_503_reaches_the_client_after_one_attempt(self, world: World) -> None:
        backend = await world.deploy("busy")
        await world.ingress("busy", rule("busy.com", to="busy"))
        backend.status = 503
        assert await world.get("busy.com") == (503, "busy")
        assert len(backend.requests) == 1

    async def test_29_redirected_hosts_answer_301(self, world: World) -> None:
        await world.deploy("secure")
        await world.ingress("secure", rule("secure.com", to="secure"), http_option="Redirected")
        headers = {"Host": "secure.com"}
        async with world.session.get(f"http://{world.external}/a", headers=headers, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (301, "https://secure.com/a")

    async def test_30_a_rewritten_host_is_what_the_backend_sees(self, world: World) -> None:
        backend = await world.deploy("vanity")
        to = path(split("vanity"))
        to.rewrite_host, to.append_headers = "web.shop.svc", {"K-Original-Host": "vanity.com"}
        await world.ingress("vanity", rule("vanity.com", to=[to]))
        await world.get("vanity.com")
        (request,) = backend.requests
        assert (request.host, request.headers["K-Original-Host"]) == ("web.shop.svc", "vanity.com")

    async def test_27_a_websocket_passes(self, world: World) -> None:
        async def echo(connection: ServerConnection) -> None:
            async for message in connection:
                await connection.send(f"echo {message!s}")

        address = world.new_address()
        async with websocket_serve(echo, address, 8012):
            await world.client.create(service("socket"))
            await world.client.create(endpoint_slice("socket", address))
            await world.ingress("socket", rule("socket.com", to="socket"))
            host, _, port = world.external.partition(":")
            async with websocket_connect("ws://socket.com/chat", host=host, port=int(port), proxy=None) as client:
                for text in ("a", "b"):
                    await client.send(text)
                    assert await client.recv() == f"echo {text}"

    async def test_27_events_arrive_one_by_one(self, world: World) -> None:
        seen = asyncio.Event()

        async def stream(request: web.BaseRequest) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            if request.headers.get("K-Network-Probe") == "probe":
                return web.Response(headers={"K-Network-Hash": request.headers.get("K-Network-Hash", "")})
            await response.prepare(request)
            await response.write(b"data: 1\n\n")
            await seen.wait()  # the second is sent when the first has arrived
            await response.write(b"data: 2\n\n")
            return response

        address = world.new_address()
        await world.serve(stream, address, 8012)
        await world.client.create(service("events"))
        await world.client.create(endpoint_slice("events", address))
        await world.ingress("events", rule("events.com", to="events"))
        async with world.session.get(f"http://{world.external}/", headers={"Host": "events.com"}) as response:
            assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"
            seen.set()
            assert await response.content.read() == b"data: 2\n\n"


class TestChanges:
    async def test_rewired_endpoints_lose_no_request(self, world: World) -> None:
        addresses = {name: world.new_address() for name in ("pod", "activator")}
        for name, address in addresses.items():
            await world.run(name, address)
        await world.client.create(service("wired"))
        await world.client.create(endpoint_slice("wired", addresses["activator"]))
        await world.ingress("wired", rule("wired.com", to="wired"))
        async with world.load("wired.com") as load:
            for name in ("pod", "activator", "pod"):
                await world.rewire("wired", addresses[name])
                await world.until_answered("wired.com", name)
        assert {status for status, _ in load.answers} == {200}
        assert {name for _, name in load.answers} == {"pod", "activator"}
        assert [await world.get("wired.com") for _ in range(50)] == [(200, "pod")] * 50

    async def test_another_backend_loses_no_request_and_ready_means_only_it_answers(self, world: World) -> None:
        services = [f"turn{number}" for number in range(8)]
        for name in services:
            await world.deploy(name)
        await world.ingress("turns", rule("turns.com", to=services[0]))
        async with world.load("turns.com") as load:
            for name in services[1:]:
                await world.ingress("turns", rule("turns.com", to=name))
                assert [await world.get("turns.com") for _ in range(10)] == [(200, name)] * 10
        assert {status for status, _ in load.answers} == {200}

    async def test_a_changed_cluster_is_usable_at_once(self, world: World) -> None:
        await world.deploy("protocol", port=ServicePort(name="http2", port=80))
        await world.deploy("bystander")
        await world.ingress("bystander", rule("bystander.com", to="bystander"))
        await world.apply(ingress("protocol", rule("protocol.com", to="protocol")))
        await world.until_status("protocol.com", 502, 503)
        port = {"name": "http", "port": 80, "targetPort": 8012, "protocol": "TCP"}
        await world.client.patch(Service, "protocol", NAMESPACE, {"spec": {"ports": [port]}})
        await world.client.patch(EndpointSlice, "protocol-1", NAMESPACE, {"ports": [{"name": "http", "port": 8012}]})
        await world.until_answered("protocol.com", "protocol", within_s=5)

    async def test_33_a_missing_service_hurts_nobody_else(self, world: World) -> None:
        await world.deploy("sound")
        await world.ingress("sound", rule("sound.com", to="sound"))
        await world.apply(ingress("broken", rule("broken.com", to="absent")))
        await world.until_status("broken.com", 503)
        assert await world.get("sound.com") == (200, "sound")
        assert condition(await world.client.get(Ingress, "broken", NAMESPACE))[0] == "Unknown"
        await world.ingress("sound", rule("sound.com", "sound.org", to="sound"))
        assert await world.get("sound.org") == (200, "sound")
        await world.deploy("absent")
        await world.until_ready("broken")
        assert await world.get("broken.com") == (200, "absent")

    async def test_envoy_goes_on_while_the_gateway_is_away_and_catches_up_after(self, world: World) -> None:
        await world.deploy("steady")
        await world.deploy("moved")
        await world.ingress("steady", rule("steady.com", to="steady"))
        before = await world.ingress("moving", rule("moving.com", to="steady"))
        async with world.load("steady.com") as load:
            await world.kill_gateway()
            await load.more()
            await world.apply(ingress("moving", rule("moving.com", to="moved")))
            assert await world.get("moving.com") == (200, "steady")
            await world.start_gateway()
            moved = await world.until_ready("moving")
            assert moved.metadata.generation == before.metadata.generation + 1
            assert await world.get("moving.com") == (200, "moved")
        assert set(load.answers) == {(200, "steady")}

    async def test_a_restart_does_not_make_ready_ingresses_unready(self, world: World) -> None:
        await world.deploy("calm")
        before = await world.ingress("calm", rule("calm.com", to="calm"))
        await world.kill_gateway()
        await world.start_gateway()
        # A new one is done: so the gateway has gone through those that were there.
        await world.ingress("after", rule("after.com", to="calm"))
        after = await world.client.get(Ingress, "calm", NAMESPACE)
        assert after.metadata.resource_version == before.metadata.resource_version
