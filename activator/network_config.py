"""What the activator reads from ConfigMap `config-network`, once at start: a change needs a restart.

Source: knative.dev/networking `pkg/config/config.go`; spec activator.md 2.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from activator.pod_states import MeshMode
from proxies.environment import ConfigError

__all__ = ["NetworkConfig"]

NAME = "config-network"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """How pods are reached."""

    mesh_mode: MeshMode = MeshMode.AUTO
    passthrough: bool = False
    internal_tls: bool = False
    """Pods are spoken to over TLS, and so are we."""

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> "NetworkConfig":
        """Read the map's data. Raises `ConfigError` for what cannot be served."""
        tls = data.get("system-internal-tls", "disabled").lower()
        if tls not in ("disabled", "enabled"):
            raise ConfigError([f"{NAME}: system-internal-tls={tls!r}: expected enabled or disabled"])
        try:
            mesh_mode = MeshMode(data.get("mesh-compatibility-mode", "auto").lower())
        except ValueError:
            # Unlike other keys, an unknown mode means the default.
            mesh_mode = MeshMode.AUTO
        return cls(
            mesh_mode=mesh_mode,
            passthrough=data.get("enable-mesh-pod-addressability", "false").lower() == "true",
            # The old key counts whatever the new one says.
            internal_tls=tls == "enabled" or data.get("internal-encryption", "false").lower() == "true",
        )
