"""What every Kubernetes object has: type, metadata, conditions; and how our typed resources name themselves.

Structs are decoded leniently: a field that no service of ours reads is dropped. So a decoded object is for reading; it
is never PUT back, changes go out as patches (`kube.client`). Where users' text must survive whole (pod templates), the
field is a plain dict.
"""

from typing import Any, ClassVar, NamedTuple, Protocol
from urllib.parse import quote

import msgspec

__all__ = [
    "Condition",
    "LabelSelector",
    "ListMeta",
    "Listed",
    "Model",
    "ObjectMeta",
    "OwnerReference",
    "Resource",
    "ResourceInfo",
]


class Model(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A part of a resource: camelCase on the wire, defaults left out."""


class OwnerReference(Model):
    """Who this object belongs to; the garbage collector follows `uid`."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Model):
    """Standard object metadata. Timestamps are RFC 3339 text, see `kube.timestamps`."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []

    def controller(self) -> OwnerReference | None:
        """The owner that controls this object, or None."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class ListMeta(Model):
    """Metadata of a list: the version to watch from, and the token of the next page."""

    resource_version: str = ""
    continue_token: str = msgspec.field(default="", name="continue")


class Condition(Model):
    """One observation in a status. `severity` is Knative's: empty means error, `Info` does not count against Ready."""

    type: str
    # From a factory, which `omit_defaults` knows nothing of: the API wants a status, also one that is not known.
    status: str = msgspec.field(default_factory=lambda: "Unknown")
    severity: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_update_time: str | None = None
    last_probe_time: str | None = None


class LabelSelectorRequirement(Model):
    """One expression of a selector: `In`, `NotIn`, `Exists`, `DoesNotExist`."""

    key: str
    operator: str
    values: list[str] = []


class LabelSelector(Model):
    """Which objects are meant; both parts must hold."""

    match_labels: dict[str, str] = {}
    match_expressions: list[LabelSelectorRequirement] = []


class ResourceInfo(NamedTuple):
    """Where a kind lives in the API."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`v1` for the core group, `group/version` otherwise."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The REST path of a collection (`name` None) or of one object or its subresource.

        Names are one segment each, whatever they hold: people write some of them, and reach no other path by that.
        """
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            path += f"/namespaces/{quote(namespace, safe=':')}"
        path += f"/{self.plural}"
        if name is not None:
            path += f"/{quote(name, safe=':')}"
            if subresource is not None:
                path += f"/{subresource}"
        return path


class Resource(Model):
    """Base of every kind; `RESOURCE` says where it lives. `apiVersion` and `kind` are filled in on construction."""

    RESOURCE: ClassVar[ResourceInfo]

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)

    def __post_init__(self) -> None:
        # Always from the class: list items may come without them.
        self.api_version = self.RESOURCE.api_version
        self.kind = self.RESOURCE.kind

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """`metadata.namespace`."""
        return self.metadata.namespace

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.metadata.namespace, self.metadata.name

    def owner_reference(self) -> OwnerReference:
        """A controller reference to this object, for its children."""
        return OwnerReference(
            api_version=self.api_version,
            kind=self.kind,
            name=self.metadata.name,
            uid=self.metadata.uid,
            controller=True,
            block_owner_deletion=True,
        )

    def is_controlled_by(self, owner: "Resource") -> bool:
        """Whether `owner`, by uid, controls this object."""
        controller = self.metadata.controller()
        return controller is not None and controller.uid == owner.metadata.uid


class _Identity(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class Listed(Protocol):
    """What can be listed and watched: a `Resource`, or a view that decodes only what its reader needs of one."""

    RESOURCE: ClassVar[ResourceInfo]

    @property
    def metadata(self) -> _Identity:
        """Which object, and which version of it."""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""


JsonObject = dict[str, Any]
