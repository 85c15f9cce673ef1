"""Certificates of an Ingress on its Gateway: listeners, and leave to read the Secrets. Pure.

Local names have none, as in the original. Source: net-gateway-api `pkg/reconciler/ingress/reconcile_resources.go`,
`resources/reference_grant.go`; spec ingress.md 6.
"""

from typing import Any

import msgspec

from controller import keys
from controller.gateway_api.settings import GatewayChoice
from kube.ingress.spec import tls_entries
from kube.models.gateway_api import Gateway, ReferenceGrant
from kube.models.networking import Ingress, IngressSpec

__all__ = ["grants", "is_of", "listeners", "name_of", "owners_of", "with_listeners"]

_PREFIX = "kni-"
_UID_LENGTH = 36

JsonObject = dict[str, Any]


def name_of(ingress: Ingress) -> str:
    """Of its first listener, and of its grants; other listeners have a number behind it."""
    return f"{_PREFIX}{ingress.metadata.uid}"


def is_of(listener: JsonObject, ingress: Ingress) -> bool:
    """Whether the listener is the Ingress's."""
    name, own = str(listener.get("name", "")), name_of(ingress)
    return name == own or name.startswith(f"{own}-")


def owners_of(gateway: Gateway) -> set[str]:
    """The names, as by `name_of`, of the Ingresses that have listeners at the Gateway."""
    names = (str(each.get("name", "")) for each in gateway.spec.get("listeners") or ())
    return {name[: len(_PREFIX) + _UID_LENGTH] for name in names if name.startswith(_PREFIX)}


def listeners(ingress: Ingress, spec: IngressSpec) -> list[JsonObject]:
    """One for each public host with a certificate, in the order of the alphabet."""
    secrets: dict[str, JsonObject] = {}
    public = {host for rule in spec.rules if rule.visibility != "ClusterLocal" for host in rule.hosts}
    for entry in tls_entries(spec, "ExternalIP"):
        for host in public.intersection(entry.hosts):
            reference = {"group": "", "kind": "Secret", "namespace": entry.secret_namespace, "name": entry.secret_name}
            secrets.setdefault(host, reference)
    same = {"kubernetes.io/metadata.name": ingress.namespace}
    return [
        {
            "name": f"{name_of(ingress)}-{number}" if number else name_of(ingress),
            "hostname": host,
            "port": 443,
            "protocol": "HTTPS",
            "tls": {"mode": "Terminate", "certificateRefs": [secrets[host]]},
            "allowedRoutes": {"namespaces": {"from": "Selector", "selector": {"matchLabels": same}}},
        }
        for number, host in enumerate(sorted(secrets))
    ]


def with_listeners(gateway: Gateway, ingress: Ingress, wanted: list[JsonObject]) -> list[JsonObject]:
    """The Gateway's listeners with those of the Ingress as wanted, and those of others as they are."""
    return [*(each for each in gateway.spec.get("listeners") or () if not is_of(each, ingress)), *wanted]


def grants(ingress: Ingress, wanted: list[JsonObject], choice: GatewayChoice) -> list[JsonObject]:
    """Leave for the Gateway to read the listeners' Secrets, for each namespace but its own."""
    secrets: dict[str, set[str]] = {}
    for listener in wanted:
        for reference in listener["tls"]["certificateRefs"]:
            secrets.setdefault(reference["namespace"], set()).add(reference["name"])
    secrets.pop(choice.gateway[0], None)
    return [_grant(ingress, namespace, sorted(names), choice) for namespace, names in sorted(secrets.items())]


def _grant(ingress: Ingress, namespace: str, secrets: list[str], choice: GatewayChoice) -> JsonObject:
    metadata: JsonObject = {
        "name": name_of(ingress),
        "namespace": namespace,
        "labels": {**ingress.metadata.labels, keys.INGRESS: ingress.name},
    }
    if namespace == ingress.namespace:  # an owner in another namespace is none
        metadata["ownerReferences"] = [msgspec.to_builtins(ingress.owner_reference())]
    return {
        "apiVersion": ReferenceGrant.RESOURCE.api_version,
        "kind": ReferenceGrant.RESOURCE.kind,
        "metadata": metadata,
        "spec": {
            "from": [{"group": Gateway.RESOURCE.group, "kind": "Gateway", "namespace": choice.gateway[0]}],
            "to": [{"group": "", "kind": "Secret", "name": name} for name in secrets],
        },
    }
