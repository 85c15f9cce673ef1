"""The Deployment of a Revision: the user's containers with Knative's additions, and queue-proxy beside them.

Pure: a Revision and settings in, the object as a dict out. Whether an existing Deployment must change is told by one
label, the hash of what is wanted here: the API server's own defaults in the stored object must not count as drift.
Source: knative/serving `pkg/reconciler/revision/resources/deploy.go`; spec control-plane.md 6.6.
"""

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from controller import keys, queue_container
from controller.settings import Settings
from kube.autoscaling.annotations import GROUPS as AUTOSCALING
from kube.autoscaling.annotations import INITIAL_SCALE, Annotations
from kube.models.apps import Deployment
from kube.models.serving import Revision
from kube.names import child_name
from proxies import gotext

__all__ = ["annotations_of_children", "build", "labels_of_children", "name_of", "update_patch"]

JsonObject = dict[str, Any]

VAR_LOG: Final = "knative-var-log"
_KNATIVE_FIELDS = ("containerConcurrency", "timeoutSeconds", "responseStartTimeoutSeconds", "idleTimeoutSeconds")
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def name_of(revision: Revision) -> str:
    """The Deployment's name."""
    return child_name(revision.metadata.name, "-deployment")


def labels_of_children(revision: Revision) -> dict[str, str]:
    """Labels of the Revision's Deployment, pods and PodAutoscaler."""
    labels = keys.without(revision.metadata.labels, (keys.ROUTE, keys.ROUTING_STATE))
    labels[keys.REVISION] = revision.metadata.name
    labels[keys.REVISION_UID] = revision.metadata.uid
    labels.setdefault("app", revision.metadata.name)
    return labels


def annotations_of_children(revision: Revision) -> dict[str, str]:
    """Annotations of the Revision that its children take over."""
    return keys.without(revision.metadata.annotations, keys.NOT_FOR_CHILDREN)


def build(revision: Revision, settings: Settings, system_namespace: str) -> JsonObject:
    """The Deployment as it is created. Raises `queue_container.ProbeWithoutPort`."""
    labels = labels_of_children(revision)
    annotations = {
        key: value for key, value in annotations_of_children(revision).items() if not key.startswith(AUTOSCALING)
    }
    serving = queue_container.serving_container(revision)
    spec: JsonObject = {
        "selector": {"matchLabels": {keys.REVISION_UID: revision.metadata.uid}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}},
        "revisionHistoryLimit": 0,
        "progressDeadlineSeconds": _progress_deadline_s(revision, settings),
        "template": {
            "metadata": {
                "labels": labels,
                "annotations": {**annotations, keys.DEFAULT_CONTAINER: str(serving.get("name", ""))},
            },
            "spec": _pod_spec(revision, settings, system_namespace),
        },
    }
    digest = _hash({"spec": spec, "annotations": annotations, "labels": labels})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name_of(revision),
            "namespace": revision.metadata.namespace,
            "labels": {**labels, keys.DEPLOYMENT_HASH: digest},
            "annotations": annotations,
            "ownerReferences": [msgspec.to_builtins(revision.owner_reference())],
        },
        "spec": {"replicas": initial_scale(revision, settings), **spec},
    }


def initial_scale(revision: Revision, settings: Settings) -> int:
    """Replicas at creation: the annotation's, else the cluster's. `min-scale` has no part in it."""
    wanted = Annotations(revision.metadata.annotations).int32(INITIAL_SCALE)
    return settings.autoscaler.initial_scale if wanted is None else wanted


def update_patch(existing: Deployment, wanted: Mapping[str, Any]) -> list[JsonObject] | None:
    """JSON patch operations that turn `existing` into `wanted`, or None when the hashes agree.

    Replicas and selector stay; labels and annotations of others (a `kubectl rollout restart`, say) survive.
    """
    meta, spec = wanted["metadata"], wanted["spec"]
    if existing.metadata.labels.get(keys.DEPLOYMENT_HASH) == meta["labels"][keys.DEPLOYMENT_HASH]:
        return None
    template = copy.deepcopy(spec["template"])
    held = existing.spec.template.get("metadata") or {}
    for name in ("labels", "annotations"):
        template["metadata"][name] = _merged(held.get(name) or {}, template["metadata"][name])
    return [
        {"op": "add", "path": "/metadata/labels", "value": _merged(existing.metadata.labels, meta["labels"])},
        {
            "op": "add",
            "path": "/metadata/annotations",
            "value": _merged(existing.metadata.annotations, meta["annotations"]),
        },
        {"op": "add", "path": "/spec/template", "value": template},
        *(
            {"op": "add", "path": f"/spec/{name}", "value": spec[name]}
            for name in ("strategy", "revisionHistoryLimit", "progressDeadlineSeconds")
        ),
    ]


