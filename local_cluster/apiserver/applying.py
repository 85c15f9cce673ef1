"""Server-side apply: merge an applied configuration into an object, lists by the keys that their schema declares.

Ownership of single fields is not recorded, so applying never conflicts and never removes what was applied before.
"""

from typing import Any

from local_cluster.apiserver.errors import bad_request
from local_cluster.apiserver.patch import PatchError
from local_cluster.apiserver.resources import ResourceType
from local_cluster.apiserver.schemas import Schemas
from local_cluster.apiserver.strategic import strategic_patch

__all__ = ["apply_patch"]


def apply_patch(
    schemas: Schemas, kind: ResourceType, current: dict[str, Any], applied: dict[str, Any]
) -> dict[str, Any]:
    """`current` with `applied` merged in. Raises 400."""
    metadata = applied.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    try:
        return strategic_patch(schemas, kind.schema, current, applied)
    except PatchError as error:
        raise bad_request(str(error)) from error
