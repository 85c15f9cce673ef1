"""Which webhooks a write has to pass: webhook configurations as plain objects that answer that question.

As the Go webhook programs expect (api-clients 6): an entry without `caBundle` or rules is one whose program has not
registered itself yet, and is skipped. Entries with `matchConditions` do not get here (`validation.py`).
Conformance: api-clients statements 45, 46.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local_cluster.apiserver.admission import AdmissionRequest
from local_cluster.apiserver.selectors import LabelSelector, SelectorError

__all__ = ["Rule", "Webhook", "webhooks_of"]

TIMEOUT_S_MAX = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Operations on resources; `*` stands for all."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[str, ...]
    """`pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`; without a slash subresources are not meant."""
    scope: str

    def matches(self, request: AdmissionRequest) -> bool:
        """Whether this write is meant."""
        return (
            _has(self.operations, request.operation)
            and _has(self.groups, request.group)
            and _has(self.versions, request.version)
            and self.scope in ("*", "Namespaced" if request.namespace else "Cluster")
            and any(_is_resource(pattern, request.plural, request.subresource) for pattern in self.resources)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One entry of a webhook configuration."""

    name: str
    url: str
    """Where to call it; empty for a service."""
    service: tuple[str, str, int, str]
    """Namespace, name, port and path of the Service to call; empty texts for a URL."""
    ca_bundle: bytes
    """PEM that its certificate is checked against; empty for a plain `http://` URL."""
    rules: tuple[Rule, ...]
    namespace_selector: LabelSelector
    object_selector: LabelSelector
    is_required: bool
    """Whether a call that fails refuses the write (`failurePolicy: Fail`)."""
    timeout_s: int
    takes_dry_runs: bool
    looks_again: bool
    """Whether a mutating one is asked again when a later one changed the object (`reinvocationPolicy: IfNeeded`)."""

    def concerns(self, request: AdmissionRequest, namespace_labels: Mapping[str, str] | None) -> bool:
        """Whether this write has to pass here; `namespace_labels` is None for what is in no namespace."""
        if not any(rule.matches(request) for rule in self.rules):
            return False
        if namespace_labels is not None and not self.namespace_selector.matches(namespace_labels):
            return False
        selector = self.object_selector
        return not selector.requirements or any(
            selector.matches((obj.get("metadata") or {}).get("labels") or {})
            for obj in (request.object, request.old_object)
            if obj
        )


def webhooks_of(configuration: Mapping[str, Any]) -> Iterator[Webhook]:
    """The entries of a stored configuration that can be called, in order."""
    for entry in configuration.get("webhooks") or ():
        webhook = _webhook(entry)
        if webhook is not None:
            yield webhook


def _webhook(entry: Mapping[str, Any]) -> Webhook | None:
    client = entry.get("clientConfig") or {}
    url, service = str(client.get("url") or ""), client.get("service") or {}
    try:
        ca_bundle = base64.b64decode(client.get("caBundle") or "", validate=True)
        namespace_selector = LabelSelector.from_object(entry.get("namespaceSelector") or {})
        object_selector = LabelSelector.from_object(entry.get("objectSelector") or {})
    except (binascii.Error, ValueError, SelectorError):
        return None
    rules = tuple(_rule(rule) for rule in entry.get("rules") or ())
    if not rules or not (ca_bundle or url.startswith("http://")):
        return None
    return Webhook(
        name=str(entry.get("name") or ""),
        url=url,
        service=(
            str(service.get("namespace") or ""),
            str(service.get("name") or ""),
            int(service.get("port") or 443),
            "/" + str(service.get("path") or "").lstrip("/"),
        ),
        ca_bundle=ca_bundle,
        rules=rules,
        namespace_selector=namespace_selector,
        object_selector=object_selector,
        is_required=entry.get("failurePolicy") != "Ignore",
        timeout_s=min(max(int(entry.get("timeoutSeconds") or 10), 1), TIMEOUT_S_MAX),
        takes_dry_runs=entry.get("sideEffects") in ("None", "NoneOnDryRun"),
        looks_again=entry.get("reinvocationPolicy") == "IfNeeded",
    )


def _rule(rule: Mapping[str, Any]) -> Rule:
    return Rule(
        operations=frozenset(rule.get("operations") or ()),
        groups=frozenset(rule.get("apiGroups") or ()),
        versions=frozenset(rule.get("apiVersions") or ()),
        resources=tuple(map(str, rule.get("resources") or ())),
        scope=str(rule.get("scope") or "*"),
    )


def _has(names: frozenset[str], name: str) -> bool:
    return "*" in names or name in names


def _is_resource(pattern: str, plural: str, subresource: str) -> bool:
    resource, _, sub = pattern.partition("/")
    return resource in ("*", plural) and sub in (("*", subresource) if sub else (subresource,))
