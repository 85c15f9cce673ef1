"""Go's values in Python, as far as templates see them: their fields, their truth, how they compare and print.

| Go              | here                                                                             |
|-----------------|----------------------------------------------------------------------------------|
| string          | `str`; bytes that are no UTF-8 are surrogate escapes, so they come out as they were |
| bool            | `bool`                                                                           |
| integers        | `int`                                                                            |
| float64         | `float`                                                                          |
| slices          | `list`                                                                           |
| map[string]T    | `Map`                                                                            |
| struct, pointer | `Record`                                                                         |
| nil, no value   | `None`                                                                           |

Source: Go `text/template/exec.go`, `text/template/funcs.go`, `fmt`, `strconv`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

__all__ = ["Map", "Record", "RenderError", "compare", "field", "is_equal", "is_true", "item", "kind", "text_of"]

_EXPONENT_MIN: Final = -4
_EXPONENT_MAX: Final = 6
"""`%v` and `%g` write an exponent below the one and from the other on."""


class RenderError(Exception):
    """A template cannot be applied to this data."""

    def __init__(self, problem: str, *, is_located: bool = False) -> None:
        """`is_located`: `problem` says where in the template."""
        super().__init__(problem)
        self.is_located = is_located


class Record:
    """A struct: what it offers by name. Subclasses list it."""

    __slots__ = ()
    go_type: ClassVar[str]
    """Its name in Go."""
    go_fields: ClassVar[Mapping[str, Callable[[Any], object]]] = {}
    """Fields and methods without arguments."""
    go_methods: ClassVar[Mapping[str, Callable[[Any, str], object]]] = {}
    """Methods with one argument, a string."""

    def go_string(self) -> str:
        """Its text, for those that have one. Raises `RenderError`."""
        raise RenderError(f"expected a field of {self.go_type}, got all of it")


class Map(dict[str, Any]):
    """A map whose keys are strings."""

    go_type: ClassVar[str] = "map[string]string"
    """Its name in Go."""
    go_zero: ClassVar[object] = None
    """What `index` finds where there is nothing."""
    go_methods: ClassVar[Mapping[str, Callable[[Any, str], object]]] = {}


def kind(value: object) -> str:
    """The name of a value's type in Go."""
    if isinstance(value, Record | Map):
        return value.go_type
    names = {bool: "bool", int: "int", float: "float64", str: "string", list: "[]string"}
    return names.get(type(value), "nil")


def field(value: object, name: str, arguments: Sequence[object] = ()) -> object:
    """Return a field, the result of a method, or what a map holds. Raises `RenderError`."""
    if isinstance(value, Record):
        get = value.go_fields.get(name)
        if get is not None and not arguments:
            return get(value)
    if isinstance(value, Record | Map):
        method = value.go_methods.get(name)
        if method is not None:
            if len(arguments) != 1 or not isinstance(arguments[0], str):
                raise RenderError(f"{name}: expected one string, got {[kind(each) for each in arguments]}")
            return method(value, arguments[0])
    if arguments:
        raise RenderError(f"{name} has arguments but is no method of {kind(value)}")
    if isinstance(value, Map):
        return value.get(name)
    raise RenderError(f"{kind(value)} has no field {name}, or none that is supported")


def is_true(value: object) -> bool:
    """Whether a value is not its type's zero; a struct always is."""
    return isinstance(value, Record) or bool(value)


def item(value: object, index: object) -> object:
    """`index` with one index. Raises `RenderError`."""
    if isinstance(value, Map):
        if not isinstance(index, str):
            raise RenderError(f"index of a map: expected a string, got {kind(index)}")
        return value.get(index, value.go_zero)
    if not isinstance(value, str | list):
        raise RenderError(f"index: expected a slice, a map or a string, got {kind(value)}")
    if not isinstance(index, int) or isinstance(index, bool):
        raise RenderError(f"index: expected a number, got {kind(index)}")
    sequence = value if isinstance(value, list) else value.encode("utf-8", "surrogateescape")
    if not 0 <= index < len(sequence):
        raise RenderError(f"index out of range: {index} of {len(sequence)}")
    found: object = sequence[index]
    return found


def is_equal(left: object, right: object) -> bool:
    """`eq` of two. Raises `RenderError`."""
    if left is None or right is None:
        return left is right
    for value in (left, right):
        if isinstance(value, list | Map | Record):
            raise RenderError(f"eq: {kind(value)} cannot be compared")
    if type(left) is not type(right):
        raise RenderError(f"eq: {kind(left)} and {kind(right)} cannot be compared")
    return left == right


def compare(left: Any, right: Any) -> int:
    """Return a negative number, 0 or a positive one; of NaN always 1. Raises `RenderError`."""
    for value in (left, right):
        if type(value) not in (int, float, str):
            raise RenderError(f"{kind(value)} has no order")
    if type(left) is not type(right):
        raise RenderError(f"{kind(left)} and {kind(right)} cannot be compared")
    if isinstance(left, str):
        left, right = left.encode("utf-8", "surrogateescape"), right.encode("utf-8", "surrogateescape")
    return -1 if left < right else int(left != right)


def text_of(value: object) -> str:
    """Return what `%v` prints. Raises `RenderError` for structs without a text of their own."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, list):
        return f"[{' '.join(map(text_of, value))}]"
    if isinstance(value, Map):
        return f"map[{' '.join(f'{key}:{text_of(value[key])}' for key in sorted(value))}]"
    return value.go_string() if isinstance(value, Record) else "<nil>"


def float_text(value: float) -> str:
    """Return a float in the fewest digits that read back as the same: `0.25`, `5`, `1e-05`, `1.5e+06`."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    if value == 0 or 10**_EXPONENT_MIN <= abs(value) < 10**_EXPONENT_MAX:
        return repr(value).removesuffix(".0")
    mantissa, _, exponent = repr(value).partition("e")
    sign = "-" if value < 0 else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits = (whole + fraction).rstrip("0")
    power = int(exponent or "0") + len(whole) - 1
    return f"{sign}{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{power:+03d}"
