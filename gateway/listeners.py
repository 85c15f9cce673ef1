"""The gateway's faces: HTTP listeners that take their routes by RDS under the same name, in plain text or with TLS.

Pure: values in, protobuf messages out. A TLS face shows each certificate to the names that it is for (SNI); other names
are shown the one for all names, or get no answer where there is none. Source: spec ingress.md 5.3.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from google.protobuf.struct_pb2 import Struct

from gateway.faces import EXTERNAL, EXTERNAL_TLS, INTERNAL_TLS
from gateway.settings import GatewaySettings
from kube.addresses import Address

__all__ = ["Chain", "listener", "tls_listener"]


_DEFAULTS = GatewaySettings()
_BEHIND_LOAD_BALANCERS = (EXTERNAL, EXTERNAL_TLS, INTERNAL_TLS)


@dataclass(frozen=True, slots=True, order=True)
class Chain:
    """A certificate with its key, as PEM, and the names that it is shown to."""

    hosts: tuple[str, ...]
    """None: whoever asks for a name that no other chain has."""
    certificate: bytes
    key: bytes
    routes: str
    """The face whose routes are served behind it."""


def listener(
    name: str, host: str, port: int, access_log: str | None, settings: GatewaySettings = _DEFAULTS
) -> Listener:
    """A face in plain text."""
    message = _listener(name, Address(host, port), settings)
    _add_manager(message.filter_chains.add(), name, access_log, settings)
    return message


def tls_listener(
    name: str,
    address: Address,
    chains: Iterable[Chain],
    access_log: str | None,
    settings: GatewaySettings = _DEFAULTS,
) -> Listener:
    """A face with TLS 1.2 or newer, HTTP/2 where the client knows it."""
    message = _listener(name, address, settings)
    message.listener_filters.add(name="envoy.filters.listener.tls_inspector").typed_config.Pack(TlsInspector())
    for chain in sorted(chains):
        added = message.filter_chains.add(name=chain.hosts[0] if chain.hosts else "all other names")
        added.filter_chain_match.server_names.extend(chain.hosts)
        context = DownstreamTlsContext()
        common = context.common_tls_context
        common.tls_params.tls_minimum_protocol_version = TlsParameters.TLSv1_2
        common.tls_params.cipher_suites.extend(settings.cipher_suites)
        common.alpn_protocols.extend(("h2", "http/1.1"))
        pair = common.tls_certificates.add()
        pair.certificate_chain.inline_bytes = chain.certificate
        pair.private_key.inline_bytes = chain.key
        added.transport_socket.name = "envoy.transport_sockets.tls"
        added.transport_socket.typed_config.Pack(context)
        _add_manager(added, chain.routes, access_log, settings)
    return message


def _listener(name: str, address: Address, settings: GatewaySettings) -> Listener:
    message = Listener(name=name, enable_reuse_port={"value": False})
    first, *others = settings.listen_hosts if address.is_everywhere and settings.listen_hosts else (address.host,)
    message.address.socket_address.address = first
    message.address.socket_address.port_value = address.port
    for host in others:
        socket = message.additional_addresses.add().address.socket_address
        socket.address, socket.port_value = host, address.port
    if settings.expects_proxy_protocol and name in _BEHIND_LOAD_BALANCERS:
        # Probes come past the load balancer, so what comes without the line is taken for what it is.
        protocol = ProxyProtocol(allow_requests_without_proxy_protocol=True)
        message.listener_filters.add(name="envoy.filters.listener.proxy_protocol").typed_config.Pack(protocol)
    return message


def _add_manager(chain: FilterChain, name: str, access_log: str | None, settings: GatewaySettings) -> None:
    manager = HttpConnectionManager(
        stat_prefix=name,
        stream_idle_timeout=timedelta(seconds=settings.stream_idle_s),
        use_remote_address={"value": settings.uses_remote_address},
        xff_num_trusted_hops=settings.trusted_hops,
        # Paths belong to the app: nothing is normalised, merged or unescaped on the way.
        normalize_path={"value": False},
        merge_slashes=False,
    )
    if settings.passes_server_header:
        manager.server_header_transformation = HttpConnectionManager.PASS_THROUGH
    manager.rds.route_config_name = name
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = 2
    manager.upgrade_configs.add(upgrade_type="websocket")
    if settings.authorization is not None:
        settings.authorization.add_filter(manager)
    if settings.tracing is not None:
        settings.tracing.add_to(manager)
    filter_ = manager.http_filters.add(name="envoy.filters.http.router")
    filter_.typed_config.Pack(Router())
    if access_log is not None and settings.writes_access_log:
        log = FileAccessLog(path=access_log)
        if settings.access_log_template:
            log.log_format.text_format_source.inline_string = settings.access_log_template
        else:
            log.log_format.json_format.CopyFrom(_log_fields())
        entry = manager.access_log.add(name="envoy.access_loggers.file")
        entry.typed_config.Pack(log)
    network_filter = chain.filters.add(name="envoy.filters.network.http_connection_manager")
    network_filter.typed_config.Pack(manager)


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
