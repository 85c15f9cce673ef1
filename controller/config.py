"""What one controller is told at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from controller.eventing.sources.binding_rules import SelectionMode
from kube.addresses import Address
from kube.config import ApiConfig
from kube.telemetry import CONFIG_MAP as OBSERVABILITY_MAP
from kube.telemetry import telemetry_variables
from proxies.environment import Environment

__all__ = ["Config", "WebhookConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Read once, from the environment; everything else comes from ConfigMaps."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str
    """Where the ConfigMaps and the activator's Service are. `SYSTEM_NAMESPACE`."""
    cluster_domain: str = "cluster.local"
    """`CLUSTER_DOMAIN`."""
    resolves_tags: bool = False
    """Whether registries are asked for the digests of tags: `KNUV_TAG_RESOLUTION` is `registry` or `node`. Default:
    `registry`, but `node` where Services are resolved by their endpoints, since that is a machine without a network of
    its own, on which images are commands."""
    pod_name: str = ""
    """Named in log lines, and whoever holds the Lease. `POD_NAME`."""
    bind_address: str = ""
    """Where metrics are scraped, unless `config-observability` says; empty: all addresses. `KNUV_BIND_ADDRESS`."""
    observability_config_map: str = OBSERVABILITY_MAP
    """The ConfigMap about metrics. `CONFIG_OBSERVABILITY_NAME`."""
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """What overrides it: `METRICS_PROMETHEUS_*`, `OTEL_*`."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        is_local = environ.get("KNUV_SERVICE_RESOLUTION") == "endpoints"
        choices = ("node", "registry") if is_local else ("registry", "node")
        config = cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.filled("SYSTEM_NAMESPACE"),
            cluster_domain=reading.text("CLUSTER_DOMAIN", "cluster.local") or "cluster.local",
            resolves_tags=reading.choice("KNUV_TAG_RESOLUTION", choices) == "registry",
            pod_name=reading.text("POD_NAME", ""),
            bind_address=reading.text("KNUV_BIND_ADDRESS", ""),
            observability_config_map=reading.text("CONFIG_OBSERVABILITY_NAME", "") or OBSERVABILITY_MAP,
            telemetry=telemetry_variables(environ),
        )
        reading.finish()
        return config


_SELECTION_MODES = tuple(mode.value for mode in SelectionMode)
_WEBHOOK = Address("0.0.0.0", 8443)  # noqa: S104 - the API server is on another machine


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """What one webhook server is told at start."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str
    """Where the ConfigMaps are. `SYSTEM_NAMESPACE`."""
    certificate_directory: Path | None
    """A mounted Secret with `tls.crt` and `tls.key` for the Service's name; read again when it changes. None: one of
    its own making. `KNUV_WEBHOOK_TLS_DIRECTORY`."""
    address: Address
    """Where it listens. `KNUV_WEBHOOK_ADDRESS`; default: port 8443 of all addresses, or of `WEBHOOK_PORT`."""
    service: str = "webhook"
    """The Service by which the API server reaches it; the certificate is for its name. `WEBHOOK_NAME`."""
    secret: str = "webhook-certs"  # noqa: S105 - a name
    """Where a certificate of its own is kept. `WEBHOOK_SECRET_NAME`."""
    cluster_domain: str = "cluster.local"
    """`CLUSTER_DOMAIN`."""
    admits_serving: bool = True
    """Whether objects of serving are admitted: unless `KNUV_CONTROLLERS` names eventing alone."""
    eventing_namespace: str | None = None
    """Where the ConfigMaps of eventing are, when its objects are admitted, too: `KNUV_EVENTING_NAMESPACE`, if
    `KNUV_CONTROLLERS` names eventing."""
    sink_binding_selection: SelectionMode = SelectionMode.EXCLUSION
    """Which subjects SinkBindings tell. `SINK_BINDING_SELECTION_MODE`: exclusion or inclusion."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "WebhookConfig":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        directory = reading.text("KNUV_WEBHOOK_TLS_DIRECTORY", "")
        eventing = reading.text("KNUV_EVENTING_NAMESPACE", "") or "knative-eventing"
        controllers = environ.get("KNUV_CONTROLLERS", "serving")
        port = reading.parsed("WEBHOOK_PORT", lambda text: Address.parse_any(f":{text}"), _WEBHOOK, _WEBHOOK)
        config = cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.filled("SYSTEM_NAMESPACE"),
            certificate_directory=Path(directory) if directory else None,
            service=reading.text("WEBHOOK_NAME", "") or "webhook",
            secret=reading.text("WEBHOOK_SECRET_NAME", "") or "webhook-certs",
            address=reading.parsed("KNUV_WEBHOOK_ADDRESS", Address.parse_any, port, port),
            cluster_domain=reading.text("CLUSTER_DOMAIN", "cluster.local") or "cluster.local",
            admits_serving="serving" in controllers,
            eventing_namespace=eventing if "eventing" in controllers else None,
            sink_binding_selection=SelectionMode(reading.choice("SINK_BINDING_SELECTION_MODE", _SELECTION_MODES)),
        )
        reading.finish()
        return config
