"""Where each host of an Ingress is probed."""

from collections.abc import Mapping

from gateway.faces import EXTERNAL, EXTERNAL_TLS, INTERNAL, INTERNAL_TLS
from kube.addresses import Address
from kube.ingress.prober import Target
from kube.ingress.spec import tls_entries
from kube.models.networking import IngressSpec

__all__ = ["targets"]


def targets(spec: IngressSpec, faces: Mapping[str, Address]) -> list[Target]:
    """Every host of every rule, at the face that its visibility and its certificates ask for."""
    found = set()
    for visibility, plain, secured in (
        ("ExternalIP", EXTERNAL, EXTERNAL_TLS),
        ("ClusterLocal", INTERNAL, INTERNAL_TLS),
    ):
        is_tls = bool(tls_entries(spec, visibility))
        address = str(faces[secured if is_tls else plain])
        for rule in spec.rules:
            if (rule.visibility == "ClusterLocal") == (visibility == "ClusterLocal"):
                found |= {Target(address, host, is_tls) for host in rule.hosts}
    return sorted(found, key=lambda target: (target.address, target.host))
