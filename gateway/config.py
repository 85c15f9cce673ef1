"""What one gateway is told at start."""

from collections.abc import Mapping
from dataclasses import dataclass

from kube.config import ApiConfig
from proxies.environment import Environment

__all__ = ["Address", "Config"]


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """`host:port`, `:port` for all addresses, `[v6]:port`. Raises `ValueError`."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
            raise ValueError("expected host:port")
        return cls(host.strip("[]") or "0.0.0.0", int(port))  # noqa: S104 - what an empty host says

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def dialled(self) -> "Address":
        """Where a program on the same machine reaches it."""
        return Address("127.0.0.1", self.port) if self.host == "0.0.0.0" else self  # noqa: S104


_EXTERNAL = Address("0.0.0.0", 8080)  # noqa: S104 - a gateway is there to be reached
_INTERNAL = Address("0.0.0.0", 8081)  # noqa: S104
_INGRESS_CLASS = "knuv.ingress.networking.knative.dev"
_XDS_ADDRESS = "0.0.0.0:18000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Read once, from the environment."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str
    """Namespace that the load balancer's name stands in. `SYSTEM_NAMESPACE`."""
    cluster_domain: str = "cluster.local"
    """`CLUSTER_DOMAIN`."""
    ingress_class: str = _INGRESS_CLASS
    """Ingresses of this class are ours; others are never touched. `KNUV_GATEWAY_CLASS`."""
    xds_address: str = _XDS_ADDRESS
    """Where Envoys fetch their configuration: host:port or unix:/path. `KNUV_XDS_ADDRESS`."""
    external: Address = _EXTERNAL
    """Envoy's external face. `KNUV_GATEWAY_EXTERNAL_ADDRESS`."""
    internal: Address = _INTERNAL
    """Envoy's cluster-local face. `KNUV_GATEWAY_INTERNAL_ADDRESS`."""
    external_probe: Address = Address("127.0.0.1", 8080)
    """Where the prober meets the external face. `KNUV_GATEWAY_EXTERNAL_PROBE_ADDRESS`; default: the face itself."""
    internal_probe: Address = Address("127.0.0.1", 8081)
    """Likewise, for the cluster-local face. `KNUV_GATEWAY_INTERNAL_PROBE_ADDRESS`."""
    access_log: str = ""
    """File that Envoy writes a JSON line per request to; empty: none. `KNUV_GATEWAY_ACCESS_LOG`."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Config":
        """Read the environment. Raises `ConfigError` with everything that is wrong."""
        reading = Environment(environ)

        def address(name: str, default: Address) -> Address:
            return reading.parsed(name, Address.parse, default, default)

        external = address("KNUV_GATEWAY_EXTERNAL_ADDRESS", _EXTERNAL)
        internal = address("KNUV_GATEWAY_INTERNAL_ADDRESS", _INTERNAL)
        config = cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.filled("SYSTEM_NAMESPACE"),
            cluster_domain=reading.text("CLUSTER_DOMAIN", "cluster.local"),
            ingress_class=reading.text("KNUV_GATEWAY_CLASS", _INGRESS_CLASS),
            xds_address=reading.text("KNUV_XDS_ADDRESS", _XDS_ADDRESS),
            external=external,
            internal=internal,
            external_probe=address("KNUV_GATEWAY_EXTERNAL_PROBE_ADDRESS", external.dialled),
            internal_probe=address("KNUV_GATEWAY_INTERNAL_PROBE_ADDRESS", internal.dialled),
            access_log=reading.text("KNUV_GATEWAY_ACCESS_LOG", ""),
        )
        reading.finish()
        return config
