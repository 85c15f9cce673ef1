"""What the pages name exists: links with their anchors, commands with their options, files."""

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main

from loadtests.lab.__main__ import names as experiments
from local_cluster.__main__ import whole
from tests.docs.reference import ROOT

_ALONE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")]
PAGES = sorted([*_ALONE, *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_COMMAND = r"(?:^|[;&(] ?|\$ |\.venv/bin/)"


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in _links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)

    assert broken == []


def test_every_page_is_found_from_the_readme() -> None:
    found, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page.is_dir():
            ahead += page.glob("*.md")
        elif page.suffix == ".md" and page not in found:
            found.add(page)
            ahead += [(page.parent / link.partition("#")[0]).resolve() for link in _links(page) if link[0] != "#"]

    assert set(PAGES) - found == set()


def test_words_of_make_exist(page: Path) -> None:
    words = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert {"demo", "test"} <= words
    assert [name for name in _named(page, r"make ([a-z][a-z0-9-]*)") if name not in words] == []


def test_modules_that_are_run_exist(page: Path) -> None:
    modules = list(_named(page, r"python -m ([a-z_][a-z0-9_.]*[a-z0-9_])"))

    assert [name for name in modules if not _can_run(name)] == []
    chosen = _named(page, r"(?:python -m loadtests\.lab|knuv lab) ([a-z][a-z0-9-]*)")
    assert [name for name in chosen if name not in experiments()] == []


def test_commands_of_knuv_exist_with_their_options(page: Path) -> None:
    unknown = []
    for line in _named(page, r"(knuv [a-z].*)"):
        words = re.sub(r"['\"].*?['\"]|[|;&#].*", "", line).split()[1:]
        command = _commands().get(words.pop(0))
        if isinstance(command, typer.core.TyperGroup) and words:
            command = command.commands.get(words.pop(0))
        if command is None:
            unknown.append(line)
        elif command.name not in ("lab", "simulate"):  # they read their arguments themselves
            known = {option for parameter in command.params for option in parameter.opts}
            given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
            unknown += [f"{line}: {option}" for option in given - known - {"--help"}]

    assert unknown == []


def test_files_that_are_named_exist(page: Path) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"build"}
    paths = re.compile(r"([a-z_]+)/[\w./-]*(?:\.(?:py|yaml|md|json)|/)")

    named = [(path, found[1]) for path in _code(page) if (found := paths.fullmatch(path))]
    assert [path for path, folder in named if folder in folders and not (ROOT / path).exists()] == []


def test_variables_that_are_named_exist(page: Path) -> None:
    named = {name for code in _code(page) for name in re.findall(r"\bKNUV_[A-Z_]*[A-Z]\b", code)}

    assert sorted(name for name in named if name not in _source()) == []


@cache
def _source() -> str:
    """All Python of the project but its tests."""
    folders = (path for path in ROOT.iterdir() if (path / "__init__.py").is_file() and path.name != "tests")
    return "".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))


def _links(page: Path) -> list[str]:
    """Where its links lead, but for those to elsewhere."""
    links = _LINK.findall(_SPAN.sub("", _FENCE.sub("", page.read_text())))
    return [link for link in links if "://" not in link]


def _code(page: Path) -> Iterator[str]:
    """Each line of a block of code, and each span of code."""
    text = page.read_text()
    for block in _FENCE.finditer(text):
        yield from block[0].splitlines()[1:-1]
    yield from _SPAN.findall(_FENCE.sub("", text))


def _named(page: Path, command: str) -> Iterator[str]:
    """The first group of `command` wherever code begins with it."""
    for line in _code(page):
        yield from re.findall(_COMMAND + command, line.strip())


@cache
def _anchors(page: Path) -> frozenset[str]:
    """What can be linked to within a page, as GitHub makes it from the headings."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text())):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w -]", "", text).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return frozenset(anchors)


def _can_run(module: str) -> bool:
    try:
        found = find_spec(module)
        return found is not None and (
            found.submodule_search_locations is None or find_spec(f"{module}.__main__") is not None
        )
    except ModuleNotFoundError:
        return False


@cache
def _commands() -> dict[str, Any]:
    """What `knuv` can do, by the first word."""
    root = typer.main.get_command(whole())
    assert isinstance(root, typer.core.TyperGroup)
    return dict(root.commands)
