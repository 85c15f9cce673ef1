"""Server-side apply: an applied configuration is merged into an object, and its manager owns what it says.

What the manager applied before and does not say any more is removed, unless somebody else owns it too. A value that
somebody else owns is changed only by force; without it the answer is 409 and names the owner.
Source: Kubernetes documentation, "Server-Side Apply".
"""

from collections.abc import Callable
from typing import Any

import orjson

from local_cluster.apiserver.errors import bad_request
from local_cluster.apiserver.field_sets import FieldSets, Path
from local_cluster.apiserver.managed_fields import (
    BEFORE_FIRST_APPLY,
    Ownership,
    ownerships,
    read,
    refuse_conflicts,
    updated,
    write,
)
from local_cluster.apiserver.patch import PatchError
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.rules import now_text
from local_cluster.apiserver.schemas import ANYTHING, Schemas

__all__ = ["FieldManagement"]

MANAGER_LENGTH_MAX = 128
_KUBECTL = "kubectl"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class FieldManagement:
    """Records the owners of fields on every write, and applies configurations."""

    def __init__(self, schemas: Schemas, now: Callable[[], str] = now_text) -> None:
        self._sets = FieldSets(schemas)
        self._now = now

    def created(self, kind: ResourceType, obj: dict[str, Any], manager: str) -> None:
        """Record `manager` as the owner of all that it created."""
        owner = self._writer(kind, manager, "Update")
        write(obj, updated([], owner, {}, self._sets.of(obj, kind.schema)))

    def updated(
        self,
        kind: ResourceType,
        desired: dict[str, Any],
        current: dict[str, Any],
        given: Any,
        *,
        manager: str,
        agent: str,
        subresource: str,
    ) -> None:
        """Record who changed what in a PUT or PATCH.

        `given` are the `managedFields` that the client sent: valid ones replace the recorded, as kubectl does when an
        object changes over to apply, and `[{}]` drops them.
        """
        owners = self._base(current, given)
        if not owners and not manager:
            desired["metadata"].pop("managedFields", None)
            return
        before, after = self._sets.of(current, kind.schema), self._sets.of(desired, kind.schema)
        writer = self._writer(kind, manager or agent, "Update", subresource)
        write(desired, updated(owners, writer, before, after))

    def applied(
        self,
        kind: ResourceType,
        current: dict[str, Any] | None,
        applied: dict[str, Any],
        *,
        manager: str,
        force: bool,
        subresource: str = "",
    ) -> dict[str, Any]:
        """The object after `manager` applied `applied`; `current` is None when there is none yet, and may be changed.

        Raises 409 for conflicts without `force`, 400 for what cannot be merged.
        """
        if (applied.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        writer = self._writer(kind, manager, "Apply", subresource)
        try:
            said = frozenset(self._sets.of(_part(kind, applied, subresource), kind.schema, is_strict=True))
            root = self._sets.root(kind.schema)
            merged: dict[str, Any] = self._merge(current or {}, applied, root)
        except PatchError as error:
            raise bad_request(str(error)) from error
        before = self._sets.of(current, kind.schema) if current is not None else {}
        after = self._sets.of(merged, kind.schema)
        changed = {path for path in said if path in after and (path not in before or before[path] != after[path])}
        owners = self._base(current, None) if current is not None else []
        if current is not None and not owners:
            everything = Ownership(
                manager=BEFORE_FIRST_APPLY,
                operation="Update",
                api_version=kind.api_version,
                time=self._now(),
                paths=frozenset(before),
            )
            owners = [everything]
        own = next((owner for owner in owners if owner.is_of(writer)), None)
        others = [owner for owner in owners if owner is not own]
        if not force:
            refuse_conflicts(others, changed - self._applied_by_client(kind, current, before, manager))
        held = [said, *(owner.paths for owner in others)]
        # What holds a field that stays, stays: an element whose member another manager owns, a list that was empty.
        kept = {path[:depth] for paths in held for path in paths for depth in range(1, len(path) + 1)}
        for path in sorted((own.paths if own is not None else frozenset()) - kept, reverse=True):
            self._remove(merged, path, root, kept)
        is_new = own is None or own.paths != said or bool(changed)
        time = writer.time if own is None or is_new else own.time
        remaining = [_without(owner, changed) for owner in others]
        write(merged, [*remaining, _owning(writer, said, time)])
        return merged

    # -- parts ----------------------------------------------------------------------------------------------

    def _writer(self, kind: ResourceType, manager: str, operation: str, subresource: str = "") -> Ownership:
        return Ownership(
            manager=manager,
            operation=operation,
            api_version=kind.api_version,
            subresource=subresource,
            time=self._now(),
            paths=frozenset(),
        )

    def _base(self, current: dict[str, Any], given: Any) -> list[Ownership]:
        if isinstance(given, list) and given:
            try:
                return ownerships(given)
            except ValueError:
                pass  # as upstream: what cannot be read does not replace what is recorded
        return read(current)

    def _applied_by_client(
        self, kind: ResourceType, current: dict[str, Any] | None, before: dict[Path, Any], manager: str
    ) -> set[Path]:
        """Fields that are still as kubectl applied them by itself: kubectl may take them over without force.

        As upstream, only for the manager `kubectl`, and by the annotation that such an apply leaves.
        """
        annotations = (current or {}).get("metadata", {}).get("annotations") or {}
        if manager != _KUBECTL or _LAST_APPLIED not in annotations:
            return set()
        try:
            last = orjson.loads(annotations[_LAST_APPLIED])
            said = self._sets.of(last, kind.schema)
        except (ValueError, AttributeError):
            return set()  # whatever it is, kubectl did not write it
        return {path for path, value in said.items() if path in before and before[path] == value}

    def _merge(self, live: Any, applied: Any, node: dict[str, Any]) -> Any:
        node = self._sets.resolve(node)
        if isinstance(applied, dict) and isinstance(live, dict) and self._sets.is_granular(node):
            merged = dict(live)
            for name, value in applied.items():
                merged[name] = self._merge(live.get(name), value, self._sets.child(node, name))
            return merged
        if isinstance(applied, list):
            return self._merge_lists(live if isinstance(live, list) else [], applied, node)
        return applied

    def _merge_lists(self, live: list[Any], applied: list[Any], node: dict[str, Any]) -> list[Any]:
        said = self._sets.elements(applied, node)
        held = self._sets.elements(live, node) if said is not None else None
        if said is None or held is None:
            return applied
        item_node = node.get("items") or ANYTHING
        before = dict(zip(held, live, strict=True))
        wanted = dict(zip(said, applied, strict=True))
        return [
            self._merge(before.get(element), wanted[element], item_node) if element in wanted else before[element]
            for element in _interleaved(held, said)
        ]

    def _remove(self, obj: dict[str, Any], path: Path, node: dict[str, Any], kept: set[Path]) -> None:
        """Take the field at `path` out of `obj`, and what that leaves empty and is not kept.

        Key fields go with their element only.
        """
        holders: list[tuple[Any, str | int]] = []
        value: Any = obj
        for element in path:
            node = self._sets.resolve(node)
            if element.startswith("f:"):
                name = element[2:]
                if not isinstance(value, dict) or name not in value:
                    return
                holders.append((value, name))
                value, node = value[name], self._sets.child(node, name)
                continue
            elements = self._sets.elements(value, node) if isinstance(value, list) else None
            if elements is None or element not in elements:
                return
            index = elements.index(element)
            holders.append((value, index))
            value, node = value[index], node.get("items") or ANYTHING
        if len(path) > 1 and path[-2].startswith("k:") and f'"{path[-1][2:]}":' in path[-2]:
            return
        for depth in range(len(path), 0, -1):
            holder, key = holders[depth - 1]
            del holder[key]
            if holder or path[: depth - 1] in kept:
                return


def _part(kind: ResourceType, applied: dict[str, Any], subresource: str) -> dict[str, Any]:
    """What of an applied configuration counts: status only by its subresource, and nothing else there."""
    if subresource:
        return {subresource: applied[subresource]} if subresource in applied else {}
    return {name: value for name, value in applied.items() if not (name == "status" and kind.has_status)}


def _without(owner: Ownership, paths: set[Path]) -> Ownership:
    return owner if owner.paths.isdisjoint(paths) else _owning(owner, owner.paths - paths, owner.time)


def _owning(owner: Ownership, paths: frozenset[Path], time: str) -> Ownership:
    return Ownership(
        manager=owner.manager,
        operation=owner.operation,
        api_version=owner.api_version,
        subresource=owner.subresource,
        time=time,
        paths=paths,
    )


def _interleaved(held: list[str], said: list[str]) -> list[str]:
    """Both lists' elements once: in the order that was said, the others where they stood."""
    wanted, present = set(said), set(held)
    result: list[str] = []
    waiting = list(reversed(said))
    for element in held:
        if element not in wanted:
            result.append(element)
            continue
        while waiting and waiting[-1] not in present:
            result.append(waiting.pop())
        result.append(waiting.pop())
    return result + list(reversed(waiting))
