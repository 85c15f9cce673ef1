"""The bridge to cert-manager against a real API server; cert-manager itself is played, as the API shows it."""

import dataclasses
import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from controller.cert_manager.app import CLASS, CertManagerBridge
from controller.cert_manager.requests import NameTooLong, want
from controller.cert_manager.settings import CertManagerSettings
from controller.config import Config
from controller.together import make_controllers
from kube.autoscaling.config import InvalidConfig
from kube.client import Client
from kube.models import core, serving
from kube.models.cert_manager import (
    CertManagerCertificate,
    CertManagerCertificateStatus,
    CertManagerCondition,
    Challenge,
    ChallengeSpec,
)
from kube.models.meta import ObjectMeta, OwnerReference
from kube.models.networking import Certificate, CertificateSpec, Ingress
from kube.timestamps import format_time, parse_time_s
from proxies.environment import ConfigError
from proxies.logs import Logger
from tests.controller.add_on_rights import IDENTITY, TOKEN, allowed, note_requests
from tests.controller.cluster import NAMESPACE, SYSTEM, condition, control_plane, service
from tests.controller.custom_kinds import define
from tests.controller.test_config import KUBECONFIG
from tests.support.api import running_api_server
from tests.support.processes import eventually

LOOP = pytest.mark.asyncio(loop_scope="module")
START_S = parse_time_s("2026-03-01T00:00:00Z")
CLASS_KEY = "networking.knative.dev/certificate.class"
TYPE_KEY = "networking.knative.dev/certificate-type"
DEFAULTS = CertManagerSettings.from_data({})
LONG = "a" * 60
soon = functools.partial(eventually, timeout_s=40.0)
"""A machine that is busy is no failure."""


def certificate(name: str = "web", /, *names: str, domain: str = "example.com", **labels: str) -> Certificate:
    """A Certificate of the bridge's class."""
    return Certificate(
        metadata=ObjectMeta(
            name=name,
            namespace=NAMESPACE,
            annotations={CLASS_KEY: CLASS},
            labels={TYPE_KEY: "external-domain", **labels},
        ),
        spec=CertificateSpec(dns_names=list(names) or [f"{name}.example.com"], domain=domain, secret_name=name),
    )


class TestRequests:
    """What is asked for."""

    def test_the_first_name_is_the_common_name(self) -> None:
        spec = want(certificate("web", "b.example.com", "a.example.com"), DEFAULTS)["spec"]
        assert (spec["commonName"], spec["dnsNames"]) == ("b.example.com", ["b.example.com", "a.example.com"])
        assert spec["secretName"] == "web"

    @pytest.mark.parametrize(("letters", "is_kept"), [(63, True), (64, False)])
    def test_a_long_name_makes_room_for_the_domain(self, letters: int, is_kept: bool) -> None:
        name = f"{'a' * (letters - len('.example.com'))}.example.com"
        spec = want(certificate("web", name), DEFAULTS)["spec"]
        expected = (name, [name]) if is_kept else ("k.example.com", [name, "k.example.com"])
        assert (spec["commonName"], spec["dnsNames"]) == expected

    def test_no_name_is_short_enough(self) -> None:
        name = f"{LONG}.example.com"
        with pytest.raises(NameTooLong, match=f"k.{LONG}.com"):
            want(certificate("web", f"x.{LONG}.com", domain=f"{LONG}.com"), DEFAULTS)
        with pytest.raises(NameTooLong, match="no domain"):
            want(certificate("web", name, domain=""), DEFAULTS)
        mapped = certificate("web", name)
        mapped.metadata.owner_references = [OwnerReference(kind="DomainMapping", name=name, controller=True)]
        with pytest.raises(NameTooLong, match="DomainMapping"):
            want(mapped, DEFAULTS)

    def test_the_issuer_is_the_types(self) -> None:
        own = {"kind": "Issuer", "name": "acme"}
        settings = CertManagerSettings.from_data(
            {"issuerRef": "kind: Issuer\nname: acme", "systemInternalIssuerRef": "{kind: X, name: y, group: z.org}"}
        )
        issuers = {
            type_: want(certificate("web", **{TYPE_KEY: type_}), settings)["spec"]["issuerRef"]
            for type_ in ("external-domain", "cluster-local-domain", "system-internal", "")
        }
        assert issuers == {
            "external-domain": own,
            "cluster-local-domain": {"kind": "ClusterIssuer", "name": "knative-selfsigned-issuer"},
            "system-internal": {"kind": "X", "name": "y", "group": "z.org"},
            "": own,
        }

    def test_everything_that_is_wrong_with_issuers_is_told_together(self) -> None:
        data = {"issuerRef": "name: x", "clusterLocalIssuerRef": "[", "systemInternalIssuerRef": "{kind: a, name: 1}"}
        with pytest.raises(InvalidConfig) as caught:
            CertManagerSettings.from_data(data)
        text = str(caught.value)
        assert "issuerRef.kind: expected the kind of an issuer, got nothing" in text
        assert "clusterLocalIssuerRef: not YAML" in text
        assert "systemInternalIssuerRef.name: expected a text, got 1" in text
        with pytest.raises(InvalidConfig, match="expected kind, name and group, got 'nmae'"):
            CertManagerSettings.from_data({"issuerRef": "nmae: x"})


