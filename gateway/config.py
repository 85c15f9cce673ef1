"""What one gateway is told at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.faces import EXTERNAL, EXTERNAL_TLS, INTERNAL, INTERNAL_TLS
from kube.addresses import Address
from kube.config import ApiConfig
from kube.telemetry import CONFIG_MAP as OBSERVABILITY_MAP
from kube.telemetry import telemetry_variables
from proxies.environment import Environment

__all__ = ["Config"]

_EXTERNAL = Address("0.0.0.0", 8080)  # noqa: S104 - a gateway is there to be reached
_INTERNAL = Address("0.0.0.0", 8081)  # noqa: S104
_EXTERNAL_DIALLED, _INTERNAL_DIALLED = _EXTERNAL.dialled, _INTERNAL.dialled
_EXTERNAL_TLS, _INTERNAL_TLS = Address("0.0.0.0", 8443), Address("0.0.0.0", 8444)  # noqa: S104
_TLS_ABOVE = 363
"""How far above the plain face the TLS face is when nobody says, as 8443 is above 8080."""
_ENVOY_ADMIN = Address("127.0.0.1", 9901)
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
    external_probe: Address = _EXTERNAL_DIALLED
    """Where the prober meets the external face. `KNUV_GATEWAY_EXTERNAL_PROBE_ADDRESS`; default: the face itself."""
    internal_probe: Address = _INTERNAL_DIALLED
    """Likewise, for the cluster-local face. `KNUV_GATEWAY_INTERNAL_PROBE_ADDRESS`."""
    external_tls: Address = _EXTERNAL_TLS
    """The external face with TLS, open while some Ingress has a certificate. `KNUV_GATEWAY_EXTERNAL_TLS_ADDRESS`;
    default: the plain face's, 363 ports above."""
    internal_tls: Address = _INTERNAL_TLS
    """Likewise, the cluster-local face. `KNUV_GATEWAY_INTERNAL_TLS_ADDRESS`."""
    envoy_admin: Address = _ENVOY_ADMIN
    """Where Envoy itself, as it sees it, answers for its readiness. `KNUV_GATEWAY_ENVOY_ADMIN_ADDRESS`."""
    certificate: tuple[str, str] = ("", "")
    """Namespace and name of the Secret with a certificate for all names, where `config-kourier` says neither.
    `CERTS_SECRET_NAMESPACE`, `CERTS_SECRET_NAME`."""
    pod_name: str = ""
    """Who contends for the Lease of those who write status. `POD_NAME`; empty: a name made up."""
    access_log: str = ""
    """File that Envoy writes a JSON line per request to; empty: none. `KNUV_GATEWAY_ACCESS_LOG`."""
    bind_address: str = ""
    """Where metrics are scraped, unless `config-observability` says; empty: all addresses. `KNUV_BIND_ADDRESS`."""
    observability_config_map: str = OBSERVABILITY_MAP
    """The ConfigMap about metrics. `CONFIG_OBSERVABILITY_NAME`."""
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """What overrides it: `METRICS_PROMETHEUS_*`, `OTEL_*`."""

    @property
    def probed(self) -> Mapping[str, Address]:
        """Face -> where the prober meets it."""
        return {
            EXTERNAL: self.external_probe,
            INTERNAL: self.internal_probe,
            EXTERNAL_TLS: _beside(self.external_probe, self.external_tls),
            INTERNAL_TLS: _beside(self.internal_probe, self.internal_tls),
        }

    @property
    def own_name(self) -> str:
        """The name of the Service of the cluster-local face, which placeholders lead to."""
        return f"gateway-internal.{self.system_namespace}.svc.{self.cluster_domain}"

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
            external_tls=address("KNUV_GATEWAY_EXTERNAL_TLS_ADDRESS", _secured(external)),
            internal_tls=address("KNUV_GATEWAY_INTERNAL_TLS_ADDRESS", _secured(internal)),
            envoy_admin=address("KNUV_GATEWAY_ENVOY_ADMIN_ADDRESS", _ENVOY_ADMIN),
            certificate=(reading.text("CERTS_SECRET_NAMESPACE", ""), reading.text("CERTS_SECRET_NAME", "")),
            pod_name=reading.text("POD_NAME", ""),
            access_log=reading.text("KNUV_GATEWAY_ACCESS_LOG", ""),
            bind_address=reading.text("KNUV_BIND_ADDRESS", ""),
            observability_config_map=reading.text("CONFIG_OBSERVABILITY_NAME", "") or OBSERVABILITY_MAP,
            telemetry=telemetry_variables(environ),
        )
        reading.finish()
        return config


def _secured(plain: Address) -> Address:
    return Address(plain.host, min(plain.port + _TLS_ABOVE, 65535))


def _beside(probe: Address, secured: Address) -> Address:
    """Where a TLS face is met: on the machine of the plain one, unless it is somewhere itself."""
    return Address(probe.host, secured.port) if secured.is_everywhere else secured
