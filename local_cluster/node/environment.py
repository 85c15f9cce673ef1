"""The environment, command and arguments of a container, worked out from the pod's spec as the kubelet does.

Pure: ConfigMaps and Secrets come in as plain mappings; `references` says which ones are needed. Order: what the stack
passes on, the image map's variables, `HOSTNAME`, `envFrom`, `env` (later entries see earlier ones by `$(NAME)`), and
last what the network mode replaces.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kube.models.core import Container, EnvVar, Pod
from local_cluster.node.quantities import divide_quantity

__all__ = [
    "INHERITED_VARIABLES",
    "PodFacts",
    "Reference",
    "Sources",
    "VariableError",
    "container_environment",
    "expand",
    "field_text",
    "inherited",
    "references",
    "resource_text",
]

INHERITED_VARIABLES = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
"""What a container sees of the stack's own environment; everything else stays out, as an image would not have it."""

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")
_FIELD_WITH_KEY = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]\Z")


class VariableError(Exception):
    """A variable cannot be worked out; the text is the kubelet's, shown as `CreateContainerConfigError`."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A ConfigMap or Secret that a container names."""

    kind: str
    """`ConfigMap` or `Secret`."""
    name: str
    optional: bool


Sources = Mapping[tuple[str, str], Mapping[str, str]]
"""(kind, name) -> data, Secrets still in base64; what does not exist is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """What the node decided about a pod."""

    pod_ip: str
    host_ip: str
    cpu: str = "1"
    """The node's capacity: `limits.cpu` of a container that has no limit."""
    memory: str = "1Gi"


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of the stack's environment that containers see."""
    return {name: environ[name] for name in INHERITED_VARIABLES if name in environ}


def references(container: Container) -> list[Reference]:
    """Every ConfigMap and Secret that the container's environment names."""
    found = []
    for source in container.env_from:
        for kind, selector in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if selector:
                found.append(Reference(kind, str(selector.get("name", "")), bool(selector.get("optional"))))
    for variable in container.env:
        for kind, key in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
            selector = (variable.value_from or {}).get(key)
            if selector:
                found.append(Reference(kind, str(selector.get("name", "")), bool(selector.get("optional"))))
    return found


def container_environment(
    container: Container,
    pod: Pod,
    facts: PodFacts,
    *,
    base: Mapping[str, str],
    sources: Sources,
    replaced: Mapping[str, str],
) -> dict[str, str]:
    """The variables of `container`: those the spec defines over `base`. Raises `VariableError`."""
    declared: dict[str, str] = {}
    for source in container.env_from:
        for kind, selector in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if selector:
                declared |= _all_keys(kind, selector, source.prefix, sources)
    for variable in container.env:
        value = replaced.get(variable.name)
        if value is None:
            value = _value(variable, container, pod, facts, sources, declared)
        if value is not None:
            declared[variable.name] = value
    return {**base, "HOSTNAME": pod.spec.hostname or pod.name, **declared, **replaced}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable; `$$` is a dollar sign; an unknown name stays as it is written."""

    def substitute(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(substitute, text)


def _value(
    variable: EnvVar, container: Container, pod: Pod, facts: PodFacts, sources: Sources, declared: Mapping[str, str]
) -> str | None:
    """The variable's value; None when an optional source lacks it."""
    origin = variable.value_from
    if not origin:
        return expand(variable.value, declared)
    if "fieldRef" in origin:
        return field_text(str(origin["fieldRef"].get("fieldPath", "")), pod, facts)
    if "configMapKeyRef" in origin:
        return _one_key("ConfigMap", origin["configMapKeyRef"], pod.namespace, sources)
    if "secretKeyRef" in origin:
        return _one_key("Secret", origin["secretKeyRef"], pod.namespace, sources)
    if "resourceFieldRef" in origin:
        return resource_text(origin["resourceFieldRef"], container, pod, facts)
    raise VariableError(f"variable {variable.name}: unknown source {', '.join(origin)}")


def field_text(path: str, pod: Pod, facts: PodFacts) -> str:
    """A field of the pod by its path, as the downward API gives it. Raises `VariableError`."""
    keyed = _FIELD_WITH_KEY.match(path)
    if keyed:
        values = pod.metadata.labels if keyed[1] == "labels" else pod.metadata.annotations
        return values.get(keyed[2], "")
    known = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
    }
    if path not in known:
        raise VariableError(f"fieldPath {path!r} is not supported: expected one of {', '.join(known)}")
    return known[path]


def _one_key(kind: str, selector: Mapping[str, Any], namespace: str, sources: Sources) -> str | None:
    name, key, optional = str(selector.get("name", "")), str(selector.get("key", "")), bool(selector.get("optional"))
    data = sources.get((kind, name))
    if data is None:
        if optional:
            return None
        raise VariableError(f'{kind.lower()} "{name}" not found')
    if key not in data:
        if optional:
            return None
        raise VariableError(f"couldn't find key {key} in {kind} {namespace}/{name}")
    return _plain(kind, name, key, data[key])


def _all_keys(kind: str, selector: Mapping[str, Any], prefix: str, sources: Sources) -> dict[str, str]:
    name = str(selector.get("name", ""))
    data = sources.get((kind, name))
    if data is None:
        if selector.get("optional"):
            return {}
        raise VariableError(f'{kind.lower()} "{name}" not found')
    return {prefix + key: _plain(kind, name, key, value) for key, value in data.items()}


def _plain(kind: str, name: str, key: str, value: str) -> str:
    if kind != "Secret":
        return value
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise VariableError(f"key {key} of Secret {name} is not base64 of UTF-8 text") from error


def resource_text(selector: Mapping[str, Any], container: Container | None, pod: Pod, facts: PodFacts) -> str:
    """`limits.x` or `requests.x` divided by the divisor, rounded up; without a limit, what the node has.

    `container`: whose, where the selector does not say. Raises `VariableError`.
    """
    of = str(selector.get("containerName") or (container.name if container is not None else ""))
    target = next((c for c in (*pod.spec.init_containers, *pod.spec.containers) if c.name == of), None)
    if target is None:
        raise VariableError(f"resourceFieldRef: there is no container {of}")
    group, _, name = str(selector.get("resource", "")).partition(".")
    quantity = (target.resources.get(group) or {}).get(name)
    if quantity is None:
        defaults = {"cpu": facts.cpu, "memory": facts.memory} if group == "limits" else {}
        quantity = defaults.get(name, "0")
    try:
        return str(divide_quantity(str(quantity), str(selector.get("divisor") or "1")))
    except ValueError as error:
        raise VariableError(f"resourceFieldRef {group}.{name}: {error}") from error
