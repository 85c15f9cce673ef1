"""Events as services pass them on: read from a head in one go, and kept as the header lines that they came in.

`read_message` says the same as `event.event_from`, which is the plain form of it; a property test holds them equal. In
binary mode nothing is written anew: an attribute that nobody changes leaves as the line that it came in, and what is
known of a line is kept for the next event that has it.

Source: CloudEvents 1.0 with its HTTP binding; spec eventing-broker.md 4 and 5.6.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple

from eventing.event import (
    BATCH,
    EXTENSION,
    RESERVED,
    STRUCTURED,
    VERSIONS,
    Event,
    EventError,
    checked,
    event_from,
    header_text,
    media_type_of,
)
from eventing.values import Value
from proxies.fields import Field
from proxies.messages import RequestHead

__all__ = ["Message", "looks_like_event", "passed_lines", "read_message", "read_request"]

_LINES_MAX: Final = 4096
_LINE_BYTES_MAX: Final = 256
"""Lines that are longer, or of which hardly two are equal, are not kept."""
_UNIQUE: Final = frozenset([b"x-request-id", b"traceparent"])
_UNIQUE_ATTRIBUTES: Final = {b"ce-id": "id", b"ce-time": "time", b"ce-knativearrivaltime": "knativearrivaltime"}

_PASSED_NAMES: Final = frozenset([b"x-request-id", b"retry-after"])
_PASSED_PREFIXES: Final = (b"knative-", b"x-b3-")
_TRACE_NAMES: Final = frozenset([b"traceparent", b"tracestate", b"baggage"])
_IDS: Final = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACE_PARENT: Final = re.compile(rb"00" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-.*)?")


class _Kind(Enum):
    OTHER = "other"
    ATTRIBUTE = "attribute"
    CONTENT_TYPE = "content type"
    PASSED = "passed"
    TRACED = "traced"
    WRONG = "wrong"


_OTHER: Final = _Kind.OTHER
_ATTRIBUTE: Final = _Kind.ATTRIBUTE
_CONTENT_TYPE: Final = _Kind.CONTENT_TYPE
_PASSED: Final = _Kind.PASSED
_TRACED: Final = _Kind.TRACED
_WRONG: Final = _Kind.WRONG


class _Part(NamedTuple):
    """What a line is to an event."""

    kind: _Kind
    name: str = ""
    """Of the attribute; of a content type its media type."""
    text: str = ""
    """Its value; of a wrong line what is wrong with it."""


class Message:
    """One event. Whoever has read it may change attributes and lines, together; the data never changes."""

    __slots__ = ("attributes", "data", "lines", "passed", "scheme")

    def __init__(self, attributes: dict[str, Value], lines: dict[str, bytes], data: bytes, passed: list[bytes]) -> None:
        self.attributes = attributes
        """Those that are set, by lower-case names; only extensions are other than text."""
        self.lines = lines
        """Header lines in binary mode, without their ends, by the attribute that each holds."""
        self.data = data
        self.passed = passed
        """Header lines that go on with it: those of the spec (5.6), and the trace context if it is well formed."""
        self.scheme = "http"
        """How it came here, for metrics; whoever has received it may know better."""

    def set(self, name: str, text: str) -> None:
        """Set an extension; `text` is ASCII without control characters."""
        self.attributes[name] = text
        self.lines[name] = b"Ce-%s: %s" % (name.encode(), text.encode())

    def remove(self, name: str) -> None:
        """Take an attribute away, if it is there."""
        if self.lines.pop(name, None) is not None:
            del self.attributes[name]

    def header_lines(self, *more: bytes) -> bytes:
        """Return the attributes as header lines in binary mode, then what is passed on, then `more`, each with its end.

        `more`: lines without their ends.
        """
        return b"\r\n".join([*self.lines.values(), *self.passed, *more, b""])

    def event(self) -> Event:
        """Return it as an event, which shares the attributes."""
        return Event(self.attributes, self.data or None)


def read_message(fields: Iterable[Field], body: bytes) -> Message:
    """Return the event of a message with these headers and this body. Raises `EventError`."""
    known = _Known(fields)
    if known.is_structured:
        return _read_structured(body, known.passed + _trace_lines(known.traced))
    if known.problem:
        raise EventError(known.problem)
    return Message(known.attributes, known.lines, body, known.passed + _trace_lines(known.traced))


def read_request(head: RequestHead, body: bytes) -> Message:
    """Return `read_message` of a request. What its head has in common with others is kept with it, and not read again.

    2 us where only id and time differ; `read_message` takes 8. Raises `EventError`.
    """
    core = head.core or head
    known = core.derived.plan
    if not isinstance(known, _Known):
        known = core.derived.plan = _Known(core.fields)
    attributes, lines, passed = known.attributes.copy(), known.lines.copy(), known.passed.copy()
    traced = known.traced
    is_structured = known.is_structured
    for line in head.lines:
        key, _, value = line.partition(b": ")
        key = key.lower()
        name = _UNIQUE_ATTRIBUTES.get(key)
        if name is None:
            if key == b"traceparent":
                traced = [*traced, Field(key, value, line)]
            else:
                passed.append(line)
        elif not is_structured and name not in lines:
            # Such a line is ASCII, or it would not stand apart.
            attributes[name] = checked(name, value.decode())
            lines[name] = line
    if traced:
        passed += _trace_lines(traced)
    if is_structured:
        return _read_structured(body, passed)
    if known.problem:
        raise EventError(known.problem)
    return Message(attributes, lines, body, passed)


class _Known:
    """What header lines say of an event."""

    __slots__ = ("attributes", "is_structured", "lines", "passed", "problem", "traced")

    def __init__(self, fields: Iterable[Field]) -> None:
        self.attributes: dict[str, Value] = {}
        self.lines: dict[str, bytes] = {}
        self.passed: list[bytes] = []
        self.traced: list[Field] = []
        self.is_structured = False
        """The event is in the body; attributes, lines and problem mean nothing."""
        self.problem = ""
        """Why there is no event in binary mode."""
        wrong = self._read(fields)
        if self.attributes.get("specversion") not in VERSIONS:
            self.problem = (
                self.problem or f"expected ce-specversion {' or '.join(VERSIONS)}, or Content-Type {STRUCTURED}"
            )
        self.problem = self.problem or wrong

    def _read(self, fields: Iterable[Field]) -> str:
        """Take all lines; return what is wrong with the first wrong one."""
        attributes, lines = self.attributes, self.lines
        content_type: Field | None = None
        media_type = wrong = ""
        parts = _parts
        for field in fields:
            line = field.line
            part = parts.get(line) or _part(field)
            kind = part.kind
            if kind is _ATTRIBUTE:
                name = part.name
                if name not in lines:
                    attributes[name] = part.text
                    lines[name] = line
            elif kind is _OTHER:
                continue
            elif kind is _CONTENT_TYPE:
                if content_type is None:
                    content_type, media_type = field, part.name
            elif kind is _PASSED:
                self.passed.append(line)
            elif kind is _TRACED:
                self.traced.append(field)
            elif part.name not in lines:
                wrong = wrong or part.text
        self.is_structured = media_type == STRUCTURED
        if media_type == BATCH:
            self.problem = "expected one event, got a batch"
        elif content_type is not None and not self.is_structured:
            try:
                attributes["datacontenttype"] = header_text("Content-Type", content_type.value)
            except EventError as error:
                self.problem = str(error)
            lines["datacontenttype"] = content_type.line
        return wrong


def _read_structured(body: bytes, passed: list[bytes]) -> Message:
    event = event_from([(b"content-type", STRUCTURED.encode())], body)
    return Message(event.attributes, _lines_of(event), event.data or b"", passed)


def looks_like_event(fields: Iterable[Field]) -> bool:
    """Whether the headers say that this is an event, or a batch of them; reading it may fail all the same."""
    version = content_type = None
    for field in fields:
        if content_type is None and field.name == b"content-type":
            content_type = media_type_of(field.value)
        elif version is None and field.name == b"ce-specversion":
            version = field.value
    return content_type in (STRUCTURED, BATCH) or version in (b"1.0", b"0.3")


def passed_lines(fields: Iterable[Field]) -> list[bytes]:
    """Return the header lines that are passed on whatever becomes of the event, the trace context apart (spec 5.6)."""
    return [field.line for field in fields if _is_passed(field.name)]


_parts: Final[dict[bytes, _Part]] = {}


def _part(field: Field) -> _Part:
    """Return what a line is, and keep that for the next time."""
    unique = _UNIQUE_ATTRIBUTES.get(field.name)
    if unique is not None:
        return _attribute(unique, field.value)
    part = _read_part(field.name, field.value)
    if len(field.line) <= _LINE_BYTES_MAX and field.name not in _UNIQUE:
        if len(_parts) >= _LINES_MAX:
            _parts.clear()
        _parts[field.line] = part
    return part


def _read_part(name: bytes, value: bytes) -> _Part:
    if name.startswith(b"ce-"):
        attribute = name[3:].decode()
        if attribute in RESERVED or EXTENSION.fullmatch(attribute) is None:
            return _Part(_WRONG, "", f"expected a header ce- with a name of letters and digits, got {attribute[:64]!r}")
        return _attribute(attribute, value)
    if name == b"content-type":
        return _Part(_CONTENT_TYPE, media_type_of(value))
    if _is_passed(name):
        return _Part(_PASSED)
    return _Part(_TRACED) if name in _TRACE_NAMES else _Part(_OTHER)


def _attribute(name: str, value: bytes) -> _Part:
    try:
        return _Part(_ATTRIBUTE, name, checked(name, header_text(name, value)))
    except EventError as error:
        return _Part(_WRONG, name, str(error))


def _is_passed(name: bytes) -> bool:
    return name in _PASSED_NAMES or name.startswith(_PASSED_PREFIXES)


def _trace_lines(traced: Iterable[Field]) -> list[bytes]:
    """Return the trace context as W3C's propagators pass it on: state and baggage whole, a wrong parent not at all."""
    lines: list[bytes] = []
    parent = next((field for field in traced if field.name == b"traceparent"), None)
    is_right = parent is not None and _TRACE_PARENT.fullmatch(parent.value) is not None
    if parent is not None and is_right:
        lines.append(parent.line)
    lines += [field.line for field in traced if field.name == b"baggage" or (is_right and field.name == b"tracestate")]
    return lines


def _lines_of(event: Event) -> dict[str, bytes]:
    """Return an event's header lines in binary mode. Raises `EventError` for a value that no header can hold."""
    fields, _ = event.binary()
    return {name: b"%s: %s" % field for name, field in zip(event.attributes, fields, strict=True)}
