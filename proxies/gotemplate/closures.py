"""What templates are compiled into: closures over one rendering.

    statement   (frame) -> ?        puts out text, or runs other statements
    expression  (frame) -> value    a pipeline, a command of it, an operand

Source: Go `text/template/exec.go`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from proxies.gotemplate.functions import Function
from proxies.gotemplate.values import Map, RenderError, field, is_true, kind, text_of

__all__ = ["Expression", "Frame", "Statement"]

_TURNS_MAX: Final = 10_000
"""Of all loops of one rendering together."""
_OUTPUT_MAX: Final = 256 * 1024
"""Characters of one rendering."""


class Frame:
    """One rendering: its data, the current dot, the variables by slot, the output so far."""

    __slots__ = ("data", "dot", "output", "size", "turns", "variables")

    def __init__(self, data: object, variables: int) -> None:
        self.data = data
        self.dot = data
        self.variables: list[object] = [None] * variables
        self.output: list[str] = []
        self.size = 0
        self.turns = 0

    def put(self, text: str) -> None:
        """Put out `text`."""
        self.size += len(text)
        if self.size > _OUTPUT_MAX:
            raise RenderError(f"expected at most {_OUTPUT_MAX} characters of output")
        self.output.append(text)

    def turn(self) -> None:
        """A loop goes round."""
        self.turns += 1
        if self.turns > _TURNS_MAX:
            raise RenderError(f"expected at most {_TURNS_MAX} turns of loops")


Statement: TypeAlias = Callable[[Frame], object]
"""What it returns is nothing to anybody."""
Expression: TypeAlias = Callable[[Frame], Any]


# Statements.


def sequence(statements: Sequence[Statement]) -> Statement:
    """One after the other."""
    if len(statements) == 1:
        return statements[0]

    def run(frame: Frame) -> None:
        for statement in statements:
            statement(frame)

    return run


def text(plain: str) -> Statement:
    """Put out a text."""
    return lambda frame: frame.put(plain)


def put(value: Expression) -> Statement:
    """Put out a value."""

    def run(frame: Frame) -> None:
        found = value(frame)
        frame.put(found if found.__class__ is str else "<no value>" if found is None else text_of(found))

    return run


def choose(condition: Expression, body: Statement, otherwise: Statement) -> Statement:
    """`if`."""

    def run(frame: Frame) -> None:
        (body if is_true(condition(frame)) else otherwise)(frame)

    return run


def enter(value: Expression, body: Statement, otherwise: Statement) -> Statement:
    """`with`: the dot is `value` inside."""

    def run(frame: Frame) -> None:
        found = value(frame)
        if not is_true(found):
            otherwise(frame)
            return
        outer, frame.dot = frame.dot, found
        body(frame)
        frame.dot = outer

    return run


def loop(over: Expression, slots: Sequence[int], body: Statement, otherwise: Statement) -> Statement:
    """`range`: the dot is each element; of two variables the first is its index or key, a single one is the element."""

    def run(frame: Frame) -> None:
        outer = frame.dot
        is_empty = True
        found = over(frame)
        if len(slots) == 2 and isinstance(found, int):
            raise RenderError("range: expected one variable at most with a number")
        for key, element in _elements(found):
            is_empty = False
            frame.turn()
            frame.dot = element
            for slot, value in zip(slots, (key, element) if len(slots) == 2 else (element,), strict=False):
                frame.variables[slot] = value
            body(frame)
        frame.dot = outer
        if is_empty:
            otherwise(frame)

    return run


def _elements(value: object) -> Iterable[tuple[object, object]]:
    if isinstance(value, list):
        return enumerate(value)
    if isinstance(value, Map):
        return sorted(value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return ((number, number) for number in range(value))
    if value is None:
        return ()
    raise RenderError(f"range: expected a slice, a map or a number, got {kind(value)}")


# Expressions.


def constant(value: object) -> Expression:
    """Always the same."""
    return lambda frame: value


def dot(frame: Frame) -> object:
    """`.`"""
    return frame.dot


def data(frame: Frame) -> object:
    """`$`"""
    return frame.data


def variable(slot: int) -> Expression:
    """`$name`"""
    return lambda frame: frame.variables[slot]


def assign(slot: int, value: Expression) -> Expression:
    """Set a variable to a value, and be it."""

    def run(frame: Frame) -> object:
        found = frame.variables[slot] = value(frame)
        return found

    return run


def chain(base: Expression, names: Sequence[str], arguments: Sequence[Expression]) -> Expression:
    """`base.A.B arguments`: the arguments are for the last, which is a method then."""
    if arguments:
        first, last = names[:-1], names[-1]

        def call(frame: Frame) -> object:
            value = base(frame)
            for name in first:
                value = field(value, name)
            return field(value, last, [argument(frame) for argument in arguments])

        return call

    def get(frame: Frame) -> object:
        value = base(frame)
        for name in names:
            value = field(value, name)
        return value

    return get


def call(name: str, function: Function, arguments: Sequence[Expression]) -> Expression:
    """`name arguments`"""
    apply, count = function.call, len(arguments)
    if count < function.least or (function.most is not None and count > function.most):
        most = (
            "" if function.most == function.least else " or more" if function.most is None else f" to {function.most}"
        )
        problem = f"{name}: expected {function.least}{most} arguments, got {count}"

        def refuse(frame: Frame) -> object:
            raise RenderError(problem)

        return refuse
    if count == 1:
        only = arguments[0]
        return lambda frame: apply(only(frame))
    return lambda frame: apply(*[argument(frame) for argument in arguments])


def first_that_is(wanted: bool, arguments: Sequence[Expression]) -> Expression:
    """`or` (True) and `and` (False): the first argument that is, else the last; those behind it are not evaluated."""
    *early, last = arguments

    def find(frame: Frame) -> object:
        for argument in early:
            value = argument(frame)
            if is_true(value) is wanted:
                return value
        return last(frame)

    return find
