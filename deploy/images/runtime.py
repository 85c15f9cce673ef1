"""The base of every image: this machine's Python interpreter, its standard library and the shared libraries of both.

Why the machine's: docs/decisions/0008-images-from-the-machines-interpreter.md. It is placed below /usr, its libraries
beside the C library, where the loader looks by itself; nothing names the place that it came from.
"""

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from deploy.images.bytecode import with_bytecode
from deploy.images.elf import anonymous, is_elf, shared_libraries, stripped
from deploy.images.tree import File, Node, Symlink

__all__ = ["INTERPRETER", "libraries", "runtime"]

_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
INTERPRETER = f"usr/bin/{_VERSION}"
_STDLIB = f"usr/{sys.platlibdir}/{_VERSION}"

_FOLDERS_LEFT_OUT = {
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "curses", "dbm", "distutils", "ensurepip"),
    *("idlelib", "lib2to3", "pydoc_data", "sqlite3", "tkinter", "turtledemo", "venv"),
}
"""Tests, what needs a terminal, a screen or a compiler, and data bases: no component imports them."""
_FILES_LEFT_OUT = re.compile(
    r"sitecustomize\.py|turtle\.py|"
    # Extension modules for tests and for the folders above; their libraries stay out with them.
    r"_(test|ctypes_test|xx|tkinter|curses|sqlite3|dbm|gdbm)|xx|readline|ossaudiodev|nis\."
)
_BUILD_VARIABLES = re.compile(r"_sysconfigdata_.*\.py$")
"""What `sysconfig` tells of the interpreter's build: compilers, flags, folders. An image has none of it to tell."""
_KEPT = re.compile(r"\.py$|\.so$|^LICENSE\.txt$")

_BUILD_PLACES = (sys.base_prefix, str(sysconfig.get_config_var("abs_srcdir") or "/usr"))
"""Where the interpreter is and was built on this machine. Nothing in an image needs them: it finds itself, and its
libraries are where the loader looks."""

_CA_CERTIFICATES = Path("/usr/share/ca-certificates/mozilla")
"""The distribution's own authorities. The machine's bundle also has what an administrator added to this machine."""
_USER_DATABASE = "root:x:0:0:root:/:/nologin\nnonroot:x:65532:65532:nonroot:/:/nologin\n"
_GROUP_DATABASE = "root:x:0:\nnonroot:x:65532:\n"


def runtime() -> dict[str, Node]:
    """The layer that all components share. Raises `MissingLibrary`, and `FileNotFoundError` without CA certificates."""
    interpreter = Path(sys.base_prefix, "bin", _VERSION).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    sources = {INTERPRETER: interpreter, **dict(_standard_library(stdlib))}
    tree: dict[str, Node] = {
        "usr/bin/python3": Symlink(_VERSION),
        "etc/passwd": File(_USER_DATABASE.encode()),
        "etc/group": File(_GROUP_DATABASE.encode()),
        "etc/nsswitch.conf": File(b"hosts: files dns\n"),
        "etc/ssl/certs/ca-certificates.crt": _certificates(),
        **{path: _node(source) for path, source in sources.items()},
    }
    tree |= libraries(source for path, source in sources.items() if path == INTERPRETER or path.endswith(".so"))
    return with_bytecode(tree)


def libraries(programs: Iterable[Path]) -> dict[str, Node]:
    """The shared libraries of these ELF files, beside the C library, and the licences that their packages come with.

    Libraries that a Python package brings itself are not among them: they stay where the package has them.
    """
    found = shared_libraries(programs)
    if not found:
        return {}
    # Where the loader looks by itself: the C library's own folder is one of these places on every distribution.
    (folder,) = {path.parent for name, path in found.items() if name.startswith("libc.so")}
    tree: dict[str, Node] = {}
    for name, path in found.items():
        if "site-packages" in path.parts:
            continue
        place = name if name.startswith("/") else f"{folder}/{name}"
        tree[place.lstrip("/")] = _node(path)
    return tree | _licences(found.values())


def _standard_library(root: Path) -> Iterable[tuple[str, Path]]:
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if _FOLDERS_LEFT_OUT.intersection(inner.parts[:-1]) or inner.parts[0].startswith("config-"):
            continue
        if _KEPT.search(path.name) and not _FILES_LEFT_OUT.match(path.name) and path.is_file():
            yield f"{_STDLIB}/{inner}", path


def _node(path: Path) -> File:
    if _BUILD_VARIABLES.match(path.name):
        return File(b"build_time_vars = {}\n")
    data = stripped(path.read_bytes())
    if not is_elf(data):
        return File(data)
    for place in _BUILD_PLACES:
        data = anonymous(data, place)
    return File(data, is_executable=True)


def _certificates() -> File:
    if not _CA_CERTIFICATES.is_dir():
        raise FileNotFoundError(
            f"{_CA_CERTIFICATES}: expected the CA certificates; install the package ca-certificates"
        )
    return File(b"".join(path.read_bytes() for path in sorted(_CA_CERTIFICATES.glob("*.crt"))))


def _licences(paths: Iterable[Path]) -> dict[str, Node]:
    """`usr/share/doc/<package>/copyright` of the Debian packages that these files are from; nothing without dpkg."""
    try:
        told = subprocess.run(
            # /lib may lead to /usr/lib, and the package's list has only one of the two.
            ["dpkg-query", "--search", *sorted({name for path in paths for name in (str(path), str(path.resolve()))})],
            check=False,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return {}
    packages = {line.partition(":")[0] for line in told.stdout.splitlines()}
    places = (Path("/usr/share/doc", package, "copyright") for package in packages)
    return {str(place).lstrip("/"): File(place.read_bytes()) for place in places if place.is_file()}
