"""Which command stands for a container image: the image map.

`images.yaml` is a list of entries, the first that matches counts:

    - image: dev.local/hello*          # shell-style pattern for the reference, with or without tag and digest
      command: [python3, hello.py]
      workingDir: ./examples           # relative to the file
      env: {GREETING: hello}
"""

import fnmatch
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ImageEntry", "ImageMap", "ImageMapError"]


class ImageMapError(Exception):
    """The file cannot be used: its name, the entry and what was expected."""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """How an image is run here."""

    pattern: str
    command: tuple[str, ...] = ()
    working_dir: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def matches(self, image: str) -> bool:
        """Whether the entry is meant for `image`."""
        return any(fnmatch.fnmatchcase(name, self.pattern) for name in _spellings(image))


class ImageMap:
    """The built-in entries, and before them those of a file, which is read again whenever it changes."""

    def __init__(self, builtin: tuple[ImageEntry, ...] = (), file: Path | None = None) -> None:
        self._builtin = builtin
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._entries: tuple[ImageEntry, ...] = ()

    def find(self, image: str) -> ImageEntry | None:
        """The entry for `image`, or None. Raises `ImageMapError` when the file is wrong."""
        self._refresh()
        return next((entry for entry in (*self._entries, *self._builtin) if entry.matches(image)), None)

    def advice(self, image: str) -> str:
        """What to tell someone whose image has no entry."""
        add = f"add an entry for it to {self._file}" if self._file else "map it to a command"
        return f'no command for image "{image}" on this machine: give the container a command, {add}, or install podman'

    def _refresh(self) -> None:
        if self._file is None:
            return
        try:
            stat = self._file.stat()
        except OSError:
            self._stamp, self._entries = None, ()
            return
        stamp = (stat.st_mtime_ns, stat.st_size)
        if stamp != self._stamp:
            self._entries = _load(self._file)
            self._stamp = stamp


def _load(path: Path) -> tuple[ImageEntry, ...]:
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ImageMapError(f"{path}: {error}") from error
    if not isinstance(data, list):
        raise ImageMapError(f"{path}: expected a list of entries with image and command")
    return tuple(_entry(path, index, entry) for index, entry in enumerate(data))


def _entry(path: Path, index: int, entry: Any) -> ImageEntry:
    where = f"{path}: entry {index + 1}"
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise ImageMapError(f"{where}: expected a mapping with a text `image`")
    command = entry.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise ImageMapError(f"{where}: command: expected a list of texts")
    env = entry.get("env") or {}
    if not isinstance(env, dict):
        raise ImageMapError(f"{where}: env: expected a mapping")
    folder = entry.get("workingDir")
    working_dir = str((path.parent / str(folder)).resolve()) if folder else ""
    return ImageEntry(entry["image"], tuple(command), working_dir, {str(k): str(v) for k, v in env.items()})


def _spellings(image: str) -> tuple[str, str]:
    """The reference as written, and without tag and digest."""
    bare = image.partition("@")[0]
    head, slash, last = bare.rpartition("/")
    return image, head + slash + last.partition(":")[0]
