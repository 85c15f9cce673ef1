"""Protobuf request bodies of Kubernetes' built-in kinds, decoded to the JSON that a JSON client would have sent.

Go's typed clients send protobuf and do not fall back. The body is the magic `k8s\\0` and an envelope that names the
type; `kubernetes_fields.json` maps field numbers to JSON names. Answers are always JSON. Conformance: api-clients
statements 2-5.
"""

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import orjson

__all__ = ["Field", "ProtobufError", "decode_envelope", "message_name", "messages"]

MAGIC = b"k8s\0"
DEPTH_MAX = 64
"""Nesting of messages; real objects stay below 20."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SCHEMA_UNIONS = {"JSONSchemaPropsOrBool", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrStringArray"}


class ProtobufError(ValueError):
    """The bytes are no message of the type that they claim to be."""


class Field(NamedTuple):
    """One field of a message."""

    number: int
    json: str
    """Empty for an inlined struct."""
    type: str
    repeated: bool
    is_map: bool
    pointer: bool
    """Whether an explicit zero is kept."""
    optional: bool
    """Whether a zero value is left out of the JSON."""


@cache
def messages() -> dict[str, dict[int, Field]]:
    """Every message by `group/version.Name`, its fields by number."""
    table = json.loads(resources.files("local_cluster.apiserver").joinpath("kubernetes_fields.json").read_bytes())
    return {
        name: {
            number: Field(number, json_name, kind, *(flag in flags for flag in "rmpo"))
            for number, json_name, kind, flags in fields
        }
        for name, fields in table.items()
    }


def message_name(api_version: str, kind: str) -> str:
    """The name of a kind's message: groups without a dot are kept, the core group is `core`."""
    return f"{api_version if '/' in api_version else f'core/{api_version}'}.{kind}"


