"""Certificates of Routes and DomainMappings (statements 83, 87)."""

from typing import Any

import pytest

from kube.errors import NotFound
from kube.models import serving
from kube.models.apps import Deployment
from kube.models.core import Namespace, Secret
from kube.models.meta import Condition, ObjectMeta
from kube.models.networking import Certificate, CertificateStatus, Http01Challenge, Ingress
from tests.controller.cluster import NAMESPACE, Kn, condition, control_plane, service

HOST = "web.default.example.com"


async def certificate_of(kn: Kn) -> Certificate:
    """The certificate of Route `web`, once it is asked for."""
    route = await kn.until(serving.Route, "web", "made", lambda _route: True)
    return await kn.until(Certificate, f"route-{route.metadata.uid}", "asked for", lambda _certificate: True)


async def issue(kn: Kn, certificate: Certificate, status: str = "True", **more: Any) -> None:
    """Play the authority."""
    conditions = [Condition(type="Ready", status=status)]
    found = CertificateStatus(observed_generation=certificate.metadata.generation, conditions=conditions, **more)
    await kn.client.patch_status(certificate, found)


async def test_83_the_address_is_the_cluster_host() -> None:
    async with control_plane() as kn:
        await kn.create(serving.Service, service("web"))
        ready = await kn.until_ready("web")
        assert ready.status.address == {"url": "http://web.default.svc.cluster.local"}
        assert condition(await kn.get(serving.Route, "web"), "CertificateProvisioned") == ("True", "TLSNotEnabled")


async def test_87_without_a_certificate_it_is_http_until_there_is_one() -> None:
    async with control_plane(network={"external-domain-tls": "Enabled"}) as kn:
        await kn.create(serving.Service, service("web"))
        ready = await kn.until_ready("web")
        assert ready.status.url == f"http://{HOST}"
        assert condition(await kn.get(serving.Route, "web"), "CertificateProvisioned") == ("True", "HTTPDowngrade")
        certificate = await certificate_of(kn)
        assert certificate.spec.dns_names == [HOST]
        assert certificate.spec.domain == "example.com"
        assert certificate.metadata.labels["networking.knative.dev/certificate-type"] == "external-domain"
        challenge = Http01Challenge(
            url=f"http://{HOST}/.well-known/acme-challenge/x",
            service_name="solver",
            service_namespace=NAMESPACE,
            service_port=8089,
        )
        await issue(kn, certificate, "Unknown", http01_challenges=[challenge])
        ingress = await kn.until(Ingress, "web", "asked", lambda i: len(paths(i, HOST)) == 2)
        assert paths(ingress, HOST) == ["/.well-known/acme-challenge/x", ""]
        assert paths(ingress, "web.default") == [""]
        await issue(kn, await certificate_of(kn))
        await kn.until(serving.Service, "web", "secure", lambda s: s.status.url == f"https://{HOST}")
        ingress = await kn.until(Ingress, "web", "secure", lambda i: bool(i.spec.tls))
        assert [(entry.hosts, entry.secret_name) for entry in ingress.spec.tls] == [([HOST], certificate.name)]
        assert paths(ingress, HOST) == [""]


@pytest.mark.parametrize(
    ("status", "wanted"),
    [("Unknown", ("Unknown", "CertificateNotReady")), ("False", ("False", "CertificateProvisionFailed"))],
)
async def test_where_http_is_not_allowed_the_certificate_is_waited_for(status: str, wanted: tuple[str, str]) -> None:
    async with control_plane(network={"external-domain-tls": "Enabled", "http-protocol": "Redirected"}) as kn:
        await kn.create(serving.Service, service("web"))
        await issue(kn, await certificate_of(kn), status)
        await kn.until(serving.Route, "web", "so", lambda r: condition(r, "CertificateProvisioned") == wanted)
        await issue(kn, await certificate_of(kn))
        assert (await kn.until_ready("web")).status.url == f"https://{HOST}"


async def test_namespaces_that_are_selected_get_a_certificate_for_all_their_names() -> None:
    asked = "matchExpressions: [{key: wild, operator: In, values: ['yes', always]}]"
    async with control_plane(
        network={"external-domain-tls": "Enabled", "namespace-wildcard-cert-selector": asked}
    ) as kn:
        await kn.client.patch(Namespace, NAMESPACE, None, {"metadata": {"labels": {"wild": "yes"}}})
        made = await kn.until(Certificate, "default.example.com", "made", lambda _certificate: True)
        assert made.spec.dns_names == ["*.default.example.com"]
        assert (made.spec.domain, made.spec.secret_name) == ("example.com", "default.example.com")
        assert made.metadata.labels["networking.knative.dev/wildcardDomain"] == "example.com"
        await issue(kn, made)
        await kn.create(serving.Service, service("web"))
        assert (await kn.until_ready("web")).status.url == f"https://{HOST}"
        assert [found.name for found in (await kn.client.list(Certificate)).items] == ["default.example.com"]
        # What others change is put right, and who is selected no longer goes back to one per name.
        await kn.client.patch(Certificate, made.name, NAMESPACE, {"spec": {"dnsNames": ["*.elsewhere.example.com"]}})
        await kn.until(Certificate, made.name, "put right", lambda c: c.spec.dns_names == made.spec.dns_names)
        await kn.client.patch(Namespace, NAMESPACE, None, {"metadata": {"labels": {"wild": "no"}}})
        assert (await certificate_of(kn)).spec.dns_names == [HOST]
        assert [found.name for found in (await kn.client.list(Certificate)).items] != ["default.example.com"]


