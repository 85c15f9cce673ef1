"""From a component to its image: three layers, of which the lowest is the same for all."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from deploy.images.components import Component
from deploy.images.layers import Layer, pack
from deploy.images.layout import architecture, image_config, write_layout
from deploy.images.packages import application, libraries_of, version
from deploy.images.runtime import runtime
from deploy.images.tree import Node, Tree, merged

__all__ = ["Builder", "Built", "root_file_system"]


@dataclass(frozen=True, slots=True)
class Built:
    """One image that was written."""

    component: Component
    path: Path
    digest: str
    """Of its manifest: what a registry will know it by."""
    compressed_bytes: int
    """Of its layers: what a node pulls."""
    files_bytes: int
    """Of its layers before compression, without the archive's own."""


class Builder:
    """Makes images; keeps the layer that they share."""

    __slots__ = ("_compression", "_revision", "_runtime", "_time_s")

    def __init__(self, *, time_s: int = 0, revision: str = "", compression: int = 9) -> None:
        """`time_s`: Unix time that everything in the images carries; `revision`: of the source, for their labels.

        `compression`: gzip's level. A layer is packed once and pulled often, but tests are in a hurry.
        """
        self._time_s = time_s
        self._compression = compression
        self._revision = revision
        self._runtime: tuple[Tree, Layer] | None = None

    def build(self, component: Component, folder: Path) -> Built:
        """Write `folder/<name>`, an OCI image layout. Raises `MissingLibrary`, `LockMismatch`, `UnsupportedMachine`."""
        architecture()
        if self._runtime is None:
            tree = runtime()
            self._runtime = tree, self._pack(tree)
        below, lowest = self._runtime
        found = {"libraries": libraries_of(component), "application": application(component)}
        merged(below, *found.values())
        # What the lowest layer has is not packed again: the C library, for one, is linked to by all.
        upper = {what: {path: tree[path] for path in tree if path not in below} for what, tree in found.items()}
        layers = [("interpreter", lowest), *((what, self._pack(tree)) for what, tree in upper.items())]
        release = version()
        created = datetime.datetime.fromtimestamp(self._time_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        config = image_config(component, layers, version=release, created=created, revision=self._revision)
        target = folder / component.name
        digest = write_layout(target, f"{component.name}:{release}", config, [layer for _, layer in layers])
        return Built(
            component,
            target,
            digest,
            sum(len(layer.data) for _, layer in layers),
            sum(_size(node) for tree in (below, *upper.values()) for node in tree.values()),
        )

    def _pack(self, tree: Tree) -> Layer:
        return pack(tree, time_s=self._time_s, compression=self._compression)


def root_file_system(component: Component) -> dict[str, Node]:
    """Everything that a container of this component sees."""
    return merged(runtime(), libraries_of(component), application(component))


def _size(node: Node) -> int:
    return len(getattr(node, "data", b""))
