"""Knative's admission inside the local API server: the controller's defaults and checks on every write.

In a cluster the same checks run as webhooks. Refusals therefore read as theirs, with the names that they have there.
"""

from typing import Any

from controller.admission import CONFIG_VALIDATION, DEFAULTING, VALIDATION, Admission, Denied
from local_cluster.apiserver.admission import AdmissionDenied, AdmissionRequest
from local_cluster.apiserver.server import ApiServer
from local_cluster.system import SYSTEM_NAMESPACE

__all__ = ["install"]

_CONFIG_MAPS = "configmaps."


def install(api: ApiServer) -> None:
    """Add the hooks to a server that has not started."""
    config_maps = api.store.collection(_CONFIG_MAPS)

    def data_of(name: str) -> dict[str, str] | None:
        stored = config_maps.get(SYSTEM_NAMESPACE, name)
        return None if stored is None else stored.load().get("data")

    admission = Admission(data_of, system_namespace=SYSTEM_NAMESPACE, cluster_domain=api.config.cluster_domain)

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

    api.add_admission(default, name=DEFAULTING)
    api.add_admission(check_objects, name=VALIDATION, validating=True)
    api.add_admission(check_config_maps, name=CONFIG_VALIDATION, validating=True)


def _denial(denied: Denied) -> AdmissionDenied:
    causes = [(path, "FieldValueInvalid", message) for path, message in denied.causes]
    return AdmissionDenied(denied.message, denied.code, causes)
