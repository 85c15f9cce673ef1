"""What an ApiServerSource tells of a change: one event of an object, whole or by its name.

Pure. Source: spec eventing-sources.md 3.2; knative/eventing `pkg/adapter/apiserver/events/events.go`.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from eventing.event import Event
from eventing.values import Value
from kube.names import plural_of

__all__ = ["event_of", "is_controlled_by", "resource_path"]

_VERBS: Final = {"ADDED": "add", "MODIFIED": "update", "DELETED": "delete"}
_PREFIXES: Final = {"Reference": "dev.knative.apiserver.ref", "Resource": "dev.knative.apiserver.resource"}


def event_of(watched: str, obj: Mapping[str, Any], whole: bytes, *, mode: str, source: str) -> Event | None:
    """The event of a watch event of this type (`ADDED`, ...); None for one that says nothing of an object.

    `whole` is the object as it came, `source` the URL of the API server; `mode` is `Reference` or `Resource`.
    """
    verb = _VERBS.get(watched)
    if verb is None:
        return None
    metadata = obj.get("metadata") or {}
    about = {
        "kind": str(obj.get("kind") or ""),
        "namespace": str(metadata.get("namespace") or ""),
        "name": str(metadata.get("name") or ""),
        "apiVersion": str(obj.get("apiVersion") or ""),
    }
    where = f"/apis/{about['apiVersion']}/namespaces/{about['namespace']}"
    attributes: dict[str, Value] = {
        "specversion": "1.0",
        "type": f"{_PREFIXES[mode]}.{verb}",
        "source": source,
        "subject": f"{where}/{plural_of(about['kind'])}/{about['name']}",
        "datacontenttype": "application/json",
        **{name.lower(): value for name, value in about.items()},
    }
    if mode == "Resource":
        return Event(attributes, whole)
    data = {name: value for name, value in about.items() if value}
    return Event(attributes, json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode())


def is_controlled_by(obj: Mapping[str, Any], api_version: str, kind: str) -> bool:
    """Whether the owner that controls the object is of this kind; other owners do not count."""
    owners = (obj.get("metadata") or {}).get("ownerReferences") or []
    return any(
        owner.get("controller") is True and owner.get("apiVersion") == api_version and owner.get("kind") == kind
        for owner in owners
    )


def resource_path(group: str, version: str, resource: str, namespace: str | None) -> str:
    """The REST path of a collection; `namespace` None: of all."""
    begin = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{begin}/namespaces/{namespace}/{resource}" if namespace is not None else f"{begin}/{resource}"
