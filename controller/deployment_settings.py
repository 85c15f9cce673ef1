"""`config-deployment`, with the original's messages. Source: knative/serving `pkg/deployment/config.go`; spec 11."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.configmaps import RESOURCES, Data, Reader, commas, parse_yaml, selects
from kube.autoscaling.config import InvalidConfig
from proxies import gotext

__all__ = ["DeploymentSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSettings:
    """`config-deployment`: how Revisions become Deployments."""

    queue_sidecar_image: str
    progress_deadline_s: int = 600
    digest_resolution_timeout_s: float = 10.0
    registries_skipping_tag_resolving: frozenset[str] = frozenset()
    sidecar_requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "25m"})
    sidecar_limits: Mapping[str, str] = field(default_factory=dict)
    token_audiences: tuple[str, ...] = ()
    root_ca: str = ""
    tls: Mapping[str, str] = field(default_factory=dict)
    """`min-version`, `max-version`, `cipher-suites`, `curve-preferences`: passed on as they are."""
    spreads_pods: bool = True
    """`default-affinity-type: prefer-spread-revision-over-nodes`."""
    runtime_classes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Runtime class -> labels that a Revision must have."""
    pod_is_always_schedulable: bool = False

    @classmethod
    def from_data(cls, data: Data) -> "DeploymentSettings":
        """Read the map."""
        read = Reader(data)
        image = read.text("queue-sidecar-image", "", "queueSidecarImage")
        deadline_s = read.duration_s("progress-deadline", 600.0, "progressDeadline")
        digest_s = read.duration_s("digest-resolution-timeout", 10.0, "digestResolutionTimeout")
        if deadline_s <= 0:
            raise InvalidConfig(
                f"progress-deadline cannot be a non-positive duration, was {gotext.format_duration(deadline_s)}"
            )
        if deadline_s % 1:
            raise InvalidConfig(
                f"ProgressDeadline must be rounded to a whole second, was: {gotext.format_duration(deadline_s)}"
            )
        if digest_s <= 0:
            raise InvalidConfig(
                f"digest-resolution-timeout cannot be a non-positive duration, was {gotext.format_duration(digest_s)}"
            )
        if not image:
            raise InvalidConfig("queue sidecar image cannot be empty or unset")
        affinity = data.get("default-affinity-type", "prefer-spread-revision-over-nodes")
        if affinity not in ("prefer-spread-revision-over-nodes", "none"):
            raise InvalidConfig(f"unsupported default-affinity-type: {affinity}")
        skipped = read.text(
            "registries-skipping-tag-resolving", "kind.local,ko.local,dev.local", "registriesSkippingTagResolving"
        )
        camel = {"cpu": "Cpu", "memory": "Memory", "ephemeral-storage": "EphemeralStorage"}
        return cls(
            queue_sidecar_image=image,
            progress_deadline_s=int(deadline_s),
            digest_resolution_timeout_s=digest_s,
            registries_skipping_tag_resolving=frozenset(commas(skipped)),
            sidecar_requests={"cpu": "25m"}
            | read.quantities(
                {name: f"queue-sidecar-{name}-request" for name in RESOURCES},
                {name: f"queueSidecar{camel[name]}Request" for name in RESOURCES},
            ),
            sidecar_limits=read.quantities(
                {name: f"queue-sidecar-{name}-limit" for name in RESOURCES},
                {name: f"queueSidecar{camel[name]}Limit" for name in RESOURCES},
            ),
            token_audiences=tuple(sorted(commas(data.get("queue-sidecar-token-audiences", "")))),
            root_ca=data.get("queue-sidecar-rootca", ""),
            tls={
                key: data.get(f"queue-sidecar-tls-{key}", "")
                for key in ("min-version", "max-version", "cipher-suites", "curve-preferences")
            },
            spreads_pods=affinity != "none",
            runtime_classes=_runtime_classes(data.get("runtime-class-name", "")),
            pod_is_always_schedulable=read.boolean("pod-is-always-schedulable", False),
        )

    def runtime_class(self, labels: Mapping[str, str]) -> str:
        """The runtime class for a Revision's labels: the most demanding selector wins, then the smaller name."""
        matching = [
            (-len(selector), name) for name, selector in self.runtime_classes.items() if selects(selector, labels)
        ]
        return min(matching)[1] if matching else ""


def _runtime_classes(text: str) -> dict[str, dict[str, str]]:
    classes = {}
    for name, rule in parse_yaml(text, "runtime-class-name").items():
        selector = rule.get("selector") if isinstance(rule, dict) else None
        classes[str(name)] = {str(key): str(value) for key, value in (selector or {}).items()}
    return classes
