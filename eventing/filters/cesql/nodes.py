"""The tree of an expression."""

from dataclasses import dataclass
from typing import TypeAlias

from eventing.values import Value

__all__ = ["Attribute", "Binary", "Call", "Exists", "In", "Like", "Literal", "Negative", "Node", "Not"]


@dataclass(frozen=True, slots=True)
class Literal:
    """A value."""

    value: Value


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of the event, in lower case."""

    name: str


@dataclass(frozen=True, slots=True)
class Exists:
    """`EXISTS name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT operand`."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Negative:
    """`-operand`."""

    operand: "Node"


@dataclass(frozen=True, slots=True)
class Binary:
    """`left operator right`; the operator in upper case, `<>` as `!=`."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Like:
    """`operand LIKE 'pattern'`; NOT LIKE is a `Not` around it that keeps errors as they are."""

    operand: "Node"
    pattern: str
    is_negated: bool


@dataclass(frozen=True, slots=True)
class In:
    """`operand IN (element, ...)`."""

    operand: "Node"
    elements: tuple["Node", ...]
    is_negated: bool


@dataclass(frozen=True, slots=True)
class Call:
    """`NAME(argument, ...)`; the name in upper case."""

    name: str
    arguments: tuple["Node", ...]


Node: TypeAlias = Literal | Attribute | Exists | Not | Negative | Binary | Like | In | Call
