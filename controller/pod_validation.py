"""The pod part of a Revision: which fields it may use, and what they may hold.

Field masks let a field through unless its feature is Disabled, while some checks demand exactly Enabled; the two layers
disagree on purpose or by accident, and both are kept. Source: knative/serving `pkg/apis/serving/k8s_validation.go`,
`fieldmask.go`; spec control-plane.md 4.5.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.field_errors import (
    INT32_MAX,
    FieldError,
    at,
    at_index,
    disallowed,
    invalid_value,
    missing,
    missing_one_of,
    multiple_one_of,
    out_of_bounds,
)
from controller.images import is_reference
from controller.names import is_dns_1123_subdomain
from controller.quantities import parse_quantity
from controller.settings import Features
from controller.volume_validation import check_mounts, check_volumes

__all__ = ["check_pod_spec"]

JsonObject = dict[str, Any]

_GATED_POD_FIELDS = {
    "affinity": "kubernetes.podspec-affinity",
    "dnsConfig": "kubernetes.podspec-dnsconfig",
    "dnsPolicy": "kubernetes.podspec-dnspolicy",
    "hostAliases": "kubernetes.podspec-hostaliases",
    "hostIPC": "kubernetes.podspec-hostipc",
    "hostNetwork": "kubernetes.podspec-hostnetwork",
    "hostPID": "kubernetes.podspec-hostpid",
    "initContainers": "kubernetes.podspec-init-containers",
    "nodeSelector": "kubernetes.podspec-nodeselector",
    "priorityClassName": "kubernetes.podspec-priorityclassname",
    "runtimeClassName": "kubernetes.podspec-runtimeclassname",
    "schedulerName": "kubernetes.podspec-schedulername",
    "shareProcessNamespace": "kubernetes.podspec-shareprocessnamespace",
    "tolerations": "kubernetes.podspec-tolerations",
    "topologySpreadConstraints": "kubernetes.podspec-topologyspreadconstraints",
}
_REFUSED_POD_FIELDS = (
    *("activeDeadlineSeconds", "ephemeralContainers", "hostUsers", "hostname", "hostnameOverride", "nodeName", "os"),
    *("overhead", "preemptionPolicy", "priority", "readinessGates", "resourceClaims", "resources", "restartPolicy"),
    *("schedulingGates", "serviceAccount", "setHostnameAsFQDN", "subdomain", "terminationGracePeriodSeconds"),
)
_REFUSED_CONTAINER_FIELDS = (
    *("lifecycle", "resizePolicy", "restartPolicy", "restartPolicyRules", "stdin", "stdinOnce", "tty", "volumeDevices"),
)
_RESERVED_PORTS = frozenset((8012, 8013, 8022, 9090, 9091, 8008))
_RESERVED_NAMES = frozenset(("queue-proxy",))
_RESERVED_VARIABLES = frozenset(("K_SERVICE", "K_CONFIGURATION", "K_REVISION"))
_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_HANDLER_FIELDS = {
    "exec": ("command",),
    "grpc": ("port", "service"),
    "httpGet": ("host", "httpHeaders", "path", "port", "scheme"),
    "tcpSocket": ("host", "port"),
}
_CONTAINER_SECURITY = (
    *("allowPrivilegeEscalation", "capabilities", "privileged", "readOnlyRootFilesystem", "runAsGroup"),
    *("runAsNonRoot", "runAsUser", "seccompProfile"),
)
_POD_SECURITY = ("fsGroup", "runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile", "supplementalGroups")


def check_pod_spec(spec: JsonObject, features: Features) -> Iterator[FieldError]:
    """The pod fields of a Revision's spec. Expects types to be right (`controller.shapes`)."""
    refused = [name for name, value in spec.items() if not _is_unset(value) and _is_refused(name, features)]
    if spec.get("automountServiceAccountToken"):
        refused.append("automountServiceAccountToken")
    if refused:
        yield disallowed(*refused)
    account = spec.get("serviceAccountName")
    if account and not is_dns_1123_subdomain(account):
        yield invalid_value(account, "serviceAccountName")
    yield from at("securityContext", _pod_security(spec.get("securityContext"), features))
    containers: list[JsonObject] = spec.get("containers") or []
    init_containers: list[JsonObject] = spec.get("initContainers") or []
    mounted = {
        str(mount.get("name", ""))
        for container in (*containers, *init_containers)
        for mount in container.get("volumeMounts") or []
    }
    volumes = {str(volume.get("name", "")): volume for volume in spec.get("volumes") or []}
    yield from at("volumes", check_volumes(spec.get("volumes") or [], mounted, features))
    yield from at("containers[*]", _ports_of_all(containers))
    if not containers:
        yield missing("containers")
    else:
        yield from _containers(containers, volumes, features)
    if init_containers and features.permits("kubernetes.podspec-init-containers"):
        yield from _init_containers(init_containers, volumes, features)


