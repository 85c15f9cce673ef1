"""KIngress, Services and endpoints as Envoy resources. Pure: objects in, protobuf messages out.

Per rule and host there is a virtual host on one or both faces: ExternalIP rules are served on the external and the
internal face, ClusterLocal ones on the internal face only (spec ingress.md 5.4). Endpoints are resources of their own
(EDS), so that rewiring a route between activators and pods pushes addresses and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.struct_pb2 import Struct

from kube.models.core import Service
from kube.models.discovery import EndpointSlice
from kube.models.networking import Ingress, IngressPath, IngressSpec

__all__ = [
    "EXTERNAL",
    "INTERNAL",
    "Backend",
    "Translation",
    "cluster",
    "defaulted",
    "listener",
    "load_assignment",
    "route_configuration",
    "translate",
    "with_probes",
]

EXTERNAL = "external_services"
INTERNAL = "internal_services"
"""Names of the two faces' route configurations and listeners."""

_CONNECT_TIMEOUT = timedelta(seconds=5)
_RETRIES = 3
_HTTP2_PORT_NAMES = ("http2", "h2c")
_HTTP2_APP_PROTOCOL = "kubernetes.io/h2c"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True, order=True)
class Backend:
    """A port of a Service."""

    namespace: str
    service: str
    port: int | str

    @property
    def cluster_name(self) -> str:
        """Envoy's name for it; with the port, so that two ports of one Service stay two clusters."""
        return f"{self.namespace}/{self.service}:{self.port}"


@dataclass(frozen=True, slots=True)
class Translation:
    """What one Ingress adds to the configuration."""

    external: tuple[VirtualHost, ...] = ()
    internal: tuple[VirtualHost, ...] = ()
    backends: frozenset[Backend] = field(default_factory=frozenset)

    @property
    def domains(self) -> frozenset[str]:
        """Host names in use; the internal face has all of them."""
        return frozenset(host.domains[0] for host in self.internal)


def defaulted(spec: IngressSpec) -> IngressSpec:
    """A copy with defaults: rules are external, a lone split gets everything (spec ingress.md 2)."""
    copy = msgspec.json.decode(msgspec.json.encode(spec), type=IngressSpec)
    for rule in copy.rules:
        rule.visibility = rule.visibility or "ExternalIP"
        for path in rule.http.paths if rule.http is not None else ():
            if len(path.splits) == 1 and path.splits[0].percent == 0:
                path.splits[0].percent = 100
    return copy


def with_probes(spec: IngressSpec, version: str) -> IngressSpec:
    """A copy in which a request with `K-Network-Hash: override` is stamped with `version` on its way (4.2)."""
    copy = msgspec.json.decode(msgspec.json.encode(spec), type=IngressSpec)
    for rule in copy.rules:
        if rule.http is None:
            continue
        probes = [
            msgspec.structs.replace(
                path,
                headers={**path.headers, "K-Network-Hash": {"exact": "override"}},
                append_headers={**path.append_headers, "K-Network-Hash": version},
            )
            for path in rule.http.paths
        ]
        rule.http.paths = probes + rule.http.paths
    return copy


def translate(ingress: Ingress, spec: IngressSpec) -> Translation:
    """Virtual hosts and backends of `ingress`, whose `spec` is defaulted and has its probe paths."""
    faces: dict[str, dict[str, list[Route]]] = {EXTERNAL: {}, INTERNAL: {}}
    backends = set()
    is_redirected = spec.http_option == "Redirected"
    for rule in spec.rules:
        if rule.http is None:
            continue
        is_public = rule.visibility != "ClusterLocal"
        routes = [_route(path, redirect=is_redirected and is_public) for path in rule.http.paths]
        for path in rule.http.paths:
            backends |= {Backend(s.service_namespace, s.service_name, s.service_port) for s in path.splits}
        for host in rule.hosts or ["*"]:
            for face in (EXTERNAL, INTERNAL) if is_public else (INTERNAL,):
                faces[face].setdefault(host, []).extend(routes)
    owner = f"{ingress.namespace}/{ingress.name}"
    return Translation(
        external=tuple(_virtual_host(owner, host, routes) for host, routes in sorted(faces[EXTERNAL].items())),
        internal=tuple(_virtual_host(owner, host, routes) for host, routes in sorted(faces[INTERNAL].items())),
        backends=frozenset(backends),
    )


def route_configuration(name: str, hosts: Iterable[VirtualHost]) -> RouteConfiguration:
    """All virtual hosts of a face, sorted, so that equal content is equal bytes."""
    return RouteConfiguration(
        name=name,
        virtual_hosts=sorted(hosts, key=lambda host: host.domains[0]),
        # A route may be pushed before its cluster arrived only if that is our bug; then it is refused whole.
        validate_clusters={"value": True},
    )


