"""The part of Go's text templates that host and container names are made of: fields of the data, and `index`.

`{{.Name}}`, `{{ .Annotations.team }}`, `{{index .Labels "app.kubernetes.io/name"}}`; `{{-` and `-}}` trim blanks.
Control structures and functions are refused when the template is parsed, so that a ConfigMap which uses them is
rejected as a whole instead of naming hosts wrongly.
"""

import re
from collections.abc import Mapping

__all__ = ["Template", "TemplateError"]

_ACTION = re.compile(r"\{\{(-\s)?(.*?)(\s-)?\}\}", re.DOTALL)
_FIELDS = re.compile(r"\s*((?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*\Z")
_INDEX = re.compile(r'\s*index\s+((?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s+(?:"((?:[^"\\]|\\.)*)"|`([^`]*)`)\s*\Z')

Data = Mapping[str, "str | Mapping[str, str]"]


class TemplateError(ValueError):
    """The template uses what is not supported, or names a field that does not exist."""


class Template:
    """A parsed template; `TemplateError` when it cannot be."""

    __slots__ = ("_parts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = _parse(text)

    def render(self, data: Data) -> str:
        """The template's text for `data`: field name -> text, or a map of texts. Absent map keys are empty."""
        return "".join(part if isinstance(part, str) else _look_up(data, part) for part in self._parts)


def _parse(text: str) -> list[str | tuple[str, ...]]:
    parts: list[str | tuple[str, ...]] = []
    position = 0
    trim_next = False
    for match in _ACTION.finditer(text):
        literal = text[position : match.start()]
        literal = literal.lstrip() if trim_next else literal
        parts.append(literal.rstrip() if match[1] else literal)
        parts.append(_expression(match[2]))
        trim_next = bool(match[3])
        position = match.end()
    rest = text[position:]
    if "{{" in rest:
        raise TemplateError(f"unclosed action in template {text!r}")
    parts.append(rest.lstrip() if trim_next else rest)
    return parts


def _expression(text: str) -> tuple[str, ...]:
    if match := _FIELDS.match(text):
        return tuple(match[1].split(".")[1:])
    if match := _INDEX.match(text):
        return (*match[1].split(".")[1:], match[2] if match[2] is not None else match[3])
    raise TemplateError(f'expected a field such as {{{{.Name}}}} or {{{{index .Labels "key"}}}}, got {{{{{text}}}}}')


def _look_up(data: Data, path: tuple[str, ...]) -> str:
    value = data.get(path[0])
    if value is None:
        raise TemplateError(f"can't evaluate field {path[0]}")
    if isinstance(value, str):
        if len(path) > 1:
            raise TemplateError(f"can't evaluate field {path[1]} in {path[0]}, which is text")
        return value
    if len(path) != 2:
        raise TemplateError(f"{path[0]} is a map: one key is needed")
    return value.get(path[1], "")
