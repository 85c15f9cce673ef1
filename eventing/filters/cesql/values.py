"""Values of CESQL and how they become each other: integers of 32 bits, strings, booleans.

Casts that an operator makes are *implicit*, those of the functions INT, BOOL and STRING *explicit*: only these make a
boolean of an integer.
"""

import re
from enum import Enum
from typing import Final

from eventing.values import INT_MAX, INT_MIN, Value, to_text

__all__ = [
    "ErrorKind",
    "EvaluationError",
    "Kind",
    "ParseError",
    "cast",
    "default_of",
    "kind_of",
    "to_bool",
    "to_int",
    "wrapped",
]

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")


class Kind(Enum):
    """The type of a value."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    STRING = "string"


class ErrorKind(Enum):
    """What went wrong, in the words of the specification."""

    PARSE = "parse"
    MATH = "math"
    CAST = "cast"
    MISSING_FUNCTION = "missingFunction"
    FUNCTION_EVALUATION = "functionEvaluation"
    MISSING_ATTRIBUTE = "missingAttribute"


class ParseError(ValueError):
    """A text that is no expression; says where."""


class EvaluationError(Exception):
    """An expression could not be evaluated for an event."""

    def __init__(self, kind: ErrorKind, text: str, value: Value | None = None) -> None:
        """`value`: what comes out all the same, where that is not the zero of the result's type."""
        super().__init__(text)
        self.kind = kind
        self.value = value


_DEFAULTS: Final[dict[Kind, Value]] = {Kind.BOOLEAN: False, Kind.INTEGER: 0, Kind.STRING: ""}


def default_of(kind: Kind) -> Value:
    """Return the zero of a type."""
    return _DEFAULTS[kind]


def kind_of(value: Value) -> Kind:
    """Return the type of a value."""
    if value is True or value is False:
        return Kind.BOOLEAN
    return Kind.INTEGER if isinstance(value, int) else Kind.STRING


def wrapped(value: int) -> int:
    """Return an integer as 32 bits hold it."""
    return (value - INT_MIN) % (1 << 32) + INT_MIN


def to_int(value: Value) -> int:
    """Return a value as an integer. Raises `EvaluationError`."""
    if isinstance(value, str):
        if _INTEGER.fullmatch(value) is not None and len(value) <= 11:
            number = int(value)
            if INT_MIN <= number <= INT_MAX:
                return number
        raise EvaluationError(ErrorKind.CAST, f"expected an integer of 32 bits, got {value[:64]!r}")
    return int(value)


def to_bool(value: Value) -> bool:
    """Return a value as a boolean, as an operator does. Raises `EvaluationError`."""
    if value is True or value is False:
        return value
    if isinstance(value, str):
        word = value.lower()
        if word == "true":
            return True
        if word == "false":
            return False
    raise EvaluationError(ErrorKind.CAST, f"expected true or false, got {str(value)[:64]!r}")


def cast(value: Value, kind: Kind) -> Value:
    """Return a value as another type, as an operator does. Raises `EvaluationError`."""
    if kind is Kind.STRING:
        return to_text(value)
    return to_int(value) if kind is Kind.INTEGER else to_bool(value)
