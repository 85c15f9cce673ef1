"""What cert-manager is asked for. Pure.

Source: knative/serving `pkg/reconciler/certificate/resources/cert_manager_certificate.go`; spec control-plane.md 7.6.
"""

from typing import Any

import msgspec

from controller import keys
from controller.cert_manager.settings import CertManagerSettings
from controller.covering import covers
from kube.models.cert_manager import CertManagerCertificate
from kube.models.networking import Certificate

__all__ = ["NameTooLong", "change", "is_as_wanted", "want"]

JsonObject = dict[str, Any]

_COMMON_NAME_MAX = 64 - 1
"""A certificate has room for 64 characters (RFC 5280, ub-common-name); the original stays below."""
_OWN_GROUP = "cert-manager.io"
"""Of issuers that say no group."""
_SHORT = "k."
"""Before the domain, in the place of a name that is too long."""


class NameTooLong(ValueError):
    """No name is short enough to be the common name; the text says which was tried."""


def want(certificate: Certificate, settings: CertManagerSettings) -> JsonObject:
    """cert-manager's Certificate of the same name. Raises `NameTooLong`."""
    meta, spec = certificate.metadata, certificate.spec
    common_name = _common_name(certificate)
    dns_names = [*spec.dns_names]
    if common_name not in dns_names:
        dns_names.append(common_name)
    return {
        "apiVersion": CertManagerCertificate.RESOURCE.api_version,
        "kind": CertManagerCertificate.RESOURCE.kind,
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": keys.without(meta.labels, ()),
            "annotations": keys.without(meta.annotations, (keys.LAST_APPLIED,)),
            "ownerReferences": [msgspec.to_builtins(certificate.owner_reference())],
        },
        "spec": {
            "secretName": spec.secret_name,
            "commonName": common_name,
            "dnsNames": dns_names,
            "issuerRef": dict(settings.issuer(meta.labels.get(keys.CERTIFICATE_TYPE, ""))),
            "secretTemplate": {"labels": {keys.CERTIFICATE_UID: meta.uid}},
        },
    }


def is_as_wanted(existing: CertManagerCertificate, body: JsonObject) -> bool:
    """Whether all that is wanted is there; what cert-manager fills in beside it stays."""
    wanted = body["spec"]
    return covers(existing.spec, wanted) and _group_of(existing.spec) == _group_of(wanted)


def change(body: JsonObject) -> JsonObject:
    """The patch for one that is not as wanted: a former issuer's group is not the next one's."""
    spec = body["spec"]
    return {"spec": {**spec, "issuerRef": {"group": None, **spec["issuerRef"]}}}


def _group_of(spec: JsonObject) -> object:
    return spec["issuerRef"].get("group") or _OWN_GROUP


def _common_name(certificate: Certificate) -> str:
    spec, owner = certificate.spec, certificate.metadata.controller()
    first = spec.dns_names[0] if spec.dns_names else ""
    if first and len(first) <= _COMMON_NAME_MAX:
        return first
    if owner is not None and owner.kind == "DomainMapping":
        raise NameTooLong(f"the name {first!r} of a DomainMapping is longer than {_COMMON_NAME_MAX} characters")
    if not spec.domain:
        raise NameTooLong(f"the name {first!r} is longer than {_COMMON_NAME_MAX} characters, and there is no domain")
    short = _SHORT + spec.domain
    if len(short) > _COMMON_NAME_MAX:
        raise NameTooLong(f"both {first!r} and {short!r} are longer than {_COMMON_NAME_MAX} characters")
    return short
