"""CustomResourceDefinitions: kinds that come and go at run time.

A committed definition is offered at once, in all its served versions over one collection; one that goes takes its
objects with it (`garbage`), and only then its paths. Conversion webhooks are not called: an object is shown in another
version by its `apiVersion` alone. Conformance: api-clients statements 43, 44.
"""

from typing import Any

from local_cluster.apiserver.columns import AGE
from local_cluster.apiserver.errors import Cause
from local_cluster.apiserver.resources import Column, Registry, ResourceType, ScalePaths
from local_cluster.apiserver.rules import now_text
from local_cluster.apiserver.schemas import ANYTHING, Schemas
from local_cluster.apiserver.store import Store
from local_cluster.apiserver.versions import Change

__all__ = ["CLEANUP", "CRD_KEY", "CustomKinds", "default_definition", "definition_causes", "kinds_of"]

CRD_KEY = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""Finalizer that holds a definition until its objects are gone."""


def default_definition(crd: dict[str, Any]) -> None:
    """Fill in a definition's names and status: it is established as soon as it is stored."""
    spec = crd.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("names"), dict):
        return
    names = spec["names"]
    names.setdefault("singular", str(names.get("kind", "")).lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")
    spec.setdefault("conversion", {"strategy": "None"})
    finalizers = crd["metadata"].setdefault("finalizers", [])
    if CLEANUP not in finalizers and "deletionTimestamp" not in crd["metadata"]:
        finalizers.append(CLEANUP)
    status = crd.setdefault("status", {})
    status["acceptedNames"] = names
    stored = status.setdefault("storedVersions", [])
    stored += [v["name"] for v in _versions(crd) if v.get("storage") and v.get("name") not in stored]
    if not status.get("conditions"):
        now = now_text()
        status["conditions"] = [
            {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
            for kind, reason, message in (
                ("NamesAccepted", "NoConflicts", "no conflicts found"),
                ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            )
        ]


def definition_causes(crd: dict[str, Any], current: dict[str, Any] | None) -> list[Cause]:
    """Why a definition is refused."""
    spec = crd.get("spec") or {}
    names = spec.get("names") or {}
    causes = [
        Cause(f"spec.{path}", "FieldValueRequired", "Required value")
        for path, value in (
            ("group", spec.get("group")),
            ("names.plural", names.get("plural")),
            ("names.kind", names.get("kind")),
            ("versions", spec.get("versions")),
        )
        if not value
    ]
    if causes:
        return causes
    wanted = f"{names['plural']}.{spec['group']}"
    if crd["metadata"].get("name") != wanted:
        message = f'Invalid value: "{crd["metadata"].get("name")}": must be spec.names.plural+"."+spec.group ({wanted})'
        causes.append(Cause("metadata.name", "FieldValueInvalid", message))
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        message = f'Unsupported value: "{spec.get("scope")}": supported values: "Cluster", "Namespaced"'
        causes.append(Cause("spec.scope", "FieldValueNotSupported", message))
    if sum(bool(version.get("storage")) for version in _versions(crd)) != 1:
        message = "Invalid value: must have exactly one version marked as storage version"
        causes.append(Cause("spec.versions", "FieldValueInvalid", message))
    if current is not None:
        causes += [
            Cause(f"spec.{name}", "FieldValueInvalid", "Invalid value: field is immutable")
            for name in ("group", "scope")
            if (current.get("spec") or {}).get(name) != spec.get(name)
        ]
    return causes


def kinds_of(crd: dict[str, Any], storage_version: str = "") -> list[ResourceType]:
    """The kinds that a definition offers, one per served version, newest first as listed.

    `storage_version` is the `apiVersion` in which objects are already kept; empty: the one marked in the definition.
    """
    spec = crd["spec"]
    names, group = spec["names"], spec["group"]
    marked = next(version["name"] for version in _versions(crd) if version.get("storage"))
    kinds = []
    for version in _versions(crd):
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        kinds.append(
            ResourceType(
                group=group,
                version=version["name"],
                plural=names["plural"],
                kind=names["kind"],
                namespaced=spec["scope"] == "Namespaced",
                singular=names.get("singular") or "",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                columns=_columns(version),
                has_status="status" in subresources,
                scale=_scale(subresources.get("scale")),
                is_custom=True,
                schema=f"{group}/{version['name']}.{names['kind']}",
                storage_version=storage_version or f"{group}/{marked}",
                selectable=tuple(
                    str(field.get("jsonPath", "")).lstrip(".") for field in version.get("selectableFields") or ()
                ),
            )
        )
    return kinds


class CustomKinds:
    """Keeps the registry in step with the stored definitions."""

    def __init__(self, store: Store, registry: Registry, schemas: Schemas) -> None:
        self._store = store
        self._registry = registry
        self._schemas = schemas
        self._offered: dict[str, list[ResourceType]] = {}
        store.on_change(self._changed)

    def _changed(self, key: str, change: Change) -> None:
        if key != CRD_KEY:
            return
        before = self._offered.pop(change.state.name, [])
        after: list[ResourceType] = []
        if not change.is_deletion:
            crd = change.state.load()
            existing = self._registry.of_key(change.state.name)
            after = kinds_of(crd, existing.storage_version if existing is not None else "")
            for version in _versions(crd):
                schema = (version.get("schema") or {}).get("openAPIV3Schema") or ANYTHING
                name = f"{crd['spec']['group']}/{version['name']}.{crd['spec']['names']['kind']}"
                self._schemas.add(name, _with_type(schema))
        for kind in before:
            if not any(kind.version == other.version for other in after):
                self._registry.remove(kind)
                self._schemas.remove(kind.schema)
        for kind in after:
            self._store.open(kind.key, kind.field_values)
            self._registry.add(kind)
        if after:
            self._offered[change.state.name] = after
        elif before:
            self._store.discard(before[0].key)


def _versions(crd: dict[str, Any]) -> list[dict[str, Any]]:
    versions = (crd.get("spec") or {}).get("versions")
    return [version for version in versions if isinstance(version, dict)] if isinstance(versions, list) else []


def _columns(version: dict[str, Any]) -> tuple[Column, ...]:
    columns = version.get("additionalPrinterColumns")
    if not columns:
        return (AGE,)
    return tuple(
        Column(
            name=str(column.get("name")),
            cell=str(column.get("jsonPath")),
            type=str(column.get("type", "string")),
            format=str(column.get("format") or ""),
            description=str(column.get("description") or ""),
            priority=int(column.get("priority") or 0),
        )
        for column in columns
    )


def _scale(scale: dict[str, Any] | None) -> ScalePaths | None:
    if not scale:
        return None
    return ScalePaths(
        spec_replicas=scale.get("specReplicasPath", ".spec.replicas"),
        status_replicas=scale.get("statusReplicasPath", ".status.replicas"),
        selector=scale.get("labelSelectorPath") or "",
    )


def _with_type(schema: dict[str, Any]) -> dict[str, Any]:
    """A definition's schema with the members that every object has."""
    properties = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        **(schema.get("properties") or {}),
        "metadata": {"$ref": "meta/v1.ObjectMeta"},
    }
    return {**schema, "type": "object", "properties": properties}
