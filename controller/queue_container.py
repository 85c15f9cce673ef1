"""The queue-proxy container that stands beside the user's: its ports, environment, probe and resources.

The order of the variables and ports is part of what other components rely on. Pure: dicts in, dicts out. Source:
knative/serving `pkg/reconciler/revision/resources/queue.go`; spec control-plane.md 6.7, queue-proxy.md 2.1, 13.1, 20.
"""

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from controller import keys
from controller.quantities import format_milli, parse_quantity
from controller.settings import Settings
from kube.models.serving import Revision
from proxies import gotext

__all__ = ["ProbeWithoutPort", "build", "readiness_json", "serving_container", "serving_port"]

JsonObject = dict[str, Any]

NAME: Final = "queue-proxy"
HTTP_PORT: Final = 8012
HTTP2_PORT: Final = 8013
TLS_PORT: Final = 8112
ADMIN_PORT: Final = 8022
METRICS_PORT: Final = 9090
USER_METRICS_PORT: Final = 9091
PROFILING_PORT: Final = 8008
DEFAULT_USER_PORT: Final = 8080
HANDLERS: Final = ("httpGet", "tcpSocket", "exec", "grpc")

_SECURITY_CONTEXT: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_TIMING = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_DEFAULT_RESOURCES: Mapping[str, Mapping[str, str]] = {
    # Feature `queueproxy.resource-defaults`. The requests are only filled where the ConfigMap leaves a gap.
    "requests": {"cpu": "25m", "memory": "400Mi"},
    "limits": {"cpu": "1000m", "memory": "800Mi"},
}
_PERCENTAGE_BOUNDS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("requests", "cpu"): ("25m", "100m"),
    ("limits", "cpu"): ("40m", "500m"),
    ("requests", "memory"): ("50Mi", "200Mi"),
    ("limits", "memory"): ("200Mi", "500Mi"),
}


class ProbeWithoutPort(Exception):
    """A sidecar's readiness probe names no port, so queue-proxy cannot run it."""


def serving_container(revision: Revision) -> JsonObject:
    """The container that gets the requests: the only one, or the one with ports."""
    containers: list[JsonObject] = revision.spec.get("containers") or []
    if len(containers) == 1:
        return containers[0]
    return next((container for container in containers if container.get("ports")), containers[0])


def user_port(revision: Revision) -> int:
    """The port that the user's program listens on."""
    ports = serving_container(revision).get("ports") or []
    return int(ports[0].get("containerPort") or DEFAULT_USER_PORT) if ports else DEFAULT_USER_PORT


def serving_port(revision: Revision) -> int:
    """The port that queue-proxy serves on."""
    return HTTP2_PORT if revision.protocol == "h2c" else HTTP_PORT


def build(revision: Revision, settings: Settings, system_namespace: str) -> JsonObject:
    """The container. Raises `ProbeWithoutPort`."""
    port = serving_port(revision)
    container: JsonObject = {
        "name": NAME,
        "image": settings.deployment.queue_sidecar_image,
        "resources": _resources(revision, settings),
        "ports": _ports(port, settings.observability.profiling),
        "env": _environment(revision, settings, system_namespace),
        "securityContext": json.loads(json.dumps(_SECURITY_CONTEXT)),
    }
    probe = serving_container(revision).get("readinessProbe")
    if probe:
        container["readinessProbe"] = {name: probe[name] for name in _TIMING if probe.get(name)} | {
            "httpGet": {"port": port, "httpHeaders": [{"name": "K-Network-Probe", "value": "queue"}]}
        }
    mounts = _volume_mounts(revision, settings)
    if mounts:
        container["volumeMounts"] = mounts
    return container


def volumes(revision: Revision, settings: Settings) -> list[JsonObject]:
    """The volumes that `build` mounts."""
    found: list[JsonObject] = []
    if settings.deployment.token_audiences:
        sources = [
            {"serviceAccountToken": {"audience": audience, "expirationSeconds": 3600, "path": audience}}
            for audience in settings.deployment.token_audiences
        ]
        found.append({"name": "knative-token-volume", "projected": {"sources": sources}})
    if settings.network.system_internal_tls:
        found.append({"name": "server-certs", "secret": {"secretName": "serving-certs"}})
    if _mounts_pod_info(revision, settings):
        item = {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}
        found.append({"name": "pod-info", "downwardAPI": {"items": [item]}})
    return found


