"""The functions that every template has.

Each takes evaluated arguments, and raises `RenderError` for those that it cannot take. `and` and `or` are not here:
they evaluate no more arguments than they need, so they are closures of their own.

Source: Go `text/template/funcs.go`.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from proxies.gotemplate.formats import formatted
from proxies.gotemplate.values import Map, RenderError, compare, is_equal, is_true, item, kind, text_of

__all__ = ["FUNCTIONS", "Function"]


class Function(NamedTuple):
    """A function and how many arguments it wants."""

    call: Callable[..., object]
    least: int
    most: int | None = None
    """None: any number."""


def _sprint(*values: object) -> str:
    """Spaces between operands of which neither is a string."""
    pieces: list[str] = []
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            pieces.append(" ")
        pieces.append(text_of(value))
    return "".join(pieces)


def _sprintln(*values: object) -> str:
    return " ".join(map(text_of, values)) + "\n"


def _sprintf(pattern: object, *values: object) -> str:
    if not isinstance(pattern, str):
        raise RenderError(f"printf: expected a format, got {kind(pattern)}")
    return formatted(pattern, values)


def _words(values: tuple[object, ...]) -> str:
    """What the functions that escape make of their arguments first."""
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return _sprint(*("<no value>" if value is None else value for value in values))


_JS_SPECIAL: Final = re.compile(r"""[\\'"<>&=\x00-\x1f]|[^\x00-\x7f]""")
_JS_ESCAPES: Final = {"\\": r"\\", "'": r"\'", '"': r"\""}


def _js(*values: object) -> str:
    """For a string of JavaScript. Not quite JSON: `'` becomes `\\'`."""
    return _JS_SPECIAL.sub(_js_character, _words(values))


def _js_character(match: re.Match[str]) -> str:
    character = match[0]
    if character in _JS_ESCAPES:
        return _JS_ESCAPES[character]
    if character > "\x7f" and (character.isprintable() or "\udc80" <= character <= "\udcff"):
        return character
    return f"\\u{ord(character):04X}"


_HTML: Final = str.maketrans({'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"})


def _html(*values: object) -> str:
    return _words(values).translate(_HTML)


def _urlquery(*values: object) -> str:
    from urllib.parse import quote_plus

    return quote_plus(_words(values).encode("utf-8", "surrogateescape"))


def _len(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list | Map):
        return len(value)
    raise RenderError(f"len: expected a string, a slice or a map, got {kind(value)}")


def _index(value: object, *indices: object) -> object:
    for index in indices:
        value = item(value, index)
    return value


def _slice(value: Any, *bounds: Any) -> object:
    if not isinstance(value, str | list) or (isinstance(value, str) and len(bounds) == 3):
        raise RenderError(f"slice: expected a slice or a string, got {kind(value)}")
    sequence = value if isinstance(value, list) else value.encode("utf-8", "surrogateescape")
    if any(type(bound) is not int for bound in bounds):
        raise RenderError(f"slice: expected numbers, got {[kind(bound) for bound in bounds]}")
    limits = [*([] if bounds else [0]), *bounds, *([len(sequence)] if len(bounds) < 2 else [])]
    if any(low > high for low, high in zip([0, *limits], [*limits, len(sequence)], strict=True)):
        raise RenderError(f"slice out of range: {list(bounds)} of {len(sequence)}")
    part = sequence[limits[0] : limits[1]]
    return part.decode("utf-8", "surrogateescape") if isinstance(part, bytes) else part


def _eq(value: object, *others: object) -> bool:
    if not others:
        raise RenderError("eq: expected something to compare with")
    return any(is_equal(value, other) for other in others)


FUNCTIONS: Final = {
    "js": Function(_js, 0),
    "html": Function(_html, 0),
    "urlquery": Function(_urlquery, 0),
    "print": Function(_sprint, 0),
    "println": Function(_sprintln, 0),
    "printf": Function(_sprintf, 1),
    "len": Function(_len, 1, 1),
    "index": Function(_index, 1),
    "slice": Function(_slice, 1, 4),
    "not": Function(lambda value: not is_true(value), 1, 1),
    "eq": Function(_eq, 1),
    "ne": Function(lambda left, right: not is_equal(left, right), 2, 2),
    "lt": Function(lambda left, right: compare(left, right) < 0, 2, 2),
    "le": Function(lambda left, right: compare(left, right) <= 0, 2, 2),
    "gt": Function(lambda left, right: compare(left, right) > 0, 2, 2),
    "ge": Function(lambda left, right: compare(left, right) >= 0, 2, 2),
}
