"""What one queue-proxy is told at start: the environment that the controller writes, read once.

Source: spec queue-proxy.md 2; golden set `queue_env`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os.path import isfile
from typing import TYPE_CHECKING, Final

from proxies.environment import Environment
from queue_proxy.certificate import DIRECTORY, files_in
from queue_proxy.observability import NOTHING, Observability
from queue_proxy.readiness import ProbeSpec, decode_probes

if TYPE_CHECKING:
    from proxies.tls import TlsSettings

__all__ = ["Config"]

QUEUE_DEPTH_FACTOR: Final = 10
"""Requests that may wait for each that may run (spec queue-proxy.md 9.1)."""

_SIBLINGS: Final = {"8012": 8013, "8013": 8012}
STAT_PORT: Final = 9090
_PROTOCOLS: Final = {"": 0, "http1": 1, "h2c": 2}
_SOCKET_PATH_BYTES_MAX: Final = 107
ADMIN_PORT: Final = 8022


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one queue-proxy. A text may be empty where its variable may be."""

    container_concurrency: int
    """Requests inside the user container at once. 0 or less: unlimited, and no breaker. `CONTAINER_CONCURRENCY`."""
    queue_serving_port: str
    """Port of the main listener. `QUEUE_SERVING_PORT`."""
    queue_serving_tls_port: str
    """Port of the TLS listener. `QUEUE_SERVING_TLS_PORT`."""
    user_port: str
    """Port of the user container on loopback. `USER_PORT`."""
    revision_timeout_seconds: int
    """Longest exchange, in seconds; 0 fires at once. `REVISION_TIMEOUT_SECONDS`."""
    revision_response_start_timeout_seconds: int = 0
    """Longest wait for the first response byte, in seconds; 0: no limit. `REVISION_RESPONSE_START_TIMEOUT_SECONDS`."""
    revision_idle_timeout_seconds: int = 0
    """Longest gap between response writes, in seconds; 0: no limit. `REVISION_IDLE_TIMEOUT_SECONDS`."""
    serving_readiness_probe: str = ""
    """The user container's probe as JSON; empty: always ready. `SERVING_READINESS_PROBE`."""
    readiness_probes: tuple[ProbeSpec, ...] = ()
    """The same, decoded."""
    enable_http_full_duplex: bool = False
    """Accepted for compatibility: every exchange is full duplex. `ENABLE_HTTP_FULL_DUPLEX`."""
    enable_http2_auto_detection: bool = False
    """The readiness probe tries h2c first. `ENABLE_HTTP2_AUTO_DETECTION`."""
    enable_multi_container_probes: bool = False
    """The readiness JSON is a list. `ENABLE_MULTI_CONTAINER_PROBES`."""
    serving_logging_config: str
    """zap's JSON; its `level` is used. Empty or invalid: the default. `SERVING_LOGGING_CONFIG`."""
    serving_logging_level: str
    """Overrides the level; empty: does not. `SERVING_LOGGING_LEVEL`."""
    serving_namespace: str
    """Namespace of the revision. `SERVING_NAMESPACE`."""
    serving_service: str = ""
    """Name of the Knative Service, if there is one. `SERVING_SERVICE`."""
    serving_configuration: str
    """Name of the Configuration. `SERVING_CONFIGURATION`."""
    serving_revision: str
    """Name of the Revision. `SERVING_REVISION`."""
    serving_pod: str
    """Name of the pod: the identity of its stats. `SERVING_POD`."""
    serving_pod_ip: str
    """Address of the pod, for request logs. `SERVING_POD_IP`."""
    user_socket: str = ""
    """Path of a unix socket that the user container listens on instead of its port; empty: the port.
    `KNUV_USER_SOCKET`."""
    user_protocol: int = 0
    """The version of HTTP that the user container speaks, 1 or 2; 0: that of each request. `KNUV_USER_PROTOCOL`."""
    certificates: str = DIRECTORY
    """Directory of `tls.crt` and `tls.key`. `KNUV_CERTIFICATES`."""
    tls: "TlsSettings | None" = None
    """What the TLS port offers; None without these files: then it is not opened. `QUEUE_PROXY_TLS_*`."""
    single_port: bool = False
    """Open the configured main port only, and not its sibling of 8012 and 8013. `KNUV_SINGLE_PORT`."""
    grpc_errors: bool = False
    """gRPC clients get our own 502, 503 and 504 as `grpc-status`. `KNUV_GRPC_ERRORS`."""
    server_timing: bool = False
    """Responses carry `Server-Timing`. `KNUV_SERVER_TIMING`."""
    bind_address: str = ""
    """Address that every listener binds; empty: all addresses, as the original. `KNUV_BIND_ADDRESS`."""

    observability: Observability = NOTHING
    """Metrics, traces and the request log; off by default. `OBSERVABILITY_CONFIG` and the variables beside it."""

    @property
    def sibling_port(self) -> int | None:
        """The other one of 8012 and 8013, which differ in nothing but their number: whoever dials either is served."""
        return None if self.single_port else _SIBLINGS.get(self.queue_serving_port)

    @property
    def queue_depth(self) -> int:
        """Requests that may wait; meaningless without a limit."""
        return QUEUE_DEPTH_FACTOR * self.container_concurrency

    @property
    def log_level(self) -> str:
        """The least severity to be logged, by its zap name."""
        if self.serving_logging_level:
            return self.serving_logging_level
        try:
            zap = json.loads(self.serving_logging_config)
        except ValueError:
            return "info"
        level = zap.get("level") if isinstance(zap, dict) else None
        return level if isinstance(level, str) else "info"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read `environ`. Raises `ConfigError` with everything that is wrong."""
        env = Environment(environ)
        is_list = env.boolean("ENABLE_MULTI_CONTAINER_PROBES", False)
        probe_text = env.text("SERVING_READINESS_PROBE", "")
        certificates = env.text("KNUV_CERTIFICATES", DIRECTORY)
        config = cls(
            container_concurrency=env.integer("CONTAINER_CONCURRENCY"),
            queue_serving_port=env.text("QUEUE_SERVING_PORT"),
            queue_serving_tls_port=env.text("QUEUE_SERVING_TLS_PORT"),
            user_port=env.text("USER_PORT"),
            revision_timeout_seconds=env.integer("REVISION_TIMEOUT_SECONDS"),
            revision_response_start_timeout_seconds=env.integer("REVISION_RESPONSE_START_TIMEOUT_SECONDS", 0),
            revision_idle_timeout_seconds=env.integer("REVISION_IDLE_TIMEOUT_SECONDS", 0),
            serving_readiness_probe=probe_text,
            readiness_probes=env.parsed("SERVING_READINESS_PROBE", _probes(is_list), (), ()),
            enable_http_full_duplex=env.boolean("ENABLE_HTTP_FULL_DUPLEX", False),
            enable_http2_auto_detection=env.boolean("ENABLE_HTTP2_AUTO_DETECTION", False),
            enable_multi_container_probes=is_list,
            serving_logging_config=env.text("SERVING_LOGGING_CONFIG"),
            serving_logging_level=env.text("SERVING_LOGGING_LEVEL"),
            serving_namespace=env.text("SERVING_NAMESPACE"),
            serving_service=env.text("SERVING_SERVICE", ""),
            serving_configuration=env.text("SERVING_CONFIGURATION"),
            serving_revision=env.text("SERVING_REVISION"),
            serving_pod=env.text("SERVING_POD"),
            serving_pod_ip=env.text("SERVING_POD_IP"),
            user_socket=env.parsed("KNUV_USER_SOCKET", _socket_path, "", ""),
            user_protocol=env.parsed("KNUV_USER_PROTOCOL", _protocol, 0, 0),
            certificates=certificates,
            tls=_tls_settings(env, certificates),
            single_port=env.boolean("KNUV_SINGLE_PORT", False),
            grpc_errors=env.boolean("KNUV_GRPC_ERRORS", False),
            server_timing=env.boolean("KNUV_SERVER_TIMING", False),
            bind_address=env.text("KNUV_BIND_ADDRESS", ""),
            observability=Observability.from_env(env),
        )
        env.finish()
        return config


def _tls_settings(env: Environment, certificates: str) -> "TlsSettings | None":
    if not all(map(isfile, files_in(certificates))):
        return None
    from proxies.tls import TlsSettings

    return TlsSettings.read(env, "QUEUE_PROXY_TLS_")


def _socket_path(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError(f"expected an absolute path, got {text!r}")
    if len(text.encode()) > _SOCKET_PATH_BYTES_MAX:
        raise ValueError(f"expected a path of at most {_SOCKET_PATH_BYTES_MAX} bytes, got {len(text.encode())}")
    return text


def _protocol(text: str) -> int:
    if text not in _PROTOCOLS:
        raise ValueError(f"expected http1, h2c or nothing, got {text!r}")
    return _PROTOCOLS[text]


def _probes(is_list: bool) -> Callable[[str], tuple[ProbeSpec, ...]]:
    return lambda text: decode_probes(text, is_list=is_list) if text else ()
