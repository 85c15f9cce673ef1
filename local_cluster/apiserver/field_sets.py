"""Which fields an object has, as paths: what managed fields are counted in.

A path is a tuple of elements as `fieldsV1` writes them: `f:name` for a member, `k:{"name":"app"}` for an element of a
list that its schema merges by keys, `v:"x"` for an element of a set. Other lists, and objects that their schema calls
atomic, are one field as a whole. Source: Kubernetes documentation, "Server-Side Apply", "Merge strategy".
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import orjson

from local_cluster.apiserver.patch import PatchError
from local_cluster.apiserver.schemas import ANYTHING, Schemas

__all__ = ["FieldSets", "Path", "decode", "encode", "path_text"]

Path: TypeAlias = tuple[str, ...]

_ELEMENT: object = object()
"""Stands for an element of a list merged by keys: that it is there is a field, its members are others."""
_MORE_KEYS = {
    "containerPort": ("containerPort", "protocol"),
    "port": ("port", "protocol"),
    "topologyKey": ("topologyKey", "whenUnsatisfiable"),
}
"""Where apply tells elements apart by more than the strategic merge key."""
_KEY_DEFAULTS = {"protocol": "TCP"}
_ATOMIC = {"meta/v1.LabelSelector", "core/v1.NodeSelector", "core/v1.ObjectReference", "core/v1.LocalObjectReference"}
"""Built-in objects that are one field (`x-kubernetes-map-type: atomic` in the original's schemas)."""
_ATOMIC_MEMBERS = {"nodeSelector"}
_SERVER_OWNED = {
    "name",
    "namespace",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
}
"""Members of metadata that nobody owns."""


class FieldSets:
    """The fields of objects, by the schemas of one server."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def root(self, schema: str) -> dict[str, Any]:
        """The node that describes the objects of a kind."""
        return self._schemas.get(schema) or ANYTHING

    def of(self, obj: Mapping[str, Any], schema: str, *, is_strict: bool = False) -> dict[Path, Any]:
        """Every field of an object that somebody can own, with its value.

        A list whose elements cannot be told apart is one field or, when `is_strict`, refused with `PatchError`.
        """
        node = self.root(schema)
        found: dict[Path, Any] = {}
        for name, value in obj.items():
            if name in ("apiVersion", "kind"):
                continue
            if name == "metadata":
                value = {key: item for key, item in value.items() if key not in _SERVER_OWNED}
                if not value:
                    continue
            self._add(value, self.child(node, name), (f"f:{name}",), found, is_strict)
        return found

    def child(self, node: dict[str, Any], name: str) -> dict[str, Any]:
        """The node of one member, not resolved."""
        properties = node.get("properties") or {}
        if name in properties:
            found: dict[str, Any] = properties[name]
            return {**found, "x-kubernetes-map-type": "atomic"} if name in _ATOMIC_MEMBERS else found
        additional = node.get("additionalProperties")
        return additional if isinstance(additional, dict) else ANYTHING

    def resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        """What a reference leads to; atomic ones keep that they are."""
        if node.get("$ref") in _ATOMIC:
            return {"x-kubernetes-map-type": "atomic"}
        return self._schemas.resolve(node)

    def is_granular(self, node: dict[str, Any]) -> bool:
        """Whether the members of an object are fields of their own."""
        return node.get("x-kubernetes-map-type") != "atomic"

    def elements(self, items: list[Any], node: dict[str, Any]) -> list[str] | None:
        """A path element for each item, or None when the list is one field.

        Raises `PatchError` when an item cannot be told from the others.
        """
        keys = _list_keys(node)
        if keys is None:
            return None
        found = [_element(item, keys) for item in items]
        if len(set(found)) < len(found):
            doubled = next(element for index, element in enumerate(found) if element in found[:index])
            raise PatchError(f"duplicate entries for key {path_text((doubled,))}")
        return found

    def _add(self, value: Any, node: dict[str, Any], path: Path, found: dict[Path, Any], is_strict: bool) -> None:
        node = self.resolve(node)
        if isinstance(value, dict) and value and self.is_granular(node):
            for name, item in value.items():
                self._add(item, self.child(node, name), (*path, f"f:{name}"), found, is_strict)
            return
        elements = None
        if isinstance(value, list) and value:
            try:
                elements = self.elements(value, node)
            except PatchError:
                if is_strict:
                    raise
        if elements is None:
            found[path] = value
            return
        item_node = self.resolve(node.get("items") or ANYTHING)
        for element, item in zip(elements, value, strict=True):
            at = (*path, element)
            if element.startswith("v:"):
                found[at] = item
                continue
            found[at] = _ELEMENT
            for name, member in item.items():
                self._add(member, self.child(item_node, name), (*at, f"f:{name}"), found, is_strict)


def _list_keys(node: dict[str, Any]) -> tuple[str, ...] | None:
    """The keys of a list that is merged, none for a set; None for a list that is one field."""
    match node.get("x-kubernetes-list-type"):
        case "map":
            return tuple(node.get("x-kubernetes-list-map-keys") or ())
        case "set":
            return ()
        case "atomic":
            return None
    if "merge" not in str(node.get("x-kubernetes-patch-strategy", "")):
        return None
    key = node.get("x-kubernetes-patch-merge-key", "")
    return _MORE_KEYS.get(key, (key,)) if key else ()


def _element(item: Any, keys: tuple[str, ...]) -> str:
    if not keys:
        return "v:" + _text(item)
    if not isinstance(item, dict):
        raise PatchError(f"expected an object with {', '.join(keys)}, got {item!r}")
    named = {key: item.get(key, _KEY_DEFAULTS.get(key)) for key in keys}
    if all(value is None for value in named.values()):
        raise PatchError(f"element {item!r} omits its key field {keys[0]!r}")
    return "k:" + _text({key: value for key, value in named.items() if value is not None})


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def encode(paths: Iterable[Path]) -> dict[str, Any]:
    """`fieldsV1` of a set of paths."""
    members = set(paths)
    root: dict[str, Any] = {}
    for path in sorted(members):
        node = root
        for depth, element in enumerate(path, start=1):
            # A path sorts before those that go on from it, so whoever has children is already there.
            if depth > 1 and not node and path[: depth - 1] in members:
                node["."] = {}
            node = node.setdefault(element, {})
    return root


def decode(fields: Any) -> frozenset[Path]:
    """The paths of `fieldsV1`. Raises `ValueError` for anything else."""
    found: set[Path] = set()
    pending: list[tuple[Path, Any]] = [((), fields)]
    while pending:
        path, node = pending.pop()
        if not isinstance(node, dict):
            raise ValueError(f"fieldsV1: expected an object at {'/'.join(path)}")
        if path and (not node or "." in node):
            found.add(path)
        for element, child in node.items():
            if element == ".":
                continue
            if element[:2] not in ("f:", "k:", "v:", "i:"):
                raise ValueError(f"fieldsV1: {element!r} is no path element")
            pending.append(((*path, element), child))
    return frozenset(found)


def path_text(path: Path) -> str:
    """A path for people: `.spec.containers[name="app"].image`."""
    parts = []
    for element in path:
        content = element[2:]
        if element.startswith("f:"):
            parts.append("." + content)
        elif element.startswith("k:"):
            parts.append("[" + ",".join(f"{key}={_text(value)}" for key, value in orjson.loads(content).items()) + "]")
        else:
            parts.append(f"[={content}]")
    return "".join(parts)
