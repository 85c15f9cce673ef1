"""Knative's ConfigMaps as the control plane reads them, parsed and validated with the original's messages.

Every section has `from_data(data)`, which raises `InvalidConfig`; unknown keys are ignored, absent ones have their
default. Admission refuses what does not parse, and at run time the last good value stays in force. Source: spec
control-plane.md 11; golden set `config_defaults`.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from controller.configmaps import RESOURCES, Data, Reader, parse_yaml, selects
from controller.deployment_settings import DeploymentSettings
from controller.label_selector import LabelSelector
from controller.observability import ObservabilitySettings
from controller.templates import Template
from kube.autoscaling.config import AutoscalerConfig, InvalidConfig
from proxies import gotext

__all__ = [
    "Defaults",
    "DeploymentSettings",
    "DomainSettings",
    "Features",
    "InvalidConfig",
    "LoggingSettings",
    "NetworkSettings",
    "ObservabilitySettings",
    "Settings",
    "example_checksum",
]

DEFAULT_DOMAIN_TEMPLATE = "{{.Name}}.{{.Namespace}}.{{.Domain}}"
DEFAULT_TAG_TEMPLATE = "{{.Tag}}-{{.Name}}"
_SAMPLE_METADATA: Mapping[str, Any] = {"Name": "name", "Namespace": "namespace", "Labels": {}, "Annotations": {}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """`config-defaults`: what a Revision is given where it asks for nothing, and what it may ask for."""

    revision_timeout_seconds: int = 300
    max_revision_timeout_seconds: int = 600
    revision_response_start_timeout_seconds: int = 300
    revision_idle_timeout_seconds: int = 0
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    container_name: Template = field(default_factory=lambda: Template("user-container"))
    init_container_name: Template = field(default_factory=lambda: Template("init-container"))
    container_concurrency: int = 0
    container_concurrency_max_limit: int = 1000
    allow_container_concurrency_zero: bool = True
    enable_service_links: bool | None = False
    """None leaves it to Kubernetes."""

    @classmethod
    def from_data(cls, data: Data) -> "Defaults":
        """Read the map."""
        read = Reader(data)
        timeout = read.integer("revision-timeout-seconds", 300)
        links = data.get("enable-service-links", "false").lower()
        settings = cls(
            allow_container_concurrency_zero=read.boolean("allow-container-concurrency-zero", True),
            revision_timeout_seconds=timeout,
            max_revision_timeout_seconds=read.integer("max-revision-timeout-seconds", 600),
            revision_response_start_timeout_seconds=read.integer("revision-response-start-timeout-seconds", timeout),
            revision_idle_timeout_seconds=read.integer("revision-idle-timeout-seconds", 0),
            container_concurrency=read.integer("container-concurrency", 0),
            container_concurrency_max_limit=read.integer("container-concurrency-max-limit", 1000),
            requests=read.quantities({name: f"revision-{name}-request" for name in RESOURCES}),
            limits=read.quantities({name: f"revision-{name}-limit" for name in RESOURCES}),
            container_name=read.template("container-name-template", "user-container", _SAMPLE_METADATA),
            init_container_name=read.template("init-container-name-template", "init-container", _SAMPLE_METADATA),
            enable_service_links={"true": True, "false": False}.get(links),
        )
        _check_defaults(settings)
        return settings


def _check_defaults(s: Defaults) -> None:
    timeout, longest = s.revision_timeout_seconds, s.max_revision_timeout_seconds
    if timeout > longest:
        raise InvalidConfig(
            f"revision-timeout-seconds ({timeout}) cannot be greater than max-revision-timeout-seconds ({longest})"
        )
    for key, value in (
        ("revision-response-start-timeout-seconds", s.revision_response_start_timeout_seconds),
        ("revision-idle-timeout-seconds", s.revision_idle_timeout_seconds),
    ):
        if value > 0 and value > timeout:
            raise InvalidConfig(f"{key} ({value}) cannot be greater than revision-timeout-seconds ({timeout})")
    limit = s.container_concurrency_max_limit
    if limit < 1:
        raise InvalidConfig(f"expected 1 <= {limit} <= {(1 << 31) - 1}: container-concurrency-max-limit")
    if not 0 <= s.container_concurrency <= limit:
        raise InvalidConfig(f"expected 0 <= {s.container_concurrency} <= {limit}: container-concurrency")


class Features:
    """`config-features`: flags that are `Enabled`, `Allowed` or `Disabled`.

    Two layers ask differently: field masks let a field through unless its flag is Disabled (`permits`), some checks
    demand exactly Enabled (`enabled`). Values that are none of the three are ignored, as in the original.
    """

    __slots__ = ("_flags",)
    _DEFAULTS: Mapping[str, str] = {"multi-container": "enabled", "kubernetes.podspec-volumes-emptydir": "enabled"}
    _VALUES = frozenset(("enabled", "disabled", "allowed"))

    def __init__(self, data: Data) -> None:
        self._flags = dict(self._DEFAULTS)
        for key, value in data.items():
            lowered = value.lower()
            if lowered in self._VALUES or (key == "secure-pod-defaults" and lowered == "allowrootbounded"):
                self._flags[key] = lowered

    @classmethod
    def from_data(cls, data: Data) -> "Features":
        """Read the map; nothing in it is ever refused."""
        return cls(data)

    def value(self, name: str) -> str:
        """The flag in lower case."""
        return self._flags.get(name, "disabled")

    def enabled(self, name: str) -> bool:
        """Whether the flag is exactly Enabled."""
        return self.value(name) == "enabled"

    def permits(self, name: str) -> bool:
        """Whether the flag is Enabled or Allowed."""
        return self.value(name) != "disabled"

    @property
    def secure_pod_defaults(self) -> bool:
        """Whether containers get a restricted security context by default."""
        return self.value("secure-pod-defaults") in ("enabled", "allowrootbounded")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """`config-network`: hosts, ingress and TLS."""

    ingress_class: str = "istio.ingress.networking.knative.dev"
    certificate_class: str = "cert-manager.certificate.networking.knative.dev"
    domain_template: Template = field(default_factory=lambda: Template(DEFAULT_DOMAIN_TEMPLATE))
    tag_template: Template = field(default_factory=lambda: Template(DEFAULT_TAG_TEMPLATE))
    rollout_duration_s: int = 0
    autocreate_cluster_domain_claims: bool = False
    default_external_scheme: str = "http"
    external_domain_tls: bool = False
    cluster_local_domain_tls: bool = False
    system_internal_tls: bool = False
    http_protocol: str = "enabled"
    """`enabled`, `disabled` or `redirected`."""
    wildcard_namespaces: LabelSelector = field(default_factory=LabelSelector)
    """Namespaces that get a certificate for all their names."""

    @classmethod
    def from_data(cls, data: Data) -> "NetworkSettings":
        """Read the map."""
        read = Reader(data)
        rollout_s = read.integer("rollout-duration", 0, "rolloutDuration")
        if rollout_s < 0:
            raise InvalidConfig(f"rollout-duration must be a positive integer, but was {rollout_s}")
        domain = read.template(
            "domain-template",
            DEFAULT_DOMAIN_TEMPLATE,
            {**_SAMPLE_METADATA, "Domain": "baz.com"},
            "domainTemplate",
        )
        host = domain.render({**_SAMPLE_METADATA, "Domain": "baz.com"})
        if not host or "/" in host or ":" in host:
            raise InvalidConfig(f"error executing domain template {domain.text!r}: expected a host name, got {host!r}")
        protocol = read.text("http-protocol", "enabled", "httpProtocol").lower()
        if protocol not in ("enabled", "disabled", "redirected"):
            raise InvalidConfig(f"httpProtocol {protocol} in config-network ConfigMap is not supported")
        tls = read.text("external-domain-tls", "", "auto-tls", "autoTLS")
        internal = read.switch("system-internal-tls") or read.boolean("internal-encryption", False)
        return cls(
            ingress_class=read.text("ingress-class", cls().ingress_class, "ingress.class"),
            certificate_class=read.text("certificate-class", cls().certificate_class, "certificate.class"),
            domain_template=domain,
            tag_template=read.template(
                "tag-template", DEFAULT_TAG_TEMPLATE, {**_SAMPLE_METADATA, "Tag": "v1"}, "tagTemplate"
            ),
            rollout_duration_s=rollout_s,
            autocreate_cluster_domain_claims=read.boolean(
                "autocreate-cluster-domain-claims", False, "autocreateClusterDomainClaims"
            ),
            default_external_scheme=read.text("default-external-scheme", "http", "defaultExternalScheme"),
            external_domain_tls=tls.lower() == "enabled",
            cluster_local_domain_tls=read.switch("cluster-local-domain-tls"),
            system_internal_tls=internal,
            http_protocol=protocol,
            wildcard_namespaces=LabelSelector.parse(
                data.get("namespace-wildcard-cert-selector", ""), "namespace-wildcard-cert-selector"
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSettings:
    """`config-domain`: domains, and the labels that a Route must have to get each; no labels: every Route."""

    selectors: Mapping[str, Mapping[str, str]]
    wildcards: frozenset[str] = frozenset()
    """Those of type `wildcard`, under which a namespace can have one certificate for all its names."""

    @classmethod
    def from_data(cls, data: Data, cluster_domain: str = "cluster.local") -> "DomainSettings":
        """Read the map. Without a default domain every Route is cluster-local."""
        selectors: dict[str, Mapping[str, str]] = {}
        wildcards = set()
        for domain, text in data.items():
            if domain == "_example":
                continue
            entry = parse_yaml(text, domain)
            selector = entry.get("selector") or {}
            if not isinstance(selector, dict):
                raise InvalidConfig(f"{domain}: selector must be a map of labels")
            selectors[domain] = {str(key): str(value) for key, value in selector.items()}
            if not selector or entry.get("type") == "wildcard":
                wildcards.add(domain)
        if all(selectors.values()):
            selectors[f"svc.{cluster_domain}"] = {}
        return cls(selectors=selectors, wildcards=frozenset(wildcards))

    def domain_for(self, labels: Mapping[str, str]) -> str:
        """The domain with the most demanding selector that `labels` meet; ties go to the smallest name."""
        return min(
            (-len(selector), domain) for domain, selector in self.selectors.items() if selects(selector, labels)
        )[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """`config-logging`, of which queue-proxy is told."""

    zap_config: str = ""
    queue_proxy_level: str = ""

    @classmethod
    def from_data(cls, data: Data) -> "LoggingSettings":
        """Read the map."""
        return cls(zap_config=data.get("zap-logger-config", ""), queue_proxy_level=data.get("loglevel.queueproxy", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageCollection:
    """`config-gc`: when Revisions without traffic are deleted. None: the bound is disabled."""

    retain_since_create_s: float | None = 48 * 3600.0
    retain_since_last_active_s: float | None = 15 * 3600.0
    non_active_min: int = 20
    non_active_max: int | None = 1000

    @classmethod
    def from_data(cls, data: Data) -> "GarbageCollection":
        """Read the map."""
        read = Reader(data)
        lowest = read.integer("min-non-active-revisions", 20)
        highest = read.unless_disabled("max-non-active-revisions", read.integer, 1000)
        if lowest < 0:
            raise InvalidConfig(f"min-non-active-revisions must be non-negative, was: {lowest}")
        if highest is not None and highest < lowest:
            raise InvalidConfig(f"min-non-active-revisions({lowest}) must be <= max-non-active-revisions({highest})")
        created_s = read.unless_disabled("retain-since-create-time", read.duration_s, 48 * 3600.0)
        active_s = read.unless_disabled("retain-since-last-active-time", read.duration_s, 15 * 3600.0)
        for key, value in (("retain-since-create-time", created_s), ("retain-since-last-active-time", active_s)):
            if value is not None and value < 0:
                raise InvalidConfig(f"{key} must be non-negative, was: {gotext.format_duration(value)}")
        return cls(
            retain_since_create_s=created_s,
            retain_since_last_active_s=active_s,
            non_active_min=lowest,
            non_active_max=highest,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All sections. Field names follow the ConfigMaps: `config-<section>`."""

    autoscaler: AutoscalerConfig
    defaults: Defaults
    deployment: DeploymentSettings
    domain: DomainSettings
    features: Features
    gc: GarbageCollection
    logging: LoggingSettings
    network: NetworkSettings
    observability: ObservabilitySettings

    @classmethod
    def names(cls) -> list[str]:
        """The ConfigMaps that are read."""
        return [f"config-{section.name}" for section in fields(cls)]

    @classmethod
    def from_maps(cls, maps: Mapping[str, Data], cluster_domain: str = "cluster.local") -> "Settings":
        """Read all maps; one that is not there is as good as empty."""
        sections = {
            section: parse_section(f"config-{section}", maps.get(f"config-{section}", {}), cluster_domain)
            for section in _SECTIONS
        }
        return cls(**sections)


_SECTIONS: dict[str, Callable[[Data], Any]] = {
    "autoscaler": AutoscalerConfig.from_data,
    "defaults": Defaults.from_data,
    "deployment": DeploymentSettings.from_data,
    "domain": DomainSettings.from_data,
    "features": Features.from_data,
    "gc": GarbageCollection.from_data,
    "logging": LoggingSettings.from_data,
    "network": NetworkSettings.from_data,
    "observability": ObservabilitySettings.from_data,
}


def parse_section(config_map: str, data: Data, cluster_domain: str = "cluster.local") -> Any:
    """One ConfigMap's section. Raises `InvalidConfig`; `KeyError` for a map that nobody reads."""
    section = config_map.removeprefix("config-")
    if section == "domain":
        return DomainSettings.from_data(data, cluster_domain)
    return _SECTIONS[section](data)


def example_checksum(text: str) -> str:
    """What annotation `knative.dev/example-checksum` must say about the `_example` of a ConfigMap."""
    flattened = re.sub(r"\n+", r"\\n", text.strip())
    return f"{zlib.crc32(flattened.encode()):08x}"
