"""What a request's target names. The target counts as it came: with its query, and with nothing decoded.

Source: spec eventing-broker.md 5.2 and 6.1; conformance statements 5 to 10 and 48; eventing-sources.md 9.
"""

from enum import Enum
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

__all__ = ["EventPath", "Leg", "TriggerPath", "broker_of", "event_of", "trigger_of"]


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


class EventPath(NamedTuple):
    """An event that a JobSink was sent, as those name it who ask what became of it."""

    namespace: str
    name: str
    """Of the JobSink."""
    source: str
    id: str

    @property
    def target(self) -> str:
        """Where to ask; `event_of` reads it."""
        namespace, name, source, event_id = (quote(part, safe="") for part in self)
        return f"/namespaces/{namespace}/name/{name}/sources/{source}/ids/{event_id}"


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


def event_of(target: bytes) -> EventPath | None:
    """Return what a target of nine segments names, the first one empty; the words between are not compared (spec 9).

    None for all else, and for what is not UTF-8.
    """
    parts = target.split(b"/")
    if len(parts) != 9:
        return None
    try:
        return EventPath(*(unquote_to_bytes(parts[index]).decode() for index in (2, 4, 6, 8)))
    except UnicodeDecodeError:
        return None
