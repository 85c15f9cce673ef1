"""Objects as others want to see them: tables for `kubectl get`, and metadata alone.

Conformance: api-clients statement 59.
"""

from typing import Any

import orjson

from local_cluster.apiserver.columns import age_text
from local_cluster.apiserver.jsonpath import JsonPathError, compile_path
from local_cluster.apiserver.requests import Form, Representation
from local_cluster.apiserver.resources import Column, ResourceType

__all__ = ["Include", "Renderer", "partial_metadata", "table"]

_NAME = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": "Name must be unique within a namespace.",
    "priority": 0,
}


class Include:
    """How much of the object a table row carries (`includeObject`)."""

    NONE = "None"
    METADATA = "Metadata"
    OBJECT = "Object"


def partial_metadata(obj: dict[str, Any], version: str = "v1") -> dict[str, Any]:
    """The object's metadata alone, as `PartialObjectMetadata`."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": obj["metadata"]}


def definitions(kind: ResourceType) -> list[dict[str, Any]]:
    """The column definitions of a kind's table."""
    return [_NAME] + [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in kind.columns
    ]


def row(kind: ResourceType, obj: dict[str, Any], include: str, version: str) -> dict[str, Any]:
    """One object's row."""
    made: dict[str, Any] = {
        "cells": [obj["metadata"].get("name", ""), *(_cell(column, obj) for column in kind.columns)]
    }
    if include == Include.OBJECT:
        made["object"] = obj
    elif include != Include.NONE:
        made["object"] = partial_metadata(obj, version)
    return made


def table(
    kind: ResourceType,
    objects: list[dict[str, Any]],
    metadata: dict[str, Any],
    *,
    include: str = Include.METADATA,
    version: str = "v1",
    with_definitions: bool = True,
) -> dict[str, Any]:
    """A `Table` of `objects`. In a watch only the first table needs its column definitions."""
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": definitions(kind) if with_definitions else [],
        "rows": [row(kind, obj, include, version) for obj in objects],
    }


class Renderer:
    """Renders objects of one kind in one negotiated representation, as JSON bytes."""

    __slots__ = ("_include", "_kind", "_representation", "key")

    def __init__(self, kind: ResourceType, representation: Representation, include: str = Include.METADATA) -> None:
        self._kind = kind
        self._representation = representation
        self._include = include or Include.METADATA
        self.key = (kind.api_version, representation, self._include)
        """Equal for renderers that produce the same bytes."""

    @property
    def is_verbatim(self) -> bool:
        """Whether an object is shown exactly as it is stored."""
        return self._representation.form is Form.OBJECT and self._kind.is_stored_form

    def object(self, data: bytes) -> bytes:
        """One stored object."""
        if self.is_verbatim:
            return data
        obj = self._kind.shown(orjson.loads(data))
        match self._representation.form:
            case Form.OBJECT:
                return orjson.dumps(obj)
            case Form.PARTIAL:
                return orjson.dumps(partial_metadata(obj, self._representation.version))
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        return orjson.dumps(
            table(self._kind, [obj], metadata, include=self._include, version=self._representation.version)
        )

    def list(self, items: list[bytes], metadata: dict[str, Any]) -> bytes:
        """A list of stored objects."""
        version = self._representation.version
        match self._representation.form:
            case Form.TABLE:
                objects = [self._kind.shown(orjson.loads(data)) for data in items]
                return orjson.dumps(table(self._kind, objects, metadata, include=self._include, version=version))
            case Form.PARTIAL:
                head = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{version}"}
            case _:
                head = {"kind": f"{self._kind.kind}List", "apiVersion": self._kind.api_version}
        opening = orjson.dumps({**head, "metadata": metadata})[:-1]
        return opening + b',"items":[' + b",".join(map(self.object, items)) + b"]}"

    def bookmark(self, version: int, annotations: dict[str, str] | None = None) -> bytes:
        """The object of a BOOKMARK event."""
        metadata: dict[str, Any] = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        form = self._representation.form
        if form is Form.OBJECT:
            return orjson.dumps({"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata})
        partial = partial_metadata({"metadata": metadata}, self._representation.version)
        if form is Form.PARTIAL:
            return orjson.dumps(partial)
        shown = table(self._kind, [], {"resourceVersion": str(version)}, version=self._representation.version)
        shown["rows"] = [{"cells": [""] * len(shown["columnDefinitions"]), "object": partial}]
        return orjson.dumps(shown)


def _cell(column: Column, obj: dict[str, Any]) -> Any:
    if not isinstance(column.cell, str):
        return column.cell(obj)
    try:
        value = compile_path(column.cell).first(obj)
    except JsonPathError:
        return "<error>"
    if value is None:
        return "" if column.type != "date" else "<unknown>"
    if column.type == "date":
        return age_text(value)
    if isinstance(value, bool) and column.type == "string":
        return "true" if value else "false"
    return value if isinstance(value, str | int | float) else orjson.dumps(value).decode()
