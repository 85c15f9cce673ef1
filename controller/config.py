"""What one controller is told at start."""

from collections.abc import Mapping
from dataclasses import dataclass

from kube.config import ApiConfig
from proxies.environment import Environment

__all__ = ["Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Read once, from the environment; everything else comes from ConfigMaps."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str
    """Where the ConfigMaps and the activator's Service are. `SYSTEM_NAMESPACE`."""
    cluster_domain: str = "cluster.local"
    """`CLUSTER_DOMAIN`."""
    pod_name: str = ""
    """Named in log lines. `POD_NAME`."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)
        config = cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.filled("SYSTEM_NAMESPACE"),
            cluster_domain=reading.text("CLUSTER_DOMAIN", "cluster.local") or "cluster.local",
            pod_name=reading.text("POD_NAME", ""),
        )
        reading.finish()
        return config
