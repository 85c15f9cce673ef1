"""What one activator is told at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kube.config import ApiConfig
from kube.log_level import CONFIG_MAP as LOGGING_CONFIG_MAP
from kube.telemetry import CONFIG_MAP, telemetry_variables
from proxies.environment import Environment
from proxies.gotext import parse_duration_s, parse_int
from proxies.tls import TlsSettings

__all__ = ["Config"]

PORTS = (8012, 8013)
"""HTTP/1.1 and h2c by name; both serve both, part of the contract."""

_DRAIN_S = 45.0
"""`knative.dev/pkg/network`: long enough for every ingress to have heard that we leave."""
AUDIT_S = 30.0
_WAKE_S = 2.0
"""An autoscaler that is restarted is back by then."""
_CHECK_S = 10.0
"""A third of the time for which a queue-proxy that drains still serves (`proxies.drain.QUIET_S`)."""
_HELD_REQUESTS_MAX = 10_000
_HELD_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Read once, from the environment; mesh settings come from ConfigMap `config-network`."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str
    """Where the ConfigMaps and the autoscaler are. `SYSTEM_NAMESPACE`."""
    pod_name: str
    """Identity in stats. `POD_NAME`."""
    pod_ip: str
    """Our address as Endpoints list it, textually the same. `POD_IP`."""
    cluster_domain: str = "cluster.local"
    """Suffix of cluster host names. `CLUSTER_DOMAIN`."""
    idle_connections_max: int = 1000
    """Idle connections to pods kept in all. `MAX_IDLE_PROXY_CONNS`."""
    idle_connections_per_pod_max: int = 100
    """The same per pod. `MAX_IDLE_PROXY_CONNS_PER_HOST`."""
    probe_timeout_s: float = 0.3
    """Longest wait for one probe's answer. `PROBE_TIMEOUT`."""
    probe_frequency_s: float = 0.2
    """Between two probes of a pod that is not usable yet. `PROBE_FREQUENCY`."""
    held_requests_max: int = _HELD_REQUESTS_MAX
    """Requests of one revision that wait for capacity at most; beyond it 503. `KNUV_HELD_REQUESTS_MAX`."""
    is_strict: bool = False
    """As the original: its policies; what cannot be sent to its pod is 502; pods in use are not looked at; without an
    autoscaler the kubelet's probe fails and nothing is woken. `KNUV_STRICT_COMPAT=1`."""
    wake_s: float = _WAKE_S
    """After so long without an autoscaler a revision for which requests wait is taken from zero to one pod; 0: never.
    `KNUV_WAKE_SECONDS`."""
    check_s: float = _CHECK_S
    """How often it is looked whether pods in use are on their way out; 0: never. `KNUV_POD_CHECK_SECONDS`."""
    held_bytes_max: int = _HELD_BYTES_MAX
    """Bytes that these hold together at most; beyond it 503. `KNUV_HELD_BYTES_MAX`."""
    audit_s: float = AUDIT_S
    """From one audit of what is known to the next; 0: none. `KNUV_AUDIT_SECONDS`."""
    debug_address: tuple[str, int] | None = None
    """Where GET /debug/state answers; None: nowhere. Loopback only. `KNUV_DEBUG_ADDRESS` (host:port)."""
    observability_config_map: str = CONFIG_MAP
    """The ConfigMap about metrics. `CONFIG_OBSERVABILITY_NAME`."""
    logging_config_map: str = LOGGING_CONFIG_MAP
    """The ConfigMap about our own log. `CONFIG_LOGGING_NAME`."""
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """What overrides it: `METRICS_PROMETHEUS_*`, `OTEL_*`."""
    tls: TlsSettings = field(default_factory=TlsSettings)
    """Of our own TLS port, where there is one. `ACTIVATOR_TLS_MIN_VERSION`, `_MAX_VERSION`, `_CIPHER_SUITES`,
    `_CURVE_PREFERENCES`."""
    drain_s: float = _DRAIN_S
    """After SIGTERM requests are served for this long while the kubelet's probe fails. `KNUV_DRAIN_SECONDS`."""
    bind_address: str | None = None
    """Address of both ports; None: all. `KNUV_BIND_ADDRESS`."""
    resolves_by_endpoints: bool = False
    """Service names lead through the API's Endpoints instead of DNS. `KNUV_SERVICE_RESOLUTION` (dns or endpoints)."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        config = cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.filled("SYSTEM_NAMESPACE"),
            pod_name=reading.filled("POD_NAME"),
            pod_ip=reading.filled("POD_IP"),
            cluster_domain=reading.text("CLUSTER_DOMAIN", "cluster.local"),
            idle_connections_max=reading.parsed("MAX_IDLE_PROXY_CONNS", _count, 1000, 0),
            idle_connections_per_pod_max=reading.parsed("MAX_IDLE_PROXY_CONNS_PER_HOST", _count, 100, 0),
            probe_timeout_s=reading.parsed("PROBE_TIMEOUT", _positive_duration_s, 0.3, 0.0),
            probe_frequency_s=reading.parsed("PROBE_FREQUENCY", _positive_duration_s, 0.2, 0.0),
            held_requests_max=reading.parsed("KNUV_HELD_REQUESTS_MAX", _count, _HELD_REQUESTS_MAX, 0),
            is_strict=reading.boolean("KNUV_STRICT_COMPAT", False),
            wake_s=reading.parsed("KNUV_WAKE_SECONDS", _seconds, _WAKE_S, 0.0),
            check_s=reading.parsed("KNUV_POD_CHECK_SECONDS", _seconds, _CHECK_S, 0.0),
            held_bytes_max=reading.parsed("KNUV_HELD_BYTES_MAX", _count, _HELD_BYTES_MAX, 0),
            audit_s=reading.parsed("KNUV_AUDIT_SECONDS", _seconds, AUDIT_S, 0.0),
            debug_address=(
                reading.parsed("KNUV_DEBUG_ADDRESS", _loopback, None, ("", 0))
                if environ.get("KNUV_DEBUG_ADDRESS")
                else None
            ),
            observability_config_map=reading.text("CONFIG_OBSERVABILITY_NAME", "") or CONFIG_MAP,
            logging_config_map=reading.text("CONFIG_LOGGING_NAME", "") or LOGGING_CONFIG_MAP,
            telemetry=telemetry_variables(environ),
            tls=TlsSettings.read(reading, "ACTIVATOR_TLS_"),
            drain_s=reading.parsed("KNUV_DRAIN_SECONDS", _seconds, _DRAIN_S, 0.0),
            bind_address=environ.get("KNUV_BIND_ADDRESS") or None,
            resolves_by_endpoints=reading.choice("KNUV_SERVICE_RESOLUTION", ("dns", "endpoints")) == "endpoints",
        )
        reading.finish()
        return config


def _count(text: str) -> int:
    value = parse_int(text, prefixes=True)
    if value < 0:
        raise ValueError("expected 0 or more")
    return value


def _loopback(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (host == "localhost" or host.startswith("127.") or host == "[::1]"):
        raise ValueError("expected host:port with a loopback host")
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ValueError("expected a port from 0 to 65535")
    return host.strip("[]"), int(port)


def _positive_duration_s(text: str) -> float:
    seconds = parse_duration_s(text)
    if seconds <= 0:
        raise ValueError("expected a duration above 0")
    return seconds


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # Written so that NaN is refused, too.
    if not 0 <= seconds < float("inf"):
        raise ValueError("expected a number of seconds, 0 or more")
    return seconds
