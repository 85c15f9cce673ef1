"""A root file system in memory: path -> regular file or symbolic link, owned by root.

Everything that makes an image is a function that returns such a tree, so that what a layer holds can be looked at,
merged and tested before a byte of it is packed. Directories are implied by what is in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["File", "Node", "Symlink", "Tree", "merged", "unpack"]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file."""

    data: bytes
    is_executable: bool = False

    @property
    def mode(self) -> int:
        """Permission bits: readable by everybody, writable by nobody who is not root."""
        return 0o755 if self.is_executable else 0o644


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link."""

    target: str


Node = File | Symlink
Tree = Mapping[str, Node]
"""Path without a leading slash -> what is there."""


def merged(*trees: Tree) -> dict[str, Node]:
    """All of them in one. Raises `ValueError` when two put different things at one path."""
    found: dict[str, Node] = {}
    for tree in trees:
        for path, node in tree.items():
            if found.setdefault(path, node) != node:
                raise ValueError(f"{path}: two packages bring this file, and they differ")
    return found


def unpack(tree: Tree, target: Path) -> None:
    """Write the tree below a directory that exists."""
    for path, node in tree.items():
        place = target / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(node, Symlink):
            place.symlink_to(node.target)
        else:
            place.write_bytes(node.data)
            place.chmod(node.mode)
