"""What the reconcilers of sources share: the sink, the state of the adapter's Deployment, the adapter's environment.

Source: knative/eventing `pkg/apis/sources/v1/*_lifecycle.go`, `pkg/adapter/v2/configurator_environment.go`; spec
eventing-sources.md 1.1, 1.2.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from controller.eventing.children import child_metadata
from controller.eventing.cluster import EventingCluster
from controller.eventing.resolving import Unresolved
from controller.eventing.sources.collections import SOURCE_LABEL
from kube.conditions import Conditions
from kube.models.apps import Deployment
from kube.models.duck import Destination
from kube.models.meta import LabelSelector
from kube.models.sources import ApiServerSource, CloudEventOverrides, JetStreamSource, SourceStatus
from kube.names import child_name

__all__ = [
    "AdapterKind",
    "adapter_deployment",
    "mark_deployed",
    "overrides_json",
    "resolve_sink",
    "selector_text",
]

JsonObject = dict[str, Any]
Source: TypeAlias = ApiServerSource | JetStreamSource

_RETRY_S = 30.0


async def resolve_sink(
    cluster: EventingCluster, sink: Destination, namespace: str, status: SourceStatus, conditions: Conditions
) -> float | None:
    """Set the status's sink and `SinkProvided`; it is resolved when that is True. Seconds to look again, or None."""
    try:
        found = await cluster.references.resolve(sink, namespace)
    except Unresolved as error:
        status.sink_uri = status.sink_ca_certs = status.sink_audience = None
        conditions.mark_false("SinkProvided", "NotFound", str(error))
        return _RETRY_S if error.is_transient else None
    status.sink_uri, status.sink_ca_certs, status.sink_audience = found.url, found.ca_certs, found.audience
    conditions.mark_true("SinkProvided")
    return None


def mark_deployed(type_: str, deployment: Deployment, conditions: Conditions) -> None:
    """Set a condition as the Deployment's `Available` is."""
    for condition in deployment.status.conditions:
        if condition.type != "Available":
            continue
        if condition.status == "True":
            conditions.mark_true(type_)
        elif condition.status == "False":
            conditions.mark_false(type_, condition.reason, condition.message)
        else:
            conditions.mark_unknown(type_, condition.reason, condition.message)
        return
    text = f"The Deployment '{deployment.name}' is unavailable."
    conditions.mark_unknown(type_, "DeploymentUnavailable", text)


def overrides_json(overrides: CloudEventOverrides | None) -> str:
    """`K_CE_OVERRIDES`: the empty text when there are none."""
    if overrides is None or not overrides.extensions:
        return ""
    return json.dumps(msgspec.to_builtins(overrides), separators=(",", ":"), sort_keys=True)


def _variable(name: str, value: str) -> JsonObject:
    """An environment variable of a container."""
    return {"name": name, "value": value}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterKind:
    """What the adapters of one kind of sources have in common."""

    component: str
    """In logs and metrics, and the beginning of a Deployment's name."""
    controller: str
    """Value of the label that says who looks after it."""
    name_label: str
    """The label with the source's name."""
    role: str
    """The argument of `python -m sources`."""


def adapter_deployment(
    cluster: EventingCluster,
    source: Source,
    status: SourceStatus,
    *,
    about: AdapterKind,
    image: str,
    config: str,
    service_account: str = "",
    node_selector: Mapping[str, str] | None = None,
) -> JsonObject:
    """The adapter of one source. It is restarted by every change of what it is told; `config` is `K_SOURCE_CONFIG`."""
    info = source.RESOURCE
    labels = {SOURCE_LABEL: about.controller, about.name_label: source.name}
    env = [
        _variable("K_SINK", status.sink_uri or ""),
        _variable("K_SOURCE_CONFIG", config),
        _variable("NAME", source.name),
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        _variable("K_RESOURCE_GROUP", f"{info.plural}.{info.group}"),
        _variable("SYSTEM_NAMESPACE", cluster.system_namespace),
        *_shared_environment(cluster, about.component),
        _variable("K_CE_OVERRIDES", overrides_json(source.spec.ce_overrides)),
    ]
    if status.sink_ca_certs:
        env.append(_variable("K_CA_CERTS", status.sink_ca_certs))
    if status.sink_audience:
        env.append(_variable("K_AUDIENCE", status.sink_audience))
    if status.auth is not None and status.auth.service_account_name:
        env.append(_variable("K_OIDC_SERVICE_ACCOUNT", status.auth.service_account_name))
    container = {
        "name": "receive-adapter",
        "image": image,
        "args": [about.role],
        "env": env,
        "ports": [{"name": "metrics", "containerPort": 9090}, {"name": "health", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": 8080, "path": "/readiness"}},
    }
    pod: JsonObject = {"serviceAccountName": service_account or "default", "containers": [container]}
    if node_selector:
        pod["nodeSelector"] = dict(node_selector)
    name = child_name(f"{about.component}-{source.name}-", source.metadata.uid)
    return {
        "apiVersion": Deployment.RESOURCE.api_version,
        "kind": "Deployment",
        "metadata": child_metadata(source, name, labels),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _shared_environment(cluster: EventingCluster, component: str) -> list[JsonObject]:
    """The settings that every adapter gets, as JSON of the ConfigMaps that they are written in."""

    def data_of(name: str) -> str:
        found = cluster.config_maps.get(cluster.system_namespace, name)
        data = {} if found is None else {key: text for key, text in found.data.items() if not key.startswith("_")}
        return json.dumps(data, separators=(",", ":"), sort_keys=True)

    return [
        _variable("K_COMPONENT", component),
        _variable("K_LOGGING_CONFIG", data_of("config-logging")),
        _variable("K_OBSERVABILITY_CONFIG", data_of("config-observability")),
    ]


def selector_text(selector: LabelSelector | None) -> str:
    """A selector as the API's lists and watches take it."""
    if selector is None:
        return ""
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    for each in selector.match_expressions:
        values = ",".join(sorted(each.values))
        match each.operator:
            case "In":
                parts.append(f"{each.key} in ({values})")
            case "NotIn":
                parts.append(f"{each.key} notin ({values})")
            case "Exists":
                parts.append(each.key)
            case "DoesNotExist":
                parts.append(f"!{each.key}")
    return ",".join(parts)
