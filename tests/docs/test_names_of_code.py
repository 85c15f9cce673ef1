"""Modules, classes and functions that the pages name are there: `activator.throttler.Throttler.admit` and the like."""

import ast
import re
from functools import cache
from pathlib import Path

from tests.docs.reference import ROOT

_SPAN = re.compile(r"`([a-z_]+(?:\.\w+)+)(?:\(\))?`")
_PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
_FILES = {"csv", "html", "json", "md", "py", "yaml"}
_FOREIGN = {"gateway.networking.k8s.io"}
"""Groups of Kubernetes' API that look like modules of ours."""


def test_names_of_code_exist() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    named = {(page.name, name) for page in pages for name in _SPAN.findall(page.read_text()) if _is_ours(name)}

    assert len(named) > 20
    assert sorted((page, name) for page, name in named if not _exists(name.split("."))) == []


def test_every_folder_of_code_stands_on_the_page_about_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    folders = {path.parent.relative_to(ROOT) for name in _PACKAGES for path in (ROOT / name).rglob("__init__.py")}
    # A benchmark in several modules has a table of them in its own `__init__.py`.
    named = {folder for folder in folders if folder.parts[:2] != ("loadtests", "lab") or len(folder.parts) == 2}

    assert len(named) > 20
    assert sorted(str(each) for each in named if f"`{'.'.join(each.parts)}`" not in page) == []


def _is_ours(name: str) -> bool:
    parts = name.split(".")
    return parts[0] in _PACKAGES and parts[-1] not in _FILES and name not in _FOREIGN


def _exists(parts: list[str]) -> bool:
    """By the files alone: nothing is imported. What is below a class is looked for in the class itself."""
    place, rest = ROOT, parts
    while rest and (place / rest[0]).is_dir():
        place, rest = place / rest[0], rest[1:]
    if rest and (place / f"{rest[0]}.py").is_file():
        place, rest = place / f"{rest[0]}.py", rest[1:]
    if not rest:
        return True
    module = place if place.is_file() else place / "__init__.py"
    return module.is_file() and ".".join(rest[:2]) in _names(module)


@cache
def _names(module: Path) -> frozenset[str]:
    """What is defined in a module, and `Class.member` of its classes."""
    tree = ast.parse(module.read_text())
    names = set(_defined(tree))
    for each in tree.body:
        if isinstance(each, ast.ClassDef):
            attributes = {node.attr for node in ast.walk(each) if isinstance(node, ast.Attribute)}
            names |= {f"{each.name}.{member}" for member in _defined(each) | attributes}
    return frozenset(names)


def _defined(node: ast.Module | ast.ClassDef) -> set[str]:
    found = set[str]()
    for each in node.body:
        if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(each.name)
        for target in each.targets if isinstance(each, ast.Assign) else [getattr(each, "target", None)]:
            if isinstance(target, ast.Name):
                found.add(target.id)
    return found
