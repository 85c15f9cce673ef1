"""What a Knative object gets where its author said nothing.

Every function changes the raw object in place and returns it; running one twice changes nothing more. Absent and `null`
are the same, and so are absent and zero where Go leaves zero out, because the original stores what Go writes. Source:
knative/serving `pkg/apis/serving/v1/*_defaults.go`; spec control-plane.md 4; golden set `service`.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from controller import keys
from controller.configmaps import RESOURCES
from controller.settings import Settings
from controller.templates import Template
from kube.autoscaling.annotations import CLASS, METRIC
from kube.autoscaling.config import HPA_CLASS, KPA_CLASS
from kube.models.meta import ObjectMeta
from kube.models.serving import TrafficTarget

__all__ = [
    "configuration",
    "pod_autoscaler",
    "revision",
    "route",
    "service",
    "stamp",
    "template",
    "traffic",
    "traffic_targets",
    "without_nulls",
]

JsonObject = dict[str, Any]

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_HANDLERS = ("httpGet", "tcpSocket", "exec", "grpc")
_WRITABLE_VOLUMES = ("emptyDir", "persistentVolumeClaim", "ephemeral")
_CONTAINER_LISTS = ("command", "args", "ports", "env", "envFrom", "volumeMounts")


def service(obj: JsonObject, old: JsonObject | None, settings: Settings, username: str) -> JsonObject:
    """A Service that is created, or updated when there is an `old` one."""
    spec = _spec(obj)
    _template_of(spec, old, settings, obj)
    spec["traffic"] = traffic(spec.get("traffic") or [{"latestRevision": True, "percent": 100}])
    stamp(obj, old, username)
    return obj


def configuration(obj: JsonObject, old: JsonObject | None, settings: Settings, username: str) -> JsonObject:
    """A Configuration; one that belongs to a Service is not stamped with who made it."""
    _template_of(_spec(obj), old, settings, obj)
    if not obj["metadata"].get("ownerReferences"):
        stamp(obj, old, username)
    return obj


def route(obj: JsonObject, old: JsonObject | None, settings: Settings, username: str) -> JsonObject:
    """A Route; one that belongs to a Service is not stamped with who made it."""
    spec = _spec(obj)
    if spec.get("traffic"):
        spec["traffic"] = traffic(spec["traffic"])
    if not obj["metadata"].get("ownerReferences"):
        stamp(obj, old, username)
    return obj


def revision(obj: JsonObject, old: JsonObject | None, settings: Settings, username: str) -> JsonObject:
    """A Revision; its spec is immutable, so an update is left as it is."""
    if old is None:
        _revision_spec(_spec(obj), settings, msgspec.convert(obj["metadata"], ObjectMeta), is_create=True)
    return obj


def pod_autoscaler(obj: JsonObject, old: JsonObject | None, settings: Settings, username: str) -> JsonObject:
    """A PodAutoscaler: its class, and the metric that goes with it."""
    annotations = obj["metadata"].setdefault("annotations", {})
    class_ = annotations.setdefault(CLASS[0], settings.autoscaler.pod_autoscaler_class)
    metric = {KPA_CLASS: "concurrency", HPA_CLASS: "cpu"}.get(class_)
    if metric and not any(key in annotations for key in METRIC):
        annotations[METRIC[0]] = metric
    return obj


def template(
    obj: JsonObject, settings: Settings, *, parent: ObjectMeta | None = None, is_create: bool = False
) -> JsonObject:
    """A Revision template. `parent`: metadata that the container name templates speak of."""
    obj["metadata"] = without_nulls(obj.get("metadata") or {})
    obj["metadata"].pop("creationTimestamp", None)
    obj["spec"] = without_nulls(obj.get("spec") or {})
    _revision_spec(obj["spec"], settings, parent or ObjectMeta(), is_create=is_create)
    return obj


def traffic(targets: Sequence[JsonObject]) -> list[JsonObject]:
    """A traffic block: who follows the newest Revision, and a percent for everyone."""
    defaulted = []
    for target in targets:
        kept = {key: value for key, value in without_nulls(dict(target)).items() if value != ""}
        kept.setdefault("latestRevision", not kept.get("revisionName"))
        kept.setdefault("percent", 0)
        defaulted.append(kept)
    return defaulted


def traffic_targets(targets: Sequence[TrafficTarget]) -> list[TrafficTarget]:
    """The same for a decoded traffic block; an empty one means everything to the newest Revision."""
    if not targets:
        return [TrafficTarget(latest_revision=True, percent=100)]
    return [
        msgspec.structs.replace(
            target,
            latest_revision=not target.revision_name if target.latest_revision is None else target.latest_revision,
            percent=target.percent or 0,
        )
        for target in targets
    ]


def without_nulls(value: Any) -> Any:
    """A copy without `null`s, which mean the same as absence."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value if inner is not None]
    return value


def _spec(obj: JsonObject) -> JsonObject:
    obj.setdefault("metadata", {})
    spec: JsonObject = without_nulls(obj.get("spec") or {})
    obj["spec"] = spec
    return spec


def _template_of(spec: JsonObject, old: JsonObject | None, settings: Settings, obj: JsonObject) -> None:
    """Default the template, unless an update keeps its explicit name: then it must stay as it was made.

    A manifest that is applied again lacks the defaults that were added to it the first time. If they make all the
    difference it is the same template, and what is stored stays, so that traffic can be moved by applying again.
    """
    found = spec.get("template") or {}
    spec["template"] = found
    parent = msgspec.convert(obj["metadata"], ObjectMeta)
    name = (found.get("metadata") or {}).get("name")
    before = ((old or {}).get("spec") or {}).get("template") or {}
    if old is None or not name or (before.get("metadata") or {}).get("name") != name:
        template(found, settings, parent=parent, is_create=old is None)
        return
    given, held = (template(copy.deepcopy(each), settings, parent=parent, is_create=True) for each in (found, before))
    if given == held:
        spec["template"] = copy.deepcopy(before)


