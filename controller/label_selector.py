"""A label selector as a ConfigMap holds it. Pure. Source: Kubernetes `metav1.LabelSelector`."""

from collections.abc import Mapping
from dataclasses import dataclass

from controller.configmaps import parse_yaml
from kube.autoscaling.config import InvalidConfig

__all__ = ["LabelSelector"]

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True, slots=True)
class _Requirement:
    """One of `matchExpressions`, or a label that must have one value."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def is_met(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "In":
            return value is not None and value in self.values
        if self.operator == "NotIn":
            return value is None or value not in self.values
        return (value is not None) == (self.operator == "Exists")


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """What labels must be like. None at all: nothing is selected; an empty one selects everything."""

    requirements: tuple[_Requirement, ...] | None = None

    @classmethod
    def parse(cls, text: str, key: str) -> "LabelSelector":
        """Read YAML with `matchLabels` and `matchExpressions`. Raises `InvalidConfig`, which names the `key`."""
        if not text.strip():
            return cls()
        data = parse_yaml(text, key)
        unknown = data.keys() - {"matchLabels", "matchExpressions"}
        labels, expressions = data.get("matchLabels") or {}, data.get("matchExpressions") or []
        if unknown or not isinstance(labels, dict) or not isinstance(expressions, list):
            raise InvalidConfig(f"{key}: expected matchLabels (a map) and matchExpressions (a list), got {text!r}")
        found = [_Requirement(str(name), "In", frozenset([str(value)])) for name, value in sorted(labels.items())]
        return cls((*found, *(_requirement(expression, key) for expression in expressions)))

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are so."""
        return self.requirements is not None and all(each.is_met(labels) for each in self.requirements)


def _requirement(expression: object, key: str) -> _Requirement:
    if isinstance(expression, dict):
        name, operator, values = (expression.get(part) for part in ("key", "operator", "values"))
        has_values = isinstance(values, list) and bool(values)
        if name and operator in _OPERATORS and has_values == operator.endswith("In"):
            return _Requirement(str(name), operator, frozenset(map(str, values or ())))
    raise InvalidConfig(
        f"{key}: expected key, operator ({', '.join(_OPERATORS)}) and, for the first two, values; got {expression!r}"
    )
