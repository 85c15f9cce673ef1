"""What an adapter is told at start: what Knative's controller puts into its environment, and a few of ours.

Source: spec eventing-sources.md 1.2.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kube.config import ApiConfig
from kube.election.settings import LeaseTiming
from kube.telemetry import telemetry_variables
from proxies.environment import Environment
from sources.adapter import Target
from sources.election import parse_timing
from sources.overrides import Overrides

__all__ = ["AdapterConfig", "json_object", "read_target"]

_HEALTH_PORT = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What all adapters have in common; read once, from the environment."""

    api: ApiConfig
    """The Kubernetes API. `KUBECONFIG`, or the in-cluster files."""
    system_namespace: str
    """Where the Lease is. `SYSTEM_NAMESPACE`."""
    pod_name: str = ""
    """Who holds the Lease. `POD_NAME`."""
    sink_timeout_s: float = math.inf
    """Of each attempt to deliver an event. `K_SINK_TIMEOUT`, whole seconds; anything else is none."""
    lease: LeaseTiming = field(default_factory=lambda: parse_timing(""))
    """`K_LEADER_ELECTION_CONFIG`."""
    observability: Mapping[str, str] = field(default_factory=dict)
    """The data of ConfigMap `config-observability`. `K_OBSERVABILITY_CONFIG`, in JSON."""
    telemetry: Mapping[str, str] = field(default_factory=dict)
    """What overrides it: `METRICS_PROMETHEUS_*`, `OTEL_*`."""
    cluster_domain: str = "cluster.local"
    """Suffix of cluster host names. `CLUSTER_DOMAIN`."""
    resolves_by_endpoints: bool = False
    """Service names lead through the API's Endpoints instead of DNS. `KNUV_SERVICE_RESOLUTION` (dns or endpoints)."""
    bind_address: str | None = None
    """Address of every port; None: all. `KNUV_BIND_ADDRESS`."""
    health_port: int = _HEALTH_PORT
    """Where `/health` and `/readiness` answer; 0: any that is free. `KNUV_HEALTH_PORT`."""

    @classmethod
    def read(cls, reading: Environment, environ: Mapping[str, str]) -> "AdapterConfig":
        """Read what is common; problems join those of `reading`."""
        return cls(
            api=ApiConfig.read(reading, environ),
            system_namespace=reading.text("SYSTEM_NAMESPACE", "") or "knative-eventing",
            pod_name=reading.text("POD_NAME", ""),
            sink_timeout_s=_timeout_s(environ.get("K_SINK_TIMEOUT", "")),
            lease=reading.parsed("K_LEADER_ELECTION_CONFIG", parse_timing, parse_timing(""), parse_timing("")),
            observability=reading.parsed("K_OBSERVABILITY_CONFIG", _texts, {}, {}),
            telemetry=telemetry_variables(environ),
            cluster_domain=reading.text("CLUSTER_DOMAIN", "") or "cluster.local",
            resolves_by_endpoints=reading.choice("KNUV_SERVICE_RESOLUTION", ("dns", "endpoints")) == "endpoints",
            bind_address=environ.get("KNUV_BIND_ADDRESS") or None,
            health_port=reading.parsed("KNUV_HEALTH_PORT", _port, _HEALTH_PORT, 0),
        )


def read_target(reading: Environment, environ: Mapping[str, str]) -> Target:
    """Where the events of the one source of an adapter go; problems join those of `reading`."""
    return Target(
        url=reading.filled("K_SINK"),
        namespace=reading.filled("NAMESPACE"),
        name=reading.text("NAME", "adapter"),
        ca_certs=environ.get("K_CA_CERTS", ""),
        audience=environ.get("K_AUDIENCE", ""),
        service_account=environ.get("K_OIDC_SERVICE_ACCOUNT", ""),
        overrides=reading.parsed("K_CE_OVERRIDES", Overrides.parse, Overrides(), Overrides()),
    )


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object; the empty text is an empty one. Raises `ValueError`."""
    if not text.strip():
        return {}
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("expected a JSON object, nested less deeply") from error
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    return content


def _texts(text: str) -> dict[str, str]:
    return {name: value for name, value in json_object(text).items() if isinstance(value, str)}


def _timeout_s(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and int(text[:9]) > 0 else math.inf


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) < 1 << 16):
        raise ValueError("expected a port from 0 to 65535")
    return int(text)
