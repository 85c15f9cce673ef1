"""TLS between gateway and backends (statement 41), through a real Envoy."""

import base64
import ssl
from pathlib import Path

import pytest

from gateway.trust import InvalidTrust, authorities, is_on
from kube.models.core import ConfigMap, Secret, ServicePort
from kube.models.meta import ObjectMeta
from local_cluster.apiserver.certificates import CertificateAuthority
from tests.gateway.objects import NAMESPACE, ingress, path, rule, split
from tests.gateway.world import World, condition, running_world

SYSTEM = "knative-serving"
HTTPS = ServicePort(name="https", port=443)
FAILED = ("Unknown", "ReconcileIngressFailed")


def speaking_as(authority: CertificateAuthority, *names: str) -> ssl.SSLContext:
    context = authority.issue_server(names, []).ssl_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


async def served(world: World, name: str) -> None:
    """An Ingress to the Service of that name, applied and not waited for."""
    await world.apply(ingress(name, rule(f"{name}.com", to=[path(split(name, port=443))])))


async def test_41_backends_speak_tls_1_3_and_are_of_the_data_plane(tmp_path: Path) -> None:
    ours, theirs, renewed = (CertificateAuthority.create() for _ in range(3))
    async with running_world(tmp_path) as world:
        network = ConfigMap(
            metadata=ObjectMeta(name="config-network", namespace=SYSTEM), data={"system-internal-tls": "Enabled"}
        )
        await world.client.create(network)
        await world.start_gateway()
        await world.start_envoy()
        await world.deploy("pods", port=HTTPS, tls=speaking_as(ours, f"kn-user-{NAMESPACE}"))
        await served(world, "pods")
        await world.until("pods", lambda i: condition(i) == FAILED)

        ca = {"ca.crt": base64.b64encode(ours.certificate_pem).decode()}
        await world.client.create(Secret(metadata=ObjectMeta(name="routing-serving-certs", namespace=SYSTEM), data=ca))
        await world.until_ready("pods")
        assert await world.get("pods.com") == (200, "pods")
        await world.deploy("activator", port=HTTPS, tls=speaking_as(ours, "kn-routing"))
        await served(world, "activator")
        await world.until_ready("activator")

        for name, context in (
            ("other-namespace", speaking_as(ours, "kn-user-theirs")),
            ("other-authority", speaking_as(theirs, "kn-routing")),
            ("plain", None),
        ):
            await world.deploy(name, port=HTTPS, tls=context)
            await served(world, name)
            await world.until_status(f"{name}.com", 503)

        # A path that leads on to another Ingress of the gateway is not of the data plane.
        await world.deploy("onward")
        onward = path(split("onward"))
        onward.rewrite_host = "else.where"
        await world.ingress("onward", rule("onward.com", to=[onward]))
        assert await world.get("onward.com") == (200, "onward")

        await world.deploy("rotated", port=HTTPS, tls=speaking_as(renewed, "kn-routing"))
        await served(world, "rotated")
        await world.until_status("rotated.com", 503)
        bundle = ConfigMap(
            metadata=ObjectMeta(
                name="bundle", namespace=SYSTEM, labels={"networking.knative.dev/trust-bundle": "true"}
            ),
            data={"ca.crt": renewed.certificate_pem.decode()},
        )
        await world.client.create(bundle)
        await world.until_ready("rotated")
        assert await world.get("pods.com") == (200, "pods")

        # Without any authority a restart would serve less than before: it does not start, and Envoy goes on.
        await world.kill_gateway()
        await world.client.delete(Secret, "routing-serving-certs", SYSTEM)
        await world.client.delete(ConfigMap, "bundle", SYSTEM)
        with pytest.raises(AssertionError, match="system-internal-tls needs an authority"):
            await world.start_gateway()
        assert await world.get("pods.com") == (200, "pods")
        await world.client.create(bundle)
        await world.start_gateway()
        await world.client.patch(ConfigMap, "config-network", SYSTEM, {"data": {"system-internal-tls": "disabled"}})
        await world.until_answered("plain.com", "plain")


def test_bundles_hold_certificates_and_nothing_else() -> None:
    pem = CertificateAuthority.create().certificate_pem.decode()
    refused: list[str] = []

    def bundle(name: str, **data: str) -> ConfigMap:
        return ConfigMap(metadata=ObjectMeta(name=name, namespace="n"), data=data)

    found = authorities(None, [bundle("good", a=pem, b=pem), bundle("bad", a="none")], refused.append)
    assert found.authorities.count(b"BEGIN CERTIFICATE") == 2
    assert refused == ["ConfigMap n/bad: expected certificates and nothing else"]
    with pytest.raises(InvalidTrust):
        authorities(None, [])


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({}, False),
        ({"system-internal-tls": "disabled"}, False),
        ({"system-internal-tls": "ENABLED"}, True),
        ({"internal-encryption": "true"}, True),
        ({"internal-encryption": "true", "system-internal-tls": "disabled"}, True),
    ],
)
def test_when_it_is_on(data: dict[str, str], wanted: bool) -> None:
    assert is_on(ConfigMap(data=data)) is wanted
    assert not is_on(None)
