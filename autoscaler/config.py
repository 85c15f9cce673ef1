"""What one autoscaler is told at start."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from autoscaler.buckets import StatefulSet
from kube.config import ApiConfig
from kube.log_level import CONFIG_MAP as LOGGING_CONFIG_MAP
from kube.telemetry import CONFIG_MAP, telemetry_variables
from proxies.environment import Environment

__all__ = ["Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Read once, from the environment; everything else comes from ConfigMaps."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str
    """Where the ConfigMaps are. `SYSTEM_NAMESPACE`."""
    pod_name: str
    """With `pod_ip` this replica's identity. `POD_NAME`."""
    pod_ip: str
    """Where other replicas reach this one. `POD_IP`."""
    cluster_domain: str = "cluster.local"
    """`CLUSTER_DOMAIN`."""
    bind_address: str | None = None
    """Address of the stat server; None: all. `KNUV_BIND_ADDRESS`."""
    stat_port: int = 8080
    """Where activators push to; 8080 is part of the contract, other values are for tests. `KNUV_STAT_PORT`."""
    debug_address: tuple[str, int] | None = None
    """Where GET /debug/state answers; None: nowhere. Loopback only. `KNUV_DEBUG_ADDRESS` (host:port)."""
    resolves_by_endpoints: bool = False
    """Service names lead through the API's Endpoints instead of DNS. `KNUV_SERVICE_RESOLUTION` (dns or endpoints)."""

    strict_compat: bool = False
    """Treat what was not seen as the original does, as no load. `KNUV_STRICT_COMPAT` (docs/differences.md)."""

    election_config_map: str = "config-leader-election"
    """The ConfigMap about buckets and their Leases. `CONFIG_LEADERELECTION_NAME`."""
    logging_config_map: str = LOGGING_CONFIG_MAP
    """The ConfigMap about our own log. `CONFIG_LOGGING_NAME`."""
    observability_config_map: str = CONFIG_MAP
    """The ConfigMap about metrics. `CONFIG_OBSERVABILITY_NAME`."""
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """What overrides it: `METRICS_PROMETHEUS_*`, `OTEL_*`."""
    stateful_set: StatefulSet | None = None
    """Buckets by ordinal instead of by Lease, when `STATEFUL_CONTROLLER_ORDINAL` (a pod's name) and
    `STATEFUL_SERVICE_NAME` are set; with `STATEFUL_SERVICE_PORT` (80) and `STATEFUL_SERVICE_PROTOCOL` (http or ws)."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        config = cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.filled("SYSTEM_NAMESPACE"),
            pod_name=reading.filled("POD_NAME"),
            pod_ip=reading.parsed("POD_IP", _ip_address, None, ""),
            cluster_domain=reading.text("CLUSTER_DOMAIN", "cluster.local"),
            bind_address=environ.get("KNUV_BIND_ADDRESS") or None,
            stat_port=reading.parsed("KNUV_STAT_PORT", _port, 8080, 8080),
            debug_address=(
                reading.parsed("KNUV_DEBUG_ADDRESS", _loopback, None, ("", 0))
                if environ.get("KNUV_DEBUG_ADDRESS")
                else None
            ),
            resolves_by_endpoints=reading.choice("KNUV_SERVICE_RESOLUTION", ("dns", "endpoints")) == "endpoints",
            strict_compat=reading.boolean("KNUV_STRICT_COMPAT", False),
            election_config_map=environ.get("CONFIG_LEADERELECTION_NAME") or "config-leader-election",
            logging_config_map=environ.get("CONFIG_LOGGING_NAME") or LOGGING_CONFIG_MAP,
            observability_config_map=environ.get("CONFIG_OBSERVABILITY_NAME") or CONFIG_MAP,
            telemetry=telemetry_variables(environ),
            stateful_set=_stateful_set(reading, environ),
        )
        reading.finish()
        return config


def _stateful_set(reading: Environment, environ: Mapping[str, str]) -> StatefulSet | None:
    if not (environ.get("STATEFUL_CONTROLLER_ORDINAL") and environ.get("STATEFUL_SERVICE_NAME")):
        return None
    name, ordinal = reading.parsed("STATEFUL_CONTROLLER_ORDINAL", _name_and_ordinal, None, ("", 0))
    return StatefulSet(
        name=name,
        ordinal=ordinal,
        service=reading.text("STATEFUL_SERVICE_NAME"),
        port=reading.parsed("STATEFUL_SERVICE_PORT", _port, 80, 80),
        protocol=reading.choice("STATEFUL_SERVICE_PROTOCOL", ("http", "ws")),
    )


def _name_and_ordinal(text: str) -> tuple[str, int]:
    name, _, ordinal = text.rpartition("-")
    if not (name and ordinal.isascii() and ordinal.isdigit()):
        raise ValueError("expected a StatefulSet's pod name such as autoscaler-0")
    return name, int(ordinal)


def _ip_address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("expected an IP address") from None
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 1 << 16):
        raise ValueError("expected a port from 0 to 65535")
    return int(text)


def _loopback(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host == "localhost" or host.startswith("127.") or host == "[::1]"):
        raise ValueError("expected host:port with a loopback host")
    return host.strip("[]"), _port(port)
