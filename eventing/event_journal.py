"""Where did this event go: what one process did with the events that came to it last, for whoever develops with them.

A note says what happened to an event at one step: accepted, matched or filtered, an attempt and its result. Off unless
a debug port is configured, and bounded: the oldest notes make room.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from eventing.values import Value, to_text

__all__ = ["EventJournal"]

_NOTES_MAX: Final = 10_000
_RECENT: Final = 100
_TEXT_MAX: Final = 256


class EventJournal:
    """The notes of one process."""

    __slots__ = ("_component", "_notes", "_unix_s")

    def __init__(self, component: str, *, notes_max: int = _NOTES_MAX, unix_s: Callable[[], float] = time.time) -> None:
        """`component`: whose notes these are."""
        self._component = component
        self._notes: deque[dict[str, Any]] = deque(maxlen=notes_max)
        self._unix_s = unix_s

    def note(self, attributes: Mapping[str, Value], step: str, **facts: str | float | None) -> None:
        """Remember what happened to the event with these attributes; long texts are cut."""
        texts = {name: _cut(to_text(attributes.get(name, ""))) for name in ("id", "source", "type")}
        kept = {name: _cut(fact) if isinstance(fact, str) else fact for name, fact in facts.items()}
        self._notes.append({"at": self._unix_s(), **texts, "component": self._component, "step": step, **kept})

    def answer(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the notes of the events with the `id`, and the `source`, of a query; without an id the last ones."""
        wanted = {name: query[name] for name in ("id", "source") if query.get(name)}
        if not wanted:
            found = list(self._notes)[-_RECENT:]
        else:
            found = [note for note in self._notes if all(note[name] == text for name, text in wanted.items())]
        return {"component": self._component, "events": found}


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 1] + "…"
