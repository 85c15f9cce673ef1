"""The paths of one kind in its OpenAPI document: every method that is answered, its parameters, bodies and answers.

A path has the methods that the router lets through (`methods.allowed_methods`), so that documents and server cannot
differ. Watches are left out: OpenAPI has no words for a stream of events.
"""

import re
from typing import Any, Final

from local_cluster.apiserver.methods import allowed_methods
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.schemas import ANYTHING

__all__ = ["RESPONSES", "SECURITY", "paths_of"]

SECURITY: Final[dict[str, Any]] = {
    "BearerToken": {"type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer and a token"}
}

_COMPONENTS: Final = "#/components/schemas/"
_META: Final = f"{_COMPONENTS}io.k8s.apimachinery.pkg.apis.meta.v1."
_STATUS: Final = {"$ref": f"{_META}Status"}
_SCALE: Final = f"{_COMPONENTS}io.k8s.api.autoscaling.v1.Scale"
_JSON: Final = "application/json"
RESPONSES: Final = {"Refused": {"description": "Refused", "content": {_JSON: {"schema": _STATUS}}}}
"""Answers that operations refer to."""
_REFUSALS: Final = ("400", "401", "403", "404", "406", "409", "410", "413", "415", "422", "429")
_TEXT: Final[dict[str, Any]] = {"type": "string"}
_COUNT: Final[dict[str, Any]] = {"type": "integer", "format": "int64", "minimum": 0}
_FLAG: Final[dict[str, Any]] = {"type": "boolean"}
_DRY_RUN: Final = {"dryRun": {"type": "string", "enum": ["All"]}}
_SELECTORS: Final = {"labelSelector": _TEXT, "fieldSelector": _TEXT}
_LISTING: Final = {
    **_SELECTORS,
    "limit": _COUNT,
    "continue": _TEXT,
    "resourceVersion": _TEXT,
    "resourceVersionMatch": {"type": "string", "enum": ["Exact", "NotOlderThan"]},
}
_WRITING: Final = {
    **_DRY_RUN,
    "fieldManager": {"type": "string", "maxLength": 128},
    "fieldValidation": {"type": "string", "enum": ["Ignore", "Warn", "Strict"]},
}
_DELETING: Final = {
    **_DRY_RUN,
    "gracePeriodSeconds": _COUNT,
    "orphanDependents": _FLAG,
    "propagationPolicy": {"type": "string", "enum": ["Background", "Foreground", "Orphan"]},
}
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "list": _LISTING,
    "get": {},
    "post": _WRITING,
    "put": _WRITING,
    "patch": {**_WRITING, "force": _FLAG},
    "delete": _DELETING,
    "deletecollection": {**_DELETING, **_SELECTORS},
}
_PATCHES: Final[dict[str, dict[str, Any]]] = {
    "application/json-patch+json": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["op", "path"],
            "properties": {
                "op": {"type": "string", "enum": ["add", "remove", "replace", "move", "copy", "test"]},
                "path": _TEXT,
                "from": _TEXT,
                "value": {},
            },
        },
    },
    "application/merge-patch+json": ANYTHING,
    "application/apply-patch+yaml": ANYTHING,
    "application/strategic-merge-patch+json": ANYTHING,
}


def paths_of(base: str, kind: ResourceType, component: str) -> dict[str, Any]:
    """The paths below `base` (`api/v1`, `apis/{group}/{version}`); `component` is the schema of the kind."""
    paths: dict[str, Any] = {}
    everywhere, inside = f"/{base}/{kind.plural}", f"/{base}/namespaces/{{namespace}}/{kind.plural}"
    own = inside if kind.namespaced else everywhere
    parts = ("", *(f"/{name}" for name in kind.subresources())) if "get" in kind.verbs else ()
    for path in dict.fromkeys((everywhere, own, *(f"{own}/{{name}}{part}" for part in parts))):
        named = re.findall(r"{(\w+)}", path)
        part = path.rpartition("{name}/")[2] if "{name}/" in path else ""
        methods = allowed_methods(kind, "namespace" if "namespace" in named else "", "name" * ("name" in named), part)
        if path == everywhere != own and "POST" in methods:
            continue  # a question about a namespace is asked inside one
        paths[path] = {
            **{method.lower(): _operation(kind, method.lower(), path, part, component) for method in methods},
            "parameters": [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in named],
        }
    return paths


def _operation(kind: ResourceType, method: str, path: str, part: str, component: str) -> dict[str, Any]:
    is_collection = "{name}" not in path
    action = {"get": "list", "delete": "deletecollection"}.get(method, method) if is_collection else method
    scope = "" if not kind.namespaced or "{namespace}" in path else "AllNamespaces"
    is_scale = part == "scale"
    subject = {"$ref": _SCALE if is_scale else _COMPONENTS + component}
    operation: dict[str, Any] = {
        "operationId": f"{action}{kind.group.title().replace('.', '')}{kind.version.title()}{kind.kind}"
        f"{part.title()}{scope}",
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _type_of(kind, is_scale=is_scale),
        "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in _PARAMETERS[action].items()],
        "responses": _answers(action, subject, component),
    }
    match action:
        case "post" | "put":
            operation["requestBody"] = _body({_JSON: subject}, is_required=True)
        case "patch":
            left_out = ["application/strategic-merge-patch+json"] * kind.is_custom
            left_out += ["application/apply-patch+yaml"] * is_scale
            types = {name: schema for name, schema in _PATCHES.items() if name not in left_out}
            operation["requestBody"] = _body(types, is_required=True)
        case "delete" | "deletecollection":
            operation["requestBody"] = _body({_JSON: {"$ref": f"{_META}DeleteOptions"}}, is_required=False)
    return operation


def _type_of(kind: ResourceType, *, is_scale: bool) -> dict[str, str]:
    if is_scale:
        return {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _body(types: dict[str, dict[str, Any]], *, is_required: bool) -> dict[str, Any]:
    return {"required": is_required, "content": {name: {"schema": schema} for name, schema in types.items()}}


def _answers(action: str, subject: dict[str, str], component: str) -> dict[str, Any]:
    refused = {"$ref": "#/components/responses/Refused"}
    shown: dict[str, Any]
    match action:
        case "list" | "deletecollection":
            shown = {"$ref": f"{_COMPONENTS}{component}List"}
        case "delete":
            shown = {"anyOf": [subject, _STATUS]}
        case _:
            shown = subject
    done = {"description": "OK", "content": {_JSON: {"schema": shown}}}
    codes = {"post": ("201",), "patch": ("200", "201")}.get(action, ("200",))
    return {**dict.fromkeys(codes, done), **dict.fromkeys(_REFUSALS, refused)}
