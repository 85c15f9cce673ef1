"""TLS, health, and what one Ingress cannot do to others, through a real Envoy (statements 18, 29, 39, 40, 43, 45)."""

import asyncio
import base64
import functools
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from kube.errors import NotFound
from kube.models.core import ConfigMap, Secret, ServicePort
from kube.models.meta import ObjectMeta
from kube.models.networking import Ingress, IngressTLS
from local_cluster.apiserver.certificates import CertificateAuthority
from tests.gateway.objects import NAMESPACE, ingress, path, rule, service, split
from tests.gateway.world import World, condition, running_world
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYSTEM = "knative-serving"
AUTHORITY = CertificateAuthority.create()
FAILED = ("Unknown", "ReconcileIngressFailed")
soon = functools.partial(eventually, timeout_s=40.0)
"""A machine that is busy is no failure."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The module's cluster, gateway and Envoy."""
    async with running_world(tmp_path_factory.mktemp("gateway")) as running:
        await running.start_gateway()
        await running.start_envoy()
        yield running


def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())


def pem_of(*hosts: str) -> dict[str, bytes]:
    """A certificate for the hosts and its key."""
    issued = AUTHORITY.issue_server(hosts, [])
    return {"tls.crt": issued.certificate_pem, "tls.key": issued.key_pem}


def secret(name: str, content: dict[str, bytes]) -> Secret:
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    return Secret(metadata=ObjectMeta(name=name, namespace=NAMESPACE), type="kubernetes.io/tls", data=data)


def secured(of: Ingress, *entries: tuple[str, list[str]]) -> Ingress:
    of.spec.tls = [IngressTLS(hosts=hosts, secret_name=name, secret_namespace=NAMESPACE) for name, hosts in entries]
    return of


class TestCertificates:
    async def test_29_plain_http_is_redirected_and_https_is_served(self, world: World) -> None:
        await world.deploy("secure")
        await world.client.create(secret("secure", pem_of("secure.com")))
        await world.apply(
            secured(
                ingress("secure", rule("secure.com", to="secure"), http_option="Redirected"),
                ("secure", ["secure.com"]),
            )
        )
        await world.until_ready("secure")
        async with world.session.get(
            f"http://{world.external}/x?y=1", headers={"Host": "secure.com"}, allow_redirects=False
        ) as response:
            assert response.status == 301
            assert response.headers["Location"] == "https://secure.com/x?y=1"
        assert await world.get_securely("secure.com", trust()) == (200, "secure")

    async def test_40_one_secret_for_two_hosts_and_another_for_a_third(self, world: World) -> None:
        await world.deploy("names")
        await world.client.create(secret("two", pem_of("one.com", "two.com")))
        await world.client.create(secret("three", pem_of("three.com")))
        of = ingress("names", rule("one.com", to="names"), rule("two.com", to="names"), rule("three.com", to="names"))
        await world.apply(secured(of, ("two", ["one.com"]), ("two", ["two.com"]), ("three", ["three.com"])))
        await world.until_ready("names")
        for host in ("one.com", "two.com", "three.com"):
            assert await world.get_securely(host, trust()) == (200, "names"), "each with the certificate of its own"
        assert await world.get("one.com") == (200, "names"), "nobody asked for a redirect"
        with pytest.raises(aiohttp.ClientError):
            await world.get_securely("nobody.com", trust())

    async def test_a_renewed_certificate_is_shown_at_once(self, world: World) -> None:
        await world.deploy("renewed")
        await world.client.create(secret("renewed", pem_of("old.com")))
        await world.apply(secured(ingress("renewed", rule("new.com", to="renewed")), ("renewed", ["new.com"])))
        await world.until_ready("renewed")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await world.get_securely("new.com", trust())
        data = secret("renewed", pem_of("new.com")).data
        await world.client.patch(Secret, "renewed", NAMESPACE, {"data": data})

        async def is_shown() -> bool:
            try:
                return await world.get_securely("new.com", trust()) == (200, "renewed")
            except aiohttp.ClientError:
                return False

        await soon(is_shown)

    async def test_39_a_pair_that_is_none_fails_the_ingress_until_it_is_one(self, world: World) -> None:
        await world.deploy("broken")
        mixed = {"tls.crt": pem_of("broken.com")["tls.crt"], "tls.key": pem_of("broken.com")["tls.key"]}
        await world.client.create(secret("broken", mixed))
        await world.apply(secured(ingress("broken", rule("broken.com", to="broken")), ("broken", ["broken.com"])))
        failed = await world.until("broken", lambda i: condition(i) == FAILED)
        assert failed.status.observed_generation == failed.metadata.generation
        assert (await world.get("broken.com"))[0] == 404
        await world.client.patch(Secret, "broken", NAMESPACE, {"data": secret("x", pem_of("broken.com")).data})
        await world.until_ready("broken")
        assert await world.get_securely("broken.com", trust()) == (200, "broken")

    async def test_39_a_secret_that_is_missing_is_waited_for(self, world: World) -> None:
        await world.deploy("early")
        await world.apply(secured(ingress("early", rule("early.com", to="early")), ("early", ["early.com"])))
        await world.until("early", lambda i: condition(i) == FAILED)
        await world.client.create(secret("early", pem_of("early.com")))
        await world.until_ready("early")

    async def test_local_names_have_a_face_of_their_own(self, world: World) -> None:
        await world.deploy("inside")
        await world.client.create(secret("inside", pem_of("inside.shop")))
        of = ingress("inside", rule("inside.shop", to="inside", visibility="ClusterLocal"))
        await world.apply(secured(of, ("inside", ["inside.shop"])))
        await world.until_ready("inside")
        assert await world.get_securely("inside.shop", trust(), local=True) == (200, "inside")
        with pytest.raises(aiohttp.ClientError):
            await world.get_securely("inside.shop", trust())


