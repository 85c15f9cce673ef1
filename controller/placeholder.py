"""Placeholder Services: how the cluster's own DNS leads a Route's names to the gateway.

Pure: a Route, its names and what the gateway reported in, core Services and Endpoints as dicts out. Source:
knative/serving `pkg/reconciler/route/resources/service.go`; spec control-plane.md 7.4.
"""

from typing import Any

import msgspec

from controller import keys
from controller.domains import Hosts
from kube.models.core import Service
from kube.models.networking import IngressStatus, LoadBalancerIngress
from kube.models.serving import Route

__all__ = ["build", "drift_patch", "endpoints", "load_balancer", "must_recreate", "spec_for"]

JsonObject = dict[str, Any]


def build(route: Route, hosts: Hosts, spec: JsonObject | None = None) -> JsonObject:
    """A tag's Service as it is created: an alias of its own full name, until the gateway says where it is."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(route, hosts.label),
        "spec": spec or alias(hosts),
    }


def metadata(route: Route, name: str) -> JsonObject:
    """Metadata of a placeholder. Visibility is left out: on a placeholder it is the user's to set, tag by tag."""
    labels = keys.without(route.metadata.labels, (keys.VISIBILITY,))
    return {
        "name": name,
        "namespace": route.metadata.namespace,
        "labels": {**labels, keys.ROUTE: route.metadata.name},
        "annotations": dict(route.metadata.annotations),
        "ownerReferences": [msgspec.to_builtins(route.owner_reference())],
    }


def alias(hosts: Hosts) -> JsonObject:
    """ExternalName spec towards the tag's full name."""
    return _external(hosts.fqdn)


def load_balancer(status: IngressStatus, *, is_local: bool) -> LoadBalancerIngress | None:
    """The one way to the gateway that counts, or None when there is none or it is not clear which.

    The private face is preferred; what only the cluster may reach has no other.
    """
    chosen = status.private_load_balancer
    if chosen is None and not is_local:
        chosen = status.public_load_balancer
    if chosen is None or len(chosen.ingress) != 1:
        return None
    return chosen.ingress[0]


def spec_for(entry: LoadBalancerIngress) -> JsonObject | None:
    """The Service's spec once the gateway is known; None when the entry says nothing."""
    if entry.ip:
        return {"type": "ClusterIP", "clusterIP": "None", "ports": [_http2_port()]}
    if entry.domain_internal:
        return {**_external(entry.domain_internal), "sessionAffinity": "None"}
    if entry.domain:
        return _external(entry.domain)
    if entry.mesh_only:
        return {"type": "ClusterIP", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    return None


def endpoints(route: Route, name: str, entry: LoadBalancerIngress) -> JsonObject | None:
    """Endpoints of a headless placeholder, or None when it is not one."""
    if not entry.ip:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata(route, name),
        "subsets": [{"addresses": [{"ip": entry.ip}], "ports": [{"name": "http2", "port": 80, "protocol": "TCP"}]}],
    }


def drift_patch(existing: Service, wanted: JsonObject) -> JsonObject | None:
    """A merge patch that makes `existing` lead where `wanted` does, or None when it does."""
    held = existing.spec
    if wanted["type"] == "ExternalName":
        same = held.type == "ExternalName" and held.external_name == wanted["externalName"]
    else:
        same = held.type != "ExternalName" and [(port.name, port.port) for port in held.ports] == [
            (port["name"], port["port"]) for port in wanted["ports"]
        ]
    return None if same else {"spec": {"externalName": None, **wanted}}


def must_recreate(existing: Service, wanted: JsonObject) -> bool:
    """Whether the API refuses the change in place: a ClusterIP cannot be given up."""
    held = existing.spec
    if held.type == "ExternalName":
        return False
    if wanted["type"] == "ExternalName":
        return True
    return (held.cluster_ip == "None") != (wanted.get("clusterIP") == "None")


def _external(name: str) -> JsonObject:
    return {"type": "ExternalName", "externalName": name, "sessionAffinity": "None", "ports": [_http2_port()]}


def _http2_port() -> JsonObject:
    return {"name": "http2", "port": 80, "targetPort": 80, "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"}
