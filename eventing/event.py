"""CloudEvents over HTTP: read from a request or a response, in binary or structured mode, and written again.

An event is its attributes and its data, as bytes. What the transport says otherwise (`Content-Type` of the data) is the
attribute `datacontenttype`. Nothing is decoded that does not have to be: the data of a structured event keeps the bytes
that it had.

Source: CloudEvents 1.0 with its HTTP binding and JSON format; spec eventing-broker.md 4.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from eventing.values import INT_MAX, INT_MIN, Value, to_text

__all__ = [
    "BATCH",
    "EXTENSION",
    "RESERVED",
    "STRUCTURED",
    "VERSIONS",
    "Event",
    "EventError",
    "checked",
    "event_from",
    "header_text",
    "media_type_of",
    "problems_of",
]

VERSIONS: Final = ("1.0", "0.3")
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
_PREFIX: Final = b"ce-"

_CONTEXT: Final = frozenset(["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype"])
RESERVED: Final = frozenset(["data", "datacontenttype", "data_base64"])
"""Names that no header may give: they are carried another way."""
EXTENSION: Final = re.compile(r"[0-9A-Za-z]+")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_MEDIA_TYPE: Final = re.compile(
    r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?"
    r"(?:\s*;\s*[!#$%&'*+\-.^_`|~0-9A-Za-z]+=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|\"(?:[^\"\\]|\\.)*\"))*\s*;?\s*"
)
_JSON: Final = re.compile(r"(?:application|text)/json|[^/]+/[^/]+\+json", re.IGNORECASE)
_URI: Final = re.compile(r"[^\x00-\x20\x7f]*")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""What no header's value can hold."""
_NULL: Final = msgspec.Raw(b"null")
_ATTRIBUTES_BYTES_MAX: Final = 1 << 20
"""Of an event in the JSON format beside its data; as much as the heads of requests have room for."""


class _Data(msgspec.Struct):
    """Of an event in the JSON format what may be large."""

    data: msgspec.Raw = msgspec.Raw()
    data_base64: msgspec.Raw = msgspec.Raw()


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
            if _CONTROLS.search(text):
                raise EventError(f"{name}: expected no control characters, got {text[:64]!r}")
            key = b"Content-Type" if name == "datacontenttype" else b"Ce-" + name.encode()
            fields.append((key, text.encode()))
        return fields, self.data or b""

    def structured(self) -> bytes:
        """Return the event in the JSON format."""
        content: dict[str, Any] = dict(self.attributes)
        if self.data is None:
            return msgspec.json.encode(content)
        kind = self.attributes.get("datacontenttype")
        head = msgspec.json.encode(content)[:-1]
        if kind is None or _JSON.fullmatch(str(kind).partition(";")[0].strip()):
            if _is_json(self.data):
                return head + b',"data":' + self.data + b"}"
        elif (text := _as_text(self.data)) is not None:
            return head + b',"data":' + msgspec.json.encode(text) + b"}"
        return head + b',"data_base64":"' + base64.b64encode(self.data) + b'"}'


def event_from(fields: Iterable[tuple[bytes, bytes]], body: bytes) -> Event:
    """Return the event of a message with these headers, in any case, and this body. Raises `EventError`."""
    headers: dict[bytes, bytes] = {}
    for name, value in fields:
        headers.setdefault(name.lower(), value)
    content_type = headers.get(b"content-type")
    media_type = media_type_of(content_type or b"")
    if media_type == STRUCTURED:
        return _structured(body)
    if media_type == BATCH:
        raise EventError("expected one event, got a batch")
    if headers.get(b"ce-specversion", b"").decode("latin-1") not in VERSIONS:
        raise EventError(f"expected ce-specversion {' or '.join(VERSIONS)}, or {STRUCTURED}")
    return _binary(headers, content_type, body)


def media_type_of(content_type: bytes) -> str:
    """Return the media type of a `Content-Type`, in lower case and without parameters."""
    return content_type.partition(b";")[0].strip().lower().decode("latin-1")


def problems_of(attributes: Mapping[str, Value]) -> list[str]:
    """Return what makes an event with these attributes invalid to take in (spec 4.4); empty when nothing does."""
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
        if name in RESERVED or EXTENSION.fullmatch(name) is None:
            raise EventError(f"expected a header ce- with a name of letters and digits, got {name[:64]!r}")
        attributes[name] = checked(name, header_text(name, raw))
    if content_type is not None:
        attributes["datacontenttype"] = header_text("Content-Type", content_type)
    return Event(attributes, body or None)


