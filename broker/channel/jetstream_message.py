"""Events as messages of a stream: structured JSON, so that any client of NATS reads them as events.

Headers of a message, all but the first ours: `Nats-Msg-Id` (what makes two publishes one), `Knuv-Passed` (the header
lines that go on with the event, in base64), `Knuv-Traced` (the trace context was written into the event's extensions
for dispatchers that look there, and is not the event's own). A message without ours is another dispatcher's: its trace
context is in the extensions.

Source: spec eventing-channels.md 9.3, 9.4.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Final

from broker.ttl import TTL
from eventing.event import STRUCTURED, EventError
from eventing.message import Message, read_message
from proxies.fields import Field

__all__ = ["Deduplication", "message_id", "pack", "unpack"]

PASSED: Final = "Knuv-Passed"
TRACED: Final = "Knuv-Traced"
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TRACE: Final = ("traceparent", "tracestate")
_CONTENT_TYPE: Final = Field(b"content-type", STRUCTURED.encode(), b"Content-Type: " + STRUCTURED.encode())


class Deduplication(Enum):
    """Which events are one, within a stream's duplicate window."""

    SOURCE_AND_ID = "source-and-id"
    """Those that CloudEvents calls one. Each passage through a Broker counts for itself, so that a reply that has kept
    the id of what it answers is no duplicate of it."""
    ID = "id"
    """Those with one id, whatever their source, as the original has it."""


def message_id(message: Message, how: Deduplication) -> str:
    """Return what makes a second publish of an event none."""
    attributes = message.attributes
    if how is Deduplication.ID:
        return str(attributes["id"])
    parts = (str(attributes["source"]), str(attributes["id"]), str(attributes.get(TTL, "")))
    # Lengths, so that no two lists of parts make one text.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def pack(message: Message) -> tuple[bytes, dict[str, str]]:
    """Return payload and headers of an event. Its attributes are as before when this returns."""
    headers: dict[str, str] = {}
    added: list[str] = []
    attributes = message.attributes
    if message.passed:
        headers[PASSED] = base64.b64encode(b"\r\n".join(message.passed)).decode()
        for line in message.passed:
            name, _, value = line.partition(b":")
            key = name.decode("latin-1").lower()
            if key in _TRACE and key not in attributes:
                attributes[key] = value.strip().decode("latin-1")
                added.append(key)
    payload = message.event().structured()
    for key in added:
        del attributes[key]
    if added:
        headers[TRACED] = ",".join(added)
    return payload, headers


def unpack(payload: bytes, headers: Mapping[str, str]) -> Message:
    """Return the event of a message. Raises `EventError`."""
    passed = headers.get(PASSED)
    if passed is not None:
        message = read_message([_CONTENT_TYPE, *_fields(passed)], payload)
        for name in headers.get(TRACED, "").split(","):
            message.remove(name)
        return message
    message = read_message([_CONTENT_TYPE], payload)
    traced = [(name, str(message.attributes.get(name, ""))) for name in _TRACE]
    lines = [Field(name.encode(), text.encode(), f"{name}: {text}".encode()) for name, text in traced if text]
    # Read once more only for the few that came from elsewhere: what is wrong in a trace does not go on.
    return read_message([_CONTENT_TYPE, *lines], payload) if lines else message


def _fields(encoded: str) -> Iterator[Field]:
    """Yield the header lines. Whoever may publish could have written them: only what a head can hold is taken."""
    try:
        lines = base64.b64decode(encoded, validate=True).split(b"\r\n")
    except (binascii.Error, ValueError) as error:
        raise EventError(f"{PASSED}: expected base64: {error}") from error
    for line in lines:
        name, colon, value = line.partition(b":")
        key = name.lower()
        if not colon or key == b"content-type" or key.startswith(b"ce-") or _CONTROLS.search(line):
            raise EventError(f"{PASSED}: expected header lines that go on with an event, got {line[:64]!r}")
        yield Field(key, value.strip(b" \t"), line)
