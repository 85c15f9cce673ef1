"""The kinds that the server offers: where each lives, what it is called, and what may be done with it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local_cluster.apiserver.errors import page_not_found

__all__ = ["Column", "Registry", "ResourceType", "ScalePaths"]

OBJECT_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the table that kubectl prints."""

    name: str
    cell: str | Callable[[dict[str, Any]], object]
    """A JSONPath, or a function of the object."""
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    """0: always shown; more: only with `-o wide`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePaths:
    """Where a kind keeps what its scale subresource shows; JSONPaths of plain fields."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    selector: str = ""
    """Of a label selector, as text or as an object; empty when the kind has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceType:
    """One kind in one served version. Versions of a kind share `key` and so their objects."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    has_status: bool = False
    """Whether `/status` exists; then status and the rest are written separately."""
    scale: ScalePaths | None = None
    is_custom: bool = False
    """Custom kinds have no strategic merge patches, and their objects follow `schema` as a CRD's do."""
    schema: str = ""
    """Name of the kind's schema (`local_cluster.apiserver.schemas`); empty: anything goes."""
    selectable: tuple[str, ...] = ()
    """Fields beyond `metadata.name` and `metadata.namespace` that field selectors may ask for, as dotted paths."""
    storage_version: str = ""
    """`apiVersion` in which objects are kept; empty: this one's."""
    key: str = ""
    """Names the collection; empty: `plural.group`."""
    to_storage: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    from_storage: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    verbs: tuple[str, ...] = OBJECT_VERBS

    def __post_init__(self) -> None:
        for name, value in (
            ("singular", self.singular or self.kind.lower()),
            ("storage_version", self.storage_version or self.api_version),
            ("key", self.key or f"{self.plural}.{self.group}"),
        ):
            object.__setattr__(self, name, value)

    @property
    def api_version(self) -> str:
        """`v1` for the core group, `group/version` otherwise."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def is_stored_form(self) -> bool:
        """Whether objects are kept exactly as this version shows them."""
        return self.api_version == self.storage_version

    def stored(self, obj: dict[str, Any]) -> dict[str, Any]:
        """`obj` in the form in which it is kept."""
        if self.is_stored_form:
            return obj
        converted = self.to_storage(obj) if self.to_storage is not None else obj
        return {**converted, "apiVersion": self.storage_version, "kind": self.kind}

    def shown(self, obj: dict[str, Any]) -> dict[str, Any]:
        """A kept object in this version's form."""
        if self.is_stored_form:
            return obj
        converted = self.from_storage(obj) if self.from_storage is not None else obj
        return {**converted, "apiVersion": self.api_version, "kind": self.kind}

    def subresources(self) -> tuple[str, ...]:
        """The subresources that discovery lists."""
        names = ("status",) if self.has_status else ()
        return (*names, "scale") if self.scale is not None else names

    def selectable_fields(self) -> tuple[str, ...]:
        """All fields that field selectors may name."""
        return ("metadata.name", "metadata.namespace", *self.selectable)

    def field_values(self, obj: dict[str, Any]) -> Mapping[str, str]:
        """The values of the kind's own selectable fields."""
        return {path: _dotted(obj, path) for path in self.selectable}


class Registry:
    """All kinds by path. Kinds come and go at run time with CRDs."""

    def __init__(self, kinds: Iterable[ResourceType] = ()) -> None:
        self._by_path: dict[tuple[str, str, str], ResourceType] = {}
        self.revision = 0
        """Changes whenever a kind is added or removed; what is derived from the registry is cached under it."""
        for kind in kinds:
            self.add(kind)

    def __iter__(self) -> Iterator[ResourceType]:
        return iter(self._by_path.values())

    def add(self, kind: ResourceType) -> None:
        """Offer `kind`, replacing what was at the same path."""
        self._by_path[kind.group, kind.version, kind.plural] = kind
        self.revision += 1

    def remove(self, kind: ResourceType) -> None:
        """Offer `kind` no longer."""
        self._by_path.pop((kind.group, kind.version, kind.plural), None)
        self.revision += 1

    def at(self, group: str, version: str, plural: str) -> ResourceType:
        """The kind at a path. Raises 404."""
        kind = self._by_path.get((group, version, plural))
        if kind is None:
            raise page_not_found()
        return kind

    def of_key(self, key: str) -> ResourceType | None:
        """The kind whose stored form the collection `key` holds, or None."""
        return next((kind for kind in self._by_path.values() if kind.key == key and kind.is_stored_form), None)

    def group_versions(self) -> dict[str, list[str]]:
        """Versions by group, in the order in which they were added; the first of a group is its preferred one."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._by_path:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return found

    def in_group_version(self, group: str, version: str) -> list[ResourceType]:
        """The kinds of one group version."""
        return [kind for kind in self._by_path.values() if kind.group == group and kind.version == version]


def _dotted(obj: dict[str, Any], path: str) -> str:
    value: Any = obj
    for part in path.split("."):
        if not isinstance(value, dict):
            return ""
        value = value.get(part)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