class World:
    """A bridge, and cert-manager as a test plays it."""

    def __init__(self, client: Client, lines: list[bytes]) -> None:
        self.client = client
        self.now_s = START_S
        self.lines = lines

    async def ask(self, wanted: Certificate) -> CertManagerCertificate:
        """Create it; what cert-manager is asked for."""
        await self.client.create(wanted)
        return await self.request(wanted.name)

    async def request(
        self, name: str, holds: Callable[[CertManagerCertificate], object] = bool
    ) -> CertManagerCertificate:
        async def found() -> CertManagerCertificate | None:
            for each in (await self.client.list(CertManagerCertificate, NAMESPACE)).items:
                if each.name == name and holds(each):
                    return each
            return None

        return await soon(found)  # type: ignore[return-value]

    async def until(self, name: str, holds: Callable[[Certificate], bool]) -> Certificate:
        last: list[Certificate] = []

        async def check() -> bool:
            last[:] = [await self.client.get(Certificate, name, NAMESPACE)]
            return holds(last[0])

        try:
            await soon(check)
        except AssertionError as error:
            raise AssertionError(f"{error}; {last}; {self.lines[-5:]}") from None
        return last[0]

    async def answer(self, name: str, status: str, reason: str = "", **times: str) -> None:
        """cert-manager says this about what it was asked for."""
        request = await self.client.get(CertManagerCertificate, name, NAMESPACE)
        ready = CertManagerCondition(
            type="Ready",
            status=status,
            reason=reason,
            message=f"{reason}!",
            observed_generation=request.metadata.generation,
        )
        await self.client.patch_status(request, CertManagerCertificateStatus(conditions=[ready], **times))

    async def challenge(self, name: str, dns_name: str, *, type_: str = "HTTP-01") -> None:
        """cert-manager answers an authority about a name."""
        made = await self.client.create(
            Challenge(
                metadata=ObjectMeta(name=name, namespace=NAMESPACE),
                spec=ChallengeSpec(dns_name=dns_name, token=f"token-{name}", type=type_),
            )
        )
        await self.client.create(
            core.Service(
                metadata=ObjectMeta(
                    name=f"cm-acme-http-solver-{name}",
                    namespace=NAMESPACE,
                    labels={"acme.cert-manager.io/http01-solver": "true"},
                    owner_references=[made.owner_reference()],
                ),
                spec=core.ServiceSpec(ports=[core.ServicePort(name="http", port=8089)]),
            )
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    """One bridge for the module."""
    lines: list[bytes] = []
    async with running_api_server(tokens={TOKEN: IDENTITY}) as api, Client(api.config) as client:
        asked = note_requests(api.server)
        await client.create(core.Namespace(metadata=ObjectMeta(name=SYSTEM)))
        await define(client, CertManagerCertificate, Challenge)
        running = World(client, lines)
        config = Config(api=dataclasses.replace(api.config, token=TOKEN), system_namespace=SYSTEM)
        bridge = CertManagerBridge(config, Logger("cert-manager", write=lines.append), clock=lambda: running.now_s)
        try:
            await bridge.start()
            yield running
        finally:
            await bridge.stop()
        assert not [line for line in lines if b"reconcile_failed" in line], lines
        assert asked - allowed("controller.md", "knuv-cert-manager") == set()


def ready(found: Certificate) -> tuple[str, str]:
    return condition(found, "Ready") if found.status.observed_generation == found.metadata.generation else ("", "")


@LOOP
async def test_a_certificate_is_asked_for_and_becomes_ready(world: World) -> None:
    asked = await world.ask(certificate("plain"))
    made = await world.until("plain", lambda c: ready(c) == ("Unknown", "NoCertManagerCertCondition"))
    assert asked.is_controlled_by(made)
    assert asked.spec["secretTemplate"] == {
        "labels": {"networking.internal.knative.dev/certificate-uid": made.metadata.uid}
    }
    for reason in ("InProgress", "Pending", "TemporaryCertificate"):
        await world.answer("plain", "False", reason)
        found = await world.until("plain", lambda c, reason=reason: ready(c) == ("Unknown", reason))  # type: ignore[misc]
        assert found.status.conditions[0].message == f"{reason}!"
    await world.answer("plain", "False", "Denied")
    await world.until("plain", lambda c: ready(c) == ("False", "Denied"))
    await world.answer("plain", "True", not_after="2026-06-01T00:00:00Z")
    found = await world.until("plain", lambda c: ready(c) == ("True", ""))
    assert found.status.not_after == "2026-06-01T00:00:00Z"


@LOOP
async def test_other_names_are_asked_for_and_not_ready_until_they_are_looked_at(world: World) -> None:
    await world.ask(certificate("changing"))
    await world.answer("changing", "True")
    await world.until("changing", lambda c: ready(c)[0] == "True")
    await world.client.patch(Certificate, "changing", NAMESPACE, {"spec": {"dnsNames": ["new.example.com"]}})
    await world.request("changing", lambda r: r.spec["dnsNames"] == ["new.example.com"])
    await world.until("changing", lambda c: ready(c)[0] == "Unknown")
    await world.answer("changing", "True")
    await world.until("changing", lambda c: ready(c)[0] == "True")


@LOOP
async def test_questions_of_an_authority_lead_to_who_answers_them(world: World) -> None:
    await world.ask(certificate("acme", "a.acme.com", "b.acme.com", domain="acme.com"))
    await world.answer("acme", "False", "Pending")
    await world.challenge("one", "a.acme.com")
    await world.challenge("two", "b.acme.com")
    await world.challenge("by-dns", "b.acme.com", type_="DNS-01")
    await world.challenge("of-another", "c.acme.com")
    found = await world.until("acme", lambda c: len(c.status.http01_challenges) == 2)
    assert [
        (each.url, each.service_name, each.service_namespace, each.service_port)
        for each in found.status.http01_challenges
    ] == [
        ("http://a.acme.com/.well-known/acme-challenge/token-one", "cm-acme-http-solver-one", NAMESPACE, 8089),
        ("http://b.acme.com/.well-known/acme-challenge/token-two", "cm-acme-http-solver-two", NAMESPACE, 8089),
    ]
    await world.answer("acme", "True")
    await world.until("acme", lambda c: ready(c)[0] == "True" and not c.status.http01_challenges)


@LOOP
async def test_a_certificate_that_is_renewed_stays_ready_and_its_questions_are_answered(world: World) -> None:
    await world.ask(certificate("renewed"))
    await world.answer("renewed", "True", renewal_time=format_time(world.now_s + 3600))
    await world.until("renewed", lambda c: ready(c)[0] == "True")
    await world.challenge("again", "renewed.example.com")
    assert condition(await world.client.get(Certificate, "renewed", NAMESPACE), "Renewing") == ("", "")
    world.now_s += 3601
    # The clock is the test's, so the pause is ended by a change.
    await world.client.patch(Certificate, "renewed", NAMESPACE, {"metadata": {"labels": {"seen": "again"}}})
    found = await world.until("renewed", lambda c: condition(c, "Renewing") == ("True", "Renewing"))
    assert ready(found)[0] == "True"
    assert [each.service_name for each in found.status.http01_challenges] == ["cm-acme-http-solver-again"]
    await world.answer("renewed", "True", renewal_time=format_time(world.now_s + 3600))
    found = await world.until("renewed", lambda c: condition(c, "Renewing")[0] == "False")
    assert found.status.http01_challenges == []


@LOOP
async def test_renewal_is_noticed_by_the_clock(world: World) -> None:
    await world.ask(certificate("soon"))
    await world.answer("soon", "True", renewal_time=format_time(world.now_s + 1))
    await world.until("soon", lambda c: ready(c)[0] == "True")
    world.now_s += 2
    await world.until("soon", lambda c: condition(c, "Renewing")[0] == "True")


@LOOP
async def test_what_is_not_ours_is_left_alone(world: World) -> None:
    other = certificate("other")
    other.metadata.annotations = {CLASS_KEY: "somebody.else"}
    await world.client.create(other)
    foreign = CertManagerCertificate(metadata=ObjectMeta(name="foreign", namespace=NAMESPACE), spec={"commonName": "x"})
    await world.client.create(foreign)
    await world.client.create(certificate("foreign"))
    await world.until("foreign", lambda c: ready(c) == ("False", "NotOwned"))
    assert (await world.client.get(CertManagerCertificate, "foreign", NAMESPACE)).spec == {"commonName": "x"}
    assert (await world.client.get(Certificate, "other", NAMESPACE)).status.conditions == []


@LOOP
async def test_a_name_that_is_too_long_is_told(world: World) -> None:
    await world.client.create(certificate("long", f"x.{LONG}.com", domain=f"{LONG}.com"))
    found = await world.until("long", lambda c: ready(c) == ("False", "CommonName Too Long"))
    assert f"k.{LONG}.com" in found.status.conditions[0].message


@LOOP
async def test_another_issuer_is_asked_as_soon_as_the_map_says_so_and_a_wrong_map_changes_nothing(world: World) -> None:
    await world.ask(certificate("issued"))
    meta = ObjectMeta(name="config-certmanager", namespace=SYSTEM)
    data = {"issuerRef": "{kind: Mine, name: own, group: example.com}"}
    await world.client.create(core.ConfigMap(metadata=meta, data=data))
    await world.request(
        "issued", lambda r: r.spec["issuerRef"] == {"kind": "Mine", "name": "own", "group": "example.com"}
    )
    data = {"issuerRef": "{kind: ClusterIssuer, name: acme}"}
    await world.client.patch(core.ConfigMap, "config-certmanager", SYSTEM, {"data": data})
    await world.request("issued", lambda r: r.spec["issuerRef"] == {"kind": "ClusterIssuer", "name": "acme"})
    await world.client.patch(core.ConfigMap, "config-certmanager", SYSTEM, {"data": {"issuerRef": "name: x"}})
    await soon(lambda: any(b"settings_refused" in line for line in world.lines))
    asked = await world.ask(certificate("issued-later"))
    assert asked.spec["issuerRef"] == {"kind": "ClusterIssuer", "name": "acme"}


async def test_without_cert_manager_it_does_not_start_and_says_why() -> None:
    async with running_api_server() as api:
        bridge = CertManagerBridge(Config(api=api.config, system_namespace=SYSTEM), Logger("x", write=lambda _: None))
        with pytest.raises(ConfigError, match=r"needs certificates.cert-manager.io of version v1") as caught:
            await bridge.start()
        await bridge.stop()
        assert len(caught.value.problems) == 2


def test_it_is_switched_on_by_name(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    environ = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "SYSTEM_NAMESPACE": SYSTEM}
    assert not isinstance(make_controllers(environ), CertManagerBridge)
    assert isinstance(make_controllers({**environ, "KNUV_CONTROLLERS": "cert-manager"}), CertManagerBridge)


async def test_87_a_service_is_secure_once_cert_manager_has_issued() -> None:
    async with control_plane(network={"external-domain-tls": "Enabled"}) as kn:
        await define(kn.client, CertManagerCertificate, Challenge)
        bridge = CertManagerBridge(
            Config(api=kn.client.config, system_namespace=SYSTEM), Logger("x", write=lambda _: None)
        )
        try:
            await bridge.start()
            played = World(kn.client, [])
            await kn.create(serving.Service, service("web"))
            assert (await kn.until_ready("web")).status.url == "http://web.default.example.com"
            [own] = (await kn.client.list(Certificate)).items
            asked = await played.request(own.name)
            assert asked.spec["dnsNames"] == ["web.default.example.com"]
            await played.challenge("web", "web.default.example.com")
            await kn.until(Ingress, "web", "challenge", lambda i: any("acme" in p for p in paths(i)))
            await played.answer(own.name, "True")
            await kn.until(serving.Service, "web", "https", lambda s: s.status.url == "https://web.default.example.com")
            ingress = await kn.until(Ingress, "web", "no challenge", lambda i: not any("acme" in p for p in paths(i)))
            assert [entry.secret_name for entry in ingress.spec.tls] == [own.name]
        finally:
            await bridge.stop()


def paths(ingress: Ingress) -> list[str]:
    return [path.path for rule in ingress.spec.rules if rule.http for path in rule.http.paths]
