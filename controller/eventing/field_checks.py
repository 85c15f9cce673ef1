"""Checks that many kinds of eventing share: destinations, references, delivery, filters.

Generators of `FieldError` with paths relative to what they were given. Source: `knative.dev/pkg/apis/duck/v1`,
knative/eventing `pkg/apis/duck/v1/delivery_types.go`, `pkg/apis/eventing/v1/trigger_validation.go`; spec
eventing-channels.md 1, eventing-broker.md 8.5, eventing-sources.md 1.1.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from controller.eventing.channel_templates import is_channel_kind
from controller.eventing.settings import EventingSettings
from controller.field_errors import FieldError, at, at_index, disallowed, invalid_key, invalid_value, missing
from eventing.filters.cesql import ParseError, compile_expression
from eventing.periods import period_s
from kube.models.duck import DeliverySpec, Destination, KReference, TemplateSpec

__all__ = [
    "Context",
    "check_delivery",
    "check_destination",
    "check_filters",
    "check_overrides",
    "check_reference",
    "check_template",
    "immutable",
]

_ATTRIBUTE: Final = re.compile(r"[a-z][a-z0-9]*")
_ATTRIBUTE_RULE: Final = "Attribute name must start with a letter and can only contain lowercase alphanumeric"
_OVERRIDE: Final = re.compile(r"[A-Za-z0-9]+")
_MAPS: Final = ("exact", "prefix", "suffix")
_LISTS: Final = ("all", "any")
_DIALECTS: Final = (*_MAPS, *_LISTS, "not", "cesql")
_DEPTH_MAX: Final = 32
"""Filters nest; a hundred levels are a mistake or an attack, and evaluation recurses."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a check may have to know besides the object."""

    settings: EventingSettings
    username: str
    system_namespace: str


def check_reference(ref: KReference, namespace: str, *, may_cross: bool = True) -> Iterator[FieldError]:
    """A reference needs name, kind and version; `may_cross`: the object may be in another namespace."""
    for field, text in (("name", ref.name), ("apiVersion", ref.api_version), ("kind", ref.kind)):
        if not text:
            yield missing(field)
    if not may_cross and ref.namespace and ref.namespace != namespace:
        yield FieldError(
            "mismatched namespaces",
            ("namespace",),
            f'parent namespace: "{namespace}" does not match ref: "{ref.namespace}"',
        )


def check_destination(destination: Destination, namespace: str) -> Iterator[FieldError]:
    """A URL, a reference, or a reference and a path relative to it."""
    if destination.ref is None and not destination.uri:
        yield FieldError("expected at least one, got none", ("ref", "uri"))
        return
    if destination.uri:
        try:
            parts = urlsplit(destination.uri)
        except ValueError as error:
            yield invalid_value(destination.uri, "uri", str(error))
            return
        is_absolute = bool(parts.scheme and parts.netloc)
        if destination.ref is not None and (is_absolute or parts.scheme):
            yield FieldError(
                "Absolute URI is not allowed when Ref or [apiVersion, kind, name] is present",
                ("[apiVersion, kind, name]", "ref", "uri"),
            )
        elif destination.ref is None and not is_absolute:
            text = "Relative URI is not allowed when Ref and [apiVersion, kind, name] is absent"
            yield invalid_value(text, "uri")
    if destination.ref is not None:
        yield from at("ref", check_reference(destination.ref, namespace))


def check_delivery(delivery: DeliverySpec | None, namespace: str, context: Context) -> Iterator[FieldError]:
    """Statements 54 and 55."""
    if delivery is None:
        return
    features = context.settings.features
    if delivery.dead_letter_sink is not None:
        yield from at("deadLetterSink", check_destination(delivery.dead_letter_sink, namespace))
    if delivery.retry is not None and delivery.retry < 0:
        yield invalid_value(delivery.retry, "retry")
    if delivery.timeout is not None:
        if not features.has_delivery_timeout:
            yield disallowed("timeout")
        elif not _period(delivery.timeout):
            yield invalid_value(delivery.timeout, "timeout", "expected a period that is not zero, such as PT30S")
    if delivery.backoff_policy not in (None, "linear", "exponential"):
        yield invalid_value(delivery.backoff_policy, "backoffPolicy", "expected linear or exponential")
    if delivery.backoff_delay is not None and _period(delivery.backoff_delay) is None:
        yield invalid_value(delivery.backoff_delay, "backoffDelay", "expected an ISO 8601 period, such as PT0.2S")
    if delivery.retry_after_max is not None:
        length_s = _period(delivery.retry_after_max)
        if not features.has_delivery_retry_after:
            yield disallowed("retryAfterMax")
        elif length_s is None or length_s < 0:
            details = "expected an ISO 8601 period that is not negative, such as PT2M"
            yield invalid_value(delivery.retry_after_max, "retryAfterMax", details)
    if delivery.format not in (None, "json", "binary"):
        yield invalid_value(delivery.format, "format", "expected json or binary")


