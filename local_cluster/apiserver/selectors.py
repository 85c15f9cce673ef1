"""Label and field selectors: text in, a predicate out.

Grammar of label selectors (Kubernetes documentation, "Labels and Selectors"): requirements joined by commas, each one
of `key`, `!key`, `key=v`, `key==v`, `key!=v`, `key in (a,b)`, `key notin (a,b)`, `key>1`, `key<1`. As upstream, `!=`
and `notin` also select objects without the key. Field selectors know `=`, `==`, `!=` on the fields that a kind offers;
a backslash escapes `,`, `=` and itself.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "EVERY_FIELD",
    "EVERY_LABEL",
    "FieldSelector",
    "LabelSelector",
    "SelectorError",
    "label_errors",
    "parse_fields",
    "parse_labels",
]

_KEY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?)?"
_SET = re.compile(
    rf"\s*(?P<key>{_KEY})\s+(?P<operator>in|notin)\s*\(\s*(?P<values>{_VALUE}(?:\s*,\s*{_VALUE})*)\s*\)\s*"
)
_EQUALITY = re.compile(rf"\s*(?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>{_VALUE})\s*")
_COMPARISON = re.compile(rf"\s*(?P<key>{_KEY})\s*(?P<operator>[<>])\s*(?P<value>-?\d+)\s*")
_EXISTENCE = re.compile(rf"\s*(?P<operator>!?)\s*(?P<key>{_KEY})\s*")
_LABEL_KEY = re.compile(_KEY)
_LABEL_VALUE = re.compile(_VALUE)
_PREFIX_BYTES_MAX = 253


class SelectorError(ValueError):
    """A selector that cannot be parsed; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key. `operator`: `in`, `notin`, `exists`, `!exists`, `>` or `<`."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` fulfil this condition."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!exists":
                return value is None
        return value is not None and _compares(value, self.operator, next(iter(self.values)))


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements that must all hold; none at all selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with `labels` is selected."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    @classmethod
    def from_object(cls, selector: Mapping[str, Any]) -> "LabelSelector":
        """From the JSON form with `matchLabels` and `matchExpressions`. Raises `SelectorError`."""
        requirements = [
            Requirement(key, "in", frozenset([str(value)]))
            for key, value in (selector.get("matchLabels") or {}).items()
        ]
        for expression in selector.get("matchExpressions") or ():
            operator = _EXPRESSION_OPERATORS.get(str(expression.get("operator")))
            if operator is None:
                raise SelectorError(f"matchExpressions: {expression.get('operator')!r} is not a valid operator")
            values = frozenset(map(str, expression.get("values") or ()))
            requirements.append(Requirement(str(expression.get("key")), operator, values))
        return cls(tuple(requirements))


_EXPRESSION_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists"}


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Pairs of field and value, each with whether it must be equal (True) or different."""

    requirements: tuple[tuple[str, str, bool], ...] = ()

    def matches(self, field: Callable[[str], str]) -> bool:
        """Whether an object is selected whose field values `field` tells; an absent one is empty."""
        return all((field(name) == value) == equal for name, value, equal in self.requirements)

    def required(self, field: str) -> str | None:
        """The value that `field` must have to be selected, if the selector pins it."""
        return next((value for name, value, equal in self.requirements if equal and name == field), None)


EVERY_LABEL = LabelSelector()
EVERY_FIELD = FieldSelector()
"""Selectors without requirements."""


def parse_labels(text: str) -> LabelSelector:
    """Parse a label selector. Raises `SelectorError`."""
    if not text.strip():
        return LabelSelector()
    requirements = []
    position = 0
    while True:
        requirement, position = _requirement(text, position)
        requirements.append(requirement)
        if position == len(text):
            return LabelSelector(tuple(requirements))
        if text[position] != ",":
            raise SelectorError(
                f"unable to parse requirement: found {text[position:]!r}, expected ',' or end of string"
            )
        position += 1


def parse_fields(text: str, known: Collection[str]) -> FieldSelector:
    """Parse a field selector over the fields in `known`. Raises `SelectorError` for others."""
    requirements = []
    for term in _split_terms(text):
        if not term:
            continue
        match = re.fullmatch(r"((?:[^=!\\]|\\.)*?)(==|!=|=)(.*)", term, re.DOTALL)
        if match is None:
            raise SelectorError(f"invalid selector: {text!r}; can't understand {term!r}")
        field = match[1].strip()
        if field not in known:
            raise SelectorError(f"field label not supported: {field}")
        requirements.append((field, _unescape(match[3]), match[2] != "!="))
    return FieldSelector(tuple(requirements))


def label_errors(labels: Mapping[str, object]) -> Iterable[str]:
    """Why these labels may not stand on an object; empty when they may."""
    for key, value in labels.items():
        prefix, _, _ = key.rpartition("/")
        if _LABEL_KEY.fullmatch(key) is None or len(prefix) > _PREFIX_BYTES_MAX:
            yield f"{key!r} is not a qualified name"
        if not isinstance(value, str) or _LABEL_VALUE.fullmatch(value) is None:
            yield f"{value!r}: a label's value is empty, or at most 63 alphanumerics, '-', '_' or '.'"


def _requirement(text: str, position: int) -> tuple[Requirement, int]:
    if match := _SET.match(text, position):
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], match["operator"], values), match.end()
    if match := _EQUALITY.match(text, position):
        operator = "notin" if match["operator"] == "!=" else "in"
        return Requirement(match["key"], operator, frozenset([match["value"]])), match.end()
    if match := _COMPARISON.match(text, position):
        return Requirement(match["key"], match["operator"], frozenset([match["value"]])), match.end()
    if match := _EXISTENCE.match(text, position):
        return Requirement(match["key"], "!exists" if match["operator"] else "exists"), match.end()
    raise SelectorError(f"unable to parse requirement: found {text[position:]!r}, expected an identifier")


def _compares(value: str, operator: str, bound: str) -> bool:
    try:
        number = int(value)
    except ValueError:
        return False
    return number > int(bound) if operator == ">" else number < int(bound)


def _split_terms(text: str) -> Iterable[str]:
    """Split at commas that are not escaped."""
    start = position = 0
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == ",":
            yield text[start:position]
            start = position + 1
        position += 1
    yield text[start:]


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
