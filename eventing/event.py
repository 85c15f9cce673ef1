"""CloudEvents over HTTP: read from a request or a response, in binary or structured mode, and written again.

An event is its attributes and its data, as bytes. What the transport says otherwise (`Content-Type` of the data) is the
attribute `datacontenttype`. Nothing is decoded that does not have to be: the data of a structured event keeps the bytes
that it had.

Source: CloudEvents 1.0 with its HTTP binding and JSON format; spec eventing-broker.md 4.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from eventing.values import INT_MAX, INT_MIN, Value, to_text

__all__ = ["Event", "EventError", "event_from", "problems_of"]

VERSIONS: Final = ("1.0", "0.3")
STRUCTURED: Final = "application/cloudevents+json"
_BATCH: Final = "application/cloudevents-batch+json"
_PREFIX: Final = b"ce-"

_CONTEXT: Final = frozenset(["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype"])
_RESERVED: Final = frozenset(["data", "datacontenttype", "data_base64"])
"""Names that no header may give: they are carried another way."""
_EXTENSION: Final = re.compile(r"[0-9A-Za-z]+")
_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,][0-9]+)?(?:[Zz]|[+-]([0-9]{2}):([0-9]{2}))"
)
_MEDIA_TYPE: Final = re.compile(
    r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?"
    r"(?:\s*;\s*[!#$%&'*+\-.^_`|~0-9A-Za-z]+=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|\"(?:[^\"\\]|\\.)*\"))*\s*;?\s*"
)
_JSON: Final = re.compile(r"(?:application|text)/json|[^/]+/[^/]+\+json", re.IGNORECASE)
_URI: Final = re.compile(r"[^\x00-\x20\x7f]*")
_BREAKS: Final = re.compile(r"[\r\n\x00]")


class EventError(ValueError):
    """What came is no event; says why."""


class Event:
    """One event. Attributes are changed by its owner; the data never is."""

    __slots__ = ("attributes", "data")

    def __init__(self, attributes: dict[str, Value], data: bytes | None) -> None:
        self.attributes = attributes
        """Those that are set, by lower-case names; times and URIs as they came. Only extensions are other than text."""
        self.data = data
        """None: there is none."""

    def binary(self) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return headers and body in binary mode. Raises `EventError` for a value that no header can hold."""
        fields = []
        for name, value in self.attributes.items():
            text = to_text(value)
            if _BREAKS.search(text):
                raise EventError(f"{name}: expected no line break, got {text[:64]!r}")
            key = b"Content-Type" if name == "datacontenttype" else b"Ce-" + name.encode()
            fields.append((key, text.encode()))
        return fields, self.data or b""

    def structured(self) -> bytes:
        """Return the event in the JSON format."""
        content: dict[str, Any] = dict(self.attributes)
        if self.data is None:
            return json.dumps(content, separators=(",", ":")).encode()
        kind = self.attributes.get("datacontenttype")
        head = json.dumps(content, separators=(",", ":"))[:-1].encode()
        if kind is None or _JSON.fullmatch(str(kind).partition(";")[0].strip()):
            if _is_json(self.data):
                return head + b',"data":' + self.data + b"}"
        elif (text := _as_text(self.data)) is not None:
            return head + b',"data":' + json.dumps(text).encode() + b"}"
        return head + b',"data_base64":"' + base64.b64encode(self.data) + b'"}'


def event_from(fields: Iterable[tuple[bytes, bytes]], body: bytes) -> Event:
    """Return the event of a message with these headers, in any case, and this body. Raises `EventError`."""
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        headers.setdefault(name.lower(), value)
    content_type = headers.get(b"content-type")
    media_type = (content_type or b"").partition(b";")[0].strip().lower().decode("latin-1")
    if media_type == STRUCTURED:
        return _structured(body)
    if media_type == _BATCH:
        raise EventError("batches are not taken")
    if headers.get(b"ce-specversion", b"").decode("latin-1") not in VERSIONS:
        raise EventError(f"expected ce-specversion {' or '.join(VERSIONS)}, or {STRUCTURED}")
    return _binary(headers, content_type, body)


def problems_of(event: Event) -> list[str]:
    """Return what makes an event invalid for a broker to take in (spec 4.4); empty when nothing does."""
    attributes = event.attributes
    problems = [f"{name}: expected a value" for name in ("id", "source", "type") if not attributes.get(name)]
    kind = attributes.get("datacontenttype")
    if kind is not None and _MEDIA_TYPE.fullmatch(str(kind)) is None:
        problems.append(f"datacontenttype: expected a media type, got {str(kind)[:64]!r}")
    schema = attributes.get("dataschema")
    if schema is not None and not urlsplit(str(schema)).scheme:
        problems.append(f"dataschema: expected an absolute URI, got {str(schema)[:64]!r}")
    return problems


