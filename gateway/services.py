"""Programs that the gateway's Envoys ask or tell about each request: external authorization, and a collector of traces.

Pure: what `config-kourier` says, and Envoy's messages for it. Source: net-kourier `pkg/reconciler/ingress/config/
{ext_authz,tracing}.go`; spec ingress.md 5.4, 5.8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz, ExtAuthzPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.any_pb2 import Any as Packed

__all__ = [
    "AUTHORIZATION_FILTER",
    "Authorization",
    "Tracing",
    "authorized_as",
    "not_authorized",
]

AUTHORIZATION_FILTER = "envoy.filters.http.ext_authz"
_OPEN_TELEMETRY = "envoy.tracers.opentelemetry"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_API_V3 = 2
_CLIENT = ("client", "kourier")
"""How the gateway names itself, so that a service for several gateways can tell."""
_CONNECT_TIMEOUT = timedelta(seconds=5)
_EXPORT_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """Who decides whether a request may go on."""

    host: str
    port: int
    protocol: str
    """grpc, http or https."""
    lets_pass_when_away: bool = False
    body_bytes_max: int = 8192
    """How much of a body is shown; longer ones are shown in part."""
    timeout_s: float = 2.0
    path_prefix: str = ""
    """Put before the request's own path, when it is asked over HTTP."""
    packs_as_bytes: bool = False
    """Bodies are bytes and no text, when it is asked over gRPC."""

    CLUSTER = "extAuthz"

    def cluster(self) -> Cluster:
        """Envoy's cluster for it."""
        return _cluster(
            self.CLUSTER, self.host, self.port, is_http2=self.protocol == "grpc", is_tls=self.protocol == "https"
        )

    def add_filter(self, manager: HttpConnectionManager) -> None:
        """Let every request of a listener be decided first."""
        message = ExtAuthz(transport_api_version=_API_V3, failure_mode_allow=self.lets_pass_when_away)
        message.with_request_body.max_request_bytes = self.body_bytes_max
        message.with_request_body.allow_partial_message = True
        timeout = timedelta(seconds=self.timeout_s)
        if self.protocol == "grpc":
            message.with_request_body.pack_as_bytes = self.packs_as_bytes
            message.grpc_service.envoy_grpc.cluster_name = self.CLUSTER
            message.grpc_service.timeout.FromTimedelta(timeout)
            message.grpc_service.initial_metadata.add(key=_CLIENT[0], value=_CLIENT[1])
        else:
            service = message.http_service
            _fill(service.server_uri, f"{self.protocol}://{self.host}:{self.port}", self.CLUSTER, timeout)
            service.path_prefix = self.path_prefix
            service.authorization_request.headers_to_add.add(key=_CLIENT[0], value=_CLIENT[1])
        manager.http_filters.add(name=AUTHORIZATION_FILTER).typed_config.Pack(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Who collects spans."""

    host: str
    port: int
    protocol: str = "grpc"
    """grpc or http/protobuf."""
    url: str = ""
    """The whole of it, where it is told over HTTP."""
    sampling_ratio: float = 1.0
    service_name: str = "kourier-knative"

    CLUSTER = "tracing-collector"

    def cluster(self) -> Cluster:
        """Envoy's cluster for it."""
        is_tls = self.url.startswith("https:")
        return _cluster(self.CLUSTER, self.host, self.port, is_http2=self.protocol == "grpc", is_tls=is_tls)

    def add_to(self, manager: HttpConnectionManager) -> None:
        """Let a listener tell of its requests."""
        message = OpenTelemetryConfig(service_name=self.service_name)
        if self.protocol == "grpc":
            message.grpc_service.envoy_grpc.cluster_name = self.CLUSTER
            message.grpc_service.timeout.FromTimedelta(_EXPORT_TIMEOUT)
        else:
            _fill(message.http_service.http_uri, self.url, self.CLUSTER, _EXPORT_TIMEOUT)
        manager.tracing.provider.name = _OPEN_TELEMETRY
        manager.tracing.provider.typed_config.Pack(message)
        manager.tracing.random_sampling.value = self.sampling_ratio * 100


def authorized_as(visibility: str, labels: Mapping[str, str]) -> Packed:
    """What the deciding service is told of a virtual host."""
    message = ExtAuthzPerRoute()
    context = message.check_settings.context_extensions
    context.update({**labels, _CLIENT[0]: _CLIENT[1], "visibility": visibility})
    return _packed(message)


def not_authorized() -> Packed:
    """For what goes on unasked: challenges of certificate authorities, and Envoy's own health."""
    return _packed(ExtAuthzPerRoute(disabled=True))


def _packed(message: ExtAuthzPerRoute) -> Packed:
    packed = Packed()
    packed.Pack(message, deterministic=True)
    return packed


def _fill(uri: HttpUri, url: str, cluster: str, timeout: timedelta) -> None:
    uri.uri = url
    uri.cluster = cluster
    uri.timeout.FromTimedelta(timeout)


def _cluster(name: str, host: str, port: int, *, is_http2: bool, is_tls: bool) -> Cluster:
    message = Cluster(name=name, connect_timeout=_CONNECT_TIMEOUT, type=Cluster.STRICT_DNS)
    message.load_assignment.cluster_name = name
    socket = message.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    socket.address, socket.port_value = host, port
    options = HttpProtocolOptions()
    if is_http2:
        options.explicit_http_config.http2_protocol_options.SetInParent()
    else:
        options.explicit_http_config.http_protocol_options.SetInParent()
    message.typed_extension_protocol_options[_HTTP_OPTIONS].Pack(options)
    if is_tls:
        message.transport_socket.name = "envoy.transport_sockets.tls"
        message.transport_socket.typed_config.Pack(UpstreamTlsContext(sni=host))
    return message