def cluster(backend: Backend, service: Service) -> Cluster:
    """The cluster of a backend: endpoints by EDS, or the other name of an ExternalName Service."""
    message = Cluster(name=backend.cluster_name, connect_timeout=_CONNECT_TIMEOUT)
    port = next((p for p in service.spec.ports if backend.port in (p.port, p.name)), None)
    if service.spec.type == "ExternalName":
        message.type = Cluster.LOGICAL_DNS
        message.load_assignment.cluster_name = backend.cluster_name
        number = port.port if port is not None else 80
        _add_endpoint(message.load_assignment, service.spec.external_name, number)
    else:
        message.type = Cluster.EDS
        message.eds_cluster_config.eds_config.ads.SetInParent()
        message.eds_cluster_config.eds_config.resource_api_version = 2
    options = HttpProtocolOptions()
    if port is not None and (port.name in _HTTP2_PORT_NAMES or port.app_protocol == _HTTP2_APP_PROTOCOL):
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
    }
    for address, number in sorted(found):
        _add_endpoint(message, address, number)
    return message


def listener(name: str, host: str, port: int, access_log: str | None) -> Listener:
    """A face: an HTTP listener whose routes come by RDS under the same name."""
    manager = HttpConnectionManager(
        stat_prefix=name,
        stream_idle_timeout=timedelta(0),
        use_remote_address={"value": True},
        # Paths belong to the app: nothing is normalised, merged or unescaped on the way.
        normalize_path={"value": False},
        merge_slashes=False,
    )
    manager.rds.route_config_name = name
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = 2
    manager.upgrade_configs.add(upgrade_type="websocket")
    filter_ = manager.http_filters.add(name="envoy.filters.http.router")
    filter_.typed_config.Pack(Router())
    if access_log is not None:
        log = FileAccessLog(path=access_log)
        log.log_format.json_format.CopyFrom(_log_fields())
        entry = manager.access_log.add(name="envoy.access_loggers.file")
        entry.typed_config.Pack(log)
    message = Listener(name=name, enable_reuse_port={"value": False})
    message.address.socket_address.address = host
    message.address.socket_address.port_value = port
    chain = message.filter_chains.add()
    network_filter = chain.filters.add(name="envoy.filters.network.http_connection_manager")
    network_filter.typed_config.Pack(manager)
    return message


def _virtual_host(owner: str, host: str, routes: list[Route]) -> VirtualHost:
    domains = ["*"] if host == "*" else [host, f"{host}:*"]
    # Longest prefix first; the sort is stable, so probe paths stay ahead of tag paths and those ahead of the default.
    ordered = sorted(routes, key=lambda route: -len(route.match.prefix))
    return VirtualHost(name=f"({owner}).Domain[{host}]", domains=domains, routes=ordered)


def _route(path: IngressPath, *, redirect: bool) -> Route:
    route = Route(name=path.path or "/")
    route.match.prefix = path.path or "/"
    for name, match in path.headers.items():
        matcher = route.match.headers.add(name=name)
        if match.get("exact"):
            matcher.string_match.exact = match["exact"]
        else:
            matcher.present_match = True
    if redirect:
        route.redirect.https_redirect = True
        return route
    action = route.route
    for split in path.splits:
        backend = Backend(split.service_namespace, split.service_name, split.service_port)
        weighted = action.weighted_clusters.clusters.add(name=backend.cluster_name, weight={"value": split.percent})
        weighted.request_headers_to_add.extend(_set(split.append_headers))
    route.request_headers_to_add.extend(_set(path.append_headers))
    action.timeout.FromTimedelta(timedelta(0))
    if path.rewrite_host:
        action.host_rewrite_literal = path.rewrite_host
    # Only what no backend has begun to work on: a connection that could not be made, a pooled one that was closed
    # before the request got through. A status of the app's is the client's to see.
    action.retry_policy.retry_on = "connect-failure,refused-stream,reset-before-request"
    action.retry_policy.num_retries.value = _RETRIES
    return route


def _set(headers: dict[str, str]) -> list[HeaderValueOption]:
    return [
        HeaderValueOption(
            header={"key": name, "value": value}, append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
        )
        for name, value in sorted(headers.items())
    ]


def _add_endpoint(assignment: ClusterLoadAssignment, address: str, port: int) -> None:
    locality = assignment.endpoints[0] if assignment.endpoints else assignment.endpoints.add()
    socket = locality.lb_endpoints.add().endpoint.address.socket_address
    socket.address = address
    socket.port_value = port


def _log_fields() -> Struct:
    fields: dict[str, Any] = {
        "start_time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
        "method": "%REQ(:METHOD)%",
        "authority": "%REQ(:AUTHORITY)%",
        "path": "%REQ(:PATH)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "duration_ms": "%DURATION%",
        "upstream": "%UPSTREAM_HOST%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    }
    struct = Struct()
    struct.update(fields)
    return struct