def _is_refused(pod_field: str, features: Features) -> bool:
    gate = _GATED_POD_FIELDS.get(pod_field)
    return pod_field in _REFUSED_POD_FIELDS or (gate is not None and not features.permits(gate))


def _containers(
    containers: Sequence[JsonObject], volumes: Mapping[str, JsonObject], features: Features
) -> Iterator[FieldError]:
    several = len(containers) > 1
    if several and not features.enabled("multi-container"):
        yield FieldError(f"multi-container is off, but found {len(containers)} containers", ("",))
        return
    names: set[str] = set()
    for index, container in enumerate(containers):
        is_sidecar = several and not container.get("ports")
        name = str(container.get("name", ""))
        if name and name in names:
            yield FieldError(f'duplicate container name "{name}"', (f"containers[{index}].name",))
        names.add(name)
        errors = (
            _sidecar(container, volumes, features) if is_sidecar else _serving_container(container, volumes, features)
        )
        yield from at_index("containers", index, errors)


def _serving_container(
    container: JsonObject, volumes: Mapping[str, JsonObject], features: Features
) -> Iterator[FieldError]:
    yield from _container(container, volumes, features, may_set_port=False)
    ports = container.get("ports") or []
    port_name = (ports[0].get("name") if ports else "") or "http"
    yield from at("livenessProbe", _probe(container.get("livenessProbe"), port_name))
    yield from at("startupProbe", _probe(container.get("startupProbe"), port_name))
    yield from at("readinessProbe", _readiness_probe(container.get("readinessProbe"), port_name))


def _sidecar(container: JsonObject, volumes: Mapping[str, JsonObject], features: Features) -> Iterator[FieldError]:
    yield from _container(container, volumes, features, may_set_port=True)
    probes = [name for name in ("livenessProbe", "readinessProbe", "startupProbe") if container.get(name) is not None]
    if not features.enabled("multi-container-probing"):
        if probes:
            yield disallowed(*probes)
        return
    for name in probes:
        check = _readiness_probe if name == "readinessProbe" else _probe
        yield from at(name, check(container[name], None))


def _init_containers(
    containers: Sequence[JsonObject], volumes: Mapping[str, JsonObject], features: Features
) -> Iterator[FieldError]:
    if not features.enabled("kubernetes.podspec-init-containers"):
        yield FieldError(
            f"pod spec support for init-containers is off, but found {len(containers)} init containers", ("",)
        )
        return
    for index, container in enumerate(containers):
        probes = [name for name in ("livenessProbe", "readinessProbe", "startupProbe") if name in container]
        # The original names them like the others.
        yield from at_index("containers", index, [disallowed(*probes)] if probes else [])
        yield from at_index("containers", index, _container(container, volumes, features, may_set_port=True))


