"""A tree as one layer of an OCI image: the same tree gives the same bytes, whenever and wherever it is packed.

Entries are sorted, belong to root and carry one time; directories are written before what is in them. gzip, since every
registry and runtime reads it (OCI image specification, layer media types).
"""

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath

from deploy.images.tree import File, Symlink, Tree

__all__ = ["GZIP_LAYER", "Layer", "pack"]

GZIP_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Layer:
    """A packed layer."""

    data: bytes
    """What is stored, compressed."""
    diff_id: str
    """`sha256:` of the archive before compression, as the image's configuration lists it."""

    @property
    def digest(self) -> str:
        """`sha256:` of what is stored."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"


def pack(tree: Tree, *, time_s: int = 0, compression: int = 9) -> Layer:
    """Archive and compress. `time_s`: Unix time that every entry carries; `compression`: gzip's level."""
    archive = _archive(tree, time_s)
    squeezed = gzip.compress(archive, compression, mtime=0)
    return Layer(squeezed, f"sha256:{hashlib.sha256(archive).hexdigest()}")


def _archive(tree: Tree, time_s: int) -> bytes:
    folders = {str(parent) for path in tree for parent in PurePosixPath(path).parents} - {"."}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folders | set(tree)):
            entry = tarfile.TarInfo(path)
            entry.mtime = time_s
            node = tree.get(path)
            if isinstance(node, File):
                entry.mode, entry.size = node.mode, len(node.data)
                archive.addfile(entry, io.BytesIO(node.data))
            elif isinstance(node, Symlink):
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, node.target, 0o777
                archive.addfile(entry)
            else:
                # tmp is the one folder that a component may write to, where a volume is mounted over it.
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
                archive.addfile(entry)
    return buffer.getvalue()