def check_filters(filters: Sequence[Any] | None, *, depth: int = 0) -> Iterator[FieldError]:
    """Every element has one dialect at most; nested ones are checked likewise."""
    for index, each in enumerate(filters or ()):
        yield from at_index("", index, _check_filter(each, depth))


def _check_filter(spec: Any, depth: int) -> Iterator[FieldError]:
    if not isinstance(spec, Mapping):
        yield invalid_value(spec, "", "expected an object with one dialect")
        return
    if depth > _DEPTH_MAX:
        yield FieldError(f"filters are nested more than {_DEPTH_MAX} deep", ("",))
        return
    given = [dialect for dialect in _DIALECTS if spec.get(dialect)]
    if len(given) > 1:
        yield FieldError("multiple dialects found, filters can have only one dialect set", ("",))
    for dialect in given:
        value = spec[dialect]
        if dialect in _MAPS:
            yield from at(dialect, check_attributes(value))
        elif dialect in _LISTS:
            if not isinstance(value, Sequence) or isinstance(value, str):
                yield invalid_value(value, dialect, "expected a list of filters")
            else:
                yield from at(dialect, check_filters(value, depth=depth + 1))
        elif dialect == "not":
            yield from at("not", _check_filter(value, depth + 1))
        else:
            yield from at("cesql", _check_expression(value))


def check_attributes(attributes: Any) -> Iterator[FieldError]:
    """Names of attributes and the texts that are looked for. Statement 84."""
    if not isinstance(attributes, Mapping):
        yield invalid_value(attributes, "", "expected attributes and their values")
        return
    for name, text in attributes.items():
        if not _ATTRIBUTE.fullmatch(name):
            yield invalid_key(name, f"[{name}]", _ATTRIBUTE_RULE)
        if not isinstance(text, str):
            yield invalid_value(text, f"[{name}]", "expected text")


def _check_expression(text: Any) -> Iterator[FieldError]:
    """Statement 83."""
    if not isinstance(text, str):
        yield invalid_value(text, "", "expected text")
        return
    try:
        compile_expression(text)
    except ParseError as error:
        yield invalid_value(text, "", str(error))


def check_overrides(extensions: Mapping[str, str]) -> Iterator[FieldError]:
    """`ceOverrides`: names of extensions that can be headers. Spec eventing-sources.md statement 4."""
    for name in extensions:
        if not name:
            yield invalid_key(name, "extensions", "key names must not be empty")
        elif not _OVERRIDE.fullmatch(name):
            yield invalid_key(name, "extensions", "key names must be letters and digits")


def check_template(template: TemplateSpec | None) -> Iterator[FieldError]:
    """A channel template in a spec."""
    if template is None:
        yield missing("channelTemplate")
        return
    for field in ("apiVersion", "kind"):
        if not template.get(field):
            yield missing(f"channelTemplate.{field}")
    api_version, kind = str(template.get("apiVersion") or ""), str(template.get("kind") or "")
    if api_version and kind and not is_channel_kind(api_version, kind):
        yield invalid_value(f"{api_version} {kind}"[:200], "channelTemplate", "expected the kind of a channel")


def immutable(new: Mapping[str, Any], old: Mapping[str, Any], *paths: str) -> Iterator[FieldError]:
    """Refuse a change of what never changes; both are JSON-ready, and what differs is shown."""
    changed = sorted(name for name in {*new, *old} if new.get(name) != old.get(name))
    if changed:
        details = "\n".join(f"{name}: -{_shown(old.get(name))} +{_shown(new.get(name))}" for name in changed)
        yield FieldError("Immutable fields changed (-old +new)", paths, details)


def _period(text: str) -> float | None:
    """Seconds; None for what is no period."""
    try:
        return period_s(text)
    except ValueError:
        return None


def _shown(value: object) -> str:
    return "nothing" if value is None else repr(value)[:200]
