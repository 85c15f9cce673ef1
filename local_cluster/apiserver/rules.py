"""What the server itself decides about an object's metadata, generation and status on each kind of write.

Pure functions on dicts: the caller owns them. Conformance: api-clients statements 24-28, 37.
"""

import re
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from local_cluster.apiserver.errors import Cause, bad_request, conflict, invalid
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.selectors import label_errors

__all__ = [
    "check_metadata",
    "check_version",
    "finish_create",
    "generate_name",
    "is_same",
    "now_text",
    "prepare_create",
    "prepare_update",
    "raise_generation",
]

_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9\-.]*[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?")
_SERVICE = re.compile(r"[a-z](?:[a-z0-9\-]*[a-z0-9])?")
_NAME_MAX = {"namespaces": 63, "services": 63}
_NAME_PATTERN = {"namespaces": _LABEL, "services": _SERVICE}
_GENERATED_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, as upstream: generated names spell nothing."""
_GENERATED_LENGTH = 5
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
)
_IGNORED = ("managedFields", "selfLink")
_ANNOTATIONS_BYTES_MAX = 256 << 10


def now_text(ahead_s: int = 0) -> str:
    """The current time, or `ahead_s` seconds later, as RFC 3339 in whole seconds, as metadata times are."""
    return (datetime.now(UTC) + timedelta(seconds=ahead_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def generate_name(prefix: str) -> str:
    """A name from `generateName`: the prefix, cut to fit, and five random characters."""
    suffix = "".join(secrets.choice(_GENERATED_ALPHABET) for _ in range(_GENERATED_LENGTH))
    return prefix[: 63 - _GENERATED_LENGTH] + suffix


def prepare_create(kind: ResourceType, obj: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Fix type and place of a new object, drop what a client may not set. Raises 400 when the path says otherwise."""
    _check_type(kind, obj)
    metadata = _metadata(obj)
    _check_namespace(kind, metadata, namespace)
    for name in (*_SERVER_OWNED, *_IGNORED):
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generate_name(str(metadata["generateName"]))
    if kind.has_status:
        obj.pop("status", None)
    return obj


def finish_create(obj: dict[str, Any]) -> None:
    """Give the admitted object its identity."""
    metadata = obj["metadata"]
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now_text()
    metadata["generation"] = 1


def check_version(kind: ResourceType, obj: dict[str, Any], current: dict[str, Any]) -> None:
    """Raise 409 when the desired `obj` names a resourceVersion or UID that is not the current one."""
    metadata, existing = _metadata(obj), current["metadata"]
    name = existing["name"]
    uid = metadata.get("uid")
    if uid and uid != existing["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {existing['uid']}"
        raise conflict(kind.group, kind.plural, name, why)
    version = str(metadata.get("resourceVersion") or "")
    if version and version != "0" and version != existing["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(kind.group, kind.plural, name, why)


def prepare_update(
    kind: ResourceType, desired: dict[str, Any], current: dict[str, Any], namespace: str, name: str, subresource: str
) -> dict[str, Any]:
    """The object that a write of `desired` over `current` means: each subresource writes its own part only."""
    _check_type(kind, desired)
    metadata = _metadata(desired)
    _check_namespace(kind, metadata, namespace)
    if "deletionTimestamp" in current["metadata"] and subresource != "status":
        _refuse_added_finalizers(kind, metadata, current["metadata"])
    if metadata.setdefault("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    if subresource == "status":
        result = {**current, "metadata": dict(current["metadata"])}
        if "status" in desired:
            result["status"] = desired["status"]
        else:
            result.pop("status", None)
        return result
    for field in _IGNORED:
        metadata.pop(field, None)
    for field in _SERVER_OWNED:
        if field in current["metadata"]:
            metadata[field] = current["metadata"][field]
        else:
            metadata.pop(field, None)
    if "generateName" in current["metadata"]:
        metadata.setdefault("generateName", current["metadata"]["generateName"])
    if kind.has_status:
        desired.pop("status", None)
        if "status" in current:
            desired["status"] = current["status"]
    return desired


def _refuse_added_finalizers(kind: ResourceType, metadata: dict[str, Any], existing: dict[str, Any]) -> None:
    added = set(metadata.get("finalizers") or ()) - set(existing.get("finalizers") or ())
    if added:
        message = f"Forbidden: no new finalizers can be added if the object is being deleted, found {sorted(added)}"
        cause = Cause("metadata.finalizers", "FieldValueForbidden", message)
        raise invalid(kind.group, kind.plural, kind.kind, existing["name"], [cause])


def raise_generation(desired: dict[str, Any], current: dict[str, Any]) -> None:
    """Count a change of anything but metadata and status."""
    if _substance(desired) != _substance(current):
        desired["metadata"]["generation"] = current["metadata"].get("generation", 0) + 1


def is_same(desired: dict[str, Any], current: dict[str, Any]) -> bool:
    """Whether storing `desired` would change nothing. Empty metadata maps count as absent."""
    return _comparable(desired) == _comparable(current)


def check_metadata(kind: ResourceType, obj: dict[str, Any]) -> None:
    """Raise 422 when name, labels, annotations or references break the rules of all kinds."""
    metadata = obj["metadata"]
    causes = []
    name = metadata.get("name")
    if not name:
        causes.append(Cause("metadata.name", "FieldValueRequired", "Required value: name or generateName is required"))
    elif not isinstance(name, str) or not _is_valid_name(kind, name):
        causes.append(Cause("metadata.name", "FieldValueInvalid", f'Invalid value: "{name}": {_name_rule(kind)}'))
    for field in ("labels", "annotations"):
        value = metadata.get(field)
        if value is not None and (not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values())):
            raise bad_request(f"metadata.{field}: expected a map of strings")
    causes += [
        Cause("metadata.labels", "FieldValueInvalid", f"Invalid value: {error}")
        for error in label_errors(metadata.get("labels") or {})
    ]
    if (
        sum(len(key) + len(value) for key, value in (metadata.get("annotations") or {}).items())
        > _ANNOTATIONS_BYTES_MAX
    ):
        message = f"Too long: may not be more than {_ANNOTATIONS_BYTES_MAX} bytes"
        causes.append(Cause("metadata.annotations", "FieldValueTooLong", message))
    causes += _owner_causes(metadata.get("ownerReferences"))
    if not all(isinstance(finalizer, str) and finalizer for finalizer in metadata.get("finalizers") or ()):
        causes.append(Cause("metadata.finalizers", "FieldValueInvalid", "Invalid value: expected non-empty texts"))
    if causes:
        raise invalid(kind.group, kind.plural, kind.kind, str(name or ""), causes)


def _owner_causes(owners: Any) -> list[Cause]:
    if owners is None:
        return []
    if not isinstance(owners, list) or not all(isinstance(owner, dict) for owner in owners):
        return [Cause("metadata.ownerReferences", "FieldValueInvalid", "Invalid value: expected a list of references")]
    causes = [
        Cause(f"metadata.ownerReferences[{index}].{field}", "FieldValueRequired", "Required value: must not be empty")
        for index, owner in enumerate(owners)
        for field in ("apiVersion", "kind", "name", "uid")
        if not owner.get(field)
    ]
    if sum(bool(owner.get("controller")) for owner in owners) > 1:
        message = "Invalid value: only one reference can have Controller set to true"
        causes.append(Cause("metadata.ownerReferences", "FieldValueInvalid", message))
    return causes


def _is_valid_name(kind: ResourceType, name: str) -> bool:
    if kind.group == "rbac.authorization.k8s.io":
        return name not in (".", "..") and not set(name) & set("/%")
    plural = kind.plural if not kind.group else ""
    if len(name) > _NAME_MAX.get(plural, 253):
        return False
    return _NAME_PATTERN.get(plural, _SUBDOMAIN).fullmatch(name) is not None and ".." not in name


def _name_rule(kind: ResourceType) -> str:
    if not kind.group and kind.plural in _NAME_PATTERN:
        return (
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character"
            if kind.plural == "services"
            else "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
            "and end with an alphanumeric character"
        )
    return (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        "and end with an alphanumeric character"
    )


def _check_type(kind: ResourceType, obj: dict[str, Any]) -> None:
    api_version, name = obj.setdefault("apiVersion", kind.api_version), obj.setdefault("kind", kind.kind)
    if api_version != kind.api_version or name != kind.kind:
        expected = f"{kind.api_version}, Kind={kind.kind}"
        raise bad_request(f"the object provided is {api_version}, Kind={name}, but the path takes {expected}")


def _check_namespace(kind: ResourceType, metadata: dict[str, Any], namespace: str) -> None:
    if not kind.namespaced:
        metadata.pop("namespace", None)
        return
    given = metadata.get("namespace")
    if given and given != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request "
            f"({given}, {namespace})"
        )
    metadata["namespace"] = namespace


def _metadata(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj.get("metadata")
    if metadata is None:
        metadata = obj["metadata"] = {}
    if not isinstance(metadata, dict):
        raise bad_request("metadata: expected an object")
    return metadata


def _substance(obj: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("metadata", "status", "apiVersion", "kind")}


def _comparable(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in obj["metadata"].items() if value not in (None, {}, [], "")}
    metadata.pop("resourceVersion", None)
    if metadata.get("managedFields"):
        # Who owns what counts, not when it was said last: a write that leaves all else alone is none, as upstream.
        untimed = [{key: value for key, value in entry.items() if key != "time"} for entry in metadata["managedFields"]]
        metadata["managedFields"] = sorted(
            untimed, key=lambda entry: tuple(str(entry.get(key)) for key in ("manager", "operation", "subresource"))
        )
    return {**obj, "metadata": metadata}
