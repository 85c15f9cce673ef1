"""The defaults that Kubernetes writes into built-in objects, as far as clients see them.

Each function changes its object in place and is idempotent. Source: Kubernetes API reference, "default" notes;
api-clients statements 41, 42.
"""

import base64
from collections.abc import Callable
from typing import Any

from local_cluster.apiserver.crds import CRD_KEY, default_definition

__all__ = ["DEFAULTS"]


def _service(service: dict[str, Any]) -> None:
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    is_external_name = spec["type"] == "ExternalName"
    if not is_external_name:
        spec.setdefault("internalTrafficPolicy", "Cluster")
    for port in _items(spec, "ports"):
        port.setdefault("protocol", "TCP")
        # An ExternalName Service keeps `targetPort: 0` as it was written (the channel controller sends it).
        if port.get("targetPort") in (None, "") or (port.get("targetPort") == 0 and not is_external_name):
            port["targetPort"] = port.get("port")
    service.setdefault("status", {}).setdefault("loadBalancer", {})


def _endpoints(endpoints: dict[str, Any]) -> None:
    for subset in _items(endpoints, "subsets"):
        for port in _items(subset, "ports"):
            port.setdefault("protocol", "TCP")


def _endpoint_slice(obj: dict[str, Any]) -> None:
    for port in _items(obj, "ports"):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _secret(secret: dict[str, Any]) -> None:
    secret.setdefault("type", "Opaque")
    plain = secret.pop("stringData", None)
    if isinstance(plain, dict):
        data = secret.setdefault("data", {})
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def _pod(pod: dict[str, Any]) -> None:
    pod_spec(pod.setdefault("spec", {}))
    pod.setdefault("status", {}).setdefault("phase", "Pending")


def pod_spec(spec: dict[str, Any]) -> None:
    """Default a pod's spec, also inside templates."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in _items(spec, "initContainers") + _items(spec, "containers"):
        _container(container)
    for volume in _items(spec, "volumes"):
        _volume(volume)


def _container(container: dict[str, Any]) -> None:
    image = str(container.get("image") or "")
    tag = image.rpartition("/")[2].partition(":")[2]
    is_latest = "@" not in image and tag in ("", "latest")
    container.setdefault("resources", {})
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", "Always" if is_latest else "IfNotPresent")
    for port in _items(container, "ports"):
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if isinstance(probe, dict):
            _probe(probe)
    for env in _items(container, "env"):
        reference = (env.get("valueFrom") or {}).get("fieldRef")
        if isinstance(reference, dict):
            reference.setdefault("apiVersion", "v1")
    lifecycle = container.get("lifecycle")
    if isinstance(lifecycle, dict):
        for handler in lifecycle.values():
            if isinstance(handler, dict):
                _http_action(handler)


def _probe(probe: dict[str, Any]) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(name):
            probe[name] = value
    _http_action(probe)
    if isinstance(probe.get("grpc"), dict):
        probe["grpc"].setdefault("service", "")


def _http_action(handler: dict[str, Any]) -> None:
    action = handler.get("httpGet")
    if isinstance(action, dict):
        if not action.get("path"):
            action["path"] = "/"
        action.setdefault("scheme", "HTTP")


def _volume(volume: dict[str, Any]) -> None:
    for name in ("configMap", "secret", "projected", "downwardAPI"):
        if isinstance(volume.get(name), dict):
            volume[name].setdefault("defaultMode", 0o644)
    if not volume.keys() - {"name"}:
        volume["emptyDir"] = {}


def _template(obj: dict[str, Any]) -> None:
    template = obj["spec"].get("template")
    if isinstance(template, dict) and isinstance(template.setdefault("spec", {}), dict):
        pod_spec(template["spec"])


def _deployment(deployment: dict[str, Any]) -> None:
    spec = deployment.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    _template(deployment)


def _replica_set(replica_set: dict[str, Any]) -> None:
    replica_set.setdefault("spec", {}).setdefault("replicas", 1)
    _template(replica_set)


def _stateful_set(stateful_set: dict[str, Any]) -> None:
    spec = stateful_set.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    _template(stateful_set)


def _daemon_set(daemon_set: dict[str, Any]) -> None:
    spec = daemon_set.setdefault("spec", {})
    spec.setdefault("revisionHistoryLimit", 10)
    _template(daemon_set)


def _job(job: dict[str, Any]) -> None:
    _job_spec(job.setdefault("spec", {}))


def _job_spec(spec: dict[str, Any]) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.setdefault("spec", {}), dict):
        pod_spec(template["spec"])


def _cron_job(cron_job: dict[str, Any]) -> None:
    spec = cron_job.setdefault("spec", {})
    spec.setdefault("concurrencyPolicy", "Allow")
    spec.setdefault("suspend", False)
    spec.setdefault("successfulJobsHistoryLimit", 3)
    spec.setdefault("failedJobsHistoryLimit", 1)


def _namespace(namespace: dict[str, Any]) -> None:
    labels = namespace["metadata"].setdefault("labels", {}) or {}
    namespace["metadata"]["labels"] = labels
    if namespace["metadata"].get("name"):
        labels["kubernetes.io/metadata.name"] = namespace["metadata"]["name"]
    namespace.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    namespace.setdefault("status", {}).setdefault("phase", "Active")


def _webhooks(configuration: dict[str, Any]) -> None:
    for webhook in _items(configuration, "webhooks"):
        webhook.setdefault("failurePolicy", "Fail")
        webhook.setdefault("matchPolicy", "Equivalent")
        webhook.setdefault("timeoutSeconds", 10)
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        for rule in _items(webhook, "rules"):
            rule.setdefault("scope", "*")


def _items(obj: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = obj.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


DEFAULTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "namespaces.": _namespace,
    "pods.": _pod,
    "services.": _service,
    "endpoints.": _endpoints,
    "secrets.": _secret,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "statefulsets.apps": _stateful_set,
    "daemonsets.apps": _daemon_set,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    CRD_KEY: default_definition,
}
"""By collection key."""
