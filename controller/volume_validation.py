"""Volumes and mounts that a Revision may have.

Source: knative/serving `pkg/apis/serving/k8s_validation.go`, `fieldmask.go`; spec control-plane.md 4.5.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.field_errors import (
    FieldError,
    at,
    at_index,
    disallowed,
    invalid_value,
    missing,
    missing_one_of,
    multiple_one_of,
)
from controller.names import is_dns_1123_label
from controller.quantities import parse_quantity
from controller.settings import Features

__all__ = ["check_mounts", "check_volumes"]

JsonObject = dict[str, Any]

_RESERVED_PATHS = frozenset(("/", "/dev", "/dev/log"))
_ALWAYS = ("secret", "configMap", "projected")
_BY_FEATURE = {
    "emptyDir": "kubernetes.podspec-volumes-emptydir",
    "persistentVolumeClaim": "kubernetes.podspec-persistent-volume-claim",
    "hostPath": "kubernetes.podspec-volumes-hostpath",
    "csi": "kubernetes.podspec-volumes-csi",
    "ephemeral": "kubernetes.podspec-volumes-ephemeral",
    "image": "kubernetes.podspec-volumes-image",
}
_PROJECTED = ("secret", "configMap", "serviceAccountToken", "downwardAPI")
_WRITABLE = ("emptyDir", "persistentVolumeClaim", "ephemeral")


def check_volumes(volumes: Sequence[JsonObject], mounted: set[str], features: Features) -> Iterator[FieldError]:
    """The list of volumes; `mounted`: names that some container mounts."""
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        yield from at(f"[{index}]", _volume(volume, seen, mounted, features))
        seen.add(str(volume.get("name", "")))


def check_mounts(
    mounts: Sequence[JsonObject], volumes: Mapping[str, JsonObject], features: Features
) -> Iterator[FieldError]:
    """The mounts of one container."""
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        yield from at(f"[{index}]", _mount(mount, volumes.get(str(mount.get("name", ""))), seen, features))
        seen.add(_clean(str(mount.get("mountPath", ""))))


def _volume(volume: JsonObject, seen: set[str], mounted: set[str], features: Features) -> Iterator[FieldError]:
    name = str(volume.get("name", ""))
    for source, message in (("emptyDir", "EmptyDir"), ("persistentVolumeClaim", "Persistent volume claim")):
        if source in volume and not features.enabled(_BY_FEATURE[source]):
            yield FieldError(f"{message} volume support is disabled, but found {message} volume {name}", ("",))
    claim = volume.get("persistentVolumeClaim")
    writes = claim is not None and not claim.get("readOnly")
    if writes and not features.enabled("kubernetes.podspec-persistent-volume-write"):
        yield FieldError(f"Persistent volume write support is disabled, but found volume {name} not read-only", ("",))
    if name in seen:
        yield FieldError(f'duplicate volume name "{name}"', ("name",))
    if name not in mounted:
        yield FieldError(f'volume with name "{name}" not mounted', ("name",))
    if not name:
        yield missing("name")
    elif not is_dns_1123_label(name):
        yield invalid_value(name, "name")
    sources = [key for key in volume if key != "name"]
    permitted = [*_ALWAYS, *(source for source, flag in _BY_FEATURE.items() if features.permits(flag))]
    refused = [source for source in sources if source not in permitted]
    if refused:
        yield disallowed(*refused)
    for source in ("secret", "configMap"):
        yield from _items(volume.get(source) or {})
    for index, part in enumerate((volume.get("projected") or {}).get("sources") or []):
        yield from at_index("projected", index, _projected(part))
    yield from at("emptyDir", _empty_dir(volume.get("emptyDir") or {}))
    known = [source for source in sources if source in (*_ALWAYS, *_BY_FEATURE)]
    if not known:
        yield missing_one_of(*permitted)
    elif len(known) > 1:
        yield multiple_one_of(*known)


def _items(source: JsonObject) -> Iterator[FieldError]:
    for index, item in enumerate(source.get("items") or []):
        absent = [name for name in ("key", "path") if not item.get(name)]
        if absent:
            yield from at_index("items", index, [missing(*absent)])


def _projected(part: JsonObject) -> Iterator[FieldError]:
    refused = [source for source in part if source not in _PROJECTED]
    if refused:
        yield disallowed(*refused)
    found = [source for source in _PROJECTED if source in part]
    if not found:
        yield missing_one_of(*_PROJECTED)
    elif len(found) > 1:
        yield multiple_one_of(*found)
    for source in ("secret", "configMap"):
        if source in part:
            if not part[source].get("name"):
                yield missing(f"{source}.name")
            yield from at(source, _items(part[source]))
    if "serviceAccountToken" in part and not part["serviceAccountToken"].get("path"):
        yield missing("serviceAccountToken.path")


def _empty_dir(source: JsonObject) -> Iterator[FieldError]:
    if source.get("medium", "") not in ("", "Memory"):
        yield invalid_value(source["medium"], "medium")
    limit = source.get("sizeLimit")
    if limit is None:
        return
    try:
        if parse_quantity(limit) < 0:
            yield invalid_value(limit, "sizeLimit")
    except ValueError:
        yield invalid_value(limit, "sizeLimit")


def _mount(mount: JsonObject, volume: JsonObject | None, seen: set[str], features: Features) -> Iterator[FieldError]:
    propagates = features.permits("kubernetes.podspec-volumes-mount-propagation")
    permitted = ("name", "readOnly", "mountPath", "subPath", *(("mountPropagation",) if propagates else ()))
    refused = [key for key in mount if key not in permitted]
    if refused:
        yield disallowed(*refused)
    if volume is None:
        yield FieldError("volumeMount has no matching volume", ("name",))
    path = str(mount.get("mountPath", ""))
    if not path:
        yield missing("mountPath")
    elif _clean(path) in _RESERVED_PATHS:
        yield FieldError(f'mountPath "{_clean(path)}" is a reserved path', ("mountPath",))
    elif not path.startswith("/"):
        yield invalid_value(path, "mountPath")
    elif _clean(path) in seen:
        yield invalid_value(f'"{path}" must be unique', "mountPath")
    if mount.get("mountPropagation", "None") not in ("None", "HostToContainer"):
        yield invalid_value(mount["mountPropagation"], "mountPropagation")
    reads_only = bool(mount.get("readOnly"))
    if not any(source in (volume or {}) for source in _WRITABLE) and not reads_only:
        yield FieldError("volume mount should be readOnly for this type of volume", ("readOnly",))
    if ((volume or {}).get("persistentVolumeClaim") or {}).get("readOnly") and not reads_only:
        yield FieldError("volume is readOnly but volume mount is not", ("readOnly",))


def _clean(path: str) -> str:
    """The path as Go's `filepath.Clean` writes it."""
    cleaned = posixpath.normpath(path) if path else ""
    return "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned
