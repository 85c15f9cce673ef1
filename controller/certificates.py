"""Certificates for the hosts of Routes and DomainMappings: asked for here, made by whoever has their class.

`want` is pure; `Provisioner` keeps the objects and judges them. A certificate that is not there yet means plain HTTP,
for as long as the cluster allows that (`HTTPDowngrade`). Source: knative/serving `pkg/reconciler/route/route.go`,
`resources/certificate.go`; spec control-plane.md 7.6.
"""

import enum
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from controller import keys
from controller.cluster import CERTIFICATE_INDEX, WILDCARD_INDEX, Cluster
from controller.collection import happy_condition
from kube.conditions import Conditions
from kube.errors import NotFound
from kube.models.core import Namespace, Secret
from kube.models.meta import Resource
from kube.models.networking import Certificate, Http01Challenge
from kube.names import child_name

__all__ = [
    "EXTERNAL",
    "LOCAL",
    "Provisioned",
    "Provisioner",
    "is_disabled",
    "name_for_mapping",
    "name_for_route",
    "want",
]

JsonObject = dict[str, Any]

EXTERNAL, LOCAL, SYSTEM_INTERNAL = keys.EXTERNAL_DOMAIN, keys.CLUSTER_LOCAL_DOMAIN, keys.SYSTEM_INTERNAL
QUEUE_PROXY_CERTIFICATE = "serving-certs"
CONDITION = "CertificateProvisioned"


@dataclass(slots=True)
class Provisioned:
    """What certificates there are: TLS entries for the Ingress, hosts that speak HTTPS, and open challenges."""

    tls: list[JsonObject] = field(default_factory=list)
    secure_hosts: set[str] = field(default_factory=set)
    challenges: list[Http01Challenge] = field(default_factory=list)
    downgraded: bool = False
    """Some certificate is not there yet, and plain HTTP does until then."""
    not_owned: str = ""
    """Name of a Certificate that somebody else has made in the place of ours."""


def is_disabled(annotations: Mapping[str, str]) -> bool:
    """Whether the object opts out; the oldest spelling of the annotation counts (spec 3.2)."""
    return (keys.first_present(annotations, keys.DISABLE_TLS) or "").lower() == "true"


def name_for_route(uid: str, tag: str, type_: str) -> str:
    """`route-<uid>`, with the tag's sum and `-local` where they apply (spec 2.3)."""
    name = f"route-{uid}"
    if tag:
        name += f"-{zlib.adler32(tag.encode())}"
    return f"{name}-local" if type_ == LOCAL else name


def name_for_mapping(mapping: str) -> str:
    """A DomainMapping's."""
    return child_name(mapping, "")


def want(
    owner: Resource, name: str, dns_names: Iterable[str], domain: str, *, type_: str, default_class: str
) -> JsonObject:
    """A Certificate as it is created; its Secret has the same name."""
    annotations = keys.without(owner.metadata.annotations, (keys.LAST_APPLIED, *keys.CERTIFICATE_CLASS))
    class_ = keys.first_present(owner.metadata.annotations, keys.CERTIFICATE_CLASS) or default_class
    label = keys.ROUTE if owner.kind == "Route" else keys.DOMAIN_MAPPING_UID
    return {
        "apiVersion": Certificate.RESOURCE.api_version,
        "kind": "Certificate",
        "metadata": {
            "name": name,
            "namespace": owner.metadata.namespace,
            "labels": {label: owner.metadata.name, keys.CERTIFICATE_TYPE: type_},
            "annotations": {**annotations, keys.CERTIFICATE_CLASS[0]: class_},
            "ownerReferences": [msgspec.to_builtins(owner.owner_reference())],
        },
        "spec": {"dnsNames": list(dns_names), "domain": domain, "secretName": name},
    }


def want_for_queue_proxies(namespace: Namespace, default_class: str) -> JsonObject:
    """The Certificate of all queue-proxies of a namespace, which mount its Secret (spec 6.8)."""
    return {
        "apiVersion": Certificate.RESOURCE.api_version,
        "kind": "Certificate",
        "metadata": {
            "name": QUEUE_PROXY_CERTIFICATE,
            "namespace": namespace.name,
            "labels": {keys.CERTIFICATE_TYPE: SYSTEM_INTERNAL},
            "annotations": {keys.CERTIFICATE_CLASS[0]: default_class},
            "ownerReferences": [msgspec.to_builtins(namespace.owner_reference())],
        },
        "spec": {
            "dnsNames": [f"kn-user-{namespace.name}", "data-plane.knative.dev"],
            "secretName": QUEUE_PROXY_CERTIFICATE,
        },
    }


