"""What built-in objects are refused for, as far as people meet it when they write manifests by hand.

Each function returns the causes of a 422 answer. Source: Kubernetes API reference; texts follow the server's patterns.
"""

from collections.abc import Callable
from typing import Any

from local_cluster.apiserver.crds import CRD_KEY, definition_causes
from local_cluster.apiserver.errors import Cause
from local_cluster.apiserver.selectors import LabelSelector, SelectorError

__all__ = ["VALIDATIONS"]


def _required(path: str, what: str = "") -> Cause:
    return Cause(path, "FieldValueRequired", "Required value" + (f": {what}" if what else ""))


def _invalid(path: str, value: object, why: str) -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return Cause(path, "FieldValueInvalid", f"Invalid value: {shown}: {why}")


def _unsupported(path: str, value: object, supported: tuple[str, ...]) -> Cause:
    listed = ", ".join(f'"{name}"' for name in supported)
    return Cause(path, "FieldValueNotSupported", f'Unsupported value: "{value}": supported values: {listed}')


def _immutable(path: str, obj: dict[str, Any], current: dict[str, Any] | None) -> list[Cause]:
    if current is None:
        return []
    new, old = _at(obj, path), _at(current, path)
    if new == old:
        return []
    return [Cause(path, "FieldValueInvalid", "Invalid value: field is immutable")]


def _at(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def _containers(spec: dict[str, Any], path: str) -> list[Cause]:
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        return [_required(f"{path}.containers")]
    causes = []
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or []):
            where = f"{path}.{field}[{index}]"
            name = container.get("name")
            if not name:
                causes.append(_required(f"{where}.name"))
            elif name in seen:
                causes.append(Cause(f"{where}.name", "FieldValueDuplicate", f'Duplicate value: "{name}"'))
            seen.add(name)
            if not container.get("image"):
                causes.append(_required(f"{where}.image"))
            for position, port in enumerate(container.get("ports") or []):
                number = port.get("containerPort")
                if not isinstance(number, int) or not 0 < number < 65536:
                    at = f"{where}.ports[{position}].containerPort"
                    causes.append(_invalid(at, number, "must be between 1 and 65535, inclusive"))
            causes += [
                _required(f"{where}.env[{position}].name")
                for position, env in enumerate(container.get("env") or [])
                if not env.get("name")
            ]
    return causes


def _pod(pod: dict[str, Any], current: dict[str, Any] | None) -> list[Cause]:
    spec = pod["spec"]
    causes = _containers(spec, "spec")
    if spec.get("restartPolicy") not in ("Always", "OnFailure", "Never"):
        causes.append(_unsupported("spec.restartPolicy", spec["restartPolicy"], ("Always", "OnFailure", "Never")))
    return causes


def _workload(obj: dict[str, Any], current: dict[str, Any] | None) -> list[Cause]:
    spec = obj["spec"]
    template = spec.get("template") or {}
    causes = []
    selector = spec.get("selector")
    if not selector:
        causes.append(_required("spec.selector"))
    else:
        causes += _immutable("spec.selector", obj, current)
        try:
            parsed = LabelSelector.from_object(selector)
        except SelectorError as error:
            causes.append(_invalid("spec.selector", selector, str(error)))
        else:
            labels = (template.get("metadata") or {}).get("labels") or {}
            if not parsed.matches(labels):
                why = "`selector` does not match template `labels`"
                causes.append(_invalid("spec.template.metadata.labels", labels, why))
    replicas = spec.get("replicas", 0)
    if isinstance(replicas, int) and replicas < 0:
        causes.append(_invalid("spec.replicas", replicas, "must be greater than or equal to 0"))
    return causes + _containers(template.get("spec") or {}, "spec.template.spec")


def _job(job: dict[str, Any], current: dict[str, Any] | None) -> list[Cause]:
    template = job["spec"].get("template") or {}
    spec = template.get("spec") or {}
    causes = _containers(spec, "spec.template.spec")
    if spec.get("restartPolicy") not in ("OnFailure", "Never"):
        at = "spec.template.spec.restartPolicy"
        causes.append(_unsupported(at, spec.get("restartPolicy"), ("OnFailure", "Never")))
    return causes


def _service(service: dict[str, Any], current: dict[str, Any] | None) -> list[Cause]:
    spec = service["spec"]
    causes = []
    types = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec["type"] not in types:
        causes.append(_unsupported("spec.type", spec["type"], types))
    if spec["type"] == "ExternalName":
        if not spec.get("externalName"):
            causes.append(_required("spec.externalName"))
        return causes
    before = _at(current, "spec.clusterIP") if _at(current, "spec.type") != "ExternalName" else None
    if before and spec.get("clusterIP") != before:
        causes.append(_invalid("spec.clusterIPs[0]", spec.get("clusterIP"), "may not change once set"))
    ports = spec.get("ports") or []
    if not ports and spec.get("clusterIP") != "None":
        causes.append(_required("spec.ports"))
    names: set[str] = set()
    for index, port in enumerate(ports):
        number, name = port.get("port"), port.get("name")
        if not isinstance(number, int) or not 0 < number < 65536:
            causes.append(_invalid(f"spec.ports[{index}].port", number, "must be between 1 and 65535, inclusive"))
        if len(ports) > 1 and not name:
            causes.append(_required(f"spec.ports[{index}].name"))
        if name in names:
            causes.append(Cause(f"spec.ports[{index}].name", "FieldValueDuplicate", f'Duplicate value: "{name}"'))
        if name:
            names.add(name)
    return causes


def _config(obj: dict[str, Any], current: dict[str, Any] | None) -> list[Cause]:
    if current is None or not current.get("immutable"):
        return []
    return [
        Cause(field, "FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set")
        for field in ("data", "binaryData", "immutable")
        if obj.get(field) != current.get(field)
    ]


def _webhooks(configuration: dict[str, Any], current: dict[str, Any] | None) -> list[Cause]:
    causes = []
    for index, entry in enumerate(configuration.get("webhooks") or []):
        where = f"webhooks[{index}]"
        if not entry.get("name"):
            causes.append(_required(f"{where}.name"))
        if entry.get("matchConditions"):
            # Asking about everything instead would refuse what its author let pass.
            why = "Forbidden: this server evaluates no CEL; narrow `rules`, `namespaceSelector` or `objectSelector`"
            causes.append(Cause(f"{where}.matchConditions", "FieldValueForbidden", why))
        timeout_s = entry.get("timeoutSeconds", 10)
        if not isinstance(timeout_s, int) or not 1 <= timeout_s <= 30:
            text = "the timeout value must be between 1 and 30 seconds"
            causes.append(_invalid(f"{where}.timeoutSeconds", timeout_s, text))
        for field, supported in (("failurePolicy", ("Fail", "Ignore")), ("reinvocationPolicy", ("IfNeeded", "Never"))):
            value = entry.get(field)
            if value is not None and value not in supported:
                causes.append(_unsupported(f"{where}.{field}", value, supported))
    return causes


VALIDATIONS: dict[str, Callable[[dict[str, Any], dict[str, Any] | None], list[Cause]]] = {
    "pods.": _pod,
    "services.": _service,
    "configmaps.": _config,
    "secrets.": _config,
    "deployments.apps": _workload,
    "replicasets.apps": _workload,
    "statefulsets.apps": _workload,
    "daemonsets.apps": _workload,
    "jobs.batch": _job,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    CRD_KEY: definition_causes,
}
"""By collection key; the second argument is the stored object on update, None on create."""
