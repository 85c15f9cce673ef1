"""A wildcard certificate for each namespace that is selected: one for all names of its Routes under a domain.

Routes use it in the place of one of their own (`controller.certificates`). Source: knative/serving
`pkg/reconciler/nscert`; spec control-plane.md 7.6.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from controller import keys
from controller.cluster import Cluster
from controller.collection import NOT_OWNED_RETRY_S
from controller.templates import TemplateError
from kube.events import NORMAL, WARNING
from kube.models.core import Namespace
from kube.models.networking import Certificate, CertificateSpec

__all__ = ["NamespaceCertificates", "want"]

JsonObject = dict[str, Any]
Key = tuple[str, str]


class NamespaceCertificates:
    """Call with a Namespace's key."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def __call__(self, key: Key) -> float | None:
        """One pass."""
        namespace = self._cluster.namespaces.get(*key)
        if namespace is None or namespace.metadata.deletion_timestamp is not None:
            return None
        certificates = self._cluster.certificates
        wanted = {body["metadata"]["name"]: body for body in self._wanted(namespace)}
        again_s: float | None = None
        for name, body in wanted.items():
            existing = certificates.get(namespace.name, name)
            if existing is None:
                await certificates.create(body)
                self._cluster.events.report(namespace, NORMAL, "Created", f"Created Knative Certificate {name}")
            elif not existing.is_controlled_by(namespace):
                text = f'There is an existing Certificate "{name}" that we do not own.'
                self._cluster.events.report(namespace, WARNING, "NotOwned", text)
                again_s = NOT_OWNED_RETRY_S
            elif not _is_as_wanted(existing, body):
                metadata = {part: body["metadata"][part] for part in ("labels", "annotations")}
                await certificates.patch(existing, {"spec": body["spec"], "metadata": metadata})
        for certificate in certificates.informer.list(namespace.name):
            is_ours = keys.WILDCARD_DOMAIN in certificate.metadata.labels and certificate.is_controlled_by(namespace)
            if is_ours and certificate.name not in wanted:
                await certificates.delete(certificate)
        return again_s

    def _wanted(self, namespace: Namespace) -> list[JsonObject]:
        settings = self._cluster.settings
        network = settings.network
        if not network.external_domain_tls or not network.wildcard_namespaces.selects(namespace.metadata.labels):
            return []
        bodies = []
        for domain in sorted(settings.domain.wildcards - {f"svc.{self._cluster.cluster_domain}"}):
            parts: dict[str, str | Mapping[str, str]] = {
                "Name": "*",
                "Namespace": namespace.name,
                "Domain": domain,
                "Labels": {},
                "Annotations": {},
            }
            try:
                dns_name = network.domain_template.render(parts)
            except TemplateError as error:
                dns_name = str(error)
            if not dns_name.startswith("*."):
                text = f"domain-template: names of {domain} do not begin with the Route's and a dot: {dns_name}"
                self._cluster.events.report(namespace, WARNING, "InvalidDomainTemplate", text)
                continue
            bodies.append(want(namespace, dns_name, domain, network.certificate_class))
        return bodies


def want(namespace: Namespace, dns_name: str, domain: str, class_: str) -> JsonObject:
    """The Certificate of a namespace for `dns_name`, which begins with `*.`."""
    name = dns_name.removeprefix("*.")
    return {
        "apiVersion": Certificate.RESOURCE.api_version,
        "kind": "Certificate",
        "metadata": {
            "name": name,
            "namespace": namespace.name,
            "labels": {keys.WILDCARD_DOMAIN: domain, keys.CERTIFICATE_TYPE: "external-domain"},
            "annotations": {keys.CERTIFICATE_CLASS[0]: class_},
            "ownerReferences": [msgspec.to_builtins(namespace.owner_reference())],
        },
        "spec": {"dnsNames": [dns_name], "domain": domain, "secretName": name},
    }


def _is_as_wanted(existing: Certificate, body: JsonObject) -> bool:
    wanted = body["metadata"]
    return (
        existing.spec == msgspec.convert(body["spec"], CertificateSpec)
        and wanted["labels"].items() <= existing.metadata.labels.items()
        and wanted["annotations"].items() <= existing.metadata.annotations.items()
    )
