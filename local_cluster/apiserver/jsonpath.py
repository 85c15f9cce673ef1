"""The part of Kubernetes' JSONPath that printer columns and scale subresources use.

Steps: `.name`, `['quoted name']` (a backslash escapes), `[0]`, `[-1]`, `[*]`, and the filter
`[?(@.field=="value")]` (also `!=`). Source: Kubernetes documentation, "JSONPath Support"; `additionalPrinterColumns`.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

__all__ = ["JsonPath", "JsonPathError", "compile_path"]

_Step: TypeAlias = Callable[[Any], list[Any]]

_FIELD = re.compile(r"\.((?:\\.|[^.\[\]\\])+)")
_QUOTED = re.compile(r"""\[(['"])((?:\\.|(?!\1)[^\\])*)\1\]""")
_INDEX = re.compile(r"\[(-?\d+|\*)\]")
_FILTER = re.compile(r"""\[\?\(\s*@((?:\.[A-Za-z0-9_\-\\./]+?)+)\s*(==|!=)\s*(['"])(.*?)\3\s*\)\]""")
_ESCAPE = re.compile(r"\\(.)")


class JsonPathError(ValueError):
    """The path uses something that is not supported, or is malformed."""


class JsonPath:
    """A compiled path; `find` returns every value that it leads to, absent ones left out."""

    __slots__ = ("_steps", "text")

    def __init__(self, text: str, steps: list[_Step]) -> None:
        self.text = text
        self._steps = steps

    def find(self, document: Any) -> list[Any]:
        """All values at this path, in document order; empty when there is none."""
        values = [document]
        for step in self._steps:
            values = [found for value in values for found in step(value)]
            if not values:
                break
        return values

    def first(self, document: Any) -> Any:
        """The first value at this path, or None."""
        found = self.find(document)
        return found[0] if found else None


@lru_cache(maxsize=4096)
def compile_path(text: str) -> JsonPath:
    """Compile `text`, with or without the surrounding braces. Raises `JsonPathError`."""
    path = text.strip()
    if path.startswith("{") and path.endswith("}"):
        path = path[1:-1]
    path = path.removeprefix("$")
    if path and path[0] not in ".[":
        path = "." + path
    steps: list[_Step] = []
    position = 0
    while position < len(path):
        if match := _FILTER.match(path, position):
            steps.append(_filter(compile_path(match[1]), match[2], match[4]))
        elif match := _QUOTED.match(path, position):
            steps.append(_field(_ESCAPE.sub(r"\1", match[2])))
        elif match := _INDEX.match(path, position):
            steps.append(_all if match[1] == "*" else _index(int(match[1])))
        elif match := _FIELD.match(path, position):
            steps.append(_field(_ESCAPE.sub(r"\1", match[1])))
        else:
            raise JsonPathError(f"JSONPath {text!r}: expected .name, [index] or [?(@.field==value)] at {position}")
        position = match.end()
    return JsonPath(text, steps)


def _field(name: str) -> _Step:
    def step(value: Any) -> list[Any]:
        return [value[name]] if isinstance(value, dict) and name in value else []

    return step


def _index(index: int) -> _Step:
    def step(value: Any) -> list[Any]:
        return [value[index]] if isinstance(value, list) and -len(value) <= index < len(value) else []

    return step


def _all(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else []


def _filter(path: JsonPath, operator: str, wanted: str) -> _Step:
    def step(value: Any) -> list[Any]:
        if not isinstance(value, list):
            return []
        return [item for item in value if (_text(path.first(item)) == wanted) == (operator == "==")]

    return step


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
