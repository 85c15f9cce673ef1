"""The ConfigMap `config-gateway`: which Gateways serve public names, and which local ones.

Source: net-gateway-api `pkg/reconciler/ingress/config/gateway.go`; spec ingress.md 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from controller.configmaps import Data
from kube.autoscaling.config import InvalidConfig

__all__ = ["CONFIG_MAP", "REQUEST_TIMEOUT", "GatewayApiSettings", "GatewayChoice"]

CONFIG_MAP = "config-gateway"
REQUEST_TIMEOUT = "HTTPRouteRequestTimeout"
"""Feature: a route may say how long a request takes."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayChoice:
    """One Gateway."""

    gateway_class: str
    gateway: Key
    """Namespace and name."""
    service: Key | None = None
    """The Service of its pods, which are probed; without one, the Gateway's own address is."""
    features: frozenset[str] = frozenset((REQUEST_TIMEOUT,))


_EXTERNAL = GatewayChoice(
    gateway_class="istio",
    gateway=("istio-system", "knative-gateway"),
    service=("istio-system", "istio-ingressgateway"),
)
_LOCAL = GatewayChoice(
    gateway_class="istio",
    gateway=("istio-system", "knative-local-gateway"),
    service=("istio-system", "knative-local-gateway"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayApiSettings:
    """What the map says."""

    external: GatewayChoice = _EXTERNAL
    local: GatewayChoice = _LOCAL

    def of(self, visibility: str) -> GatewayChoice:
        """Who serves rules of that visibility."""
        return self.local if visibility == "ClusterLocal" else self.external

    @classmethod
    def from_data(cls, data: Data) -> "GatewayApiSettings":
        """Read the map. Raises `InvalidConfig` with everything that is wrong."""
        problems: list[str] = []
        settings = cls(
            external=_choice(data, "external-gateways", _EXTERNAL, problems),
            local=_choice(data, "local-gateways", _LOCAL, problems),
        )
        if problems:
            raise InvalidConfig(f"{CONFIG_MAP}: {'; '.join(problems)}")
        return settings


def _choice(data: Data, key: str, default: GatewayChoice, problems: list[str]) -> GatewayChoice:
    """The key's one entry; the default where there is none, or it cannot be used, with the reason in `problems`."""
    if key not in data:
        return default
    try:
        entries = yaml.safe_load(data[key])
    except yaml.YAMLError as error:
        problems.append(f"{key}: not YAML: {error}")
        return default
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        problems.append(f"{key}: expected a list with exactly one Gateway, got {data[key]!r}")
        return default
    [entry] = entries
    before = len(problems)
    found = GatewayChoice(
        gateway_class=_text(entry, "class", key, problems),
        gateway=_key(entry, "gateway", key, problems),
        service=_key(entry, "service", key, problems) if entry.get("service") else None,
        features=_features(entry, key, problems),
    )
    if entry.get("proxy-protocol-enabled"):
        problems.append(f"{key}: proxy-protocol-enabled: probes cannot say who they are by PROXY protocol here")
    return found if len(problems) == before else default


def _text(entry: Mapping[str, Any], field: str, key: str, problems: list[str]) -> str:
    text = entry.get(field)
    if isinstance(text, str) and text:
        return text
    problems.append(f"{key}: {field}: expected a text, got {text!r}")
    return ""


def _key(entry: Mapping[str, Any], field: str, key: str, problems: list[str]) -> Key:
    text = entry.get(field)
    namespace, _, name = text.partition("/") if isinstance(text, str) else ("", "", "")
    if not namespace or not name or "/" in name:
        problems.append(f"{key}: {field}: expected namespace/name, got {text!r}")
    return namespace, name


def _features(entry: Mapping[str, Any], key: str, problems: list[str]) -> frozenset[str]:
    found = entry.get("supported-features") or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        problems.append(f"{key}: supported-features: expected a list of names, got {found!r}")
        return frozenset()
    return frozenset(found)
