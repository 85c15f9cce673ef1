"""What becomes of a message after a subscriber's answer: done, again later, or a dead letter now.

The server counts deliveries from 1 and knows nothing of attempts. As long as no dispatcher dies both are the same: a
message that failed is given back `retry` times and is a dead letter after that. A delivery that ended with its
dispatcher was no attempt anybody knows of, so beyond `retry + 1` deliveries the subscriber is asked once more, up to
`CRASHES`; an event at which dispatchers keep dying is a dead letter then, without another attempt.

Where the original ends a message (400, 404, 409 on an early delivery) and loses it, it is a dead letter at once.

Source: spec eventing-channels.md 9.4.
"""

from enum import Enum
from typing import Final

from eventing.retries import DeliverySettings

__all__ = ["CRASHES", "Failed", "after_failure", "delay_s", "is_poisonous"]

CRASHES: Final = 10
"""Deliveries that may end with their dispatcher."""
_AGAIN: Final = frozenset([0, 408, 429])


class Failed(Enum):
    """What follows a failed attempt."""

    AGAIN = "again"
    DEAD_LETTER = "dead letter"


def after_failure(settings: DeliverySettings, status: int, deliveries: int) -> Failed:
    """Return what follows an attempt that ended with `status` (0: no response), the message's `deliveries`-th."""
    is_retried = status >= 500 or status in _AGAIN
    return Failed.AGAIN if is_retried and deliveries <= settings.retries else Failed.DEAD_LETTER


def delay_s(settings: DeliverySettings, status: int, deliveries: int, retry_after_s: float = 0.0) -> float:
    """Return the wait before the next delivery: one step later in the row than over HTTP (`d`, or `2 d`, first)."""
    return settings.wait_s(deliveries, status, retry_after_s)


def is_poisonous(settings: DeliverySettings, deliveries: int) -> bool:
    """Whether so many deliveries ended with their dispatcher that the subscriber is not asked again."""
    return deliveries > settings.retries + 1 + CRASHES
