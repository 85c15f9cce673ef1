"""Envoy's start configuration: who it is, where its configuration comes from, where it can be asked how it is."""

import json
from typing import Any

__all__ = ["render_bootstrap"]


def render_bootstrap(
    *, xds_address: str, admin_address: str, node_id: str = "knuv-gateway", connections_max: int | None = None
) -> str:
    """Bootstrap as JSON. Addresses are `host:port`; the xDS one may be `unix:/path`.

    `connections_max`: of clients at one time; those that come beyond are closed at once. Without it clients can take
    all of the process's open files, and Envoy then has none left towards those that it asks on their behalf.
    """
    # Envoy's own choice goes up to 30 s, for which nothing new would be served after a gateway was away for a while.
    again = {"retry_back_off": {"base_interval": "0.250s", "max_interval": "2s"}}
    ads: dict[str, Any] = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds", "retry_policy": again}}],
    }
    source = {"resource_api_version": "V3", "ads": {}}
    return json.dumps(
        {
            "node": {"id": node_id, "cluster": "knuv-gateway"},
            "admin": {"address": _address(admin_address)},
            "dynamic_resources": {"ads_config": ads, "cds_config": source, "lds_config": source},
            "static_resources": {
                "clusters": [
                    {
                        "name": "xds",
                        "type": "STATIC",
                        "connect_timeout": "1s",
                        "typed_extension_protocol_options": {
                            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                                "explicit_http_config": {
                                    "http2_protocol_options": {
                                        "connection_keepalive": {"interval": "30s", "timeout": "5s"}
                                    }
                                },
                            }
                        },
                        "load_assignment": {
                            "cluster_name": "xds",
                            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(xds_address)}}]}],
                        },
                    }
                ]
            },
            **({} if connections_max is None else _limited(connections_max)),
        },
        indent=1,
    )


def _limited(connections_max: int) -> dict[str, Any]:
    config = {
        "@type": "type.googleapis.com/"
        "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": connections_max,
    }
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": config}
    return {"overload_manager": {"resource_monitors": [monitor]}}


def _address(text: str) -> dict[str, Any]:
    if text.startswith("unix:"):
        return {"pipe": {"path": text.removeprefix("unix:")}}
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}
