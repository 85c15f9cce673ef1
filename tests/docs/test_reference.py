"""`docs/configuration.md` says what the code reads."""

import ast
from collections.abc import Iterator

from tests.docs.reference import PACKAGES, PAGE, ROOT, is_told_elsewhere, render

_READERS = {"boolean", "choice", "duration_s", "filled", "get", "integer", "parsed", "text"}


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == render(), "docs/configuration.md is behind the code: run `make docs`"


def test_every_variable_says_what_it_is_for() -> None:
    rows = [line.split(" | ") for line in render().splitlines() if line.startswith("| `")]

    assert len(rows) > 100
    assert [row[0] for row in rows if not row[-1].strip(" |")] == []


def test_no_variable_of_the_code_is_missing() -> None:
    page = PAGE.read_text()

    names = set(_read_by_name())
    assert "KNUV_HELD_REQUESTS_MAX" in names
    assert sorted(name for name in names if f"`{name}`" not in page and not is_told_elsewhere(name)) == []


def _read_by_name() -> Iterator[str]:
    """Each variable that some line of the programs reads by its name."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                    continue
                source, name = node.func.value, node.args[0]
                if node.func.attr not in _READERS or not isinstance(source, ast.Name):
                    continue
                if source.id in ("env", "environ", "reading") and isinstance(name, ast.Constant):
                    yield str(name.value)
