"""Tells subjects of SinkBindings of their sink as they are written: a hook of the local API server, or a webhook.

Source: `knative.dev/pkg/webhook/psbinding`; spec eventing-sources.md 4.3.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from controller.admission import Request
from controller.eventing.sources.binding_rules import SelectionMode, apply_bindings, is_selected
from controller.eventing.sources.injection import has_template
from kube.models.sources import SinkBinding

__all__ = ["BINDING", "BindingAdmission"]

JsonObject = dict[str, Any]

BINDING: Final = "sinkbindings.webhook.sources.knative.dev"


class BindingAdmission:
    """`bindings(namespace)` and `labels(namespace)` say what is there at the moment of a write."""

    def __init__(
        self,
        bindings: Callable[[str], Iterable[SinkBinding]],
        labels: Callable[[str], Mapping[str, str]],
        *,
        mode: SelectionMode = SelectionMode.EXCLUSION,
    ) -> None:
        self._bindings = bindings
        self._labels = labels
        self._mode = mode

    def bind(self, request: Request) -> JsonObject:
        """The object as it is to be written; the one that was given when no binding is about it."""
        obj = request.object
        if request.operation == "DELETE" or request.subresource or not has_template(obj):
            return obj
        if "apiVersion" not in obj or "kind" not in obj:
            return obj
        bindings = list(self._bindings(request.namespace))
        if not bindings:
            return obj
        metadata = obj.get("metadata")
        own = (metadata.get("labels") or {}) if isinstance(metadata, dict) else None
        if not isinstance(own, dict) or not is_selected(self._mode, own, self._labels(request.namespace)):
            return obj
        bound = copy.deepcopy(obj)
        bound["metadata"].setdefault("namespace", request.namespace)
        apply_bindings(bound, bindings)
        return bound
