"""A tree to a function of an event's attributes.

Each node becomes a closure over those of its operands, with everything decided that does not depend on the event:
types of literals, patterns, functions. An evaluation is then a few calls. Errors are exceptions; whatever an operator
meets in its operands ends it, so that only a failing root decides about the value that comes out.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from eventing.filters.cesql.functions import function_of
from eventing.filters.cesql.nodes import Attribute, Binary, Call, Exists, In, Like, Literal, Negative, Node, Not
from eventing.filters.cesql.parser import parse
from eventing.filters.cesql.values import (
    ErrorKind,
    EvaluationError,
    Kind,
    cast,
    default_of,
    kind_of,
    to_bool,
    to_int,
    wrapped,
)
from eventing.values import Value, to_text

__all__ = ["Attributes", "Expression", "compile_expression"]

Attributes: TypeAlias = Mapping[str, Value]
"""An event's attributes that are set, by lower-case names; times, URIs and the like as text."""
_Run: TypeAlias = Callable[[Attributes], Value]


class Expression:
    """A compiled expression."""

    __slots__ = ("_run", "kind", "text")

    def __init__(self, text: str, run: _Run, kind: Kind) -> None:
        self.text = text
        self._run = run
        self.kind = kind
        """Type of the zero that comes with an error."""

    def evaluate(self, attributes: Attributes) -> tuple[Value, EvaluationError | None]:
        """Return the value for an event, and what went wrong: then the value is a substitute."""
        try:
            return self._run(attributes), None
        except EvaluationError as error:
            error.__traceback__ = None
            return default_of(self.kind) if error.value is None else error.value, error

    def matches(self, attributes: Attributes) -> bool:
        """Whether the value is true, and nothing went wrong (spec eventing-broker.md 8.6)."""
        try:
            return self._run(attributes) is True
        except EvaluationError:
            return False


def compile_expression(text: str) -> Expression:
    """Return the expression that `text` says. Raises `ParseError`."""
    node = parse(text)
    return Expression(text, _compiled(node), _result_of(node))


def _result_of(node: Node) -> Kind:
    match node:
        case Literal(value):
            return kind_of(value)
        case Negative():
            return Kind.INTEGER
        case Binary(operator):
            return Kind.INTEGER if operator in _MATH else Kind.BOOLEAN
        case Call(name, arguments):
            function = function_of(name, len(arguments))
            return Kind.BOOLEAN if function is None else function.returns
    return Kind.BOOLEAN


def _compiled(node: Node) -> _Run:
    match node:
        case Literal(value):
            return lambda attributes: value
        case Attribute(name):
            return _attribute(name)
        case Exists(name):
            return lambda attributes: name in attributes
        case Not(operand):
            return _not(_operand(operand))
        case Negative(operand):
            run = _operand(operand)
            return lambda attributes: wrapped(-to_int(run(attributes)))
        case Binary():
            return _binary(node)
        case Like():
            return _like(node)
        case In():
            return _in(node)
        case Call():
            return _call(node)


def _operand(node: Node) -> _Run:
    """Return the function of a node within another one, to which an error in it leaves what comes out."""
    run = _compiled(node)
    if not isinstance(node, Not | Call):
        return run  # only these name a value of their own

    def guarded(attributes: Attributes) -> Value:
        try:
            return run(attributes)
        except EvaluationError as error:
            error.value = None
            raise

    return guarded


def _attribute(name: str) -> _Run:
    def attribute(attributes: Attributes) -> Value:
        value = attributes.get(name)
        if value is None:
            raise EvaluationError(ErrorKind.MISSING_ATTRIBUTE, f"the event has no {name}")
        return value

    return attribute


def _not(run: _Run) -> _Run:
    def invert(attributes: Attributes) -> Value:
        value = run(attributes)
        if value is True or value is False:
            return not value
        try:
            return not to_bool(value)
        except EvaluationError as error:
            error.value = True  # the inverse of the zero that it was cast to
            raise

    return invert


def _binary(node: Binary) -> _Run:
    left, right = _operand(node.left), _operand(node.right)
    operator = node.operator
    if operator in _MATH:
        calculate = _MATH[operator]
        return lambda attributes: calculate(to_int(left(attributes)), to_int(right(attributes)))
    if operator in _ORDER:
        compare = _ORDER[operator]
        return lambda attributes: compare(to_int(left(attributes)), to_int(right(attributes)))
    if operator == "=" or operator == "!=":
        return _equality(node, left, right)
    if operator == "AND":
        return lambda attributes: to_bool(left(attributes)) and to_bool(right(attributes))
    if operator == "OR":
        return lambda attributes: to_bool(left(attributes)) or to_bool(right(attributes))
    return lambda attributes: to_bool(left(attributes)) is not to_bool(right(attributes))