def readiness_json(revision: Revision, *, several: bool) -> str:
    """`SERVING_READINESS_PROBE`: what queue-proxy is to run instead of the kubelet; empty when there is no probe.

    With `several` (feature `multi-container-probing`) a list: the serving container's, then the sidecars' that have
    one that is not `exec`. Raises `ProbeWithoutPort`.
    """
    serving = serving_container(revision)
    probe = serving.get("readinessProbe")
    port = user_port(revision)
    if not several:
        return _dump(_probe_for_queue(probe, port)) if probe else ""
    probes = [_probe_for_queue(probe, port) if probe else None]
    for container in revision.spec.get("containers") or []:
        sidecar = container.get("readinessProbe")
        if container is serving or not sidecar or sidecar.get("exec"):
            continue
        own_port = _numeric_port(sidecar)
        if own_port is None:
            raise ProbeWithoutPort(f"readiness probe of container {container.get('name')!r} must name a port number")
        probes.append(_probe_for_queue(sidecar, own_port))
    return _dump(probes)


def _ports(port: int, profiling: bool) -> list[JsonObject]:
    named = [("http-autometric", METRICS_PORT), ("http-usermetric", USER_METRICS_PORT)]
    if profiling:
        named.append(("profiling-port", PROFILING_PORT))
    named += [("queue-port", port), ("https-port", TLS_PORT)]
    return [{"name": name, "containerPort": number} for name, number in named]


def _environment(revision: Revision, settings: Settings, system_namespace: str) -> list[JsonObject]:
    meta = revision.metadata
    controller = meta.controller()
    configuration = controller.name if controller is not None and controller.kind == "Configuration" else ""
    features, deployment = settings.features, settings.deployment
    probes_several = features.enabled("multi-container-probing")
    duplex = meta.annotations.get(keys.FULL_DUPLEX_FEATURE, "").lower() == "enabled"
    return [
        _value("SERVING_NAMESPACE", meta.namespace),
        _value("SERVING_SERVICE", meta.labels.get(keys.SERVICE, "")),
        _value("SERVING_CONFIGURATION", configuration),
        _value("SERVING_REVISION", meta.name),
        _value("QUEUE_SERVING_PORT", serving_port(revision)),
        _value("QUEUE_SERVING_TLS_PORT", TLS_PORT),
        _value("CONTAINER_CONCURRENCY", revision.container_concurrency),
        _value("REVISION_TIMEOUT_SECONDS", revision.timeout_s),
        _value("REVISION_RESPONSE_START_TIMEOUT_SECONDS", revision.response_start_timeout_s),
        _value("REVISION_IDLE_TIMEOUT_SECONDS", revision.idle_timeout_s),
        _field("SERVING_POD", "metadata.name"),
        _field("SERVING_POD_IP", "status.podIP"),
        _value("SERVING_LOGGING_CONFIG", settings.logging.zap_config),
        _value("SERVING_LOGGING_LEVEL", settings.logging.queue_proxy_level),
        _value("USER_PORT", user_port(revision)),
        _value("SYSTEM_NAMESPACE", system_namespace),
        _value("SERVING_READINESS_PROBE", readiness_json(revision, several=probes_several)),
        _field("HOST_IP", "status.hostIP"),
        _value("ENABLE_HTTP2_AUTO_DETECTION", _go_bool(features.enabled("autodetect-http2"))),
        _value("ENABLE_HTTP_FULL_DUPLEX", _go_bool(duplex)),
        _value("ROOT_CA", deployment.root_ca),
        _value("QUEUE_PROXY_TLS_MIN_VERSION", deployment.tls.get("min-version", "")),
        _value("QUEUE_PROXY_TLS_MAX_VERSION", deployment.tls.get("max-version", "")),
        _value("QUEUE_PROXY_TLS_CIPHER_SUITES", deployment.tls.get("cipher-suites", "")),
        _value("QUEUE_PROXY_TLS_CURVE_PREFERENCES", deployment.tls.get("curve-preferences", "")),
        _value("ENABLE_MULTI_CONTAINER_PROBES", _go_bool(probes_several)),
        _value("OBSERVABILITY_CONFIG", settings.observability.queue_proxy_json()),
    ]


