"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386) on plain JSON values.

Both return a new value and leave their arguments alone as far as a caller can tell: untouched parts are shared, changed
ones copied.
"""

import copy
from typing import Any

import orjson

__all__ = ["PatchError", "PatchTestFailed", "json_patch", "merge_patch"]

OPERATIONS_MAX = 10_000
"""Operations in one JSON Patch, as upstream's limit."""
COPIED_BYTES_MAX = 3 << 20
"""What all `copy` operations of one patch may add: each can double the document, and 30 fill any memory."""


class PatchError(ValueError):
    """The patch is malformed."""


class PatchTestFailed(PatchError):
    """The patch is well-formed but does not fit this document: a failed `test`, a path that is not there."""


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: members merge, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(document: Any, operations: Any) -> Any:
    """RFC 6902. Raises `PatchError` for a malformed patch and `PatchTestFailed` for one that does not apply."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    if len(operations) > OPERATIONS_MAX:
        raise PatchError(f"{len(operations)} operations exceed the maximum of {OPERATIONS_MAX}")
    result = copy.deepcopy(document)
    copied_bytes = 0
    for operation in operations:
        if isinstance(operation, dict) and operation.get("op") == "copy":
            copied_bytes += len(orjson.dumps(_get(result, _pointer(operation.get("from")))))
            if copied_bytes > COPIED_BYTES_MAX:
                raise PatchError(f"the copies of this patch exceed {COPIED_BYTES_MAX} bytes")
        result = _apply(result, operation)
    return result


def _apply(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise PatchError(f"an operation is an object, not {operation!r}")
    name, path = operation.get("op"), _pointer(operation.get("path"))
    match name:
        case "add" | "replace" | "test":
            if "value" not in operation:
                raise PatchError(f"operation {name!r} needs a value")
            value = copy.deepcopy(operation["value"])
            if name == "add":
                return _add(document, path, value)
            if name == "replace":
                _get(document, path)
                return _add(_remove(document, path), path, value) if path else value
            _test(document, path, value)
            return document
        case "remove":
            return _remove(document, path)
        case "move":
            source = _pointer(operation.get("from"))
            if path[: len(source)] == source and len(path) > len(source):
                raise PatchTestFailed("cannot move a value into itself")
            value = _get(document, source)
            return _add(_remove(document, source), path, value)
        case "copy":
            return _add(document, path, copy.deepcopy(_get(document, _pointer(operation.get("from")))))
    raise PatchError(f"unknown operation {name!r}")


def _pointer(text: Any) -> list[str]:
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"expected a JSON pointer, got {text!r}")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _test(document: Any, path: list[str], value: Any) -> None:
    try:
        found = _get(document, path)
    except PatchTestFailed:
        # As upstream's library: an absent member equals null.
        found = None
    if not _same(found, value):
        raise PatchTestFailed(f"testing value /{'/'.join(path)} failed: test failed")


def _same(left: Any, right: Any) -> bool:
    """JSON equality: unlike Python's, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _get(document: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(document, dict) and step in document:
            document = document[step]
        elif isinstance(document, list):
            document = document[_index(step, len(document) - 1, path)]
        else:
            raise PatchTestFailed(f"doc is missing path: /{'/'.join(path)}: missing value")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    step = path[-1]
    if isinstance(parent, dict):
        parent[step] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if step == "-" else _index(step, len(parent), path), value)
    else:
        raise PatchTestFailed(f"doc is missing path: /{'/'.join(path)}: its parent is no container")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    if not path:
        raise PatchTestFailed("the whole document cannot be removed")
    parent = _get(document, path[:-1])
    step = path[-1]
    if isinstance(parent, dict) and step in parent:
        del parent[step]
    elif isinstance(parent, list):
        del parent[_index(step, len(parent) - 1, path)]
    else:
        raise PatchTestFailed(f"unable to remove nonexistent key: /{'/'.join(path)}: missing value")
    return document


def _index(step: str, index_max: int, path: list[str]) -> int:
    # RFC 6901: no sign, no leading zeros.
    if not (step.isascii() and step.isdigit()) or (len(step) > 1 and step[0] == "0") or int(step) > index_max:
        raise PatchTestFailed(f"/{'/'.join(path)}: {step!r} is no index of this list")
    return int(step)
