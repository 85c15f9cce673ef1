"""Strategic merge patches: merge patches that know, by schema, which lists are merged by which key.

Directives: `$patch` (`replace`, `delete`, `merge`), `$retainKeys`, `$deleteFromPrimitiveList/x`, `$setElementOrder/x`.
Source: Kubernetes documentation, "Update API Objects in Place Using kubectl patch"; sig-api-machinery
"strategic-merge-patch".
"""

from collections.abc import Hashable
from typing import Any

from local_cluster.apiserver.patch import PatchError
from local_cluster.apiserver.schemas import ANYTHING, Schemas

__all__ = ["strategic_patch"]

_DIRECTIVE, _RETAIN = "$patch", "$retainKeys"
_DELETE_VALUES, _ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


def strategic_patch(schemas: Schemas, schema: str, current: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`current` with `patch` merged in, lists as the schema called `schema` says. Raises `PatchError`."""
    return _Merge(schemas).objects(current, patch, schemas.get(schema) or ANYTHING)


class _Merge:
    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def objects(self, current: dict[str, Any], patch: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
        match patch.get(_DIRECTIVE):
            case "replace":
                return {key: value for key, value in patch.items() if key != _DIRECTIVE}
            case "delete":
                return {}
            case None | "merge":
                pass
            case other:
                raise PatchError(f"unknown {_DIRECTIVE} directive {other!r}")
        merged = dict(current)
        retained = patch.get(_RETAIN)
        if retained is not None:
            if not isinstance(retained, list):
                raise PatchError(f"{_RETAIN}: expected a list of names")
            merged = {key: value for key, value in merged.items() if key in retained}
        for key, value in patch.items():
            if key in (_DIRECTIVE, _RETAIN) or key.startswith(_ORDER):
                continue
            if key.startswith(_DELETE_VALUES):
                name = key.removeprefix(_DELETE_VALUES)
                unwanted = _expect_list(value, key)
                if isinstance(merged.get(name), list):
                    merged[name] = [item for item in merged[name] if item not in unwanted]
                continue
            child = self._child(node, key)
            if value is None:
                merged.pop(key, None)
            elif isinstance(value, dict):
                before = merged.get(key)
                result = self.objects(before if isinstance(before, dict) else {}, value, self._schemas.resolve(child))
                if value.get(_DIRECTIVE) == "delete":
                    merged.pop(key, None)
                else:
                    merged[key] = result
            elif isinstance(value, list) and "merge" in str(child.get("x-kubernetes-patch-strategy", "")):
                before = merged.get(key)
                order = patch.get(_ORDER + key)
                merged[key] = self._lists(before if isinstance(before, list) else [], value, child, order)
            else:
                merged[key] = value
        for key, order in patch.items():
            name = key.removeprefix(_ORDER)
            if key.startswith(_ORDER) and name not in patch and isinstance(merged.get(name), list):
                # Only the order was sent, because no element changed.
                merge_key = self._child(node, name).get("x-kubernetes-patch-merge-key", "")
                merged[name] = _ordered(merged[name], _expect_list(order, key), merged[name], merge_key)
        return merged

    def _child(self, node: dict[str, Any], key: str) -> dict[str, Any]:
        properties = node.get("properties") or {}
        if key in properties:
            found: dict[str, Any] = properties[key]
            return found
        additional = node.get("additionalProperties")
        return additional if isinstance(additional, dict) else ANYTHING

    def _lists(self, current: list[Any], patch: list[Any], node: dict[str, Any], order: Any) -> list[Any]:
        key = node.get("x-kubernetes-patch-merge-key", "")
        if not key:
            merged = current + [item for item in patch if item not in current]
            return _ordered(merged, patch if order is None else _expect_list(order, _ORDER), current, "")
        item_node = self._schemas.resolve(node.get("items") or ANYTHING)
        if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
            return [item for item in patch if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "replace")]
        merged = list(current)
        for item in patch:
            if not isinstance(item, dict):
                raise PatchError(f"expected an object with {key!r} in a list merged by it, got {item!r}")
            identity = item.get(key)
            if identity is None:
                raise PatchError(f"map: {item} does not contain declared merge key: {key}")
            index = next(
                (i for i, old in enumerate(merged) if isinstance(old, dict) and old.get(key) == identity), None
            )
            if item.get(_DIRECTIVE) == "delete":
                merged = [old for old in merged if not (isinstance(old, dict) and old.get(key) == identity)]
            elif index is None:
                merged.append(self.objects({}, item, item_node))
            else:
                merged[index] = self.objects(merged[index], item, item_node)
        return _ordered(merged, patch if order is None else _expect_list(order, _ORDER), current, key)


def _ordered(merged: list[Any], order: list[Any], current: list[Any], key: str) -> list[Any]:
    """`merged` in the order that the patch asks for; elements that it does not name keep their place."""
    positions = {_identity(item, key): index for index, item in enumerate(order)}
    before = {_identity(item, key): index for index, item in enumerate(current)}
    named = sorted(
        (item for item in merged if _identity(item, key) in positions), key=lambda item: positions[_identity(item, key)]
    )
    others = [item for item in merged if _identity(item, key) not in positions]
    result: list[Any] = []
    while named and others:
        place = before.get(_identity(named[0], key))
        other = before.get(_identity(others[0], key), len(current))
        result.append(others.pop(0) if place is not None and other < place else named.pop(0))
    return result + named + others


def _identity(item: Any, key: str) -> Hashable:
    value = item.get(key) if key and isinstance(item, dict) else item
    return value if isinstance(value, Hashable) else repr(value)


def _expect_list(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise PatchError(f"{key}: expected a list")
    return value
