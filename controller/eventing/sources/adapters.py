"""What the reconcilers of sources share: the sink, the state of the adapter's Deployment, the adapter's environment.

Source: knative/eventing `pkg/apis/sources/v1/*_lifecycle.go`, `pkg/adapter/v2/configurator_environment.go`; spec
eventing-sources.md 1.1, 1.2.
"""

import json
from typing import Any

import msgspec

from controller.eventing.cluster import EventingCluster
from controller.eventing.resolving import Unresolved
from kube.conditions import Conditions
from kube.models.apps import Deployment
from kube.models.duck import Destination
from kube.models.meta import LabelSelector
from kube.models.sources import CloudEventOverrides, SourceStatus

__all__ = ["mark_deployed", "overrides_json", "resolve_sink", "selector_text", "shared_environment", "variable"]

JsonObject = dict[str, Any]

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


def variable(name: str, value: str) -> JsonObject:
    """An environment variable of a container."""
    return {"name": name, "value": value}


def shared_environment(cluster: EventingCluster, component: str) -> list[JsonObject]:
    """The settings that every adapter gets, as JSON of the ConfigMaps that they are written in."""

    def data_of(name: str) -> str:
        found = cluster.config_maps.get(cluster.system_namespace, name)
        data = {} if found is None else {key: text for key, text in found.data.items() if not key.startswith("_")}
        return json.dumps(data, separators=(",", ":"), sort_keys=True)

    return [
        variable("K_COMPONENT", component),
        variable("K_LOGGING_CONFIG", data_of("config-logging")),
        variable("K_OBSERVABILITY_CONFIG", data_of("config-observability")),
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
