"""Domains of one's own (statements 37, 100 to 102)."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kube.errors import Invalid
from kube.models import serving
from kube.models.networking import ClusterDomainClaim, Ingress
from tests.controller.cluster import NAMESPACE, Kn, condition, control_plane, service
from tests.controller.writes import Write, refusal

DOMAIN = "shop.example.org"


def mapping(name: str = DOMAIN, /, **ref: str) -> dict[str, Any]:
    target = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "web", **ref}
    return {"metadata": {"name": name}, "spec": {"ref": target}}


@pytest.fixture
async def kn() -> AsyncIterator[Kn]:
    async with control_plane(network={"autocreate-cluster-domain-claims": "true"}) as running:
        yield running


async def ready(kn: Kn, name: str = DOMAIN) -> serving.DomainMapping:
    return await kn.until(serving.DomainMapping, name, "ready", lambda m: condition(m, "Ready")[0] == "True")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "x.svc.cluster.local",
            'invalid name "x.svc.cluster.local": must not be a subdomain of cluster local domain "cluster.local"',
        ),
        ("shop", "invalid value: shop: metadata.name"),
        ("Shop.example.org", "invalid value: Shop.example.org: metadata.name"),
    ],
)
def test_37_names_that_cannot_be_mapped_are_refused(name: str, text: str) -> None:
    body = {**mapping(name), "kind": "DomainMapping"}
    assert refusal(Write("DomainMapping", body, operation="CREATE")).startswith(text)


def test_a_reference_needs_all_its_parts() -> None:
    body = {"kind": "DomainMapping", "metadata": {"name": DOMAIN}, "spec": {"ref": {}}}
    assert refusal(Write("DomainMapping", body, operation="CREATE")) == (
        "missing field(s): spec.ref.apiVersion, spec.ref.kind, spec.ref.name"
    )


async def test_100_a_domain_that_nobody_claimed_waits_for_its_claim() -> None:
    async with control_plane() as kn:
        await kn.create(serving.Service, service("web"))
        await kn.until_ready("web")
        await kn.create(serving.DomainMapping, mapping())
        await kn.until(
            serving.DomainMapping,
            DOMAIN,
            "unclaimed",
            lambda m: condition(m, "DomainClaimed") == ("False", "DomainAlreadyClaimed"),
        )
        claim = {
            "apiVersion": "networking.internal.knative.dev/v1alpha1",
            "kind": "ClusterDomainClaim",
            "metadata": {"name": DOMAIN},
            "spec": {"namespace": NAMESPACE},
        }
        await kn.client.raw("POST", ClusterDomainClaim.RESOURCE.path(), body=json.dumps(claim).encode())
        await ready(kn)
        # A claim that was there before is the administrator's: it stays.
        await kn.client.delete(serving.DomainMapping, DOMAIN, NAMESPACE)
        await kn.until_gone(serving.DomainMapping, DOMAIN)
        assert (await kn.client.get(ClusterDomainClaim, DOMAIN)).spec.namespace == NAMESPACE


async def test_101_the_ingress_rewrites_the_host_and_says_the_original_one(kn: Kn) -> None:
    await kn.create(serving.Service, service("web"))
    await kn.until_ready("web")
    created = await kn.create(serving.DomainMapping, mapping())
    found = await ready(kn)
    assert found.status.url == f"http://{DOMAIN}"
    assert found.status.address == {"url": f"http://{DOMAIN}"}
    ingress = await kn.get(Ingress, DOMAIN)
    assert ingress.is_controlled_by(created)
    assert ingress.metadata.labels["serving.knative.dev/domainMappingUID"] == created.metadata.uid
    [rule] = ingress.spec.rules
    assert (rule.hosts, rule.visibility) == ([DOMAIN], "ExternalIP")
    assert rule.http is not None
    [path] = rule.http.paths
    assert path.rewrite_host == "web.default.svc.cluster.local"
    [split] = path.splits
    assert (split.service_name, split.service_port, split.percent) == ("web", 80, 100)
    assert split.append_headers == {"K-Original-Host": DOMAIN}


async def test_102_a_target_elsewhere_is_refused_or_not_resolved(kn: Kn) -> None:
    with pytest.raises(Invalid, match=r"mismatched namespaces: spec\.ref\.namespace"):
        await kn.create(serving.DomainMapping, mapping(namespace="kube-system"))
    for name, ref in (
        ("absent.example.org", {"name": "nobody"}),
        ("odd.example.org", {"apiVersion": "example.com/v1", "kind": "Odd"}),
    ):
        await kn.create(serving.DomainMapping, mapping(name, **ref))
        await kn.until(
            serving.DomainMapping,
            name,
            "unresolved",
            lambda m: condition(m, "ReferenceResolved") == ("False", "ResolveFailed"),
        )


async def test_a_target_that_comes_later_is_found_and_the_claim_goes_with_the_mapping(kn: Kn) -> None:
    await kn.create(serving.DomainMapping, mapping())
    await kn.until(serving.DomainMapping, DOMAIN, "waiting", lambda m: condition(m, "ReferenceResolved")[0] == "False")
    await kn.create(serving.Service, service("web"))
    await ready(kn)
    await kn.client.delete(serving.DomainMapping, DOMAIN, NAMESPACE)
    await kn.until_gone(serving.DomainMapping, DOMAIN)
    await kn.until_gone(Ingress, DOMAIN)
    assert not (await kn.client.list(ClusterDomainClaim)).items
