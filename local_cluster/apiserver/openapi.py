"""OpenAPI v3 documents, one per group version: what kubectl's `apply`, `create` and `explain` read.

Documents are derived from the registry and the schemas, cached until a kind comes or goes, and named by a hash of their
content, because kubectl keeps them on disk by it. Conformance: api-clients statement 58.
"""

import hashlib
from typing import Any

import orjson

from local_cluster.apiserver.errors import page_not_found
from local_cluster.apiserver.openapi_paths import RESPONSES, SECURITY, paths_of
from local_cluster.apiserver.resources import Registry, ResourceType
from local_cluster.apiserver.schemas import ANYTHING, Schemas

__all__ = ["OpenApi"]

_COMPONENTS = "#/components/schemas/"
_SHARED = ("meta/v1.Status", "meta/v1.ListMeta", "meta/v1.DeleteOptions")
"""What the operations of every kind refer to."""
_SCALE = "autoscaling/v1.Scale"


class OpenApi:
    """The documents of one server."""

    def __init__(self, registry: Registry, schemas: Schemas) -> None:
        self._registry = registry
        self._schemas = schemas
        self._revision = -1
        self._documents: dict[str, bytes] = {}
        self._index = b""

    def page(self, path: str) -> bytes:
        """The index (`path` empty) or the document of `api/v1`, `apis/{group}/{version}`. Raises 404."""
        if self._revision != self._registry.revision:
            self._render()
        if not path:
            return self._index
        document = self._documents.get(path)
        if document is None:
            raise page_not_found()
        return document

    def _render(self) -> None:
        self._revision = self._registry.revision
        self._documents = {}
        for group, versions in self._registry.group_versions().items():
            for version in versions:
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                self._documents[path] = orjson.dumps(self._document(path, group, version), option=orjson.OPT_SORT_KEYS)
        links = {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={hashlib.sha256(document).hexdigest().upper()}"}
            for path, document in self._documents.items()
        }
        self._index = orjson.dumps({"paths": links})

    def _document(self, path: str, group: str, version: str) -> dict[str, Any]:
        kinds = self._registry.in_group_version(group, version)
        components: dict[str, Any] = {}
        paths: dict[str, Any] = {}
        for name in _SHARED:
            self._add_component(name, components)
        for kind in kinds:
            self._add_component(kind.schema, components)
            component = _component_name(kind.schema)
            components[component]["x-kubernetes-group-version-kind"] = [_type_of(kind)]
            if "list" in kind.verbs:
                components[f"{component}List"] = _list_of(kind, component)
            if kind.scale is not None:
                self._add_component(_SCALE, components)
            paths |= paths_of(path, kind, component)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "unversioned"},
            "paths": paths,
            "components": {"schemas": components, "responses": RESPONSES, "securitySchemes": SECURITY},
            "security": [{name: []} for name in SECURITY],
        }

    def _add_component(self, name: str, components: dict[str, Any]) -> None:
        """Add the schema `name` and everything that it refers to."""
        pending = [name]
        while pending:
            current = pending.pop()
            component = _component_name(current)
            if component not in components:
                node = self._schemas.get(current) or ANYTHING
                components[component] = _rewritten(node, pending)


def _rewritten(node: dict[str, Any], referred: list[str]) -> dict[str, Any]:
    """A copy of a node with references as OpenAPI writes them; the names that it refers to are collected."""
    copied: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            copied[key] = {name: _rewritten(child, referred) for name, child in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            copied[key] = _rewritten(value, referred)
        elif key in ("allOf", "anyOf", "oneOf"):
            copied[key] = [_rewritten(child, referred) for child in value]
        elif key != "$ref":
            copied[key] = value
    if "$ref" not in node:
        return copied
    referred.append(node["$ref"])
    reference = {"$ref": _COMPONENTS + _component_name(node["$ref"])}
    # OpenAPI 3.0 ignores everything beside a reference.
    return {"allOf": [reference], **copied} if copied else reference


def _component_name(schema: str) -> str:
    """`core/v1.Pod` as `io.k8s.api.core.v1.Pod`; other groups reversed, as Kubernetes names them."""
    group, _, rest = schema.partition("/")
    if group == "meta":
        return f"io.k8s.apimachinery.pkg.apis.meta.{rest}"
    if "." not in group or group.endswith(".k8s.io"):
        return f"io.k8s.api.{group.split('.')[0]}.{rest}"
    return ".".join(reversed(group.split("."))) + f".{rest}"


def _list_of(kind: ResourceType, component: str) -> dict[str, Any]:
    """The schema of a collection of a kind."""
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text,
            "kind": text,
            "metadata": {"$ref": _COMPONENTS + _component_name("meta/v1.ListMeta")},
            "items": {"type": "array", "items": {"$ref": _COMPONENTS + component}},
        },
        "x-kubernetes-group-version-kind": [{**_type_of(kind), "kind": f"{kind.kind}List"}],
    }


def _type_of(kind: ResourceType) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}