def _container(
    container: JsonObject, volumes: Mapping[str, JsonObject], features: Features, *, may_set_port: bool
) -> Iterator[FieldError]:
    refused = [name for name in _REFUSED_CONTAINER_FIELDS if not _is_unset(container.get(name))]
    if refused:
        yield disallowed(*refused)
    name = container.get("name", "")
    if name in _RESERVED_NAMES:
        yield FieldError(f'"{name}" is a reserved container name', ("name",))
    reserved = _RESERVED_VARIABLES if may_set_port else _RESERVED_VARIABLES | {"PORT"}
    for index, variable in enumerate(container.get("env") or []):
        yield from at_index("env", index, _variable(variable, reserved, features))
    for index, source in enumerate(container.get("envFrom") or []):
        yield from at_index("envFrom", index, _env_from(source))
    image = container.get("image") or ""
    if not image:
        yield missing("image")
    elif not is_reference(image):
        details = f'image: "{image}", error: could not parse reference: {image}'
        yield FieldError("Failed to parse image reference", ("image",), details)
    yield from at("resources", _resources(container.get("resources") or {}))
    for port in container.get("ports") or []:
        yield from at("ports", _port(port))
    yield from at("securityContext", _container_security(container.get("securityContext"), features))
    policy = container.get("terminationMessagePolicy", "")
    if policy not in ("", "File", "FallbackToLogsOnError"):
        yield invalid_value(policy, "terminationMessagePolicy")
    yield from at("volumeMounts", check_mounts(container.get("volumeMounts") or [], volumes, features))


def _ports_of_all(containers: Sequence[JsonObject]) -> Iterator[FieldError]:
    count = sum(len(container.get("ports") or []) for container in containers)
    if count == 0 and len(containers) > 1:
        yield missing("ports")
    elif count > 1:
        details = "Only a single port is allowed across all containers"
        yield FieldError("more than one container port is set", ("ports",), details)


def _port(port: JsonObject) -> Iterator[FieldError]:
    refused = [name for name in ("hostIP", "hostPort") if not _is_unset(port.get(name)) and port[name] != 0]
    if refused:
        yield disallowed(*refused)
    number = port.get("containerPort") or 0
    if number in _RESERVED_PORTS:
        text = f"{number} is a reserved port"
        yield invalid_value(text, "containerPort", f"{text}, please use a different value")
    if not 0 <= number <= 65535:
        yield out_of_bounds(number, 0, 65535, "containerPort")
    name = port.get("name") or ""
    if name not in ("", "http1", "h2c"):
        yield FieldError(f"Port name {name} is not allowed", ("",), "Name must be empty, or one of: 'h2c', 'http1'")
    if port.get("protocol", "") not in ("", "TCP"):
        yield invalid_value(port["protocol"], "protocol")


def _variable(variable: JsonObject, reserved: frozenset[str], features: Features) -> Iterator[FieldError]:
    name = variable.get("name") or ""
    if not name:
        yield missing("name")
    elif name in reserved:
        yield FieldError(f'"{name}" is a reserved environment variable', ("name",))
    source = variable.get("valueFrom")
    if source is None:
        return
    permitted = ["configMapKeyRef", "secretKeyRef"]
    if features.permits("kubernetes.podspec-fieldref"):
        permitted += ["fieldRef", "resourceFieldRef"]
    refused = [key for key in source if key not in permitted]
    if refused:
        yield from at("valueFrom", [disallowed(*refused)])
    for key in ("configMapKeyRef", "secretKeyRef"):
        absent = [part for part in ("name", "key") if not source[key].get(part)] if key in source else []
        if absent:
            yield from at(f"valueFrom.{key}", [missing(*absent)])


def _env_from(source: JsonObject) -> Iterator[FieldError]:
    found = [key for key in ("configMapRef", "secretRef") if key in source]
    if not found:
        yield missing_one_of("configMapRef", "secretRef")
    elif len(found) > 1:
        yield multiple_one_of(*found)
    for key in found:
        if not source[key].get("name"):
            yield missing(f"{key}.name")


