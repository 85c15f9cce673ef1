"""What one controller of eventing is told at start."""

from collections.abc import Mapping
from dataclasses import dataclass

from kube.config import ApiConfig
from proxies.environment import Environment

__all__ = ["EventingConfig"]


_NAMESPACE = "knative-eventing"


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
        )
        reading.finish()
        return config
