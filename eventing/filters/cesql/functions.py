"""The functions that expressions may call. Strings are counted in bytes of UTF-8, as the original counts them.

Source: CloudEvents SQL 1.0, "Functions"; spec eventing-broker.md 8.6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from eventing.filters.cesql.values import ErrorKind, EvaluationError, Kind, to_bool, to_int
from eventing.values import INT_MAX, INT_MIN, Value, to_text

__all__ = ["Function", "function_of"]

_SPACE: Final = " \t\n\v\f\r\x85\xa0"


@dataclass(frozen=True, slots=True)
class Function:
    """One function: what it takes and returns."""

    run: Callable[..., Value]
    returns: Kind
    takes: tuple[Kind | None, ...]
    """Types that arguments are cast to; None: as they are."""
    rest: Kind | None = None
    """Type of any number of further arguments."""


def function_of(name: str, count: int) -> Function | None:
    """Return the function of a name in upper case that takes so many arguments; None when there is none."""
    for function in _FUNCTIONS.get(name, ()):
        if count == len(function.takes) or (function.rest is not None and count >= len(function.takes)):
            return function
    return None


def _abs(value: int) -> int:
    if value == INT_MIN:
        raise EvaluationError(ErrorKind.MATH, f"expected an integer above {INT_MIN}", INT_MAX)
    return abs(value)


def _length(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _left(text: str, count: int) -> str:
    if count < 0:
        raise EvaluationError(ErrorKind.FUNCTION_EVALUATION, f"LEFT: expected 0 or more, got {count}", text)
    return _decoded(_encoded(text)[:count])


def _right(text: str, count: int) -> str:
    if count < 0:
        raise EvaluationError(ErrorKind.FUNCTION_EVALUATION, f"RIGHT: expected 0 or more, got {count}", text)
    return _decoded(_encoded(text)[-count:]) if count else ""


def _substring(text: str, position: int, count: int = INT_MAX) -> str:
    data = _encoded(text)
    if count < 0 or not -len(data) <= position <= len(data):
        what = f"SUBSTRING: expected a position within {len(data)} bytes, got {position}, {count}"
        raise EvaluationError(ErrorKind.FUNCTION_EVALUATION, what, "")
    if not position:
        return ""
    begin = position - 1 if position > 0 else len(data) + position
    return _decoded(data[begin : begin + count])


def _explicit_bool(value: Value) -> bool:
    return value != 0 if isinstance(value, int) else to_bool(value)


def _can(convert: Callable[[Value], Value]) -> Callable[[Value], bool]:
    def test(value: Value) -> bool:
        try:
            convert(value)
        except EvaluationError:
            return False
        return True

    return test


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


_B, _I, _S = Kind.BOOLEAN, Kind.INTEGER, Kind.STRING
_ANY: Any = None

_FUNCTIONS: Final[dict[str, tuple[Function, ...]]] = {
    "ABS": (Function(_abs, _I, (_I,)),),
    "LENGTH": (Function(_length, _I, (_S,)),),
    "CONCAT": (Function(lambda *texts: "".join(texts), _S, (), _S),),
    "CONCAT_WS": (Function(lambda between, *texts: between.join(texts), _S, (_S,), _S),),
    "LOWER": (Function(lambda text: text.lower(), _S, (_S,)),),
    "UPPER": (Function(lambda text: text.upper(), _S, (_S,)),),
    "TRIM": (Function(lambda text: text.strip(_SPACE), _S, (_S,)),),
    "LEFT": (Function(_left, _S, (_S, _I)),),
    "RIGHT": (Function(_right, _S, (_S, _I)),),
    "SUBSTRING": (Function(_substring, _S, (_S, _I)), Function(_substring, _S, (_S, _I, _I))),
    "INT": (Function(to_int, _I, (_ANY,)),),
    "BOOL": (Function(_explicit_bool, _B, (_ANY,)),),
    "STRING": (Function(to_text, _S, (_ANY,)),),
    "IS_INT": (Function(_can(to_int), _B, (_ANY,)),),
    "IS_BOOL": (Function(_can(_explicit_bool), _B, (_ANY,)),),
}
