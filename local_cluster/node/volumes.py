"""Volumes: what is in the files that a pod's ConfigMaps, Secrets and own fields become.

Pure: objects come in as plain mappings, as for a container's environment. Modes are those that the
volume names. Kubernetes' default is 0644; for files of Secrets it counts as not asked for, and they get `secret_mode`,
0600 and the pod's user as owner where its containers share one. `volume_files.py` writes them.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from kube.models.core import Pod
from local_cluster.node.environment import (
    PodFacts,
    Reference,
    Sources,
    VariableError,
    field_text,
    resource_text,
)

__all__ = ["SECRET_MODE", "TokenSource", "VolumeError", "VolumeFile", "volume_files", "volume_references"]

_MODE = 0o644
SECRET_MODE = 0o600
_KINDS = ("configMap", "secret", "projected", "downwardAPI", "emptyDir", "hostPath")

JsonObject = Mapping[str, Any]


class VolumeError(Exception):
    """A volume cannot be made; the text is for the person who wrote the pod."""


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """One file of a volume."""

    path: str
    """Relative, without `..`."""
    data: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class TokenSource:
    """The pod's credentials for the API, where the node can hand them out."""

    token: str
    ca_pem: bytes


def volume_references(volume: JsonObject) -> list[Reference]:
    """The ConfigMaps and Secrets that a volume of a pod names."""
    found = []
    for source in _sources_of(volume):
        for key, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "name")):
            selector = source.get(key)
            if selector is not None:
                named = selector.get(name) or selector.get("secretName") or ""
                found.append(Reference(kind, str(named), bool(selector.get("optional"))))
    return found


def volume_files(
    volume: JsonObject,
    pod: Pod,
    facts: PodFacts,
    sources: Sources,
    token: TokenSource | None,
    *,
    secret_mode: int = SECRET_MODE,
) -> list[VolumeFile]:
    """The files of a volume, later sources over earlier ones. Raises `VolumeError`."""
    name = volume.get("name")
    kind = next((key for key in volume if key != "name"), "emptyDir")
    if kind not in _KINDS:
        raise VolumeError(f'volume "{name}": {kind} volumes are not supported; expected one of {", ".join(_KINDS)}')
    files: dict[str, VolumeFile] = {}
    asked = (volume.get(kind) or {}).get("defaultMode", _MODE)
    modes = (asked, secret_mode if asked == _MODE else asked)
    try:
        for source in _sources_of(volume):
            for file in _files_of(source, pod, facts, sources, token, modes):
                files[file.path] = file
    except (VariableError, VolumeError) as error:
        raise VolumeError(f'volume "{name}": {error}') from error
    return list(files.values())


def _sources_of(volume: JsonObject) -> list[JsonObject]:
    """The parts of a projected volume; any other volume is its own only part."""
    if "projected" in volume:
        return list((volume["projected"] or {}).get("sources") or [])
    return [volume]


def _files_of(
    source: JsonObject,
    pod: Pod,
    facts: PodFacts,
    sources: Sources,
    token: TokenSource | None,
    modes: tuple[int, int],
) -> list[VolumeFile]:
    """The files of one part; `modes` of plain and of secret ones."""
    mode, secret_mode = modes
    if "configMap" in source:
        return _from_object("ConfigMap", source["configMap"], sources, mode)
    if "secret" in source:
        return _from_object("Secret", source["secret"], sources, secret_mode)
    if "downwardAPI" in source:
        return [_from_field(item, pod, facts, mode) for item in source["downwardAPI"].get("items") or []]
    if "serviceAccountToken" in source:
        if token is None:
            raise VolumeError("serviceAccountToken: this node hands out no credentials")
        path = _checked(str(source["serviceAccountToken"].get("path", "token")))
        return [VolumeFile(path, token.token.encode(), secret_mode)]
    return []


def _from_object(kind: str, selector: JsonObject, sources: Sources, mode: int) -> list[VolumeFile]:
    name = str(selector.get("name") or selector.get("secretName") or "")
    optional = bool(selector.get("optional"))
    data = sources.get((kind, name))
    if data is None:
        if optional:
            return []
        raise VolumeError(f'{kind.lower()} "{name}" not found')
    binary = sources.get((f"{kind}.binary", name), {})
    items = selector.get("items")
    if items is None:
        items = [{"key": key, "path": key} for key in (*data, *binary)]
    files = []
    for item in items:
        key = str(item.get("key"))
        if key not in data and key not in binary:
            if optional:
                continue
            raise VolumeError(f'{kind.lower()} "{name}" references non-existent key: {key}')
        is_text = kind == "ConfigMap" and key in data
        content = data[key].encode() if is_text else _decoded(kind, name, key, binary.get(key) or data.get(key, ""))
        files.append(VolumeFile(_checked(str(item.get("path"))), content, item.get("mode", mode)))
    return files


def _from_field(item: JsonObject, pod: Pod, facts: PodFacts, mode: int) -> VolumeFile:
    path = _checked(str(item.get("path")))
    if "resourceFieldRef" in item:
        text = resource_text(item["resourceFieldRef"], None, pod, facts)
    else:
        field = str((item.get("fieldRef") or {}).get("fieldPath", ""))
        if field in ("metadata.labels", "metadata.annotations"):
            values = pod.metadata.labels if field == "metadata.labels" else pod.metadata.annotations
            text = "\n".join(f'{key}="{_escaped(value)}"' for key, value in sorted(values.items()))
        else:
            text = field_text(field, pod, facts)
    return VolumeFile(path, text.encode(), item.get("mode", mode))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _checked(path: str) -> str:
    """A path inside the volume. Raises `VolumeError`."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise VolumeError(f"path {path!r}: expected a relative path without '..'")
    return path


def _decoded(kind: str, name: str, key: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise VolumeError(f"key {key} of {kind} {name} is not base64") from error