async def configure(world: World, **data: str | None) -> None:
    """Write these keys of `config-kourier`; None takes one out."""
    patch = {"data": {key.replace("_", "-"): value for key, value in data.items()}}
    try:
        await world.client.patch(ConfigMap, "config-kourier", SYSTEM, patch)
    except NotFound:
        await world.client.create(ConfigMap(metadata=ObjectMeta(name="config-kourier", namespace=SYSTEM), **patch))


async def has_no_certificate(world: World, host: str, *, local: bool = False) -> bool:
    """Whether nobody answers for the host with a certificate that is good for it."""
    try:
        await world.get_securely(host, trust(), local=local)
    except aiohttp.ClientError:
        return True
    return False


async def is_served_securely(world: World, host: str, by: str, *, local: bool = False) -> bool:
    """Whether that backend answers for the host, with a certificate that is good for it."""
    try:
        return await world.get_securely(host, trust(), local=local) == (200, by)
    except aiohttp.ClientError:
        return False


def refusals(world: World) -> list[str]:
    """Why certificates could not be used."""
    return [line["error"] for line in world.logged("certificate_refused")]


class TestOneCertificate:
    """`certs-secret-name` and `cluster-cert-secret`: certificates for names that have none of their own (5.3, 5.4)."""

    async def test_public_names_without_one_of_their_own_are_shown_it(self, world: World) -> None:
        await world.deploy("covered")
        await world.client.create(secret("for-its-own", pem_of("own.org")))
        await world.ingress("covered", rule("a.covered.com", to="covered"), http_option="Redirected")
        await world.apply(secured(ingress("own", rule("own.org", to="covered")), ("for-its-own", ["own.org"])))
        await world.until_ready("own")
        assert await has_no_certificate(world, "a.covered.com")
        # The Secret may come after its name.
        await configure(world, certs_secret_name="for-all", certs_secret_namespace=NAMESPACE)
        await soon(lambda: any("for-all" in error for error in refusals(world)))
        assert await world.get_securely("own.org", trust()) == (200, "covered")
        await world.client.create(secret("for-all", pem_of("*.covered.com")))

        await soon(lambda: is_served_securely(world, "a.covered.com", "covered"))
        assert (await world.get("a.covered.com"))[0] == 301, "as it is redirected, and there is where to"
        assert await world.get_securely("own.org", trust()) == (200, "covered"), "with the one of its own"
        await world.ingress("later", rule("b.covered.com", to="covered"))
        assert await world.get_securely("b.covered.com", trust()) == (200, "covered")
        # One that is renewed is shown at once; one that is none leaves it.
        await world.client.patch(Secret, "for-all", NAMESPACE, {"data": secret("x", pem_of("b.covered.com")).data})
        await soon(lambda: has_no_certificate(world, "a.covered.com"))
        await world.client.patch(Secret, "for-all", NAMESPACE, {"data": {"tls.key": "bm9uZQ=="}})
        await soon(lambda: any("for-all" in e and "PEM" in e for e in refusals(world)))
        assert await world.get_securely("b.covered.com", trust()) == (200, "covered")
        await configure(world, certs_secret_name=None, certs_secret_namespace=None)
        await soon(lambda: has_no_certificate(world, "b.covered.com"))

    async def test_local_names_are_shown_the_systems(self, world: World) -> None:
        await world.deploy("within")
        local = rule("within.shop", to="within", visibility="ClusterLocal")
        await world.ingress("within", local, rule("within.com", to="within"))
        held = secret("for-local", pem_of("within.shop", "within.com"))
        held.metadata.namespace = SYSTEM
        await world.client.create(held)
        await configure(world, cluster_cert_secret="for-local")

        await soon(lambda: is_served_securely(world, "within.shop", "within", local=True))
        assert await world.get_securely("within.com", trust(), local=True) == (200, "within"), "all that is local"
        assert await has_no_certificate(world, "within.shop"), "and nothing outside"
        await configure(world, cluster_cert_secret=None)
        await soon(lambda: has_no_certificate(world, "within.shop", local=True))


