"""Services and their endpoints as Envoy's clusters. Pure: objects in, protobuf messages out.

Endpoints are resources of their own (EDS), so that rewiring a route between activators and pods pushes addresses and
nothing else. Source: spec ingress.md 5.5.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from gateway.trust import Trust, secure
from kube.addresses import Address
from kube.models.core import Service
from kube.models.discovery import EndpointSlice

__all__ = ["Backend", "cluster", "load_assignment", "static_cluster"]

_CONNECT_TIMEOUT = timedelta(seconds=5)
_HTTP2_PORT_NAMES = ("http2", "h2c")
_HTTP2_APP_PROTOCOL = "kubernetes.io/h2c"
_DNS_NAME = re.compile(r"(?=.{1,253}\.?\Z)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?\Z")
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True)
class Backend:
    """A port of a Service."""

    namespace: str
    service: str
    port: int | str
    is_http1: bool = False
    """HTTP/1 is to be spoken to it, whatever the port says."""
    is_tls: bool = False
    """It is spoken to with TLS, and has to be of the data plane (`gateway.trust`)."""

    @property
    def cluster_name(self) -> str:
        """Envoy's name for it; with the port, so that two ports of one Service stay two clusters."""
        name = f"{self.namespace}/{self.service}:{self.port}"
        name = f"{name}:http1" if self.is_http1 else name
        return f"{name}:tls" if self.is_tls else name


def cluster(
    backend: Backend, service: Service, faces: Mapping[str, Address] | None = None, trust: Trust | None = None
) -> Cluster:
    """The cluster of a backend: endpoints by EDS, or the other name of an ExternalName Service.

    `trust`: whom to believe where TLS is spoken.
    `faces`: names that mean this gateway itself, which need no name server: a placeholder leads back to us.
    """
    message = Cluster(name=backend.cluster_name, connect_timeout=_CONNECT_TIMEOUT)
    port = next((p for p in service.spec.ports if backend.port in (p.port, p.name)), None)
    own_face = (faces or {}).get(service.spec.external_name) if service.spec.type == "ExternalName" else None
    if own_face is not None:
        message.type = Cluster.STATIC
        message.load_assignment.cluster_name = backend.cluster_name
        _add_endpoint(message.load_assignment, own_face.host, own_face.port)
    elif service.spec.type == "ExternalName" and _DNS_NAME.match(service.spec.external_name):
        message.type = Cluster.LOGICAL_DNS
        message.load_assignment.cluster_name = backend.cluster_name
        number = port.port if port is not None else 80
        _add_endpoint(message.load_assignment, service.spec.external_name, number)
    else:
        message.type = Cluster.EDS
        message.eds_cluster_config.eds_config.ads.SetInParent()
        message.eds_cluster_config.eds_config.resource_api_version = 2
    options = HttpProtocolOptions()
    is_http2 = port is not None and (port.name in _HTTP2_PORT_NAMES or port.app_protocol == _HTTP2_APP_PROTOCOL)
    if backend.is_tls:
        # The port is that of TLS; what is spoken inside it, another port of the same Service says.
        is_http2 = any(p.name in _HTTP2_PORT_NAMES for p in service.spec.ports)
    is_http2 = is_http2 and not backend.is_http1
    if backend.is_tls and trust is not None:
        secure(message, trust, backend.namespace, is_http2=is_http2)
    if is_http2:
        options.explicit_http_config.http2_protocol_options.SetInParent()
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    message.typed_extension_protocol_options[_HTTP_OPTIONS].Pack(options)
    # The activator holds any number of requests; what is bounded is bounded there and in queue-proxy.
    for priority in (0, 1):
        message.circuit_breakers.thresholds.add(
            priority=priority,
            max_connections={"value": 1 << 20},
            max_pending_requests={"value": 1 << 20},
            max_requests={"value": 1 << 20},
            max_retries={"value": 1 << 20},
        )
    return message


def static_cluster(name: str, address: Address) -> Cluster:
    """A cluster of one address that does not change."""
    message = Cluster(name=name, connect_timeout=_CONNECT_TIMEOUT, type=Cluster.STATIC)
    message.load_assignment.cluster_name = name
    _add_endpoint(message.load_assignment, address.host, address.port)
    return message


def load_assignment(
    backend: Backend, service: Service | None, slices: Iterable[EndpointSlice]
) -> ClusterLoadAssignment:
    """The ready addresses of a backend, maybe none. Slices' ports are matched by the Service port's name."""
    message = ClusterLoadAssignment(cluster_name=backend.cluster_name)
    if service is None:
        return message
    names = [p.name for p in service.spec.ports if backend.port in (p.port, p.name)]
    found = {
        (address, port.port)
        for piece in slices
        for port in piece.ports
        if port.name in names
        for endpoint in piece.endpoints
        if endpoint.conditions.ready is not False
        for address in endpoint.addresses
        if _is_ip(address)
    }
    for address, number in sorted(found):
        _add_endpoint(message, address, number)
    return message


def _is_ip(text: str) -> bool:
    """Slices may hold names, too, which EDS cannot: Envoy would refuse all addresses for one of them."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _add_endpoint(assignment: ClusterLoadAssignment, address: str, port: int) -> None:
    locality = assignment.endpoints[0] if assignment.endpoints else assignment.endpoints.add()
    socket = locality.lb_endpoints.add().endpoint.address.socket_address
    socket.address = address
    socket.port_value = port
