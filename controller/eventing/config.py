"""What one controller of eventing is told at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.eventing.sources.api_server import IMAGE as API_SERVER_SOURCE_IMAGE
from controller.eventing.sources.binding_rules import SelectionMode
from controller.eventing.sources.jetstream import IMAGE as JETSTREAM_SOURCE_IMAGE
from kube.config import ApiConfig
from kube.telemetry import CONFIG_MAP as OBSERVABILITY_MAP
from kube.telemetry import telemetry_variables
from proxies.environment import Environment

__all__ = ["EventingConfig"]


_NAMESPACE = "knative-eventing"
_SELECTION_MODES = tuple(mode.value for mode in SelectionMode)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventingConfig:
    """Read once, from the environment; everything else comes from ConfigMaps."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str = _NAMESPACE
    """Where the ConfigMaps, the Broker's ingress and filter and the dispatchers are. `KNUV_EVENTING_NAMESPACE`; of a
    process that runs nothing else, `SYSTEM_NAMESPACE`."""
    cluster_domain: str = "cluster.local"
    """`CLUSTER_DOMAIN`."""
    pod_name: str = ""
    """Named in log lines, and whoever holds the Lease. `POD_NAME`."""
    bind_address: str = ""
    """Where metrics are scraped, unless `config-observability` says; empty: all addresses. `KNUV_BIND_ADDRESS`."""
    observability_config_map: str = OBSERVABILITY_MAP
    """The ConfigMap about metrics. `CONFIG_OBSERVABILITY_NAME`."""
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """What overrides it: `METRICS_PROMETHEUS_*`, `OTEL_*`."""
    api_server_source_image: str = API_SERVER_SOURCE_IMAGE
    """Of the adapters of ApiServerSources. `APISERVER_RA_IMAGE`."""
    jetstream_source_image: str = JETSTREAM_SOURCE_IMAGE
    """Of the adapters of JetStreamSources. `JETSTREAM_RA_IMAGE`."""
    sink_binding_selection: SelectionMode = SelectionMode.EXCLUSION
    """Which subjects SinkBindings tell. `SINK_BINDING_SELECTION_MODE`: exclusion or inclusion."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, is_alone: bool = False) -> "EventingConfig":
        """Read the environment. Raises `ConfigError` with everything that is wrong.

        `is_alone`: whether nothing but eventing is reconciled by this process.
        """
        reading = Environment(environ)
        system_namespace = reading.filled("SYSTEM_NAMESPACE") if is_alone else _NAMESPACE
        config = cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.text("KNUV_EVENTING_NAMESPACE", "") or system_namespace,
            cluster_domain=reading.text("CLUSTER_DOMAIN", "cluster.local") or "cluster.local",
            pod_name=reading.text("POD_NAME", ""),
            bind_address=reading.text("KNUV_BIND_ADDRESS", ""),
            observability_config_map=reading.text("CONFIG_OBSERVABILITY_NAME", "") or OBSERVABILITY_MAP,
            telemetry=telemetry_variables(environ),
            api_server_source_image=reading.text("APISERVER_RA_IMAGE", "") or API_SERVER_SOURCE_IMAGE,
            jetstream_source_image=reading.text("JETSTREAM_RA_IMAGE", "") or JETSTREAM_SOURCE_IMAGE,
            sink_binding_selection=SelectionMode(reading.choice("SINK_BINDING_SELECTION_MODE", _SELECTION_MODES)),
        )
        reading.finish()
        return config
