"""Conditions that say what another object's condition says."""

from typing import Any

from controller.collection import happy_condition
from kube.conditions import Conditions
from kube.models.meta import Condition

__all__ = ["copy_condition", "propagate"]


def propagate(conditions: Conditions, type_: str, obj: Any, *, reason: str, message: str) -> None:
    """Set a condition as `obj` is ready; Unknown, for `reason`, until its newest generation was looked at."""
    ready = happy_condition(obj.status)
    if ready is None or obj.status.observed_generation != obj.metadata.generation:
        conditions.mark_unknown(type_, reason, message)
    elif ready.status == "True":
        conditions.mark_true(type_)
    else:
        copy_condition(conditions, type_, ready)


def copy_condition(conditions: Conditions, type_: str, told: Condition) -> None:
    """Set a condition as another one, reason and message included."""
    match told.status:
        case "True":
            conditions.mark_true(type_, told.reason, told.message)
        case "False":
            conditions.mark_false(type_, told.reason, told.message)
        case _:
            conditions.mark_unknown(type_, told.reason, told.message)
