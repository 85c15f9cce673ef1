"""Dead letters that are kept: what is remembered of a delivery that failed for good, and how it is told."""

from collections.abc import Mapping
from typing import Any

import msgspec

from eventing.error_extensions import Failure
from eventing.values import Value

__all__ = ["LISTED_MAX", "Dead"]

LISTED_MAX = 1000
"""So many are told of at once."""


class Dead(msgspec.Struct, array_like=True, frozen=True):
    """Why and when a delivery failed for good."""

    destination: str
    code: int
    body: bytes
    at_s: float
    """Unix time."""
    was_sunk: bool
    """The dead letter sink took the event."""

    @classmethod
    def of(cls, failure: Failure, at_s: float, *, was_sunk: bool, body_bytes_max: int = 1024) -> "Dead":
        """Return the record of a failure; of the body as much as a dead letter tells."""
        return cls(failure.destination, failure.code, failure.body[:body_bytes_max], at_s, was_sunk)

    def told(self, seq: int, subscription: str, channel: str, event: Mapping[str, Value]) -> dict[str, Any]:
        """Return what people are told of it, ready for JSON; `event` are its attributes."""
        return {
            "seq": seq,
            "subscription": subscription,
            "channel": channel,
            **{name: str(event.get(name, "")) for name in ("id", "source", "type")},
            "at": self.at_s,
            "destination": self.destination,
            "code": self.code,
            "body": self.body.decode("utf-8", "replace"),
            "sink": self.was_sunk,
        }
