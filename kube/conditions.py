"""Knative's condition sets: one happy condition, the dependents that decide it, and informational ones.

Pure state over a list of `Condition`. The rules, and which of several unhappy dependents explains the happy
condition, are those of spec control-plane.md 2.1.
"""

from dataclasses import dataclass

from kube.models.meta import Condition
from kube.timestamps import format_time

__all__ = ["ConditionSet", "Conditions"]


@dataclass(frozen=True, slots=True)
class ConditionSet:
    """The conditions of a kind: the happy one and its dependents. Every other type is informational."""

    dependents: tuple[str, ...] = ()
    happy: str = "Ready"

    def manage(self, conditions: list[Condition], now_s: float) -> "Conditions":
        """A working copy of a status's conditions; `now_s` (Unix) stamps every transition."""
        return Conditions(self, conditions, now_s)


class Conditions:
    """A status's conditions while they are being worked on; `listed()` gives them back, sorted by type."""

    def __init__(self, kind: ConditionSet, conditions: list[Condition], now_s: float) -> None:
        self._kind = kind
        self._now = format_time(now_s)
        self._by_type = {condition.type: condition for condition in conditions}

    def get(self, type_: str) -> Condition | None:
        """The condition of that type, or None."""
        return self._by_type.get(type_)

    def status(self, type_: str) -> str:
        """`True`, `False` or `Unknown`; a missing condition is unknown."""
        condition = self._by_type.get(type_)
        return condition.status if condition is not None else "Unknown"

    def is_true(self, type_: str) -> bool:
        """Whether the condition is True."""
        return self.status(type_) == "True"

    def is_false(self, type_: str) -> bool:
        """Whether the condition is False."""
        return self.status(type_) == "False"

    def initialise(self) -> None:
        """Add what is missing: Unknown, or True for a new dependent of something that is already happy."""
        happy = self.is_true(self._kind.happy)
        for type_ in self._kind.dependents:
            if type_ not in self._by_type:
                self._set(type_, "True" if happy else "Unknown", "", "")
        if self._kind.happy not in self._by_type:
            self._set(self._kind.happy, "Unknown", "", "")

    def mark_true(self, type_: str, reason: str = "", message: str = "") -> None:
        """Set True, then work out the happy condition anew."""
        self._set(type_, "True", reason, message)
        if type_ != self._kind.happy:
            self._recompute_happy()

    def mark_unknown(self, type_: str, reason: str, message: str) -> None:
        """Set Unknown; the happy condition follows unless another dependent is False."""
        self._set(type_, "Unknown", reason, message)
        if type_ == self._kind.happy:
            return
        if any(self.is_false(dependent) for dependent in self._kind.dependents):
            if not self.is_false(self._kind.happy):
                self._set(self._kind.happy, "False", "", "")
        elif type_ in self._kind.dependents:
            self._set(self._kind.happy, "Unknown", reason, message)

    def mark_false(self, type_: str, reason: str, message: str) -> None:
        """Set False, and the happy condition with it if `type_` is a dependent."""
        self._set(type_, "False", reason, message)
        if type_ in self._kind.dependents:
            self._set(self._kind.happy, "False", reason, message)

    def listed(self) -> list[Condition]:
        """All conditions, sorted by type."""
        return [self._by_type[type_] for type_ in sorted(self._by_type)]

    def _recompute_happy(self) -> None:
        known = [self._by_type[t] for t in self._kind.dependents if t in self._by_type]
        for status in ("False", "Unknown"):
            unhappy = [condition for condition in known if condition.status == status]
            if unhappy:
                newest = max(unhappy, key=lambda condition: condition.last_transition_time or "")
                self._set(self._kind.happy, status, newest.reason, newest.message)
                return
        if len(known) < len(self._kind.dependents):
            self._set(self._kind.happy, "Unknown", "", "")
        else:
            self._set(self._kind.happy, "True", "", "")

    def _set(self, type_: str, status: str, reason: str, message: str) -> None:
        severity = "" if type_ == self._kind.happy or type_ in self._kind.dependents else "Info"
        held = self._by_type.get(type_)
        if held is not None and (held.status, held.reason, held.message, held.severity) == (
            status,
            reason,
            message,
            severity,
        ):
            return
        self._by_type[type_] = Condition(
            type=type_,
            status=status,
            reason=reason,
            message=message,
            severity=severity,
            last_transition_time=self._now,
        )