def _resources(resources: JsonObject) -> Iterator[FieldError]:
    refused = [key for key, value in resources.items() if key not in ("requests", "limits") and not _is_unset(value)]
    if refused:
        yield disallowed(*refused)
    for kind in ("requests", "limits"):
        for name, quantity in (resources.get(kind) or {}).items():
            try:
                parse_quantity(quantity)
            except ValueError:
                yield invalid_value(quantity, f"{kind}.{name}", "quantities look like 100m, 0.5, 128Mi or 1Gi")


def _readiness_probe(probe: JsonObject | None, port_name: str | None) -> Iterator[FieldError]:
    if probe is None:
        return
    yield from _probe(probe, port_name)
    period = probe.get("periodSeconds") or 0
    for name, lowest in (("periodSeconds", 0), ("initialDelaySeconds", 0), ("successThreshold", 1)):
        value = probe.get(name) or 0
        if value < lowest:
            yield out_of_bounds(value, lowest, INT32_MAX, name)
    for name in ("failureThreshold", "timeoutSeconds"):
        value = probe.get(name) or 0
        if period == 0 and value != 0:
            yield FieldError(f"{name} is disallowed when periodSeconds is zero", (name,))
        elif period != 0 and value < 1:
            yield out_of_bounds(value, 1, INT32_MAX, name)


def _probe(probe: JsonObject | None, port_name: str | None) -> Iterator[FieldError]:
    """Any probe. `port_name` None: a sidecar's, which must say its port."""
    if probe is None:
        return
    if "terminationGracePeriodSeconds" in probe:
        yield disallowed("terminationGracePeriodSeconds")
    found = [handler for handler in _HANDLERS if handler in probe]
    for handler in found:
        action = probe[handler] or {}
        refused = [key for key in action if key not in _HANDLER_FIELDS[handler]]
        if refused:
            yield from at(handler, [disallowed(*refused)])
        if handler == "exec":
            continue
        port = action.get("port") or 0
        if port_name is None and not port:
            yield invalid_value(port, f"{handler}.port", "Probe port must be specified")
        elif port_name is not None and isinstance(port, str) and port != port_name:
            yield invalid_value(port, f"{handler}.port", "Probe port must match container port")
    if not found:
        yield missing_one_of(*_HANDLERS)
    elif len(found) > 1:
        yield multiple_one_of(*found)


def _container_security(context: JsonObject | None, features: Features) -> Iterator[FieldError]:
    if context is None:
        return
    refused = [key for key in context if key not in _CONTAINER_SECURITY]
    if context.get("privileged"):
        refused.append("privileged")
    added = (context.get("capabilities") or {}).get("add") or []
    may_add = features.enabled("kubernetes.containerspec-addcapabilities") or (
        features.secure_pod_defaults and added == ["NET_BIND_SERVICE"]
    )
    if added and not may_add:
        refused.append("capabilities.add")
    if refused:
        yield disallowed(*refused)
    yield from _ids(context, ("runAsUser", "runAsGroup"))


def _pod_security(context: JsonObject | None, features: Features) -> Iterator[FieldError]:
    if not context:
        return
    if features.permits("kubernetes.podspec-securitycontext"):
        refused = [key for key in context if key not in _POD_SECURITY]
    elif features.secure_pod_defaults:
        profile = (context.get("seccompProfile") or {}).get("type")
        harmless = profile in ("RuntimeDefault", "Unconfined")
        refused = [key for key in context if key != "seccompProfile" or not harmless]
    else:
        refused = list(context)
    if refused:
        yield disallowed(*refused)
    yield from _ids(context, ("runAsUser", "runAsGroup", "fsGroup"))
    for index, group in enumerate(context.get("supplementalGroups") or []):
        if not 0 <= group <= INT32_MAX:
            yield out_of_bounds(group, 0, INT32_MAX, f"supplementalGroups[{index}]")


def _ids(context: JsonObject, names: tuple[str, ...]) -> Iterator[FieldError]:
    for name in names:
        value = context.get(name)
        if value is not None and not 0 <= value <= INT32_MAX:
            yield out_of_bounds(value, 0, INT32_MAX, name)


def _is_unset(value: object) -> bool:
    return value is None or value is False or value == "" or value == []
