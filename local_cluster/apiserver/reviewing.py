"""Checking an object against its schema: unknown fields are dropped (and told), types are enforced, defaults filled in.

`fieldValidation` decides what an unknown field means: `Strict` refuses, `Warn` (the default) warns, `Ignore` says
nothing. Built-in kinds answer a wrong type as Go's decoder does (400), custom kinds as a CRD does (422).
"""

import copy
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import orjson

from local_cluster.apiserver.errors import Cause, bad_request, invalid
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.schemas import Schemas

__all__ = ["Finding", "Findings", "Reviewer"]

FINDINGS_MAX = 50
"""Beyond these an object is plainly of another kind; the rest would only fill the answer."""

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_INTEGER_MAX = 2.0**63
_GO_TYPES = {"boolean": "bool", "integer": "int64", "number": "float64", "object": "map[string]interface {}"}


class Finding(NamedTuple):
    """One rule that a value breaks. `expected` is the JSON type that was wanted, or empty for another rule."""

    path: str
    reason: str
    message: str
    expected: str = ""
    found: str = ""


class Findings:
    """What one review found."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.broken: list[Finding] = []


class Reviewer:
    """Reviews objects on their way in."""

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas

    def review(
        self, kind: ResourceType, obj: dict[str, Any], query: Mapping[str, str], duplicates: Iterable[str] = ()
    ) -> list[str]:
        """Check and clean `obj` in place; returns warnings for the client. Raises 400 or 422.

        `duplicates` are the paths of members that the body named twice.
        """
        strictness = query.get("fieldValidation") or "Warn"
        if strictness not in ("Strict", "Warn", "Ignore"):
            raise bad_request(f'fieldValidation: Unsupported value: "{strictness}"')
        node = self.schemas.get(kind.schema)
        if node is None:
            return []
        findings = Findings()
        self._object(obj, node, "", findings, is_root=True)
        if findings.broken:
            self._refuse(kind, obj, findings.broken)
        unknown = [f'unknown field "{path}"' for path in findings.unknown]
        unknown += [f'duplicate field "{path}"' for path in itertools.islice(duplicates, FINDINGS_MAX)]
        if not unknown or strictness == "Ignore":
            return []
        if strictness == "Warn":
            return unknown
        text = f"strict decoding error: {', '.join(unknown)}"
        if not kind.is_custom:
            text = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {text}'
        raise bad_request(text)

    def _refuse(self, kind: ResourceType, obj: dict[str, Any], broken: list[Finding]) -> None:
        if kind.is_custom:
            metadata = obj.get("metadata")
            name = str(metadata.get("name", "")) if isinstance(metadata, dict) else ""
            causes = [Cause(finding.path, finding.reason, finding.message) for finding in broken]
            raise invalid(kind.group, kind.plural, kind.kind, name, causes)
        first = broken[0]
        raise bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: json: cannot unmarshal '
            f"{first.found} into Go struct field {kind.kind}.{first.path} of type {first.expected}"
        )

    # -- one value at a time --------------------------------------------------------------------------------

    def _value(self, value: Any, node: dict[str, Any], path: str, findings: Findings) -> None:
        node = self.schemas.resolve(node)
        if value is None:
            if not node.get("nullable") and "type" in node:
                findings.broken.append(_type_finding(path, value, node))
            return
        wanted = node.get("type")
        if node.get("x-kubernetes-int-or-string"):
            if isinstance(value, bool) or not isinstance(value, int | str):
                findings.broken.append(_type_finding(path, value, {"type": "integer"}))
        elif wanted is not None:
            if not _is_type(value, wanted):
                findings.broken.append(_type_finding(path, value, node))
                return
        elif "oneOf" in node:
            types = [choice["type"] for choice in node["oneOf"] if "type" in choice]
            if types and not any(_is_type(value, choice) for choice in types):
                findings.broken.append(_type_finding(path, value, {"type": types[0]}))
            return
        if isinstance(value, dict) and wanted == "object":
            self._object(value, node, path, findings)
        elif isinstance(value, list):
            self._list(value, node, path, findings)
        else:
            _check_scalar(value, node, path, findings)
        choices = node.get("enum")
        if choices and value not in choices:
            listed = ", ".join(orjson.dumps(choice).decode() for choice in choices)
            message = f"Unsupported value: {_shown(value)}: supported values: {listed}"
            findings.broken.append(Finding(path, "FieldValueNotSupported", message))

    def _object(
        self, obj: dict[str, Any], node: dict[str, Any], path: str, findings: Findings, *, is_root: bool = False
    ) -> None:
        properties: dict[str, Any] = node.get("properties") or {}
        additional = node.get("additionalProperties")
        keeps_unknown = bool(node.get("x-kubernetes-preserve-unknown-fields")) or additional is True
        has_type = is_root or node.get("x-kubernetes-embedded-resource")
        for name in list(obj):
            child = properties.get(name)
            at = f"{path}.{name}" if path else name
            if child is None and has_type and name in ("apiVersion", "kind", "metadata"):
                child = {"$ref": "meta/v1.ObjectMeta"} if name == "metadata" else {"type": "string"}
            if child is not None:
                if obj[name] is None and not child.get("nullable"):
                    del obj[name]  # null means absent
                else:
                    self._value(obj[name], child, at, findings)
                    if isinstance(obj[name], float) and self.schemas.resolve(child).get("type") == "integer":
                        obj[name] = _whole(obj[name])
            elif isinstance(additional, dict):
                self._value(obj[name], additional, f"{path}[{name}]" if path else name, findings)
            elif not keeps_unknown:
                del obj[name]
                if len(findings.unknown) < FINDINGS_MAX:
                    findings.unknown.append(at)
        for name, child in properties.items():
            if name not in obj and "default" in child:
                obj[name] = copy.deepcopy(child["default"])
        for name in node.get("required") or ():
            if name not in obj:
                at = f"{path}.{name}" if path else name
                findings.broken.append(Finding(at, "FieldValueRequired", "Required value"))

    def _list(self, items: list[Any], node: dict[str, Any], path: str, findings: Findings) -> None:
        child = node.get("items")
        if isinstance(child, dict):
            for index, item in enumerate(items):
                self._value(item, child, f"{path}[{index}]", findings)
        if len(items) > node.get("maxItems", len(items)):
            message = f"Too many: {len(items)}: must have at most {node['maxItems']} items"
            findings.broken.append(Finding(path, "FieldValueTooMany", message))
        if len(items) < node.get("minItems", 0):
            message = f"Invalid value: {len(items)}: should have at least {node['minItems']} items"
            findings.broken.append(Finding(path, "FieldValueInvalid", message))


def _is_type(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if wanted == "integer" and isinstance(value, float):
        return isinstance(_whole(value), int)
    return isinstance(value, _PYTHON_TYPES.get(wanted, (object,)))


def _whole(value: float) -> int | float:
    """The integer that is meant by 30.0, for readers who want one; Go writes it so, too. Other numbers stay."""
    return int(value) if value.is_integer() and abs(value) < _INTEGER_MAX else value


def _type_finding(path: str, value: Any, node: dict[str, Any]) -> Finding:
    wanted = node.get("type", "object")
    found = _json_type(value)
    expected = _GO_TYPES.get(wanted, wanted) if node.get("format") not in ("int32", "int64") else node["format"]
    if wanted == "array":
        expected = "[]interface {}"
    message = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
    return Finding(path, "FieldValueTypeInvalid", message, expected, "number" if found == "integer" else found)


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return {float: "number", str: "string", list: "array"}.get(type(value), "object")


def _check_scalar(value: Any, node: dict[str, Any], path: str, findings: Findings) -> None:
    problem = ""
    if isinstance(value, str):
        if len(value) > node.get("maxLength", len(value)):
            problem = f"should be at most {node['maxLength']} chars long"
        elif len(value) < node.get("minLength", 0):
            problem = f"should be at least {node['minLength']} chars long"
        elif "pattern" in node and not _matches(node["pattern"], value):
            problem = f"should match '{node['pattern']}'"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if value < node.get("minimum", value) or (
            node.get("exclusiveMinimum") is True and value == node.get("minimum")
        ):
            problem = f"should be greater than or equal to {node['minimum']}"
        elif value > node.get("maximum", value) or (
            node.get("exclusiveMaximum") is True and value == node.get("maximum")
        ):
            problem = f"should be less than or equal to {node['maximum']}"
    if problem:
        message = f"Invalid value: {_shown(value)}: {path} in body {problem}"
        findings.broken.append(Finding(path, "FieldValueInvalid", message))


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True  # Go's syntax differs in corners; a pattern that cannot be read here refuses nothing


def _shown(value: Any) -> str:
    return orjson.dumps(value).decode()
