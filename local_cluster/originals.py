"""What Knative's own programs find around them: environment, ports and probes of their manifests.

A program that replaces one of the stack's (`knuv up --replace`) is started with these. Sources: spec api-clients.md 2
and 2.2, activator.md 2.1, autoscaler.md 8, queue-proxy.md 2.1 (whose environment the controller makes).
"""

from typing import Any

from local_cluster.settings import SYSTEM_NAMESPACE

__all__ = ["EVENTING_CONFIG_MAPS", "EVENTING_NAMESPACE", "REPLACEABLE", "container"]

EVENTING_NAMESPACE = "knative-eventing"
EVENTING_CONFIG_MAPS = ("config-features", "config-logging", "config-observability")
"""What the broker's programs read (spec api-clients.md 3)."""
REPLACEABLE = ("queue-proxy", "activator", "autoscaler", "controller", "gateway", "broker-ingress", "broker-filter")
"""What `--replace` names. The broker's programs run only when they are named."""

JsonObject = dict[str, Any]

_PORTS: dict[str, dict[str, int]] = {
    "activator": {"metrics": 9090, "profiling": 8008, "http1": 8012, "h2c": 8013},
    "autoscaler": {"metrics": 9090, "profiling": 8008, "websocket": 8080},
    "controller": {"metrics": 9090, "profiling": 8008, "probes": 8080},
    "broker-ingress": {"http": 8080, "https": 8443, "metrics": 9092},
    "broker-filter": {"http": 8080, "https": 8443, "metrics": 9092},
}
_READINESS: dict[str, JsonObject] = {
    "activator": {"port": 8012, "httpHeaders": [{"name": "k-kubelet-probe", "value": "activator"}]},
    "autoscaler": {"port": 8080, "httpHeaders": [{"name": "k-kubelet-probe", "value": "autoscaler"}]},
    "controller": {"port": 8080, "path": "/readiness"},
    "broker-ingress": {"port": 8080, "path": "/healthz"},
    "broker-filter": {"port": 8080, "path": "/healthz"},
}


def container(name: str, command: list[str], kubeconfig: str) -> JsonObject:
    """The container of a replaced component. `kubeconfig`: where it has one; empty: the in-cluster files suffice."""
    is_eventing = name.startswith("broker-")
    plain = {
        "SYSTEM_NAMESPACE": EVENTING_NAMESPACE if is_eventing else SYSTEM_NAMESPACE,
        "CONFIG_LOGGING_NAME": "config-logging",
        "CONFIG_OBSERVABILITY_NAME": "config-observability",
        "METRICS_DOMAIN": "knative.dev/internal/eventing" if is_eventing else "knative.dev/internal/serving",
    }
    if name == "activator":
        plain["GOGC"] = "500"
    if is_eventing:
        plain |= {
            "CONTAINER_NAME": name.removeprefix("broker-"),
            "CONFIG_LEADERELECTION_NAME": "config-leader-election",
        }
        plain["INGRESS_PORT" if name == "broker-ingress" else "FILTER_PORT"] = "8080"
    if kubeconfig:
        plain["KUBECONFIG"] = kubeconfig
    fields = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    if is_eventing:
        fields["NAMESPACE"] = "metadata.namespace"
    found: JsonObject = {
        "name": name,
        "image": f"dev.local/knuv/{name}",
        "command": command,
        "env": [
            *({"name": key, "valueFrom": {"fieldRef": {"fieldPath": path}}} for key, path in fields.items()),
            *({"name": key, "value": value} for key, value in plain.items()),
        ],
        "ports": [{"name": key, "containerPort": port} for key, port in _PORTS.get(name, {}).items()],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if name in _READINESS:
        found["readinessProbe"] = {"httpGet": _READINESS[name], "periodSeconds": 1, "failureThreshold": 5}
    return found
