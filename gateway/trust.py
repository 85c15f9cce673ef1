"""Whom the gateway believes to be a backend, when `system-internal-tls` is on.

Then requests go to port 443 of Services with TLS 1.3, and the other side has to show a name of the data plane under a
known authority: that of `routing-serving-certs`, or one of the trust bundles. Source: spec ingress.md 5.5.
"""

import base64
import binascii
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import SubjectAltNameMatcher, TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from kube.models.core import ConfigMap, Secret

__all__ = ["BUNDLE_LABEL", "CA_SECRET", "NETWORK_MAP", "InvalidTrust", "Trust", "authorities", "is_on", "secure"]

CA_SECRET = "routing-serving-certs"  # noqa: S105 - a name
BUNDLE_LABEL = "networking.knative.dev/trust-bundle"
NETWORK_MAP = "config-network"


class InvalidTrust(ValueError):
    """TLS is wanted, and there is nobody to believe; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Authorities as PEM."""

    authorities: bytes


def is_on(network: ConfigMap | None) -> bool:
    """Whether `config-network` asks for TLS between the parts of the system."""
    data = network.data if network is not None else {}
    is_enabled = data.get("system-internal-tls", "disabled").lower() == "enabled"
    return is_enabled or data.get("internal-encryption", "").lower() in ("1", "t", "true")


def authorities(
    secret: Secret | None, bundles: Iterable[ConfigMap], refused: Callable[[str], None] = lambda _text: None
) -> Trust:
    """All authorities. A bundle with anything else in it is passed over, and told. Raises `InvalidTrust`."""
    found = []
    if secret is not None:
        try:
            found.append(base64.b64decode(secret.data["ca.crt"], validate=True))
        except (KeyError, binascii.Error):
            refused(f"Secret {CA_SECRET}: expected ca.crt")
    for bundle in sorted(bundles, key=lambda bundle: bundle.key):
        text = "\n".join(bundle.data[name] for name in sorted(bundle.data)).encode()
        if _is_pem(text):
            found.append(text)
        else:
            refused(f"ConfigMap {bundle.namespace}/{bundle.name}: expected certificates and nothing else")
    if not found:
        raise InvalidTrust(f"system-internal-tls needs an authority: ca.crt of Secret {CA_SECRET}, or a trust bundle")
    return Trust(b"\n".join(found))


def secure(cluster: Cluster, trust: Trust, namespace: str, *, is_http2: bool) -> None:
    """Speak TLS 1.3 to a cluster, and believe the data plane of its namespace only."""
    context = UpstreamTlsContext()
    common = context.common_tls_context
    common.tls_params.tls_minimum_protocol_version = TlsParameters.TLSv1_3
    common.tls_params.tls_maximum_protocol_version = TlsParameters.TLSv1_3
    if is_http2:
        common.alpn_protocols.append("h2")
    validation = common.validation_context
    validation.trusted_ca.inline_bytes = trust.authorities
    for name in ("kn-routing", f"kn-user-{namespace}"):
        matcher = validation.match_typed_subject_alt_names.add(san_type=SubjectAltNameMatcher.DNS)
        matcher.matcher.exact = name
    cluster.transport_socket.name = "envoy.transport_sockets.tls"
    cluster.transport_socket.typed_config.Pack(context)


def _is_pem(text: bytes) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.decode())
    except (ssl.SSLError, ValueError):
        return False
    return True