def _equality(node: Binary, left: _Run, right: _Run) -> _Run:
    """The left side is cast to the type of the right one."""
    is_wanted = node.operator == "="
    if isinstance(node.right, Literal):
        value = node.right.value
        kind = kind_of(value)
        if kind is Kind.STRING:
            if isinstance(node.left, Attribute):
                return _attribute_is(node.left.name, value, is_wanted)
            return lambda attributes: (to_text(left(attributes)) == value) is is_wanted
        return lambda attributes: (cast(left(attributes), kind) == value) is is_wanted

    def equal(attributes: Attributes) -> Value:
        a, b = left(attributes), right(attributes)
        return (cast(a, kind_of(b)) == b) is is_wanted

    return equal


def _attribute_is(name: str, value: Value, is_wanted: bool) -> _Run:
    """What most filters are made of: an attribute against a string."""

    def compare(attributes: Attributes) -> Value:
        found = attributes.get(name)
        if found is None:
            raise EvaluationError(ErrorKind.MISSING_ATTRIBUTE, f"the event has no {name}")
        return ((found if isinstance(found, str) else to_text(found)) == value) is is_wanted

    return compare


def _like(node: Like) -> _Run:
    run = _operand(node.operand)
    fullmatch = _pattern(node.pattern).fullmatch
    is_wanted = not node.is_negated
    return lambda attributes: (fullmatch(to_text(run(attributes))) is not None) is is_wanted


def _in(node: In) -> _Run:
    """Each element is cast to the type of what is looked for."""
    run = _operand(node.operand)
    elements = tuple(_operand(element) for element in node.elements)
    is_wanted = not node.is_negated

    def search(attributes: Attributes) -> Value:
        value = run(attributes)
        kind = kind_of(value)
        return any(cast(element(attributes), kind) == value for element in elements) is is_wanted

    return search


def _call(node: Call) -> _Run:
    function = function_of(node.name, len(node.arguments))
    if function is None:
        text = f"there is no function {node.name} of {len(node.arguments)} arguments"

        def missing(attributes: Attributes) -> Value:
            raise EvaluationError(ErrorKind.MISSING_FUNCTION, text)

        return missing
    kinds = function.takes + (function.rest,) * (len(node.arguments) - len(function.takes))
    arguments = [(_operand(argument), kind) for argument, kind in zip(node.arguments, kinds, strict=True)]
    run = function.run

    def call(attributes: Attributes) -> Value:
        return run(*[value(attributes) if kind is None else cast(value(attributes), kind) for value, kind in arguments])

    return call


def _pattern(text: str) -> "re.Pattern[str]":
    r"""Return LIKE's pattern: `%` any characters, `_` one, `\%` and `\_` themselves."""
    parts: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character == "\\" and text[position + 1 : position + 2] in ("%", "_") and position + 1 < len(text):
            position += 1
            parts.append(re.escape(text[position]))
        elif character == "%":
            if not parts or parts[-1] != _ANY:
                parts.append(_ANY)  # several in a row would only make it slow
        elif character == "_":
            parts.append(".")
        else:
            parts.append(re.escape(character))
        position += 1
    return re.compile(_without_backtracking(parts), re.DOTALL)


_ANY: Final = ".*"


def _without_backtracking(parts: list[str]) -> str:
    """Join so that each stretch between two `%` is taken where it is found first, for good.

    What stands behind a `%` matches at the earliest place if it matches at all, up to the last `%`, whose stretch is at
    the end. So nothing is tried twice, and a pattern of many `%` costs no more than its length times the text's.
    """
    stretches: list[list[str]] = [[]]
    for part in parts:
        if part is _ANY:
            stretches.append([])
        else:
            stretches[-1].append(part)
    first, *rest = ("".join(stretch) for stretch in stretches)
    if not rest:
        return first
    middle = "".join(f"(?>.*?{stretch})" for stretch in rest[:-1])
    return f"{first}{middle}.*{rest[-1]}"


def _divide(a: int, b: int) -> int:
    if not b:
        raise EvaluationError(ErrorKind.MATH, "division by zero")
    quotient = abs(a) // abs(b)
    return wrapped(quotient if (a < 0) == (b < 0) else -quotient)


def _remainder(a: int, b: int) -> int:
    if not b:
        raise EvaluationError(ErrorKind.MATH, "division by zero")
    remainder = abs(a) % abs(b)
    return remainder if a >= 0 else -remainder


_MATH: Final[dict[str, Callable[[int, int], int]]] = {
    "+": lambda a, b: wrapped(a + b),
    "-": lambda a, b: wrapped(a - b),
    "*": lambda a, b: wrapped(a * b),
    "/": _divide,
    "%": _remainder,
}
_ORDER: Final[dict[str, Callable[[int, int], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