class Provisioner:
    """Keeps Certificates as they are wanted, and says in `CertificateProvisioned` what became of them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def provide(self, owner: Resource, wanted: Sequence[JsonObject], conditions: Conditions) -> Provisioned:
        """Create or update `wanted`, and gather those that are ready."""
        found = Provisioned()
        worst = _Verdict.READY, ""
        for body in wanted:
            certificate = self._wildcard(body) or await self._kept(owner, body)
            if certificate is None:
                found.not_owned = body["metadata"]["name"]
                message = f'There is an existing Certificate "{found.not_owned}" that we do not own.'
                conditions.mark_false(CONDITION, "CertificateNotOwned", message)
                return found
            verdict = self._judge(certificate, body["spec"]["dnsNames"], found)
            worst = max(worst, (verdict, certificate.name))
        if wanted:
            _tell(*worst, conditions)
        return found

    async def prune(self, owner: Resource, type_: str, used: set[str]) -> None:
        """Delete the Certificates of `owner` and this type of which no name is used."""
        for certificate in self._cluster.certificates.informer.by_index(CERTIFICATE_INDEX, owner.metadata.uid):
            if certificate.metadata.labels.get(keys.CERTIFICATE_TYPE) == type_ and used.isdisjoint(
                certificate.spec.dns_names
            ):
                await self._cluster.certificates.delete(certificate)

    async def provide_queue_proxies(self, namespace: str) -> bool:
        """Ask for the certificate of a namespace's queue-proxies; whether there is one by now."""
        certificates, client = self._cluster.certificates, self._cluster.client
        if certificates.get(namespace, QUEUE_PROXY_CERTIFICATE) is None:
            owner = await client.get(Namespace, namespace)
            class_ = self._cluster.settings.network.certificate_class
            await certificates.create(want_for_queue_proxies(owner, class_))
        try:
            secret = await client.get(Secret, QUEUE_PROXY_CERTIFICATE, namespace)
        except NotFound:
            return False
        return bool(secret.data.get("tls.crt") and secret.data.get("tls.key"))

    async def _kept(self, owner: Resource, body: JsonObject) -> Certificate | None:
        """The Certificate as wanted; None when its name is somebody else's."""
        certificates = self._cluster.certificates
        existing = certificates.get(owner.namespace, body["metadata"]["name"])
        if existing is None:
            return await certificates.create(body)
        if not existing.is_controlled_by(owner):
            return None
        held, annotations = existing.metadata.annotations, body["metadata"]["annotations"]
        spec = msgspec.convert(body["spec"], type(existing.spec))
        class_ = keys.CERTIFICATE_CLASS[0]
        if existing.spec != spec or held.get(class_) != annotations[class_]:
            patch = {"spec": body["spec"], "metadata": {"annotations": {class_: annotations[class_]}}}
            return await certificates.patch(existing, patch)
        return existing

    def _wildcard(self, body: JsonObject) -> Certificate | None:
        """A namespace's wildcard certificate that covers all names, ready or not."""
        namespace, spec = body["metadata"]["namespace"], body["spec"]
        if body["metadata"]["labels"][keys.CERTIFICATE_TYPE] != EXTERNAL:
            return None
        parents = {f"*.{name.partition('.')[2]}" for name in spec["dnsNames"]}
        for certificate in self._cluster.certificates.informer.by_index(
            WILDCARD_INDEX, f"{namespace}/{spec['domain']}"
        ):
            if parents <= set(certificate.spec.dns_names):
                return certificate
        return None

    def _judge(self, certificate: Certificate, hosts: list[str], found: Provisioned) -> "_Verdict":
        """Take what the certificate gives into `found`."""
        status = certificate.status
        ready = happy_condition(status)
        is_current = status.observed_generation == certificate.metadata.generation
        if ready is not None and ready.status == "True" and is_current:
            entry = {"hosts": hosts, "secretName": certificate.spec.secret_name}
            found.tls.append({**entry, "secretNamespace": certificate.namespace})
            found.secure_hosts.update(hosts)
            renewing = next((c for c in status.conditions if c.type == "Renewing"), None)
            if renewing is not None and renewing.status == "True":
                found.challenges += status.http01_challenges
            return _Verdict.READY
        found.challenges += status.http01_challenges
        if self._cluster.settings.network.http_protocol == "enabled":
            found.downgraded = True
            return _Verdict.DOWNGRADED
        return _Verdict.FAILED if ready is not None and ready.status == "False" else _Verdict.WAITING


class _Verdict(enum.IntEnum):
    """What a certificate means, the worse the higher: the worst of several is told."""

    READY = 0
    DOWNGRADED = 1
    WAITING = 2
    FAILED = 3


def _tell(verdict: _Verdict, name: str, conditions: Conditions) -> None:
    if verdict is _Verdict.READY:
        conditions.mark_true(CONDITION)
    elif verdict is _Verdict.DOWNGRADED:
        conditions.mark_true(CONDITION, "HTTPDowngrade", f"Certificate {name} is not ready downgrade HTTP.")
    elif verdict is _Verdict.WAITING:
        conditions.mark_unknown(CONDITION, "CertificateNotReady", f"Certificate {name} is not ready.")
    else:
        message = f"Certificate {name} fails to be provisioned."
        conditions.mark_false(CONDITION, "CertificateProvisionFailed", message)
