"""The two upper layers of an image: the libraries of a component, pinned by the lock file, and our own packages."""

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.images.bytecode import with_bytecode
from deploy.images.components import Component
from deploy.images.elf import is_elf, stripped
from deploy.images.runtime import INTERPRETER, libraries
from deploy.images.tree import File, Node, Symlink

__all__ = ["ROOT", "LockMismatch", "application", "distributions", "libraries_of", "version"]

ROOT = Path(__file__).parents[2]
_SITE_PACKAGES = f"app/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
_LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|tests?|benchmarks)/"
    # Sources of compiled modules, stubs, and what installers note down.
    r"|\.(pyi|pyx|pxd|pxi|c|h|cc|cpp|hpp|hash|pth)$"
    r"|\.dist-info/(?!METADATA$|licenses/|LICEN[CS]E|NOTICE|COPYING|AUTHORS)"
)
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)")


class LockMismatch(Exception):
    """What is installed is not what the lock file names."""


def version() -> str:
    """The project's version."""
    return str(_project()["version"])


def distributions(extra: str) -> dict[str, str]:
    """Name -> version of all libraries that `knuv[extra]` needs on this machine, sorted.

    Raises `LockMismatch` when a library is installed in another version than `requirements.lock` says.
    """
    project = _project()
    extras: Mapping[str, list[str]] = project["optional-dependencies"]
    waiting = [Requirement(text) for text in (*project["dependencies"], f"knuv[{extra}]")]
    locked = _locked()
    found: dict[str, str] = {}
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        name = canonicalize_name(requirement.name)
        if name == "knuv":
            waiting += [Requirement(text) for wanted in requirement.extras for text in extras[wanted]]
            continue
        distribution = importlib.metadata.distribution(name)
        if locked.get(name) != distribution.version:
            raise LockMismatch(
                f"{name} {distribution.version} is installed, requirements.lock has {locked.get(name)}: "
                "run `make setup`"
            )
        found[name] = distribution.version
        waiting += _needed(distribution, requirement.extras)
    return dict(sorted(found.items()))


def libraries_of(component: Component) -> dict[str, Node]:
    """The layer of the component's libraries, each with its licence, and of the system's that they are linked to."""
    tree: dict[str, Node] = {}
    compiled: list[Path] = []
    for name in distributions(component.extra):
        for file in importlib.metadata.distribution(name).files or ():
            inner = file.as_posix()
            # `..`: commands and manuals, which lie outside of the packages.
            if not inner.startswith("..") and not _LEFT_OUT.search(inner):
                data = file.read_binary()
                tree[f"{_SITE_PACKAGES}/{inner}"] = File(stripped(data), is_elf(data))
                if is_elf(data):
                    compiled.append(Path(str(file.locate())))
    return with_bytecode(tree) | libraries(compiled)


def application(component: Component) -> dict[str, Node]:
    """The layer of our own: a virtual environment on top of the interpreter, with the component's packages.

    A virtual environment, since `sys.path` then is the same whichever distribution the interpreter is from.
    """
    sources = {
        f"{_SITE_PACKAGES}/{path.relative_to(ROOT)}": path
        for package in component.packages
        for path in sorted((ROOT / package).rglob("*"))
        if path.suffix in {".py", ".json", ".yaml"} and path.is_file()
    }
    files = {"app/LICENSE": ROOT / "LICENSE", **sources}
    tree: dict[str, Node] = {place: File(path.read_bytes()) for place, path in files.items()}
    tree["app/bin/python"] = Symlink(f"/{INTERPRETER}")
    tree["app/pyvenv.cfg"] = File(b"home = /usr/bin\ninclude-system-site-packages = false\n")
    return with_bytecode(tree)


def _needed(distribution: importlib.metadata.Distribution, extras: Iterable[str]) -> list[Requirement]:
    found = []
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            found.append(requirement)
    return found


def _locked() -> dict[str, str]:
    matches = (_PINNED.match(line) for line in (ROOT / "requirements.lock").read_text().splitlines())
    return {canonicalize_name(match["name"]): match["version"] for match in matches if match}


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project