def _binary(headers: Mapping[bytes, bytes], content_type: bytes | None, body: bytes) -> Event:
    attributes: dict[str, Value] = {}
    for key, raw in headers.items():
        if not key.startswith(_PREFIX):
            continue
        name = key[len(_PREFIX) :].decode("latin-1")
        if name in _RESERVED or _EXTENSION.fullmatch(name) is None:
            raise EventError(f"expected a header ce- with a name of letters and digits, got {name[:64]!r}")
        attributes[name] = _checked(name, raw.decode("utf-8", "surrogateescape"))
    if content_type is not None:
        attributes["datacontenttype"] = content_type.decode("latin-1")
    return Event(attributes, body or None)


def _structured(body: bytes) -> Event:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EventError(f"expected JSON: {error}") from error
    if not isinstance(content, dict) or content.get("specversion") not in VERSIONS:
        raise EventError(f"expected an object with specversion {' or '.join(VERSIONS)}")
    attributes: dict[str, Value] = {}
    for key, value in content.items():
        name = key.lower()
        if name in ("data", "data_base64") or value is None:
            continue
        if name in _CONTEXT:
            if not isinstance(value, str):
                raise EventError(f"{name}: expected a string, got {type(value).__name__}")
            attributes[name] = _checked(name, value)
        else:
            attributes[name] = _extension(name, value)
    if attributes.get("source") == "":
        raise EventError("source: expected a value")
    return Event(attributes, _data_of(content, attributes, body))


def _checked(name: str, value: str) -> str:
    """Return the value of an attribute that is read as text. Raises `EventError` for a wrong one (spec 4.2)."""
    if name == "id" and not value:
        raise EventError("id: expected a value")
    if name == "time" and not _is_time(value):
        raise EventError(f"time: expected a time as RFC 3339 has it, got {value[:64]!r}")
    if name in ("source", "dataschema") and not _is_uri(value):
        raise EventError(f"{name}: expected a URI, got {value[:64]!r}")
    return value


def _extension(name: str, value: object) -> Value:
    if _EXTENSION.fullmatch(name) is None:
        raise EventError(f"expected an extension with a name of letters and digits, got {name[:64]!r}")
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int | float) and INT_MIN <= value <= INT_MAX:
        return int(value)
    raise EventError(f"{name}: expected a string, a boolean or an integer of 32 bits, got {str(value)[:64]}")


def _data_of(content: Mapping[str, Any], attributes: Mapping[str, Value], body: bytes) -> bytes | None:
    if "data_base64" in content:
        try:
            return base64.b64decode(content["data_base64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise EventError(f"data_base64: expected base64: {error}") from error
    if "data" not in content:
        return None
    kind = attributes.get("datacontenttype")
    if kind is None or _JSON.fullmatch(str(kind).partition(";")[0].strip()):
        return _raw_member(body, "data")
    if not isinstance(content["data"], str):
        raise EventError(f"data: expected a string, as its type is {str(kind)[:64]}")
    return str(content["data"]).encode("utf-8", "surrogatepass")


_DECODER: Final = json.JSONDecoder()
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def _raw_member(body: bytes, wanted: str) -> bytes:
    """Return a member of the JSON object in `body` as it stands there; of several with the name the last."""
    text = body.decode("utf-8-sig", "surrogateescape")

    def skip(at: int) -> int:
        match = _SPACE.match(text, at)
        assert match is not None
        return match.end()

    found = ""
    at = skip(0) + 1
    while True:
        name, at = _DECODER.raw_decode(text, skip(at))
        begin = skip(skip(at) + 1)
        _, at = _DECODER.raw_decode(text, begin)
        if name == wanted:
            found = text[begin:at]
        at = skip(at)
        if text[at] == "}":
            return found.encode("utf-8", "surrogateescape")
        at += 1


def _is_time(value: str) -> bool:
    match = _TIME.fullmatch(value)
    if match is None:
        return False
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        datetime(max(year, 1), month, day, hour, minute, second)  # noqa: DTZ001 - only whether there is such a time
    except ValueError:
        return False
    return int(match[7] or 0) < 24 and int(match[8] or 0) < 60


def _is_uri(value: str) -> bool:
    if _URI.fullmatch(value) is None:
        return False
    try:
        urlsplit(value)
    except ValueError:
        return False
    return True


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _as_text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
