"""The feature flags of eventing: ConfigMap `config-features` as it is at a moment.

Values compare without regard to case; keys that begin with `_` are examples. What is not known here is none of our
business. Source: knative/eventing `pkg/apis/feature`; spec eventing-broker.md 2.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeVar
from urllib.parse import urlsplit

__all__ = ["CONFIG_MAP", "AuthorizationMode", "Features", "TransportEncryption"]

CONFIG_MAP: Final = "config-features"
DISCOVERY_BASE_URL: Final = "https://kubernetes.default.svc"
_NODE_SELECTOR: Final = "apiserversources-nodeselector-"


class TransportEncryption(Enum):
    """Which ports serve events."""

    DISABLED = "disabled"
    """The plain one."""
    PERMISSIVE = "permissive"
    """Both."""
    STRICT = "strict"
    """The one with TLS."""


class AuthorizationMode(Enum):
    """Who may send to what has no EventPolicy, while OIDC is on."""

    SAME_NAMESPACE = "allow-same-namespace"
    ALLOW_ALL = "allow-all"
    DENY_ALL = "deny-all"


class _Flag(Enum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    ALLOWED = "allowed"


E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """All flags that our services read, with Knative's defaults."""

    transport_encryption: TransportEncryption = TransportEncryption.DISABLED
    is_oidc_on: bool = False
    """`authentication-oidc`."""
    authorization_mode: AuthorizationMode = AuthorizationMode.SAME_NAMESPACE
    """`default-authorization-mode`."""
    has_event_type_auto_create: bool = False
    """`eventtype-auto-create`."""
    has_delivery_timeout: bool = True
    """`delivery-timeout`."""
    has_delivery_retry_after: bool = False
    """`delivery-retryafter`."""
    has_cross_namespace_links: bool = False
    """`cross-namespace-event-links`."""
    has_source_filters: bool = False
    """`new-apiserversource-filters`."""
    source_node_selector: Mapping[str, str] = field(default_factory=dict)
    """`apiserversources-nodeselector-<label>`: of the nodes on which ApiServerSources run."""
    discovery_base_url: str = DISCOVERY_BASE_URL
    """`oidc-discovery-base-url`: below it is `.well-known/openid-configuration`."""

    @classmethod
    def read(cls, data: Mapping[str, str]) -> "Features":
        """Read the ConfigMap's data. Raises `ValueError` that names every flag that is wrong."""
        problems: list[str] = []

        def choice(name: str, kind: type[E], default: E) -> E:
            text = data.get(name, "")
            if not text:
                return default
            try:
                return kind(text.strip().lower())
            except ValueError:
                problems.append(f"{name}={text!r}: expected {' or '.join(each.value for each in kind)}")
                return default

        def flag(name: str, *, default: bool = False) -> bool:
            return choice(name, _Flag, _Flag.ENABLED if default else _Flag.DISABLED) is _Flag.ENABLED

        base_url = data.get("oidc-discovery-base-url", "").strip() or DISCOVERY_BASE_URL
        if urlsplit(base_url).scheme not in ("http", "https"):
            problems.append(f"oidc-discovery-base-url={base_url!r}: expected an http or https URL")
        features = cls(
            transport_encryption=choice("transport-encryption", TransportEncryption, TransportEncryption.DISABLED),
            is_oidc_on=flag("authentication-oidc"),
            authorization_mode=choice(
                "default-authorization-mode", AuthorizationMode, AuthorizationMode.SAME_NAMESPACE
            ),
            has_event_type_auto_create=flag("eventtype-auto-create"),
            has_delivery_timeout=flag("delivery-timeout", default=True),
            has_delivery_retry_after=flag("delivery-retryafter"),
            has_cross_namespace_links=flag("cross-namespace-event-links"),
            has_source_filters=flag("new-apiserversource-filters"),
            source_node_selector={
                name.removeprefix(_NODE_SELECTOR): value
                for name, value in data.items()
                if name.startswith(_NODE_SELECTOR)
            },
            discovery_base_url=base_url.rstrip("/"),
        )
        if problems:
            raise ValueError("; ".join(problems))
        return features
