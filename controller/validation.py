"""What Knative objects may hold: the checks of admission, with the original's messages and paths.

Every check takes raw objects (after defaulting) and yields `FieldError`s. Source: knative/serving
`pkg/apis/serving/v1/*_validation.go`, `metadata_validation.go`; spec control-plane.md 4; golden set `service`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from controller import keys
from controller.field_errors import (
    FieldError,
    at,
    at_index,
    disallowed,
    invalid_key,
    invalid_value,
    missing,
    missing_one_of,
    multiple_one_of,
    out_of_bounds,
)
from controller.names import dns_1035_label, dns_1035_prefix, qualified_name
from controller.pod_validation import check_pod_spec
from controller.quantities import parse_quantity
from controller.settings import Settings
from kube.autoscaling import annotations as autoscaling
from proxies import gotext

__all__ = [
    "check_authors",
    "check_configuration",
    "check_pod_autoscaler",
    "check_revision",
    "check_route",
    "check_service",
]

JsonObject = dict[str, Any]

_NETWORKING_ANNOTATIONS = frozenset(
    (*keys.INGRESS_CLASS, *keys.CERTIFICATE_CLASS, *keys.DISABLE_TLS, *keys.HTTP_OPTION)
)
_QUANTITY_ANNOTATIONS = tuple(
    f"{keys.QUEUE_SIDECAR}/{resource}-resource-{kind}"
    for resource in ("cpu", "memory", "ephemeral-storage")
    for kind in ("request", "limit")
)
_PERCENTAGE = (0.1, 100)


def check_service(obj: JsonObject, old: JsonObject | None, settings: Settings) -> Iterator[FieldError]:
    """A Service; `old` is there on update."""
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    yield from at("metadata", _metadata(meta))
    yield from at("metadata.annotations", _duration_annotation(meta, keys.ROLLOUT_DURATION, "rollout-duration"))
    yield from at("spec.template", _template(spec.get("template") or {}, meta, settings))
    yield from at("spec.traffic", _traffic(spec.get("traffic") or [], follows_own=True))
    if old is not None:
        yield from at("metadata.annotations", check_authors(obj, old))
        yield from at("spec.template", _name_change(obj, old))


def check_configuration(obj: JsonObject, old: JsonObject | None, settings: Settings) -> Iterator[FieldError]:
    """A Configuration; `old` is there on update."""
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    yield from at("metadata", _metadata(meta))
    yield from at("metadata", _owned_label(meta, keys.SERVICE, "Service"))
    yield from at("spec.template", _template(spec.get("template") or {}, meta, settings))
    if old is not None:
        if not meta.get("ownerReferences"):
            yield from at("metadata.annotations", check_authors(obj, old))
        yield from at("spec.template", _name_change(obj, old))


def check_route(obj: JsonObject, old: JsonObject | None, settings: Settings) -> Iterator[FieldError]:
    """A Route; `old` is there on update."""
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    yield from at("metadata", _metadata(meta))
    yield from at("metadata", _owned_label(meta, keys.SERVICE, "Service"))
    yield from at("metadata.annotations", _duration_annotation(meta, keys.ROLLOUT_DURATION, "rollout-duration"))
    yield from at("spec.traffic", _traffic(spec.get("traffic") or [], follows_own=False))
    if old is not None and not meta.get("ownerReferences"):
        yield from at("metadata.annotations", check_authors(obj, old))


def check_revision(obj: JsonObject, old: JsonObject | None, settings: Settings) -> Iterator[FieldError]:
    """A Revision; its spec never changes."""
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    yield from at("metadata", _object_name(meta))
    yield from at("metadata", _owned_label(meta, keys.CONFIGURATION, "Configuration"))
    yield from at("metadata.annotations", _template_annotations(meta.get("annotations") or {}, settings))
    if old is not None:
        # What was once accepted stays; a rule that came later must not make it unchangeable in its labels.
        difference = _difference(old.get("spec"), spec)
        if difference:
            yield FieldError("Immutable fields changed (-old +new)", ("spec",), difference)
        return
    yield from at("spec", _revision_spec(spec, settings))


def check_pod_autoscaler(obj: JsonObject, old: JsonObject | None, settings: Settings) -> Iterator[FieldError]:
    """A PodAutoscaler."""
    meta, spec = obj.get("metadata") or {}, obj.get("spec") or {}
    for problem in autoscaling.problems(meta.get("annotations") or {}, settings.autoscaler):
        yield from at("metadata.annotations", [FieldError(problem.message, (problem.path,))])
    if not (spec.get("scaleTargetRef") or {}).get("name"):
        yield missing("spec.scaleTargetRef.name")
    if spec.get("reachability", "") not in ("", "Reachable", "Unreachable"):
        yield invalid_value(spec["reachability"], "spec.reachability")


# Metadata.


def _metadata(meta: JsonObject) -> Iterator[FieldError]:
    yield from _object_name(meta)
    for key in meta.get("annotations") or {}:
        if key.startswith(autoscaling.GROUPS):
            details = 'autoscaling annotations must be put under "spec.template.metadata.annotations" to work'
            yield invalid_key(key, "annotations", details)


def _object_name(meta: JsonObject) -> Iterator[FieldError]:
    name, prefix = meta.get("name") or "", meta.get("generateName") or ""
    if prefix and (problems := dns_1035_prefix(prefix)):
        yield FieldError(f"not a DNS 1035 label prefix: {_listed(problems)}", ("generateName",))
    elif name and (problems := dns_1035_label(name)):
        yield FieldError(f"not a DNS 1035 label: {_listed(problems)}", ("name",))
    elif not name and not prefix:
        yield FieldError("name or generateName is required", ("name",))


def _owned_label(meta: JsonObject, label: str, kind: str) -> Iterator[FieldError]:
    """A label that names an owner needs an owner of that kind and name."""
    name = (meta.get("labels") or {}).get(label)
    if name is None:
        return
    owners = meta.get("ownerReferences") or []
    if not any(owner.get("kind") == kind and owner.get("name") == name for owner in owners):
        yield missing(f"labels.{label}")


def _duration_annotation(meta: JsonObject, names: tuple[str, ...], what: str) -> Iterator[FieldError]:
    """A duration of whole seconds that is not negative."""
    annotations = meta.get("annotations") or {}
    key = next((name for name in names if name in annotations), None)
    text = annotations[key] if key is not None else ""
    if key is None or not text:
        return
    try:
        seconds = gotext.parse_duration_s(text)
    except ValueError:
        yield invalid_value(text, key)
        return
    if seconds % 1:
        yield FieldError(f"{what}={text} is not at second precision", (key,))
    elif seconds < 0:
        yield FieldError(f"{what}={text} must be positive", (key,))


def check_authors(obj: JsonObject, old: JsonObject) -> Iterator[FieldError]:
    """Who created it never changes; who modified it, only with the spec."""
    held = (old.get("metadata") or {}).get("annotations") or {}
    given = (obj.get("metadata") or {}).get("annotations") or {}
    if held.get(keys.CREATOR) != given.get(keys.CREATOR):
        yield FieldError("annotation value is immutable", (keys.CREATOR,))
    same_spec = old.get("spec") == obj.get("spec")
    if same_spec and held.get(keys.LAST_MODIFIER) != given.get(keys.LAST_MODIFIER):
        yield invalid_value(given.get(keys.LAST_MODIFIER, ""), keys.LAST_MODIFIER)


# Templates and Revisions.


def _template(template: JsonObject, parent: JsonObject, settings: Settings) -> Iterator[FieldError]:
    meta = template.get("metadata") or {}
    yield from at("spec", _revision_spec(template.get("spec") or {}, settings))
    yield from at("metadata", _revision_name(meta, parent))
    yield from at("metadata.annotations", _template_annotations(meta.get("annotations") or {}, settings))


def _revision_spec(spec: JsonObject, settings: Settings) -> Iterator[FieldError]:
    yield from check_pod_spec(spec, settings.features)
    defaults = settings.defaults
    timeout = spec.get("timeoutSeconds")
    if timeout is not None and not 0 <= timeout <= defaults.max_revision_timeout_seconds:
        yield out_of_bounds(timeout, 0, defaults.max_revision_timeout_seconds, "timeoutSeconds")
    concurrency = spec.get("containerConcurrency")
    lowest = 0 if defaults.allow_container_concurrency_zero else 1
    highest = defaults.container_concurrency_max_limit
    if concurrency is not None and not lowest <= concurrency <= highest:
        yield out_of_bounds(concurrency, lowest, highest, "containerConcurrency")


def _revision_name(meta: JsonObject, parent: JsonObject) -> Iterator[FieldError]:
    name, prefix = meta.get("name") or "", meta.get("generateName") or ""
    if prefix and (problems := dns_1035_prefix(prefix)):
        yield invalid_value(f"not a DNS 1035 label prefix: {_listed(problems)}", "generateName")
    elif name and (problems := dns_1035_label(name)):
        yield invalid_value(f"not a DNS 1035 label: {_listed(problems)}", "name")
    elif name and parent.get("name"):
        wanted = f"{parent['name']}-"
        if not name.startswith(wanted):
            yield invalid_value(f'"{name}" must have prefix "{wanted}"', "name")
    elif name and parent.get("generateName"):
        # The parent's name is not known yet, so the Revision's cannot begin with it.
        yield disallowed("name")


def _template_annotations(annotations: Mapping[str, str], settings: Settings) -> Iterator[FieldError]:
    for problem in autoscaling.problems(annotations, settings.autoscaler):
        yield FieldError(problem.message, (problem.path,))
    for key in annotations:
        if key.startswith(keys.NETWORKING) and key not in _NETWORKING_ANNOTATIONS:
            yield invalid_key(key, "")
    yield from _duration_annotation({"annotations": dict(annotations)}, (keys.PROGRESS_DEADLINE,), "progress-deadline")
    yield from _queue_resources(annotations)


def _queue_resources(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    key = next((name for name in keys.RESOURCE_PERCENTAGE if name in annotations), None)
    if key is not None:
        lowest, highest = _PERCENTAGE
        try:
            if not lowest <= gotext.parse_float(annotations[key]) <= highest:
                yield out_of_bounds(annotations[key], lowest, highest, key)
        except ValueError:
            yield invalid_value(annotations[key], key)
        yield FieldError(
            "Queue proxy resource percentage annotation is deprecated. Please use the available annotations to "
            "explicitly set resource values per service",
            (key,),
            is_warning=True,
        )
    for name in _QUANTITY_ANNOTATIONS:
        if name not in annotations:
            continue
        try:
            parse_quantity(annotations[name])
        except ValueError:
            yield invalid_value(annotations[name], name)


def _name_change(obj: JsonObject, old: JsonObject) -> Iterator[FieldError]:
    """A template that keeps its explicit name describes a Revision that exists, and must stay the same."""
    given = (obj.get("spec") or {}).get("template") or {}
    held = (old.get("spec") or {}).get("template") or {}
    name = (given.get("metadata") or {}).get("name")
    if not name or (held.get("metadata") or {}).get("name") != name:
        return
    difference = _difference(held, given)
    if difference:
        message = "Saw the following changes without a name change (-old +new)"
        yield FieldError(message, ("metadata.name",), difference)


# Traffic.


def _traffic(targets: Sequence[JsonObject], *, follows_own: bool) -> Iterator[FieldError]:
    """A traffic block. `follows_own`: it belongs to a Service, so it cannot name a Configuration."""
    seen: dict[str, int] = {}
    for index, target in enumerate(targets):
        yield from at_index("", index, _target(target, follows_own=follows_own))
        tag = target.get("tag") or ""
        if not tag:
            continue
        problems = dns_1035_label(tag)
        if problems:
            yield invalid_value(f"not a DNS 1035 label: {_listed(problems)}", f"tag[{index}]")
        if tag in seen:
            paths = (f"[{index}].tag", f"[{seen[tag]}].tag")
            yield FieldError(f'Multiple definitions for "{tag}"', paths)
        else:
            seen[tag] = index
    total = sum(target.get("percent") or 0 for target in targets)
    if total != 100:
        yield FieldError(f"Traffic targets sum to {total}, want 100", ("",))


def _target(target: JsonObject, *, follows_own: bool) -> Iterator[FieldError]:
    revision, configuration = target.get("revisionName") or "", target.get("configurationName") or ""
    latest = target.get("latestRevision")
    if latest is not None and latest == bool(revision):
        text = "true" if latest else "false"
        yield FieldError(f'may not set revisionName "{revision}" when latestRevision is {text}', ("latestRevision",))
    if follows_own and configuration:
        yield disallowed("configurationName")
    elif revision and configuration:
        yield multiple_one_of("revisionName", "configurationName")
    elif revision or configuration:
        name, path = (revision, "revisionName") if revision else (configuration, "configurationName")
        problems = qualified_name(name)
        if problems:
            yield invalid_key(name, path, ", ".join(problems))
    elif not follows_own:
        yield missing_one_of("revisionName", "configurationName")
    percent = target.get("percent")
    if percent is not None and not 0 <= percent <= 100:
        yield out_of_bounds(percent, 0, 100, "percent")
    if target.get("url"):
        yield disallowed("url")


def _listed(problems: Iterable[str]) -> str:
    return f"[{' '.join(problems)}]"


def _difference(old: Any, new: Any) -> str:
    """What differs, a line per field: `-path: old`, `+path: new`."""
    lines: list[str] = []
    _compare("", old, new, lines.append)
    return "\n".join(lines)


def _compare(path: str, old: Any, new: Any, tell: Callable[[str], None]) -> None:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            _compare(f"{path}.{key}" if path else key, old.get(key), new.get(key), tell)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            _compare(f"{path}[{index}]", left, right, tell)
    else:
        if old is not None:
            tell(f"-{path}: {json.dumps(old)}")
        if new is not None:
            tell(f"+{path}: {json.dumps(new)}")