def decode_envelope(body: bytes) -> dict[str, Any]:
    """The object in a whole body, magic included. Raises `ProtobufError`."""
    if not body.startswith(MAGIC):
        raise ProtobufError("expected the magic bytes 'k8s\\0'")
    type_meta, raw = b"", b""
    for number, _, value in _fields(body[len(MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            type_meta = value
        elif number == 2 and isinstance(value, bytes):
            raw = value
    names = {number: _string(value) for number, _, value in _fields(type_meta) if number in (1, 2)}
    api_version, kind = names.get(1, ""), names.get(2, "")
    name = message_name(api_version, kind)
    if name not in messages() and kind in ("DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions"):
        name = f"meta/v1.{kind}"
    if name not in messages():
        raise ProtobufError(f"unknown type {api_version}, Kind={kind}")
    return {"apiVersion": api_version, "kind": kind, **_message(name, raw, 0)}


def _message(name: str, data: bytes, depth: int) -> dict[str, Any]:
    if depth > DEPTH_MAX:
        raise ProtobufError(f"messages nest deeper than {DEPTH_MAX}")
    table = messages().get(name)
    if table is None:
        raise ProtobufError(f"unknown message {name}")
    result: dict[str, Any] = {}
    for number, wire, raw in _fields(data):
        field = table.get(number)
        if field is None:
            continue  # of a later release; a JSON client's unknown field is dropped too
        if field.is_map:
            key, value = _map_entry(field, raw, depth)
            result.setdefault(field.json, {})[key] = value
        elif not field.json:
            result.update(_message(field.type, _expect_bytes(raw), depth + 1))
        elif field.repeated and wire == _BYTES and field.type in ("int32", "int64", "bool"):
            result.setdefault(field.json, []).extend(_packed(field.type, _expect_bytes(raw)))
        elif field.repeated:
            result.setdefault(field.json, []).append(_value(field.type, raw, depth))
        else:
            value = _value(field.type, raw, depth)
            if field.pointer or not field.optional or not _is_zero(value):
                result[field.json] = value
    return result


def _map_entry(field: Field, raw: int | bytes, depth: int) -> tuple[str, Any]:
    key, value = "", None
    for number, _, part in _fields(_expect_bytes(raw)):
        if number == 1:
            key = _string(part)
        elif number == 2:
            value = _value(field.type, part, depth)
    if value is None:
        value = "" if field.type in ("string", "bytes", "quantity") else [] if field.type == "[]string" else {}
    return key, value


def _value(kind: str, raw: int | bytes, depth: int) -> Any:
    match kind:
        case "string":
            return _string(raw)
        case "bool":
            return bool(_expect_int(raw))
        case "int32" | "int64":
            return _signed(_expect_int(raw))
        case "float64":
            return struct.unpack("<d", _expect_int(raw).to_bytes(8, "little"))[0]
        case "bytes":
            return base64.b64encode(_expect_bytes(raw)).decode()
        case "quantity":
            return _string(_single(raw, 1, b""))
        case "int_or_string":
            return _int_or_string(raw)
        case "time":
            return _time(raw, "seconds")
        case "micro_time":
            return _time(raw, "microseconds")
        case "raw_extension" | "fields_v1" | "apiextensions.k8s.io/v1.JSON":
            return _embedded_json(raw)
        case "[]string":
            return [_string(item) for number, _, item in _fields(_expect_bytes(raw)) if number == 1]
    if kind.rpartition(".")[2] in _SCHEMA_UNIONS:
        return _schema_union(kind.rpartition(".")[2], raw, depth)
    return _message(kind, _expect_bytes(raw), depth + 1)


def _schema_union(name: str, raw: int | bytes, depth: int) -> Any:
    """`true`, a schema, a list of schemas or of texts: JSON shows whichever is there."""
    schema_type = "apiextensions.k8s.io/v1.JSONSchemaProps"
    parts = list(_fields(_expect_bytes(raw)))
    if name == "JSONSchemaPropsOrBool":
        for number, _, value in parts:
            if number == 2:
                return _message(schema_type, _expect_bytes(value), depth + 1)
        return any(number == 1 and value for number, _, value in parts)
    for number, _, value in parts:
        if number == 1:
            return _message(schema_type, _expect_bytes(value), depth + 1)
    if name == "JSONSchemaPropsOrStringArray":
        return [_string(value) for number, _, value in parts if number == 2]
    return [_message(schema_type, _expect_bytes(value), depth + 1) for number, _, value in parts if number == 2]


def _int_or_string(raw: int | bytes) -> int | str:
    kind, number_value, text = 0, 0, ""
    for number, _, value in _fields(_expect_bytes(raw)):
        if number == 1:
            kind = _expect_int(value)
        elif number == 2:
            number_value = _signed(_expect_int(value))
        elif number == 3:
            text = _string(value)
    return text if kind else number_value


def _time(raw: int | bytes, precision: str) -> str | None:
    parts = {
        number: _signed(_expect_int(value)) for number, _, value in _fields(_expect_bytes(raw)) if number in (1, 2)
    }
    if not parts:
        return None  # Go's zero time
    try:
        moment = datetime.fromtimestamp(parts.get(1, 0), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ProtobufError(f"time {parts.get(1)} is out of range") from error
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{parts.get(2, 0) // 1000:06d}Z" if precision == "microseconds" else f"{text}Z"


def _embedded_json(raw: int | bytes) -> Any:
    text = _single(raw, 1, b"")
    if not text:
        return None
    try:
        return orjson.loads(_expect_bytes(text))
    except ValueError as error:
        raise ProtobufError(f"embedded JSON does not parse: {error}") from error


def _single(raw: int | bytes, wanted: int, default: bytes) -> int | bytes:
    return next((value for number, _, value in _fields(_expect_bytes(raw)) if number == wanted), default)


def _packed(kind: str, data: bytes) -> Iterator[int | bool]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield bool(value) if kind == "bool" else _signed(value)


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and value of each field; fixed-width values as unsigned numbers."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ProtobufError("field number 0")
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield number, wire, value
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ProtobufError(f"field {number}: unsupported wire type {wire}")
        if length > end - position:
            raise ProtobufError(f"field {number}: {length} bytes announced, {end - position} left")
        chunk = data[position : position + length]
        position += length
        yield number, wire, chunk if wire == _BYTES else int.from_bytes(chunk, "little")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ProtobufError("a varint is cut off or too long")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _string(raw: int | bytes) -> str:
    try:
        return _expect_bytes(raw).decode()
    except UnicodeDecodeError as error:
        raise ProtobufError("text is not UTF-8") from error


def _expect_bytes(raw: int | bytes) -> bytes:
    if not isinstance(raw, bytes):
        raise ProtobufError("expected a length-delimited field, got a number")
    return raw


def _expect_int(raw: int | bytes) -> int:
    if not isinstance(raw, int):
        raise ProtobufError("expected a number, got a length-delimited field")
    return raw


def _is_zero(value: Any) -> bool:
    return value is None or (not isinstance(value, dict) and value in (False, 0, "", 0.0))
