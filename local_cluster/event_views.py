"""Events as people read them in a terminal. Pure.

What is printed came from anybody: control characters are shown, not sent to the terminal.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from eventing.event import Event
from eventing.values import to_text

__all__ = ["event_json", "event_lines", "journey_lines", "printable"]

_DATA_CHARACTERS_MAX = 4096
_HEAD = ("specversion", "type", "source")
_OTHERS_LAST = ("subject", "time", "datacontenttype", "dataschema")


def printable(text: str) -> str:
    """The text with everything that a terminal might obey written as an escape; line breaks and tabs stay."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def event_lines(event: Event, at_s: float) -> Iterator[str]:
    """One event: a line with its type and source, then what else it has, then its data."""
    attributes = {name: printable(to_text(value)).replace("\n", "\\n") for name, value in event.attributes.items()}
    yield f"{_clock(at_s)}  {attributes.get('type', '')}  from {attributes.get('source', '')}"
    context = [name for name in ("id", *_OTHERS_LAST) if name in attributes]
    extensions = sorted(name for name in attributes if name not in (*context, *_HEAD))
    for name in (*context, *extensions):
        yield f"    {name}: {attributes[name]}"
    if event.data is not None:
        yield from (f"    | {line}" for line in _data_text(event).splitlines())


def event_json(event: Event) -> str:
    """The event in one line of the JSON format."""
    return printable(event.structured().decode("utf-8", "replace")).replace("\n", " ")


def journey_lines(notes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What became of an event, step by step, from the notes of all processes."""
    named = ("at", "id", "source", "type", "component", "step")
    for note in sorted(notes, key=lambda each: float(each.get("at", 0))):
        facts = "  ".join(
            f"{name}={value}" for name, value in note.items() if name not in named and value not in (None, "")
        )
        step = f"{note.get('component', ''):<11} {note.get('step', ''):<12}"
        yield printable(f"{_clock(float(note.get('at', 0)))}  {step}  {facts}").replace("\n", " ").rstrip()


def _data_text(event: Event) -> str:
    data = event.data or b""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"{len(data)} bytes that are no text"
    if "json" in str(event.attributes.get("datacontenttype", "json")):
        with contextlib.suppress(ValueError, RecursionError):  # then it is shown as it came
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    shown = printable(text[:_DATA_CHARACTERS_MAX])
    return shown if len(text) <= _DATA_CHARACTERS_MAX else f"{shown}\n... {len(data)} bytes in all"


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_s)) + f".{int(at_s % 1 * 1000):03d}"
