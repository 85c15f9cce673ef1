"""Which objects a SinkBinding is about, and what they are told: asked by the reconciler and by admission alike.

Pure. Source: `knative.dev/pkg/webhook/psbinding`; spec eventing-sources.md 4.2, 4.3.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

from controller.eventing.addresses import selects
from controller.eventing.sources.adapters import overrides_json
from controller.eventing.sources.injection import Injection, bind, has_template, unbind
from controller.eventing.sources.trust_bundles import bundle_names
from kube.models.sources import SinkBinding

__all__ = ["EXCLUDE", "INCLUDE", "SelectionMode", "apply_bindings", "injection_of", "is_about", "is_selected"]

JsonObject = dict[str, Any]

EXCLUDE: Final = "bindings.knative.dev/exclude"
INCLUDE: Final = "bindings.knative.dev/include"


class SelectionMode(Enum):
    """Which namespaces and objects take part."""

    EXCLUSION = "exclusion"
    """All but those with the label `EXCLUDE`."""
    INCLUSION = "inclusion"
    """Those with the label `INCLUDE`."""


def is_selected(mode: SelectionMode, *labels: Mapping[str, str]) -> bool:
    """Whether an object takes part; `labels` are its own and its namespace's."""
    if mode is SelectionMode.INCLUSION:
        return all(each.get(INCLUDE) == "true" for each in labels)
    return not any(each.get(EXCLUDE) == "true" for each in labels)


def is_about(binding: SinkBinding, obj: JsonObject) -> bool:
    """Whether an object is a subject of the binding."""
    subject, metadata = binding.spec.subject, obj.get("metadata") or {}
    if (obj.get("apiVersion"), obj.get("kind")) != (subject.api_version, subject.kind):
        return False
    if metadata.get("namespace", "") != binding.namespace:
        return False
    if subject.name:
        return bool(metadata.get("name") == subject.name)
    return subject.selector is not None and selects(subject.selector, metadata.get("labels") or {})


def injection_of(binding: SinkBinding) -> Injection | None:
    """What the subjects are told; None while the sink is not resolved."""
    status = binding.status
    if not status.sink_uri:
        return None
    return Injection(
        sink=status.sink_uri,
        ca_certs=status.sink_ca_certs or "",
        overrides=overrides_json(binding.spec.ce_overrides),
        token_secret=status.oidc_token_secret_name or "",
        bundles=bundle_names(status),
    )


def apply_bindings(obj: JsonObject, bindings: Iterable[SinkBinding]) -> None:
    """Tell an object what the bindings that are about it say, the last by name having the last word; in place.

    A binding without a sink takes out what was told before.
    """
    if not has_template(obj):
        return
    for binding in sorted(bindings, key=lambda each: each.name):
        if binding.metadata.deletion_timestamp is None and is_about(binding, obj):
            injection = injection_of(binding)
            if injection is None:
                unbind(obj)
            else:
                bind(obj, injection)
