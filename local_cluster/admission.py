"""Knative's admission inside the local API server: the controller's defaults and checks on every write.

In a cluster the same checks run as webhooks. Refusals therefore read as theirs, with the names that they have there.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from controller.admission import CONFIG_VALIDATION, DEFAULTING, VALIDATION, Admission, Denied
from controller.eventing import admission as eventing_admission
from controller.eventing.admission import EventingAdmission
from controller.eventing.sources.binding_admission import BINDING, BindingAdmission
from kube.models.sources import SinkBinding
from local_cluster.apiserver.admission import AdmissionDenied, AdmissionRequest
from local_cluster.apiserver.server import ApiServer
from local_cluster.apiserver.versions import Selection
from local_cluster.originals import EVENTING_NAMESPACE
from local_cluster.settings import SYSTEM_NAMESPACE

__all__ = ["install"]

_CONFIG_MAPS = "configmaps."
_NAMESPACES = "namespaces."
_SINK_BINDINGS = "sinkbindings.sources.knative.dev"


def install(api: ApiServer) -> None:
    """Add the hooks to a server that has not started."""
    admission = Admission(
        _reader(api, SYSTEM_NAMESPACE), system_namespace=SYSTEM_NAMESPACE, cluster_domain=api.config.cluster_domain
    )
    _add(api, admission, DEFAULTING, VALIDATION, CONFIG_VALIDATION)
    names = eventing_admission.DEFAULTING, eventing_admission.VALIDATION, eventing_admission.CONFIG_VALIDATION
    eventing = EventingAdmission(_reader(api, EVENTING_NAMESPACE), system_namespace=EVENTING_NAMESPACE)
    _add(api, eventing, *names)
    _bind_sinks(api)


def _reader(api: ApiServer, namespace: str) -> Callable[[str], dict[str, str] | None]:
    """What returns the data of a ConfigMap of a namespace, or None."""
    config_maps = api.store.collection(_CONFIG_MAPS)

    def data_of(name: str) -> dict[str, str] | None:
        stored = config_maps.get(namespace, name)
        return None if stored is None else stored.load().get("data")

    return data_of


def _add(
    api: ApiServer, admission: Admission | EventingAdmission, defaulting: str, validation: str, config_validation: str
) -> None:
    def default(request: AdmissionRequest) -> dict[str, Any]:
        try:
            return admission.default(request)
        except Denied as denied:
            raise _denial(denied) from denied

    def check(request: AdmissionRequest) -> None:
        try:
            admission.validate(request)
        except Denied as denied:
            raise _denial(denied) from denied

    def check_objects(request: AdmissionRequest) -> None:
        if request.group:
            check(request)

    def check_config_maps(request: AdmissionRequest) -> None:
        if not request.group:
            check(request)

    api.add_admission(default, name=defaulting)
    api.add_admission(check_objects, name=validation, validating=True)
    api.add_admission(check_config_maps, name=config_validation, validating=True)


def _bind_sinks(api: ApiServer) -> None:
    """Tell the subjects of SinkBindings of their sinks."""
    sink_bindings, namespaces = api.store.collection(_SINK_BINDINGS), api.store.collection(_NAMESPACES)

    def bindings(namespace: str) -> list[SinkBinding]:
        if not len(sink_bindings):
            return []
        return [msgspec.convert(each.load(), SinkBinding) for each in sink_bindings.select(Selection(namespace))]

    def labels(namespace: str) -> dict[str, str]:
        stored = namespaces.get("", namespace)
        return {} if stored is None else (stored.load().get("metadata") or {}).get("labels") or {}

    api.add_admission(BindingAdmission(bindings, labels).bind, name=BINDING)


def _denial(denied: Denied) -> AdmissionDenied:
    causes = [(path, "FieldValueInvalid", message) for path, message in denied.causes]
    return AdmissionDenied(denied.message, denied.code, causes)
