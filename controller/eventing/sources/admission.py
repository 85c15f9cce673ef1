"""Sources as their authors write them: what is filled in, and what is refused.

Defaults change the raw object in place; checks are generators of `FieldError` over the typed one. Source:
knative/eventing `pkg/apis/sources/v1/*_{defaults,validation}.go`; spec eventing-sources.md 1.1, 2.1, 3.1, 4.1, 5.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from controller.eventing.field_checks import Context, check_destination, check_filters, check_overrides
from controller.eventing.settings import EventingSettings
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
)
from eventing.cron import CronError, UnknownZone, parse
from kube.models.meta import LabelSelector
from kube.models.sources import (
    ApiServerSource,
    ContainerSource,
    JetStreamSource,
    PingSource,
    SinkBinding,
    SourceSpec,
)
from proxies.gotext import parse_duration_s

__all__ = [
    "check_api_server_source",
    "check_container_source",
    "check_jetstream_source",
    "check_ping_source",
    "check_sink_binding",
    "default_api_server_source",
    "default_container_source",
    "default_jetstream_source",
    "default_ping_source",
    "default_sink_binding",
]

JsonObject = dict[str, Any]

EVERY_MINUTE: Final = "* * * * *"
_MODES: Final = ("Reference", "Resource")
_JSON: Final = "application/json"
_DELIVER_POLICIES: Final = ("", "All", "Last", "New")
_API_VERSION: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*/)?[A-Za-z0-9]+")
_KIND: Final = re.compile(r"[A-Za-z0-9]+")
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?")
_LABEL_KEY: Final = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_OPERATORS: Final = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}
"""And whether they take values."""


# Defaults.


def default_ping_source(obj: JsonObject, settings: EventingSettings) -> None:
    """Once a minute."""
    spec = _with_sink(obj)
    spec["schedule"] = spec.get("schedule") or EVERY_MINUTE


def default_api_server_source(obj: JsonObject, settings: EventingSettings) -> None:
    """References, seen with the rights of the namespace's default account."""
    spec = _with_sink(obj)
    spec["mode"] = spec.get("mode") or "Reference"
    spec["serviceAccountName"] = spec.get("serviceAccountName") or "default"


def default_container_source(obj: JsonObject, settings: EventingSettings) -> None:
    """Names for containers that have none."""
    spec = _with_sink(obj)
    pod = (spec.get("template") or {}).get("spec")
    containers = pod.get("containers") if isinstance(pod, dict) else None
    for index, container in enumerate(containers if isinstance(containers, list) else ()):
        if isinstance(container, dict) and not container.get("name"):
            container["name"] = f"{obj['metadata'].get('name', '')}-{index}"


def default_sink_binding(obj: JsonObject, settings: EventingSettings) -> None:
    """The subject is in the same namespace."""
    spec = _with_sink(obj)
    subject = spec.get("subject")
    if isinstance(subject, dict) and not subject.get("namespace"):
        subject["namespace"] = obj["metadata"].get("namespace", "")


def default_jetstream_source(obj: JsonObject, settings: EventingSettings) -> None:
    """Nothing but the sink's namespace: what is left out, the adapter decides."""
    _with_sink(obj)


def _with_sink(obj: JsonObject) -> JsonObject:
    """The spec, after its sink's reference got a namespace."""
    spec: JsonObject = obj.get("spec") or {}
    obj["spec"] = spec
    ref = (spec.get("sink") or {}).get("ref")
    if isinstance(ref, dict) and not ref.get("namespace"):
        ref["namespace"] = obj["metadata"].get("namespace", "")
    return spec


# Checks.


def check_ping_source(source: PingSource, old: PingSource | None, context: Context) -> Iterator[FieldError]:
    """Statements 20-24."""
    spec = source.spec
    yield from at("spec", _check_common(spec, source.namespace))
    try:
        parse(spec.schedule, spec.timezone)
    except UnknownZone as error:
        yield invalid_value(error, "spec.timezone")
    except CronError as error:
        yield invalid_value(error, "spec.schedule")
    size_max = context.settings.ping.data_max_size
    for name, text in (("data", spec.data), ("dataBase64", spec.data_base64)):
        if size_max > -1 and len(text.encode()) > size_max:
            details = f"the {name} length of {len(text.encode())} bytes exceeds limit set at {size_max}."
            yield FieldError(details, (f"spec.{name}",))
    if spec.data and spec.data_base64:
        yield multiple_one_of("spec.data", "spec.dataBase64")
    elif spec.data_base64:
        try:
            content = base64.b64decode(spec.data_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            yield invalid_value(error, "spec.dataBase64")
        else:
            yield from _check_json(spec.content_type, content, "spec.dataBase64")
    elif spec.data:
        yield from _check_json(spec.content_type, spec.data.encode(), "spec.data")


def check_api_server_source(
    source: ApiServerSource, old: ApiServerSource | None, context: Context
) -> Iterator[FieldError]:
    """Statements 36 and 37."""
    spec = source.spec
    yield from at("spec", _check_common(spec, source.namespace))
    if spec.mode not in _MODES:
        yield invalid_value(spec.mode, "spec.mode", f"expected {' or '.join(_MODES)}")
    if not spec.resources:
        yield missing("spec.resources")
    for index, resource in enumerate(spec.resources):
        if resource.api_version.count("/") > 1:
            details = "expected group/version, or v1"
            yield from at_index("spec.resources", index, [invalid_value(resource.api_version, "apiVersion", details)])
        empty = [name for name, text in (("apiVersion", resource.api_version), ("kind", resource.kind)) if not text]
        yield from at_index("spec.resources", index, (missing(name) for name in empty))
        yield from at_index("spec.resources", index, at("selector", _check_selector(resource.selector)))
    yield from at("spec.namespaceSelector", _check_selector(spec.namespace_selector))
    if spec.owner is not None:
        empty = [name for name, text in (("apiVersion", spec.owner.api_version), ("kind", spec.owner.kind)) if not text]
        yield from at("spec.owner", (missing(name) for name in empty))
    if spec.filters:
        if not context.settings.features.has_source_filters:
            yield disallowed("spec.filters")
        else:
            yield from at("spec.filters", check_filters(spec.filters))


def check_container_source(
    source: ContainerSource, old: ContainerSource | None, context: Context
) -> Iterator[FieldError]:
    """Statement 47."""
    yield from at("spec", _check_common(source.spec, source.namespace))
    metadata, pod = source.spec.template.get("metadata") or {}, source.spec.template.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("labels") or {}, dict):
        yield invalid_value(metadata, "spec.template.metadata", "expected metadata of a pod")
    containers = pod.get("containers") if isinstance(pod, dict) else None
    if not containers or not isinstance(containers, list):
        yield missing("spec.template.spec.containers")
        return
    for index, container in enumerate(containers):
        where = f"spec.template.spec.containers[{index}]"
        if not isinstance(container, dict):
            yield invalid_value(container, where, "expected a container")
            continue
        for name in ("name", "image"):
            if not container.get(name):
                yield missing(f"{where}.{name}")


