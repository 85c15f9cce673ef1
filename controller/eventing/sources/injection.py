"""Puts a sink into a pod template, and takes it out again.

Every container and init container gets the variables at the end of its environment, after earlier values of the same
names are gone, whoever wrote them: a program finds one `K_SINK`, and it is the binding's.

Pure: raw objects, changed in place. Source: knative/eventing `pkg/apis/sources/v1/sinkbinding_lifecycle.go`; spec
eventing-sources.md 4.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Injection", "bind", "has_template", "unbind"]

JsonObject = dict[str, Any]

_VARIABLES: Final = frozenset(["K_SINK", "K_CA_CERTS", "K_CE_OVERRIDES"])
_TOKEN_VOLUME: Final = "oidc-token"  # noqa: S105 - a name
_TOKEN_PATH: Final = "/oidc"  # noqa: S105 - a path
_BUNDLE_VOLUME: Final = "kne-bundle-volume"
_BUNDLE_PATH: Final = "/knative-custom-certs"
_VOLUMES: Final = (_TOKEN_VOLUME, _BUNDLE_VOLUME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What a program is told of its sink."""

    sink: str
    ca_certs: str = ""
    overrides: str = ""
    """JSON; may be empty, and is told nevertheless."""
    token_secret: str = ""
    """The Secret with a token for the sink; empty: it wants none."""
    bundles: tuple[str, ...] = ()
    """ConfigMaps with the authorities of the cluster."""


def bind(obj: JsonObject, injection: Injection) -> None:
    """Tell the containers of `obj.spec.template`; what was told before is replaced."""
    unbind(obj)
    variables = [{"name": "K_SINK", "value": injection.sink}]
    if injection.ca_certs:
        variables.append({"name": "K_CA_CERTS", "value": injection.ca_certs})
    variables.append({"name": "K_CE_OVERRIDES", "value": injection.overrides})
    for container in _containers(obj):
        container["env"] = [*_list(container, "env"), *variables]
    if injection.token_secret:
        source = {"secret": {"name": injection.token_secret, "items": [{"key": "token", "path": "token"}]}}
        _mount(obj, _TOKEN_VOLUME, _TOKEN_PATH, [source])
    if injection.bundles:
        # Pods start without them, too: the sink may be one that needs none.
        sources = [{"configMap": {"name": name, "optional": True}} for name in injection.bundles]
        _mount(obj, _BUNDLE_VOLUME, _BUNDLE_PATH, sources)


def unbind(obj: JsonObject) -> None:
    """Take out what `bind` put in."""
    for container in _containers(obj):
        _keep(container, "env", lambda each: each.get("name") not in _VARIABLES)
        _keep(container, "volumeMounts", lambda each: each.get("name") not in _VOLUMES)
    if has_template(obj):
        _keep(obj["spec"]["template"]["spec"], "volumes", lambda each: each.get("name") not in _VOLUMES)


def has_template(obj: JsonObject) -> bool:
    """Whether there is a pod template at all."""
    spec = obj.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    return isinstance(template, dict) and isinstance(template.get("spec"), dict)


def _mount(obj: JsonObject, name: str, path: str, sources: list[JsonObject]) -> None:
    """Put one folder with all the sources into every container."""
    for container in _containers(obj):
        mount = {"name": name, "mountPath": path, "readOnly": True}
        container["volumeMounts"] = [*_list(container, "volumeMounts"), mount]
    pod = obj["spec"]["template"]["spec"]
    pod["volumes"] = [*_list(pod, "volumes"), {"name": name, "projected": {"sources": sources}}]


def _containers(obj: JsonObject) -> Iterator[JsonObject]:
    if has_template(obj):
        pod = obj["spec"]["template"]["spec"]
        for name in ("initContainers", "containers"):
            yield from (each for each in _list(pod, name) if isinstance(each, dict))


def _keep(holder: JsonObject, name: str, is_kept: Any) -> None:
    """Filter a list; one that becomes empty is left out, as it was before anything was put in."""
    held = _list(holder, name)
    kept = [each for each in held if not isinstance(each, dict) or is_kept(each)]
    if len(kept) == len(held):
        return
    if kept:
        holder[name] = kept
    else:
        del holder[name]


def _list(holder: JsonObject, name: str) -> list[Any]:
    """A list; what is none is for the API server to refuse."""
    held = holder.get(name)
    return held if isinstance(held, list) else []
