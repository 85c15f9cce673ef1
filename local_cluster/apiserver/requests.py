"""Reading a request: its path, the representation that it accepts, its parameters, and its body.

Nothing here knows a connection; everything that a client can get wrong becomes a `StatusError`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import unquote

import orjson
import yaml

from local_cluster.apiserver.errors import bad_request, not_acceptable, page_not_found, unsupported_media_type
from local_cluster.apiserver.protobuf import ProtobufError, decode_envelope
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.selectors import SelectorError, parse_fields, parse_labels
from local_cluster.apiserver.versions import Selection

__all__ = [
    "Form",
    "Representation",
    "Target",
    "duplicate_fields",
    "flag",
    "negotiate",
    "parse_path",
    "read_object",
    "read_selection",
]

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_BODY_TYPES = (JSON, YAML, PROTOBUF)
DEPTH_MAX = 200
"""Nesting of a body; beyond 254 orjson writes nothing, and real objects stay below 50."""
YAML_VALUES_MAX = 500_000
"""Values in one YAML body with all aliases written out."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a resource path names. An empty `name` means the collection, an empty `plural` the group version itself."""

    group: str
    version: str
    namespace: str
    plural: str
    name: str
    subresource: str


def parse_path(raw_path: str) -> Target:
    """Split `/api/v1/...` and `/apis/{group}/{version}/...`. Raises 404 for any other shape."""
    segments = [unquote(segment) for segment in raw_path.strip("/").split("/")]
    if segments[0] == "api" and len(segments) >= 2:
        group, version, rest = "", segments[1], segments[2:]
    elif segments[0] == "apis" and len(segments) >= 3:
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        raise page_not_found()
    namespace = ""
    # `namespaces/{name}` and its subresources are the kind Namespace; anything deeper is a kind inside one.
    if len(rest) >= 3 and rest[0] == "namespaces" and not (group == "" and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3 or any(segment in ("", ".", "..") or "/" in segment for segment in segments):
        raise page_not_found()
    plural, name, subresource = (*rest, "", "", "")[:3]
    return Target(group, version, namespace, plural, name, subresource)


class Form(Enum):
    """In which shape an answer shows its objects."""

    OBJECT = "object"
    TABLE = "Table"
    PARTIAL = "PartialObjectMetadata"


@dataclass(frozen=True, slots=True)
class Representation:
    """The form that was negotiated and the version of `meta.k8s.io` that goes with it."""

    form: Form
    version: str = "v1"


_PLAIN = Representation(Form.OBJECT)


def negotiate(accept: str) -> Representation:
    """The first representation in `accept` that can be produced, always JSON. Raises 406 when there is none."""
    if not accept or accept in (JSON, "*/*"):
        return _PLAIN
    for media_range in accept.split(","):
        media_type, *parameters = (part.strip() for part in media_range.split(";"))
        options = dict(part.split("=", 1) for part in parameters if "=" in part)
        wanted = options.get("as", "").removesuffix("List")
        if media_type not in (JSON, "*/*", "application/*"):
            continue
        if not wanted:
            return _PLAIN
        version = options.get("v", "v1")
        if (
            options.get("g") == "meta.k8s.io"
            and version in ("v1", "v1beta1")
            and wanted in ("Table", "PartialObjectMetadata")
        ):
            return Representation(Form(wanted), version)
    raise not_acceptable(accept)


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter as Go reads it: present and not `false` or `0`."""
    value = query.get(name)
    return value is not None and value.lower() not in ("false", "0")


def whole_number(query: Mapping[str, str], name: str, default: int = 0) -> int:
    """A parameter that is a count. Raises 400."""
    text = query.get(name) or ""
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise bad_request(f"{name}: expected a whole number, got {text!r}")
    return int(text)


def read_selection(kind: ResourceType, namespace: str, query: Mapping[str, str]) -> Selection:
    """The objects that path and selectors mean. Raises 400 for a selector that cannot be parsed."""
    try:
        labels = parse_labels(query.get("labelSelector", ""))
        fields = parse_fields(query.get("fieldSelector", ""), kind.selectable_fields())
    except SelectorError as error:
        raise bad_request(str(error)) from error
    return Selection(namespace, labels, fields)


def media_type(content_type: str) -> str:
    """The media type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def read_object(content_type: str, body: bytes) -> dict[str, Any]:
    """The object in a body. Raises 415 for an unknown media type and 400 for text that does not parse."""
    kind = media_type(content_type) or JSON
    match kind:
        case "application/json" | "text/plain":
            obj = read_json(body)
        case "application/yaml":
            obj = read_yaml(body)
        case "application/vnd.kubernetes.protobuf":
            try:
                obj = decode_envelope(body)
            except ProtobufError as error:
                raise bad_request(f"the protobuf body cannot be decoded: {error}") from error
        case _:
            raise unsupported_media_type(content_type, _BODY_TYPES)
    if not isinstance(obj, dict):
        raise bad_request(f"expected an object, got {type(obj).__name__}")
    return obj


def read_json(body: bytes) -> Any:
    """Parse JSON. Raises 400, also for what nests deeper than it could be written again."""
    try:
        value = orjson.loads(body)
    except ValueError as error:
        raise bad_request(f"the body is not valid JSON: {error}") from error
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        raise bad_request(f"the body is not valid: it nests deeper than {DEPTH_MAX}")
    return value


def duplicate_fields(content_type: str, body: bytes) -> list[str]:
    """The paths of members that a body of JSON or YAML names twice; of such, the last one counts."""
    kind = media_type(content_type) or JSON
    if kind == YAML and body[:1] != b"{":
        return _yaml_duplicates(body)
    if kind not in (JSON, YAML):
        return []
    found: list[str] = []
    pending: list[tuple[str, Any]] = [("", json.loads(body, object_pairs_hook=_Members))]
    while pending:
        path, value = pending.pop()
        if isinstance(value, _Members):
            seen: set[str] = set()
            for name, member in value:
                at = f"{path}.{name}" if path else name
                if name in seen:
                    found.append(at)
                seen.add(name)
                pending.append((at, member))
        elif isinstance(value, list):
            pending += [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    return found


def _yaml_duplicates(body: bytes) -> list[str]:
    found: list[str] = []
    pending: list[tuple[str, yaml.Node | None]] = [("", yaml.compose(body, Loader=_YamlLoader))]
    seen_nodes: set[int] = set()  # an alias is the node that it stands for, which may hold itself
    while pending:
        path, node = pending.pop()
        if id(node) in seen_nodes:
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, member in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    at = f"{path}.{key.value}" if path else key.value
                    if key.value in seen:
                        found.append(at)
                    seen.add(key.value)
                    pending.append((at, member))
        elif isinstance(node, yaml.SequenceNode):
            pending += [(f"{path}[{index}]", item) for index, item in enumerate(node.value)]
    return found


class _Members(list[tuple[str, Any]]):
    """An object's members in the order of the text, none left out."""


def read_yaml(body: bytes) -> Any:
    """Parse one YAML document, or JSON, into what JSON can say. Raises 400.

    kubectl sends JSON as YAML, and reading that as JSON is a hundred times cheaper.
    """
    if body[:1] == b"{":
        return read_json(body)
    try:
        return _Plain().value(yaml.load(body, Loader=_YamlLoader), 0)  # noqa: S506 - a SafeLoader without time stamps
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise bad_request(f"the body is not valid YAML: {error}") from error


def _depth(value: Any) -> int:
    """How deep a value nests; without recursion, because that is what is being bounded."""
    depth, level = 0, [value]
    while level:
        children: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                children.extend(item.values())
            elif isinstance(item, list):
                children.extend(item)
        depth, level = depth + 1, children
    return depth


class _Plain:
    """Turns what YAML says into JSON. Aliases are written out, so their sum is bounded."""

    def __init__(self) -> None:
        self._left = YAML_VALUES_MAX

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"more than {YAML_VALUES_MAX} values, aliases written out")
        if depth > DEPTH_MAX:
            raise ValueError(f"it nests deeper than {DEPTH_MAX}")
        if isinstance(value, dict):
            return {_key(key): self.value(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, depth + 1) for item in value]
        if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        raise ValueError(f"JSON has no {type(value).__name__} such as {value!r}")


def _key(key: Any) -> str:
    """A member's name: Kubernetes writes numbers and booleans as text."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int | float):
        return str(key)
    raise ValueError(f"expected a text as key, got {key!r}")


class _YamlLoader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a time stamp is text."""


_YamlLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
