"""What a request's target names. The target counts as it came: with its query, and with nothing decoded.

Source: spec eventing-broker.md 5.2 and 6.1; conformance statements 5 to 10 and 48.
"""

from enum import Enum
from typing import NamedTuple

__all__ = ["Leg", "TriggerPath", "broker_of", "trigger_of"]


class Leg(Enum):
    """Where the filter is to send."""

    SUBSCRIBER = "subscriber"
    REPLY = "reply"
    DEAD_LETTER = "dls"


class TriggerPath(NamedTuple):
    """What the filter's callers name."""

    namespace: str
    name: str
    uid: str
    leg: Leg


def broker_of(target: bytes) -> tuple[str, str] | None:
    """Return (namespace, name) of `/namespace/name`, with one more `/` at the end or without; None for all else."""
    parts = target.removesuffix(b"/").split(b"/")
    if len(parts) != 3 or parts[0]:
        return None
    return parts[1].decode("latin-1"), parts[2].decode("latin-1")


def trigger_of(target: bytes) -> TriggerPath | None:
    """Return what `/triggers/namespace/name/uid`, with one segment more or without, names; None for all else."""
    parts = target.split(b"/")
    if len(parts) not in (5, 6) or parts[0] or parts[1] != b"triggers":
        return None
    namespace, name, uid = (part.decode("latin-1") for part in parts[2:5])
    leg = Leg.SUBSCRIBER
    if parts[5:] == [b"reply"]:
        leg = Leg.REPLY
    elif parts[5:] == [b"dls"]:
        leg = Leg.DEAD_LETTER
    return TriggerPath(namespace, name, uid, leg)
