"""What the processes of the broker are told at start: the environment, read once, all errors together.

Source: spec eventing-broker.md 2.1, eventing-channels.md 6.2, eventing-sources.md 9.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kube.config import ApiConfig
from kube.log_level import CONFIG_MAP as LOGGING_CONFIG_MAP
from kube.telemetry import CONFIG_MAP as OBSERVABILITY_CONFIG_MAP
from kube.telemetry import telemetry_variables
from proxies.environment import ConfigError, Environment
from proxies.gotext import parse_int
from proxies.tls import TlsSettings

__all__ = ["DISPATCHER", "FILTER", "INGRESS", "JOB_SINK", "Config", "Process", "check_all"]

_MIB: Final = 1024 * 1024
_EVENT_BYTES_MAX: Final = 64 * _MIB
_HELD_BYTES_MAX: Final = 256 * _MIB
_DRAIN_S: Final = 45.0
"""The original waits until no request has come for so long (spec 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What is fixed about one of the processes."""

    name: str
    component: str
    """In logs, and in the keys of `config-logging`."""
    telemetry_name: str
    tls_secret: str
    metrics_port: int
    read_s: float
    """How long a request may take to arrive, its body included."""
    service_account: str
    """Whose tokens it shows, in the system namespace; empty: those of others."""
    port_variable: str = ""
    """Names the plain port; with `_HTTPS` at its end the one of TLS. Empty: both are fixed."""
    idle_connections_max: tuple[int, int] = (1000, 1000)
    """That are kept: of all, and of one host."""
    has_idle_variables: bool = False
    """`MAX_IDLE_CONNS` and `MAX_IDLE_CONNS_PER_HOST` say so instead."""
    needs_namespace: bool = False


INGRESS: Final = Process(
    name="ingress",
    component="mt_broker_ingress",
    telemetry_name="broker.ingress",
    tls_secret="mt-broker-ingress-server-tls",  # noqa: S106 - its name
    metrics_port=9092,
    read_s=10.0,
    service_account="mt-broker-ingress-oidc",
    port_variable="INGRESS_PORT",
)
FILTER: Final = Process(
    name="filter",
    component="mt_broker_filter",
    telemetry_name="broker.filter",
    tls_secret="mt-broker-filter-server-tls",  # noqa: S106 - its name
    metrics_port=9092,
    read_s=10.0,
    service_account="",
    port_variable="FILTER_PORT",
    idle_connections_max=(1000, 100),
    needs_namespace=True,
)
DISPATCHER: Final = Process(
    name="dispatcher",
    component="inmemorychannel-dispatcher",
    telemetry_name="imc-dispatcher",
    tls_secret="imc-dispatcher-server-tls",  # noqa: S106 - its name
    metrics_port=9090,
    read_s=900.0,
    service_account="",
    has_idle_variables=True,
)
JOB_SINK: Final = Process(
    name="job-sink",
    component="job-sink",
    telemetry_name="job-sink",
    tls_secret="job-sink-server-tls",  # noqa: S106 - its name
    metrics_port=9092,
    read_s=10.0,
    service_account="",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One process."""

    process: Process
    api: ApiConfig
    """The Kubernetes API and our identity. `KUBECONFIG`, or the files that Kubernetes mounts."""
    system_namespace: str
    """Where Knative's ConfigMaps and Secrets are. `SYSTEM_NAMESPACE`."""
    pod_name: str
    """Who we are, in logs. `POD_NAME`."""
    container_name: str
    """The same. `CONTAINER_NAME`."""
    cluster_domain: str = "cluster.local"
    """Suffix of service names. `CLUSTER_DOMAIN`."""
    port: int = 8080
    """Plain HTTP. `INGRESS_PORT`, `FILTER_PORT`."""
    tls_port: int = 8443
    """TLS; opened when there is a certificate. `INGRESS_PORT_HTTPS`, `FILTER_PORT_HTTPS`."""
    logging_config_map: str = LOGGING_CONFIG_MAP
    """The ConfigMap about our own log. `CONFIG_LOGGING_NAME`."""
    observability_config_map: str = OBSERVABILITY_CONFIG_MAP
    """The ConfigMap about metrics. `CONFIG_OBSERVABILITY_NAME`."""
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """What overrides it: `METRICS_PROMETHEUS_*`, `OTEL_*`."""
    tls: TlsSettings = field(default_factory=TlsSettings)
    """Of our own TLS port and towards others. `TLS_MIN_VERSION`, `_MAX_VERSION`, `_CIPHER_SUITES`,
    `_CURVE_PREFERENCES`."""
    event_bytes_max: int = _EVENT_BYTES_MAX
    """Data of one event at most; beyond it 413. `KNUV_EVENT_BYTES_MAX`."""
    held_bytes_max: int = _HELD_BYTES_MAX
    """Of all events together that did not come in one piece with their head; beyond it 503. `KNUV_HELD_BYTES_MAX`."""
    drain_s: float = _DRAIN_S
    """After SIGTERM requests are served until none has come for so long. `KNUV_DRAIN_SECONDS`."""
    idle_connections_max: tuple[int, int] = (1000, 1000)
    """Connections that are kept for the next event: of all, and of one host. Of the dispatcher `MAX_IDLE_CONNS` and
    `MAX_IDLE_CONNS_PER_HOST`."""
    bind_address: str | None = None
    """Address of all ports; None: all. `KNUV_BIND_ADDRESS`."""
    resolves_by_endpoints: bool = False
    """Service names lead through the API's Endpoints instead of DNS. `KNUV_SERVICE_RESOLUTION` (dns or endpoints)."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str], process: Process) -> "Config":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        if process.needs_namespace:
            reading.filled("NAMESPACE")
        ports = process.port_variable
        idle_max = process.idle_connections_max
        if process.has_idle_variables:
            idle_max = (
                reading.parsed("MAX_IDLE_CONNS", _count, idle_max[0], 0),
                reading.parsed("MAX_IDLE_CONNS_PER_HOST", _count, idle_max[1], 0),
            )
        config = cls(
            process=process,
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.filled("SYSTEM_NAMESPACE"),
            pod_name=reading.filled("POD_NAME"),
            container_name=reading.filled("CONTAINER_NAME"),
            cluster_domain=reading.text("CLUSTER_DOMAIN", "") or "cluster.local",
            port=reading.parsed(ports, _port, 8080, 0) if ports else 8080,
            tls_port=reading.parsed(f"{ports}_HTTPS", _port, 8443, 0) if ports else 8443,
            observability_config_map=reading.text("CONFIG_OBSERVABILITY_NAME", "") or OBSERVABILITY_CONFIG_MAP,
            logging_config_map=reading.text("CONFIG_LOGGING_NAME", "") or LOGGING_CONFIG_MAP,
            telemetry=telemetry_variables(environ),
            tls=TlsSettings.read(reading, "TLS_"),
            event_bytes_max=reading.parsed("KNUV_EVENT_BYTES_MAX", _count, _EVENT_BYTES_MAX, 0),
            held_bytes_max=reading.parsed("KNUV_HELD_BYTES_MAX", _count, _HELD_BYTES_MAX, 0),
            idle_connections_max=idle_max,
            drain_s=reading.parsed("KNUV_DRAIN_SECONDS", _seconds, _DRAIN_S, 0.0),
            bind_address=environ.get("KNUV_BIND_ADDRESS") or None,
            resolves_by_endpoints=reading.choice("KNUV_SERVICE_RESOLUTION", ("dns", "endpoints")) == "endpoints",
        )
        reading.finish()
        return config


def check_all(environ: Mapping[str, str], *readings: Callable[[Mapping[str, str]], object]) -> None:
    """Read all of it, to say together what is wrong with it. Raises `ConfigError`."""
    problems: list[str] = []
    for read in readings:
        try:
            read(environ)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def _port(text: str) -> int:
    port = parse_int(text)
    if not 0 <= port < 1 << 16:
        raise ValueError("expected a port from 0 to 65535")
    return port


def _count(text: str) -> int:
    value = parse_int(text)
    if value < 1:
        raise ValueError("expected a number, 1 or more")
    return value


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # Written so that NaN is refused, too.
    if not 0 <= seconds < float("inf"):
        raise ValueError("expected a number of seconds, 0 or more")
    return seconds