async def test_a_wildcard_certificate_of_the_namespace_is_used_instead() -> None:
    async with control_plane(network={"external-domain-tls": "Enabled"}) as kn:
        wildcard = {
            "metadata": {
                "name": "default.example.com",
                "labels": {"networking.knative.dev/wildcardDomain": "example.com"},
            },
            "spec": {"dnsNames": ["*.default.example.com"], "secretName": "wild", "domain": "example.com"},
        }
        await issue(kn, await kn.create(Certificate, wildcard))
        await kn.create(serving.Service, service("web"))
        assert (await kn.until_ready("web")).status.url == f"https://{HOST}"
        assert [found.name for found in (await kn.client.list(Certificate)).items] == ["default.example.com"]


async def test_certificates_go_with_their_tags_and_a_foreign_one_is_left_alone() -> None:
    async with control_plane(network={"external-domain-tls": "Enabled"}) as kn:
        body = service("web")
        tagged = [{"latestRevision": True, "percent": 100, "tag": "v1"}]
        await kn.create(serving.Service, {**body, "spec": {**body["spec"], "traffic": tagged}})
        await kn.until_ready("web")
        assert len((await kn.client.list(Certificate)).items) == 2
        tag = next(found for found in (await kn.client.list(Certificate)).items if "v1-" in found.spec.dns_names[0])
        untagged = [{"latestRevision": True, "percent": 100}]
        await kn.client.patch(serving.Service, "web", NAMESPACE, {"spec": {"traffic": untagged}})
        await kn.until_gone(Certificate, tag.name)
        own = await certificate_of(kn)
        await kn.client.patch(Certificate, own.name, NAMESPACE, {"metadata": {"ownerReferences": None}})
        await kn.until(
            serving.Route,
            "web",
            "not owned",
            lambda r: condition(r, "CertificateProvisioned") == ("False", "CertificateNotOwned"),
        )


async def test_a_mapping_with_a_secret_of_its_own_is_secure() -> None:
    async with control_plane(network={"autocreate-cluster-domain-claims": "true"}) as kn:
        await kn.create(serving.Service, service("web"))
        await kn.until_ready("web")
        ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "web"}
        body = {"metadata": {"name": "a.example.org"}, "spec": {"ref": ref, "tls": {"secretName": "mine"}}}
        await kn.create(serving.DomainMapping, body)
        found = await kn.until(
            serving.DomainMapping, "a.example.org", "ready", lambda m: condition(m, "Ready")[0] == "True"
        )
        assert found.status.url == "https://a.example.org"
        assert condition(found, "CertificateProvisioned") == ("True", "CertificateExternallyProvided")
        ingress = await kn.get(Ingress, "a.example.org")
        assert [(entry.secret_name, entry.secret_namespace) for entry in ingress.spec.tls] == [("mine", NAMESPACE)]


async def test_queue_proxies_of_a_namespace_share_a_certificate_which_is_waited_for() -> None:
    async with control_plane(network={"system-internal-tls": "enabled"}) as kn:
        await kn.create(serving.Service, service("web"))
        certificate = await kn.until(Certificate, "serving-certs", "asked for", lambda _certificate: True)
        assert certificate.spec.dns_names == ["kn-user-default", "data-plane.knative.dev"]
        assert certificate.metadata.labels["networking.knative.dev/certificate-type"] == "system-internal"
        owner = certificate.metadata.controller()
        assert owner is not None
        assert (owner.kind, owner.name) == ("Namespace", "default")
        await kn.until(
            serving.Revision,
            "web-00001",
            "waiting",
            lambda r: condition(r, "ResourcesAvailable") == ("Unknown", "Deploying"),
        )
        with pytest.raises(NotFound):
            await kn.get(Deployment, "web-00001-deployment")
        data = {"tls.crt": "Yw==", "tls.key": "aw=="}
        await kn.client.create(Secret(metadata=ObjectMeta(name="serving-certs", namespace=NAMESPACE), data=data))
        await kn.until_ready("web")
        ingress = await kn.get(Ingress, "web")
        [split] = ingress.spec.rules[0].http.paths[0].splits if ingress.spec.rules[0].http else []
        assert split.service_port == 443


def paths(ingress: Ingress, host: str) -> list[str]:
    """Paths of the host's rule."""
    return [path.path for rule in ingress.spec.rules if host in rule.hosts and rule.http for path in rule.http.paths]
