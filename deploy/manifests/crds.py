"""CustomResourceDefinitions of all of Knative's kinds, as the local API server has them.

One table says what a kind is called, what kubectl prints and which fields there are (`local_cluster.apiserver`), so a
manifest that the local stack takes is taken by a cluster. Where that table refers to Kubernetes' own types, such as a
container, a CRD says that any field is kept: the webhook checks those, and all of a pod's types are a megabyte.

Source: Kubernetes, structural schemas; printer columns of CRDs.
"""

from typing import Any

from local_cluster.apiserver.columns import AGE
from local_cluster.apiserver.eventing_schemas import add_eventing_schemas
from local_cluster.apiserver.knative_kinds import KNATIVE_KINDS
from local_cluster.apiserver.knative_schemas import add_knative_schemas
from local_cluster.apiserver.resources import Column, ResourceType
from local_cluster.apiserver.schemas import ANYTHING, Schemas

__all__ = ["definitions"]

JsonObject = dict[str, Any]

_OURS = "knative.dev"
"""End of the groups whose types are written out."""
_BUILT_IN_ONLY = ("x-kubernetes-patch-merge-key", "x-kubernetes-patch-strategy")
"""How strategic merge patches treat a list: custom kinds know no such patches, and their schemas no such words."""


def definitions() -> list[JsonObject]:
    """One CustomResourceDefinition per kind, sorted by name."""
    schemas = Schemas()
    add_knative_schemas(schemas)
    add_eventing_schemas(schemas)
    kinds: dict[str, list[ResourceType]] = {}
    for kind in KNATIVE_KINDS:
        kinds.setdefault(kind.key, []).append(kind)
    return [_definition(name, versions, schemas) for name, versions in sorted(kinds.items())]


def _definition(name: str, versions: list[ResourceType], schemas: Schemas) -> JsonObject:
    kind = versions[0]
    names: JsonObject = {"kind": kind.kind, "plural": kind.plural, "singular": kind.singular}
    if kind.short_names:
        names["shortNames"] = list(kind.short_names)
    if kind.categories:
        names["categories"] = list(kind.categories)
    part = "knative-eventing" if kind.group.split(".")[0] in _EVENTING else "knative-serving"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": part, "knative.dev/crd-install": "true"}},
        "spec": {
            "group": kind.group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [_version(each, schemas) for each in versions],
        },
    }


_EVENTING = {"eventing", "messaging", "flows", "sources", "sinks"}


def _version(kind: ResourceType, schemas: Schemas) -> JsonObject:
    found: JsonObject = {
        "name": kind.version,
        "served": True,
        "storage": kind.is_stored_form,
        "schema": {"openAPIV3Schema": _root(kind, schemas)},
    }
    if kind.has_status:
        found["subresources"] = {"status": {}}
    columns = [_column(column) for column in kind.columns if isinstance(column.cell, str)]
    if AGE in kind.columns:
        columns.append({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"})
    if columns:
        found["additionalPrinterColumns"] = columns
    return found


def _root(kind: ResourceType, schemas: Schemas) -> JsonObject:
    known = schemas.get(kind.schema)
    node = _structural(known, schemas) if known is not None else dict(ANYTHING)
    properties = {name: child for name, child in node.get("properties", {}).items() if name != "metadata"}
    return {**node, "type": "object", "properties": {**properties, "metadata": {"type": "object"}}}


def _structural(node: Any, schemas: Schemas, inside: frozenset[str] = frozenset()) -> JsonObject:
    """A node without references, which CRDs may not have. `inside`: types that it is a part of.

    A type that holds itself, as filters of filters do, is written out once; what is deeper is kept as it comes.
    """
    if "$ref" in node:
        name = node["$ref"]
        target = schemas.get(name)
        if target is None or name in inside or not name.split("/")[0].endswith(_OURS):
            return {**ANYTHING, **({"description": node["description"]} if "description" in node else {})}
        extra = {key: value for key, value in node.items() if key != "$ref"}
        return _structural({**target, **extra}, schemas, inside | {name})
    if node.get("format") == "int-or-string":
        return {"x-kubernetes-int-or-string": True}
    if "oneOf" in node:
        # A quantity, a text or a number: no structural schema can say that, so whatever is there is kept.
        return {"x-kubernetes-preserve-unknown-fields": True}
    found = {key: value for key, value in node.items() if key not in _BUILT_IN_ONLY}
    if "properties" in found:
        found["properties"] = {key: _structural(child, schemas, inside) for key, child in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _structural(found[key], schemas, inside)
    return found


def _column(column: Column) -> JsonObject:
    found: JsonObject = {"name": column.name, "type": column.type, "jsonPath": column.cell}
    if column.priority:
        found["priority"] = column.priority
    return found
