"""Image references: their parts, and which of them are left to the node to resolve.

Knative pins a tag to a digest when a Revision is made, by asking the registry (`controller.digests`). Where none can be
asked a tag is deployed as it is written, and an image that cannot be had is reported from what the node says. Source:
spec control-plane.md 6.2.
"""

import re
from typing import Any

from kube.models.core import ContainerStatus

__all__ = ["digest_statuses", "is_reference", "missing_image"]

JsonObject = dict[str, Any]

_NOT_THERE = frozenset(("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"))
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9.-]*[A-Za-z0-9]|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?{_COMPONENT}(?:/{_COMPONENT})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z",
    re.ASCII,
)


def is_reference(image: str) -> bool:
    """Whether the text can be an image reference."""
    return len(image) <= 512 and _REFERENCE.match(image) is not None


def digest_statuses(containers: list[JsonObject]) -> list[JsonObject]:
    """`containerStatuses` of a Revision: an image that is given by digest is resolved, any other stays as it is."""
    return [
        {"name": str(container.get("name", ""))}
        | ({"imageDigest": image} if "@sha256:" in (image := str(container.get("image", ""))) else {})
        for container in containers
    ]


def missing_image(status: ContainerStatus) -> str | None:
    """What the node says about an image that it cannot get, or None when that is not the trouble."""
    waiting = status.state.waiting
    if waiting is None or waiting.reason not in _NOT_THERE:
        return None
    return waiting.message or waiting.reason
