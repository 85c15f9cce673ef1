"""Metrics of a service that lives on the Kubernetes API: where `config-observability` and the environment send them.

The ConfigMap chooses (`metrics-protocol`, `metrics-endpoint`, `metrics-export-interval`) and is read once, at start;
the variables `METRICS_PROMETHEUS_*` and `OTEL_*` override parts of it. Off unless it is asked for, and while it is off
nothing of it is imported. Source: knative.dev/pkg `observability/metrics`; spec control-plane.md 11, queue-proxy.md
17.1, activator.md 13.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from proxies import gotext
from proxies.environment import Environment
from proxies.logs import Logger

if TYPE_CHECKING:
    from proxies.metrics.instruments import Registry
    from proxies.metrics.scraped import Listener
    from proxies.otlp import Endpoint

__all__ = ["CONFIG_MAP", "Exporter", "MetricsExport", "resource_attributes", "telemetry_variables"]

CONFIG_MAP = "config-observability"
"""Unless `CONFIG_OBSERVABILITY_NAME` names another."""

_METRICS_PORT = 9090
_INTERVAL_S = 60.0
"""OpenTelemetry's, where none is configured."""
_PREFIXES = ("METRICS_PROMETHEUS_", "OTEL_")


class Exporter(Protocol):
    """A port that is scraped, or a push at an interval."""

    async def start(self) -> None:
        """Begin. Raises `OSError` when a port cannot be had or a certificate cannot be used."""

    async def stop(self) -> None:
        """End; what was measured last is pushed within a few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsExport:
    """What one service does with its metrics. Neither `listener` nor `otlp`: nothing."""

    listener: "Listener | None" = None
    """Where Prometheus scrapes."""
    otlp: "Endpoint | None" = None
    """Where they are pushed to."""
    interval_s: float = _INTERVAL_S
    """Between two pushes."""
    missing_protocol: str = field(default="", compare=False)
    """A protocol that was asked for and is not spoken here; the service says so in its log."""

    @property
    def is_on(self) -> bool:
        """Whether anything is to be measured."""
        return self.listener is not None or self.otlp is not None

    @classmethod
    def read(
        cls,
        data: Mapping[str, str],
        variables: Mapping[str, str],
        *,
        config_map: str,
        default_port: int = _METRICS_PORT,
    ) -> "MetricsExport":
        """Read the ConfigMap's data. Raises `ConfigError` with everything that is wrong, naming `config_map`."""
        env = Environment(variables)
        protocol = data.get("metrics-protocol") or "none"
        endpoint = data.get("metrics-endpoint", "")
        for problem in _problems(protocol, endpoint):
            env.refuse(f"ConfigMap {config_map}: {problem}")
        interval_s = _interval_s(env, data.get("metrics-export-interval", ""), config_map)
        env.finish()
        export = cls(missing_protocol="grpc" if protocol == "grpc" else "")
        if protocol == "prometheus":
            from proxies.metrics.scraped import listener_of

            source = f"ConfigMap {config_map}: metrics-endpoint"
            export = cls(listener=listener_of(env, endpoint, endpoint_from=source, default_port=default_port))
        elif protocol == "http/protobuf":
            from proxies.otlp import endpoint_of

            otlp = endpoint_of(env, "metrics", endpoint, endpoint_from=f"ConfigMap {config_map}")
            export = cls(otlp=otlp, interval_s=interval_s)
        env.finish()
        return export

    def exporter(self, registry: "Registry", *, bind_address: str, log: Logger) -> Exporter:
        """The exporter of `registry`; needs a running loop. `bind_address`: where to listen unless configured."""
        loop = asyncio.get_running_loop()
        if self.listener is not None:
            from proxies.metrics.process import add_process_series
            from proxies.metrics.scraped import ScrapedPort

            add_process_series(registry)
            return ScrapedPort(loop, registry, self.listener, bind_address=bind_address)
        from proxies.metrics.pushed import PeriodicPush

        assert self.otlp is not None, "metrics that are on are scraped or pushed"
        return PeriodicPush(loop, registry, self.otlp, interval_s=self.interval_s, logger=log)


def telemetry_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that `MetricsExport.read` looks at."""
    return {name: text for name, text in environ.items() if name.startswith(_PREFIXES)}


def resource_attributes(
    component: str, *, namespace: str, pod_name: str, variables: Mapping[str, str]
) -> dict[str, str]:
    """Who reports. `OTEL_SERVICE_NAME` replaces `component` as the service's name."""
    attributes = {
        "service.name": variables.get("OTEL_SERVICE_NAME") or component,
        "service.version": "unknown",
        "service.instance.id": pod_name,
        "k8s.namespace.name": namespace,
        "k8s.pod.name": pod_name,
    }
    return {key: value for key, value in attributes.items() if value}


def _problems(protocol: str, endpoint: str) -> list[str]:
    if protocol not in ("grpc", "http/protobuf", "prometheus", "none"):
        return [f'unsupported protocol "{protocol}"']
    if protocol in ("grpc", "http/protobuf") and not endpoint:
        return [f'endpoint should be set when protocol is "{protocol}"']
    if protocol == "none" and endpoint:
        return [f'endpoint should not be set when protocol is "{protocol}"']
    return []


def _interval_s(env: Environment, configured: str, config_map: str) -> float:
    """Seconds between two pushes: the variable, else the map, else OpenTelemetry's default."""
    milliseconds = env.integer("OTEL_METRIC_EXPORT_INTERVAL", 0)
    if milliseconds > 0:
        return milliseconds / 1000
    try:
        interval_s = gotext.parse_duration_s(configured) if configured else 0.0
    except ValueError as error:
        env.refuse(f"ConfigMap {config_map}: metrics-export-interval: {error}")
        return _INTERVAL_S
    if interval_s < 0:
        env.refuse(f"ConfigMap {config_map}: metrics-export-interval must be greater than or equal to zero")
    return interval_s or _INTERVAL_S
