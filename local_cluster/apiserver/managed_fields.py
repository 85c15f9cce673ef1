"""Who owns which fields of an object: `metadata.managedFields`.

Ownership is recorded from the first write that names its manager (`fieldManager`, as kubectl does) or applies; objects
that only programs without that parameter write carry none, and cost nothing. A manager that is not named is called
after its `User-Agent`, as upstream. Pure functions on dicts: the caller owns them and tells the time.

Source: Kubernetes documentation, "Server-Side Apply".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from local_cluster.apiserver.errors import Cause, StatusError
from local_cluster.apiserver.field_sets import Path, decode, encode, path_text

__all__ = ["BEFORE_FIRST_APPLY", "Ownership", "ownerships", "read", "refuse_conflicts", "updated", "write"]

BEFORE_FIRST_APPLY = "before-first-apply"
"""Owns what an object had when it was applied for the first time and nobody had been recorded."""
UPDATERS_MAX = 10
"""Managers by Update of one object; beyond, the oldest are one."""
ANCIENT = "ancient-changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """What one manager owns by one way of writing."""

    manager: str
    operation: str
    """`Apply` or `Update`."""
    api_version: str
    subresource: str = ""
    time: str
    paths: frozenset[Path]

    def is_of(self, other: "Ownership") -> bool:
        """Whether both are the same manager writing in the same way."""
        same = (self.manager, self.operation, self.subresource) == (other.manager, other.operation, other.subresource)
        return same and (self.operation == "Apply" or self.api_version == other.api_version)


def read(obj: Mapping[str, Any]) -> list[Ownership]:
    """The recorded owners. Raises `ValueError` when they cannot be read."""
    return ownerships((obj.get("metadata") or {}).get("managedFields") or ())


def ownerships(entries: Any) -> list[Ownership]:
    """Owners from their JSON. Raises `ValueError`."""
    if not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("managedFields: expected a list of objects")
    return [
        Ownership(
            manager=str(entry.get("manager") or ""),
            operation=str(entry.get("operation") or "Update"),
            api_version=str(entry.get("apiVersion") or ""),
            subresource=str(entry.get("subresource") or ""),
            time=str(entry.get("time") or ""),
            paths=decode(entry.get("fieldsV1") or {}),
        )
        for entry in entries
        if entry
    ]


def write(obj: dict[str, Any], owners: Iterable[Ownership]) -> None:
    """Record the owners that own anything, appliers first and then by time, as upstream."""
    kept = _bounded([owner for owner in owners if owner.paths])
    metadata = obj["metadata"]
    metadata.pop("managedFields", None)
    if kept:
        kept.sort(key=lambda owner: (owner.operation, owner.time, owner.manager))
        metadata["managedFields"] = [_entry(owner) for owner in kept]


def updated(
    owners: list[Ownership], writer: Ownership, before: Mapping[Path, Any], after: Mapping[Path, Any]
) -> list[Ownership]:
    """The owners after `writer` (its paths do not matter) wrote `after` over `before`: who changes a field owns it."""
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    gone = before.keys() - after.keys()
    taken = gone | (changed & before.keys())
    result = []
    own: Ownership | None = None
    for owner in owners:
        if owner.is_of(writer):
            own = owner
        elif taken and not taken.isdisjoint(owner.paths):
            result.append(replace(owner, paths=owner.paths - taken))
        else:
            result.append(owner)
    held = own.paths if own is not None else frozenset()
    paths = (held | changed) - gone
    is_new = own is None or paths != held or bool(changed)
    result.append(replace(writer, paths=paths, time=writer.time if is_new or own is None else own.time))
    return result


def refuse_conflicts(owners: Iterable[Ownership], changed: set[Path]) -> None:
    """Raise 409, naming managers and fields, when `changed` has fields that `owners` own."""
    causes = []
    sections = []
    for owner in owners:
        fields = sorted(path_text(path) for path in owner.paths & changed)
        if not fields:
            continue
        whom = f'"{owner.manager}"'
        if owner.subresource:
            whom += f' with subresource "{owner.subresource}"'
        whom += f" using {owner.api_version}"
        if owner.operation == "Update" and owner.time:
            whom += f" at {owner.time}"
        causes += [Cause(field, "FieldManagerConflict", f"conflict with {whom}") for field in fields]
        sections.append((whom, fields))
    if not causes:
        return
    count = len(causes)
    if count == 1:
        text = f"conflict with {sections[0][0]}: {sections[0][1][0]}"
    else:
        text = "\n".join(
            f"conflicts with {whom}:\n" + "\n".join(f"- {field}" for field in fields) for whom, fields in sections
        )
    message = f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {text}"
    details = {"causes": [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]}
    raise StatusError(409, "Conflict", message, details)


def _bounded(owners: list[Ownership]) -> list[Ownership]:
    updaters = sorted((owner for owner in owners if owner.operation == "Update"), key=lambda owner: owner.time)
    if len(updaters) <= UPDATERS_MAX:
        return owners
    old = updaters[: len(updaters) - UPDATERS_MAX + 1]
    merged = replace(old[-1], manager=ANCIENT, subresource="", paths=frozenset().union(*(owner.paths for owner in old)))
    return [owner for owner in owners if owner not in old] + [merged]


def _entry(owner: Ownership) -> dict[str, Any]:
    entry = {
        "manager": owner.manager,
        "operation": owner.operation,
        "apiVersion": owner.api_version,
        "time": owner.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(owner.paths),
    }
    if owner.subresource:
        entry["subresource"] = owner.subresource
    return entry