class TestSettings:
    async def test_42_a_load_balancer_says_who_the_client_is(self, world: World) -> None:
        seen = await world.deploy("seen")
        await world.ingress("seen", rule("seen.com", to="seen"))
        await configure(world, enable_proxy_protocol="true")
        host, _, port = world.external.partition(":")

        async def is_told() -> bool:
            reader, writer = await asyncio.open_connection(host, int(port))
            line = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n"
            writer.write(line + b"GET / HTTP/1.1\r\nHost: seen.com\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            forwarded = [request.headers.get("X-Forwarded-For") for request in seen.requests]
            return answer.startswith(b"HTTP/1.1 200") and "203.0.113.7" in forwarded

        await soon(is_told)
        # And a wrong value leaves in force what was.
        await configure(world, enable_proxy_protocol="maybe")
        await soon(lambda: world.logged("settings_refused"))
        assert await is_told()
        await configure(world, enable_proxy_protocol="false")
        await world.ingress("plainly", rule("plainly.com", to="seen"))


async def test_a_service_decides_about_requests_and_a_collector_hears_of_them(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        asked: list[web.BaseRequest] = []
        spans: list[bytes] = []

        async def decide(request: web.BaseRequest) -> web.StreamResponse:
            asked.append(request)
            return web.Response(status=200 if "allow" in request.path else 403)

        async def collect(request: web.BaseRequest) -> web.StreamResponse:
            spans.append(await request.read())
            return web.Response()

        authority, collector = world.new_address(), world.new_address()
        await world.serve(decide, authority, 9000)
        await world.serve(collect, collector, 4318)
        data = {
            "extauthz-host": f"{authority}:9000",
            "extauthz-protocol": "http",
            "extauthz-path-prefix": "/check",
            "tracing-endpoint": f"http://{collector}:4318/v1/traces",
            "tracing-protocol": "http/protobuf",
        }
        meta = ObjectMeta(name="config-kourier", namespace="knative-serving")
        await world.client.create(ConfigMap(metadata=meta, data=data))
        await world.start_gateway()
        await world.start_envoy()
        web_ = await world.deploy("web")
        challenge = path(split("web"))
        challenge.path = "/.well-known/acme-challenge/x"
        await world.ingress("web", rule("web.com", to=[challenge, path(split("web"))]))
        assert (await world.get("web.com", "/allow"))[0] == 200
        assert (await world.get("web.com", "/deny"))[0] == 403
        assert (await world.get("web.com", "/.well-known/acme-challenge/x"))[0] == 200
        assert (await world.get("internalkourier", "/ready", local=True))[0] == 200
        assert [request.path for request in web_.requests] == ["/allow", "/.well-known/acme-challenge/x"]
        paths = [request.path for request in asked if "healthz" not in request.path]
        assert paths == ["/check/allow", "/check/deny"]
        assert {request.headers["client"] for request in asked} == {"kourier"}
        await soon(lambda: any(b"kourier-knative" in each for each in spans))
        # It is over as soon as the map says so.
        await world.client.patch(ConfigMap, "config-kourier", "knative-serving", {"data": dict.fromkeys(data)})
        await world.until_status("web.com", 200)


class TestHealth:
    async def test_43_envoys_readiness_is_on_the_internal_face_only(self, world: World) -> None:
        assert (await world.get("internalkourier", "/ready", local=True))[0] == 200
        assert (await world.get("internalkourier", "/ready"))[0] == 404
        assert (await world.get("internalkourier", "/stats", local=True))[0] == 404, "nothing else of Envoy's"


class TestOthers:
    async def test_an_ingress_that_envoy_would_refuse_stops_nobody(self, world: World) -> None:
        await world.deploy("good")
        await world.ingress("good", rule("good.com", to="good"))
        await world.apply(ingress("bad", rule("bad.com", to=[path(split("good", X="a\r\nb"))])))
        failed = await world.until("bad", lambda i: condition(i) == FAILED)
        [why] = [c.message for c in failed.status.conditions if c.type == "Ready"]
        assert why.startswith("spec.rules[0].http.paths[0].splits.appendHeaders: expected text without control")
        await world.ingress("better", rule("better.com", to="good"))
        assert await world.get("better.com") == (200, "good")
        assert not world.logged("configuration_refused")

    async def test_hosts_that_differ_in_case_only_are_one(self, world: World) -> None:
        await world.deploy("lower")
        await world.ingress("lower", rule("case.com", to="lower"))
        await world.apply(ingress("upper", rule("CASE.com", to="lower")))
        await world.until("upper", lambda i: condition(i, "LoadBalancerReady") == ("False", "DomainConflict"))
        assert await world.get("CaSe.com") == (200, "lower")
        assert not world.logged("configuration_refused")

    async def test_a_placeholder_leads_back_to_the_gateway(self, world: World) -> None:
        await world.deploy("app")
        await world.ingress(
            "app", rule("app.shop.svc.cluster.local", to="app", visibility="ClusterLocal"), rule("app.com", to="app")
        )
        name = "gateway-internal.knative-serving.svc.cluster.local"
        port = ServicePort(name="http2", port=80)
        await world.client.create(service("placeholder", port, type_="ExternalName", external_name=name))
        mapped = path(split("placeholder", K_Original_Host="vanity.org"))
        mapped.rewrite_host = "app.shop.svc.cluster.local"
        await world.ingress("vanity.org", rule("vanity.org", to=[mapped]))
        assert await world.get("vanity.org") == (200, "app")

    async def test_33_traffic_stays_until_the_new_backend_is_there(self, world: World) -> None:
        await world.deploy("before")
        await world.ingress("moves", rule("moves.com", to="before"))
        await world.apply(ingress("moves", rule("moves.com", to="after")))
        await world.until("moves", lambda i: i.status.observed_generation == i.metadata.generation)
        assert await world.get("moves.com") == (200, "before")
        async with world.load("moves.com", clients=4) as load:
            await world.deploy("after")
            await world.until_ready("moves")
        assert set(load.answers) <= {(200, "before"), (200, "after")}
        assert await world.get("moves.com") == (200, "after")


class TestProbing:
    async def test_18_the_same_version_is_not_probed_anew_and_a_new_one_ends_the_old(self, world: World) -> None:
        stuck = [rule("stuck.com", to="nobody")]
        await world.apply(ingress("stuck", *stuck))
        await world.until("stuck", lambda i: condition(i) == ("Unknown", "Uninitialized"))
        await world.client.patch(Ingress, "stuck", NAMESPACE, {"metadata": {"labels": {"seen": "again"}}})
        await world.deploy("somebody")
        await world.ingress("stuck", rule("stuck.com", to="somebody"))
        served = [line for line in world.logged("ingress_served") if line["ingress"] == "stuck"]
        assert len(served) == 1


async def test_a_certificate_that_is_none_after_a_restart_stops_nobody_and_no_plain_request(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.start_gateway()
        await world.start_envoy()
        await world.deploy("web")
        for name in ("good", "bad"):
            await world.client.create(secret(name, pem_of(f"{name}.com")))
            await world.apply(secured(ingress(name, rule(f"{name}.com")), (name, [f"{name}.com"])))
            await world.until_ready(name)
        async with world.load("bad.com", clients=2) as load:
            await world.kill_gateway()
            await world.client.patch(Secret, "bad", NAMESPACE, {"data": {"tls.crt": "bm9uZQ=="}})
            await world.start_gateway()
            await world.until("bad", lambda i: condition(i) == FAILED)
            await world.ingress("later", rule("later.com"))
            assert await world.get_securely("good.com", trust()) == (200, "web")
        assert set(load.answers) == {(200, "web")}


async def test_a_killed_gateway_is_replaced_and_nobody_notices(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        timing = {"lease-duration": "2s", "renew-deadline": "1500ms", "retry-period": "500ms"}
        meta = ObjectMeta(name="config-leader-election", namespace="knative-serving")
        await world.client.create(ConfigMap(metadata=meta, data=timing))
        await world.deploy("web")
        first = await world.start_gateway()
        await world.start_gateway("second")
        await world.start_envoy("second")
        before = await world.ingress("before", rule("before.com"))
        async with world.load("before.com", clients=4) as load:
            first.kill()
            await first.wait()
            await world.ingress("after", rule("after.com"))
            assert await world.get("after.com") == (200, "web")
        assert set(load.answers) == {(200, "web")}
        # Who takes over does not doubt what was proved before.
        kept = await world.client.get(Ingress, "before", NAMESPACE)
        assert kept.metadata.resource_version == before.metadata.resource_version


async def test_45_nothing_is_answered_before_everything_is_translated(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.deploy("web")
        for number in range(20):
            await world.apply(ingress(f"i{number}", rule(f"h{number}.com")))
        xds = tmp_path / "xds"
        starting = asyncio.get_running_loop().create_task(world.start_gateway())
        await soon(xds.exists)
        await world.start_envoy()
        # Envoy has its listeners only now: whatever it knows came with the first answers.
        assert [(await world.get(f"h{number}.com"))[0] for number in range(20)] == [200] * 20
        await starting