def _resources(revision: Revision, settings: Settings) -> JsonObject:
    """Later steps win: ConfigMap, feature defaults, percentage of the user's, explicit annotations."""
    resources: dict[str, dict[str, str]] = {
        "requests": dict(settings.deployment.sidecar_requests),
        "limits": dict(settings.deployment.sidecar_limits),
    }
    if settings.features.enabled("queueproxy.resource-defaults"):
        for kind, defaults in _DEFAULT_RESOURCES.items():
            resources[kind] = {**defaults, **resources[kind]}
    annotations = revision.metadata.annotations
    percentage = _percentage(annotations)
    if percentage is not None:
        user = serving_container(revision).get("resources") or {}
        for (kind, name), bounds in _PERCENTAGE_BOUNDS.items():
            value = (user.get(kind) or {}).get(name)
            if value and parse_quantity(value):
                resources[kind][name] = _share(parse_quantity(value), percentage, bounds, binary=name == "memory")
    for kind in ("requests", "limits"):
        for name in ("cpu", "memory", "ephemeral-storage"):
            explicit = annotations.get(f"{keys.QUEUE_SIDECAR}/{name}-resource-{kind.removesuffix('s')}")
            if explicit:
                resources[kind][name] = explicit
    return {kind: values for kind, values in resources.items() if values}


def _percentage(annotations: Mapping[str, str]) -> Fraction | None:
    text = keys.first_present(annotations, keys.RESOURCE_PERCENTAGE)
    try:
        return None if text is None else Fraction(gotext.parse_float(text)).limit_denominator(10**6) / 100
    except ValueError:
        return None


def _share(value: Fraction, percentage: Fraction, bounds: tuple[str, str], *, binary: bool) -> str:
    lowest, highest = (int(parse_quantity(bound) * 1000) for bound in bounds)
    milli = int(value * 1000 * percentage)
    return format_milli(min(max(milli, lowest), highest), binary=binary)


def _volume_mounts(revision: Revision, settings: Settings) -> list[JsonObject]:
    mounts: list[JsonObject] = []
    if settings.deployment.token_audiences:
        mounts.append({"name": "knative-token-volume", "mountPath": "/var/run/secrets/tokens"})
    if settings.network.system_internal_tls:
        mounts.append({"name": "server-certs", "mountPath": "/var/lib/knative/certs", "readOnly": True})
    if _mounts_pod_info(revision, settings):
        mounts.append({"name": "pod-info", "mountPath": "/etc/podinfo", "readOnly": True})
    return mounts


def _mounts_pod_info(revision: Revision, settings: Settings) -> bool:
    flag = settings.features.value("queueproxy.mount-podinfo")
    asked = revision.metadata.annotations.get(keys.POD_INFO_FEATURE, "").lower() == "enabled"
    return flag == "enabled" or (flag == "allowed" and asked)


def _probe_for_queue(probe: JsonObject, port: int) -> JsonObject:
    """The probe as queue-proxy runs it: on loopback, on a number, `exec` (which the kubelet runs) as a connect."""
    handler: JsonObject
    if "httpGet" in probe:
        action = probe["httpGet"]
        handler = {
            "httpGet": {
                **({"path": action["path"]} if action.get("path") else {}),
                "port": _number(action.get("port")) or port,
                "host": "127.0.0.1",
                "scheme": action.get("scheme") or "HTTP",
                **({"httpHeaders": action["httpHeaders"]} if action.get("httpHeaders") else {}),
            }
        }
    elif "grpc" in probe:
        action = probe["grpc"]
        handler = {"grpc": {"port": _number(action.get("port")) or port, "service": action.get("service") or ""}}
    else:
        own = None if "exec" in probe else _number((probe.get("tcpSocket") or {}).get("port"))
        handler = {"tcpSocket": {"port": own or port, "host": "127.0.0.1"}}
    timing = {name: probe[name] for name in _TIMING if probe.get(name)}
    if timing.get("periodSeconds", 0) > 0:
        timing["timeoutSeconds"] = max(1, timing.get("timeoutSeconds", 0))
    return handler | {name: timing[name] for name in _TIMING if name in timing}


def _numeric_port(probe: JsonObject) -> int | None:
    action = next((probe[name] for name in HANDLERS if name in probe), None) or {}
    return _number(action.get("port")) or None


def _number(port: object) -> int:
    """A port that is a number; 0 for a name or nothing."""
    return port if isinstance(port, int) and not isinstance(port, bool) else 0


def _value(name: str, value: object) -> JsonObject:
    return {"name": name, "value": str(value)}


def _field(name: str, path: str) -> JsonObject:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _go_bool(value: bool) -> str:
    return "true" if value else "false"


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
