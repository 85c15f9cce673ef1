"""What an attribute of an event can be: text, a boolean, an integer of 32 bits.

Source: CloudEvents 1.0, type system; spec eventing-broker.md 4.3.
"""

from typing import Final, TypeAlias

__all__ = ["INT_MAX", "INT_MIN", "Value", "to_text"]

Value: TypeAlias = bool | int | str

INT_MIN: Final = -(1 << 31)
INT_MAX: Final = (1 << 31) - 1


def to_text(value: Value) -> str:
    """Return a value as a string; every value has one."""
    if isinstance(value, str):
        return value
    if value is True:
        return "true"
    return "false" if value is False else str(value)