def stamp(obj: JsonObject, old: JsonObject | None, username: str) -> None:
    """Who made it, and who changed its spec last."""
    if not username:
        return
    annotations = obj["metadata"].get("annotations") or {}
    obj["metadata"]["annotations"] = annotations
    if old is None:
        annotations[keys.CREATOR] = annotations[keys.LAST_MODIFIER] = username
    elif without_nulls(old.get("spec")) != obj.get("spec"):
        annotations[keys.LAST_MODIFIER] = username


def _revision_spec(spec: JsonObject, settings: Settings, parent: ObjectMeta, *, is_create: bool) -> None:
    defaults = settings.defaults
    if not spec.get("timeoutSeconds"):
        spec["timeoutSeconds"] = defaults.revision_timeout_seconds
    for name, value in (
        ("idleTimeoutSeconds", defaults.revision_idle_timeout_seconds),
        ("responseStartTimeoutSeconds", defaults.revision_response_start_timeout_seconds),
    ):
        if name not in spec and value and value < spec["timeoutSeconds"]:
            spec[name] = value
    spec.setdefault("containerConcurrency", defaults.container_concurrency)
    if is_create and "enableServiceLinks" not in spec and defaults.enable_service_links is not None:
        spec["enableServiceLinks"] = defaults.enable_service_links
    containers = spec.get("containers") or []
    init_containers = spec.get("initContainers") or []
    names = {str(container.get("name")) for container in (*containers, *init_containers) if container.get("name")}
    _name_containers(containers, defaults.container_name, names, parent)
    _name_containers(init_containers, defaults.init_container_name, names, parent)
    writable = {
        volume.get("name") for volume in spec.get("volumes") or [] if any(kind in volume for kind in _WRITABLE_VOLUMES)
    }
    for container in containers:
        _tidy(container)
        _resources(container, settings)
        if len(containers) == 1 or container.get("ports"):
            _readiness(container)
        for mount in container.get("volumeMounts") or []:
            if mount.get("name") not in writable:
                mount["readOnly"] = True
        _probes(container)
    for container in init_containers:
        _tidy(container)
    if settings.features.secure_pod_defaults:
        for container in (*containers, *init_containers):
            _secure(container, spec, settings)


def _name_containers(containers: list[JsonObject], name: Template, names: set[str], parent: ObjectMeta) -> None:
    plain = name.render(
        {
            "Name": parent.name,
            "Namespace": parent.namespace,
            "Labels": parent.labels,
            "Annotations": parent.annotations,
        }
    )
    suffix = 0
    for container in containers:
        if container.get("name"):
            continue
        chosen = plain
        if len(containers) > 1 or plain in names:
            while (chosen := f"{plain}-{suffix}") in names:
                suffix += 1
            suffix += 1
        container["name"] = chosen
        names.add(chosen)


def _tidy(container: JsonObject) -> None:
    """Leave out what Go leaves out: empty texts and lists, and zeros that mean absence."""
    for name in [name for name, value in container.items() if value == ""]:
        del container[name]
    for name in _CONTAINER_LISTS:
        if container.get(name) == []:
            del container[name]
    for port in container.get("ports") or []:
        for name in ("name", "protocol", "hostPort", "hostIP"):
            if port.get(name) in ("", 0):
                del port[name]
    for variable in container.get("env") or []:
        if variable.get("value") == "":
            del variable["value"]


def _resources(container: JsonObject, settings: Settings) -> None:
    resources = container.setdefault("resources", {})
    for kind, defaults in (("requests", settings.defaults.requests), ("limits", settings.defaults.limits)):
        values: dict[str, Any] = resources.get(kind) or {}
        for name in RESOURCES:
            if name in defaults and name not in values:
                values[name] = defaults[name]
        if values:
            resources[kind] = values
        else:
            resources.pop(kind, None)


def _readiness(container: JsonObject) -> None:
    """queue-proxy needs a probe: by default that something listens. A period of 0 asks for its aggressive probing."""
    probe = container.setdefault("readinessProbe", {})
    if not any(handler in probe for handler in _HANDLERS):
        probe["tcpSocket"] = {}
    if not probe.get("successThreshold"):
        probe["successThreshold"] = 1
    if probe.get("periodSeconds"):
        probe["failureThreshold"] = probe.get("failureThreshold") or 3
        probe["timeoutSeconds"] = probe.get("timeoutSeconds") or 1


def _probes(container: JsonObject) -> None:
    for name in PROBES:
        probe = container.get(name)
        if probe is None:
            continue
        for number in _PROBE_NUMBERS:
            if probe.get(number) == 0:
                del probe[number]
        for handler in ("httpGet", "tcpSocket", "grpc"):
            if handler in probe:
                probe[handler].setdefault("port", 0)
        if "grpc" in probe:
            probe["grpc"].setdefault("service", "")


def _secure(container: JsonObject, spec: Mapping[str, Any], settings: Settings) -> None:
    """A restricted security context, as far as the user left it open."""
    context = container.setdefault("securityContext", {})
    context.setdefault("allowPrivilegeEscalation", False)
    if "seccompProfile" not in (spec.get("securityContext") or {}):
        context.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    if "capabilities" not in context:
        context["capabilities"] = {"drop": ["ALL"]}
        if any(0 < int(port.get("containerPort") or 0) < 1024 for port in container.get("ports") or []):
            context["capabilities"]["add"] = ["NET_BIND_SERVICE"]
    if settings.features.value("secure-pod-defaults") == "enabled":
        context.setdefault("runAsNonRoot", True)