def _structured(body: bytes) -> Event:
    content = _members(body)
    if "specversion" not in content or _text("specversion", content["specversion"]) not in VERSIONS:
        raise EventError(f"expected an object with specversion {' or '.join(VERSIONS)}")
    attributes: dict[str, Value] = {}
    for key, raw in content.items():
        name = key.lower()
        if name != key and (name in content or name in _CONTEXT or name in RESERVED):
            # One name in two spellings would be two things to two readers.
            raise EventError(f"expected {name} in lower case, got {key[:64]!r}")
        if name in ("data", "data_base64") or raw == _NULL:
            continue
        attributes[name] = checked(name, _text(name, raw)) if name in _CONTEXT else _extension(name, raw)
    if attributes.get("source") == "":
        raise EventError("source: expected a value")
    return Event(attributes, _data_of(content, attributes))


def _members(body: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of a JSON object, none of them decoded; of several with a name the last."""
    try:
        if len(body) > _ATTRIBUTES_BYTES_MAX:
            # Each member that is kept costs many times the bytes that it took.
            large = msgspec.json.decode(body, type=_Data)
            size = len(body) - len(bytes(large.data)) - len(bytes(large.data_base64))
            if size > _ATTRIBUTES_BYTES_MAX:
                raise EventError(f"expected at most {_ATTRIBUTES_BYTES_MAX} bytes beside the data, got {size}")
        return msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(f"expected a JSON object: {error}") from error


def _text(name: str, raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EventError(f"{name}: expected a string, got {_shown(raw)}") from error


def _shown(raw: msgspec.Raw) -> str:
    return bytes(raw)[:64].decode("utf-8", "replace")


def header_text(name: str, raw: bytes) -> str:
    """Return the text of an attribute's header. Raises `EventError` for what is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise EventError(f"{name}: expected UTF-8, got {raw[:64]!r}") from error


def checked(name: str, value: str) -> str:
    """Return the value of an attribute that is read as text. Raises `EventError` for a wrong one (spec 4.2)."""
    if name == "id" and not value:
        raise EventError("id: expected a value")
    if name == "time" and not _is_time(value):
        raise EventError(f"time: expected a time as RFC 3339 has it, got {value[:64]!r}")
    if name in ("source", "dataschema") and not _is_uri(value):
        raise EventError(f"{name}: expected a URI, got {value[:64]!r}")
    return value


def _extension(name: str, raw: msgspec.Raw) -> Value:
    if EXTENSION.fullmatch(name) is None:
        raise EventError(f"expected an extension with a name of letters and digits, got {name[:64]!r}")
    try:
        # Never an object or an array, which may be large once they are decoded.
        value = msgspec.json.decode(raw, type=str | bool | int | float)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    if isinstance(value, str | bool):
        return value
    if value is not None and INT_MIN <= value <= INT_MAX:
        return int(value)
    raise EventError(f"{name}: expected a string, a boolean or an integer of 32 bits, got {_shown(raw)}")


def _data_of(content: Mapping[str, msgspec.Raw], attributes: Mapping[str, Value]) -> bytes | None:
    if "data_base64" in content:
        try:
            return base64.b64decode(_text("data_base64", content["data_base64"]), validate=True)
        except (binascii.Error, ValueError) as error:
            raise EventError(f"data_base64: expected base64: {error}") from error
    if "data" not in content:
        return None
    kind = attributes.get("datacontenttype")
    if kind is None or _JSON.fullmatch(str(kind).partition(";")[0].strip()):
        return bytes(content["data"])
    return _text("data", content["data"]).encode()


def _is_time(value: str) -> bool:
    if _TIME.fullmatch(value) is None:
        return False
    try:
        # Whether there is such a time. The year 0, which Go knows and Python does not, is a leap year as 2000 is.
        datetime.fromisoformat(value[:19] if value[:4] != "0000" else "2000" + value[4:19])
    except ValueError:
        return False
    return True


def _is_uri(value: str) -> bool:
    if _URI.fullmatch(value) is None:
        return False
    try:
        urlsplit(value)
    except ValueError:
        return False
    return True


def _is_json(data: bytes) -> bool:
    """Whether it can stand in JSON as it is; nothing is built of it."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return _as_text(data) is not None


def _as_text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
