"""Writing a volume's files so that whoever reads them meanwhile sees all of the old ones or all of the new ones.

The kubelet's layout: the files are in a folder of their own, `..data` is a link to it, and what a program opens is a
link through `..data`. Replacing that one link changes everything at once. Source: Kubernetes documentation,
"ConfigMaps" (mounted ConfigMaps are updated automatically).
"""

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from local_cluster.node.volumes import VolumeError, VolumeFile

__all__ = ["copy_part", "host_path", "write"]

_DATA = "..data"


def write(folder: Path, files: Iterable[VolumeFile], *, owner: tuple[int, int] | None, mode: int = 0o755) -> bool:
    """Make `folder` hold exactly `files`; `owner` (uid, gid) gets them. Whether anything changed. Raises `OSError`."""
    wanted = {file.path: file for file in files}
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(mode)
    data = folder / _DATA
    before = data.resolve() if data.is_symlink() else None
    if before is not None and _holds(before, wanted):
        return False
    made = folder / f"..{time.time_ns()}"
    made.mkdir(mode=0o755)
    for file in wanted.values():
        _write_one(made / file.path, file, owner)
    draft = folder / f"{_DATA}_new"
    draft.unlink(missing_ok=True)
    draft.symlink_to(made.name)
    draft.replace(data)
    tops = {PurePosixPath(path).parts[0] for path in wanted}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"{_DATA}/{top}")
    for entry in folder.iterdir():
        if entry.name not in (*tops, _DATA, made.name):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return True


def copy_part(folder: Path, sub_path: str, target: Path) -> bool:
    """Make `target` what the volume has at `sub_path` at this moment; False when it has nothing there."""
    source = (folder / _DATA).resolve() / sub_path
    if target.is_dir():
        shutil.rmtree(target)
    if not source.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
    for path in (source, *source.rglob("*")):
        status = path.stat()
        os.chown(target / path.relative_to(source), status.st_uid, status.st_gid)
    return True


def host_path(volume: Mapping[str, Any]) -> str:
    """The path of a `hostPath` volume, made where it asks for that. Raises `VolumeError` and `OSError`."""
    path, kind = Path(str(volume.get("path"))), volume.get("type") or ""
    if not path.is_absolute():
        raise VolumeError(f"hostPath {str(path)!r}: expected an absolute path")
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        raise VolumeError(f"hostPath {path}: no such file or directory")
    return str(path)


def _write_one(path: Path, file: VolumeFile, owner: tuple[int, int] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(file.data)
        os.fchmod(descriptor, file.mode)
        if owner is not None:
            os.fchown(descriptor, *owner)


def _holds(folder: Path, wanted: dict[str, VolumeFile]) -> bool:
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return found.keys() == wanted.keys() and all(
        path.read_bytes() == wanted[name].data and path.stat().st_mode & 0o7777 == wanted[name].mode
        for name, path in found.items()
    )
