"""Protobuf bodies as Go's typed clients send them, made from JSON by the server's own table of fields.

Only what a CustomResourceDefinition needs; the table itself is held against Go's bytes in tests/golden.
"""

import struct
from datetime import datetime
from typing import Any

import orjson

from local_cluster.apiserver.protobuf import MAGIC, message_name, messages

__all__ = ["envelope"]

_SCHEMA = "apiextensions.k8s.io/v1.JSONSchemaProps"


def envelope(obj: dict[str, Any]) -> bytes:
    """An object as a whole body."""
    type_meta = _bytes(1, obj["apiVersion"].encode()) + _bytes(2, obj["kind"].encode())
    raw = _message(message_name(obj["apiVersion"], obj["kind"]), obj)
    return MAGIC + _bytes(1, type_meta) + _bytes(2, raw)


def _message(name: str, obj: dict[str, Any]) -> bytes:
    parts = []
    for field in messages()[name].values():
        value = obj.get(field.json)
        if value is None:
            continue
        if field.is_map:
            parts += [
                _bytes(field.number, _bytes(1, key.encode()) + _value(2, field.type, item))
                for key, item in value.items()
            ]
        elif field.repeated:
            parts += [_value(field.number, field.type, item) for item in value]
        else:
            parts.append(_value(field.number, field.type, value))
    return b"".join(parts)


def _value(number: int, kind: str, value: Any) -> bytes:
    match kind:
        case "string":
            return _bytes(number, value.encode())
        case "bool" | "int32" | "int64":
            return _varint(number << 3) + _varint(int(value))
        case "float64":
            return _varint(number << 3 | 1) + struct.pack("<d", value)
        case "time":
            return _bytes(number, _varint(1 << 3) + _varint(int(datetime.fromisoformat(value).timestamp())))
        case "apiextensions.k8s.io/v1.JSON":
            return _bytes(number, _bytes(1, orjson.dumps(value)))
    match kind.rpartition(".")[2]:
        case "JSONSchemaPropsOrBool":
            if isinstance(value, bool):
                return _bytes(number, _varint(1 << 3) + _varint(int(value)))
            return _bytes(number, _varint(1 << 3) + _varint(1) + _bytes(2, _message(_SCHEMA, value)))
        case "JSONSchemaPropsOrArray":
            return _bytes(number, _bytes(1, _message(_SCHEMA, value)))
    return _bytes(number, _message(kind, value))


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