def check_sink_binding(binding: SinkBinding, old: SinkBinding | None, context: Context) -> Iterator[FieldError]:
    """Statement 45."""
    yield from at("spec", _check_common(binding.spec, binding.namespace))
    subject = binding.spec.subject
    empty = [name for name, text in (("apiVersion", subject.api_version), ("kind", subject.kind)) if not text]
    yield from at("spec.subject", (missing(name) for name in empty))
    # They become parts of paths of the API, which the controller asks with rights of its own.
    for field, text, rule in (
        ("apiVersion", subject.api_version, _API_VERSION),
        ("kind", subject.kind, _KIND),
        ("name", subject.name, _NAME),
    ):
        if text and not rule.fullmatch(text):
            yield from at("spec.subject", [invalid_value(text[:200], field, f"expected {rule.pattern}")])
    yield from at("spec.subject.selector", _check_selector(subject.selector))
    if subject.namespace != binding.namespace:
        yield invalid_value(subject.namespace, "spec.subject.namespace", "expected the namespace of the SinkBinding")
    if subject.name and subject.selector is not None:
        yield multiple_one_of("spec.subject.name", "spec.subject.selector")
    elif not subject.name and subject.selector is None:
        yield missing_one_of("spec.subject.name", "spec.subject.selector")


def check_jetstream_source(
    source: JetStreamSource, old: JetStreamSource | None, context: Context
) -> Iterator[FieldError]:
    """What the adapter would refuse at start."""
    spec = source.spec
    yield from at("spec", _check_common(spec, source.namespace))
    if not spec.stream:
        yield missing("spec.stream")
    if spec.deliver_policy not in _DELIVER_POLICIES:
        details = f"expected {', '.join(each for each in _DELIVER_POLICIES if each)}"
        yield invalid_value(spec.deliver_policy, "spec.deliverPolicy", details)
    if spec.max_ack_pending < 0:
        yield invalid_value(spec.max_ack_pending, "spec.maxAckPending", "expected 0 or more")
    if spec.ack_wait:
        try:
            is_positive = parse_duration_s(spec.ack_wait) > 0
        except ValueError:
            is_positive = False
        if not is_positive:
            yield invalid_value(spec.ack_wait, "spec.ackWait", "expected a duration above 0, such as 30s")


def _check_common(spec: SourceSpec, namespace: str) -> Iterator[FieldError]:
    """Statements 4 and 9."""
    yield from at("sink", check_destination(spec.sink, namespace))
    if spec.ce_overrides is not None:
        yield from at("ceOverrides", check_overrides(spec.ce_overrides.extensions))


def _check_selector(selector: LabelSelector | None) -> Iterator[FieldError]:
    """What the API could not read as a selector."""
    if selector is None:
        return
    for key, value in selector.match_labels.items():
        if not _LABEL_KEY.fullmatch(key):
            yield invalid_key(key[:200], "matchLabels", "expected the name of a label")
        if not _LABEL_VALUE.fullmatch(value):
            yield invalid_value(value[:200], f"matchLabels[{key[:200]}]", "expected the value of a label")
    for index, each in enumerate(selector.match_expressions):
        where = f"matchExpressions[{index}]"
        if not _LABEL_KEY.fullmatch(each.key):
            yield invalid_value(each.key[:200], f"{where}.key", "expected the name of a label")
        takes_values = _OPERATORS.get(each.operator)
        if takes_values is None:
            yield invalid_value(each.operator[:200], f"{where}.operator", f"expected {', '.join(_OPERATORS)}")
        elif takes_values != bool(each.values):
            expected = "at least one" if takes_values else "none"
            yield invalid_value(len(each.values), f"{where}.values", f"expected {expected} with {each.operator}")
        for value in each.values:
            if not _LABEL_VALUE.fullmatch(value):
                yield invalid_value(value[:200], f"{where}.values", "expected values of a label")


def _check_json(content_type: str, data: bytes, path: str) -> Iterator[FieldError]:
    """Data that calls itself JSON is an object, or null."""
    if content_type != _JSON:
        return
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        yield invalid_value(error, path)
        return
    if content is not None and not isinstance(content, dict):
        yield invalid_value(type(content).__name__, path, "expected a JSON object")