def _merged(existing: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str]:
    """What is wanted, and what others put there: only `app` and Knative's own keys are ours to remove."""
    others = {key: value for key, value in existing.items() if key != "app" and "knative.dev/" not in key}
    return {**wanted, **others}


def _pod_spec(revision: Revision, settings: Settings, system_namespace: str) -> JsonObject:
    spec = copy.deepcopy({key: value for key, value in revision.spec.items() if key not in _KNATIVE_FIELDS})
    serving = queue_container.serving_container(revision)
    digests = {status.get("name"): status.get("imageDigest") for status in revision.status.container_statuses}
    collects_logs = settings.observability.collects_var_log
    spec["containers"] = [
        _user_container(container, revision, settings, is_serving=container is serving, digests=digests)
        for container in revision.spec.get("containers") or []
    ] + [queue_container.build(revision, settings, system_namespace)]
    volumes = list(spec.get("volumes") or [])
    if collects_logs:
        volumes.append({"name": VAR_LOG, "emptyDir": {}})
    volumes += queue_container.volumes(revision, settings)
    if volumes:
        spec["volumes"] = volumes
    spec["terminationGracePeriodSeconds"] = revision.timeout_s
    if spec.get("enableServiceLinks") is None and settings.defaults.enable_service_links is not None:
        spec["enableServiceLinks"] = settings.defaults.enable_service_links
    if not spec.get("affinity") and settings.deployment.spreads_pods:
        spec["affinity"] = _spread(revision.metadata.name)
    runtime_class = settings.deployment.runtime_class(revision.metadata.labels)
    if runtime_class and not spec.get("runtimeClassName"):
        spec["runtimeClassName"] = runtime_class
    return spec


def _user_container(
    original: JsonObject,
    revision: Revision,
    settings: Settings,
    *,
    is_serving: bool,
    digests: Mapping[Any, Any],
) -> JsonObject:
    container = copy.deepcopy(original)
    port = queue_container.user_port(revision)
    labels = revision.metadata.labels
    env = list(container.get("env") or [])
    if is_serving:
        container["ports"] = [{"name": "user-port", "containerPort": port}]
        env.append({"name": "PORT", "value": str(port)})
    env += [
        {"name": "K_REVISION", "value": revision.metadata.name},
        {"name": "K_CONFIGURATION", "value": labels.get(keys.CONFIGURATION, "")},
        {"name": "K_SERVICE", "value": labels.get(keys.SERVICE, "")},
    ]
    if settings.observability.collects_var_log:
        env += [
            {"name": "K_INTERNAL_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "K_INTERNAL_POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ]
        path = f"$(K_INTERNAL_POD_NAMESPACE)_$(K_INTERNAL_POD_NAME)_{container.get('name', '')}"
        mount = {"name": VAR_LOG, "mountPath": "/var/log", "subPathExpr": path}
        container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]
    container["env"] = env
    container["lifecycle"] = {"preStop": {"httpGet": {"port": queue_container.ADMIN_PORT, "path": "/wait-for-drain"}}}
    container["terminationMessagePolicy"] = container.get("terminationMessagePolicy") or "FallbackToLogsOnError"
    if digests.get(container.get("name")):
        container["image"] = digests[container.get("name")]
    # queue-proxy runs them; what a command says only the kubelet can find out.
    if "exec" not in (container.get("readinessProbe") or {}):
        container.pop("readinessProbe", None)
    _rewrite_liveness(container, port, keeps_numbers=settings.features.enabled("multi-container-probing"))
    return container


def _rewrite_liveness(container: JsonObject, port: int, *, keeps_numbers: bool) -> None:
    probe = container.get("livenessProbe") or {}
    for handler in ("httpGet", "tcpSocket"):
        action = probe.get(handler)
        if action is not None and not (keeps_numbers and isinstance(action.get("port"), int) and action["port"]):
            action["port"] = port


def _progress_deadline_s(revision: Revision, settings: Settings) -> int:
    text = revision.metadata.annotations.get(keys.PROGRESS_DEADLINE)
    try:
        return settings.deployment.progress_deadline_s if text is None else int(gotext.parse_duration_s(text))
    except ValueError:
        return settings.deployment.progress_deadline_s


def _spread(revision_name: str) -> JsonObject:
    """Prefer nodes that have no pod of this Revision."""
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {keys.REVISION: revision_name}},
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def _hash(value: object) -> str:
    """FNV-1a over the sorted JSON, in base 36: short, and the same in every process."""
    digest = 0x811C9DC5
    for byte in json.dumps(value, sort_keys=True, separators=(",", ":")).encode():
        digest = (digest ^ byte) * 0x01000193 & 0xFFFFFFFF
    digits = ""
    while digest:
        digest, rest = divmod(digest, 36)
        digits = _BASE36[rest] + digits
    return digits or "0"
