"""README.md says where each numbered statement is tested; this says that it is true."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
STATEMENTS = range(1, 77)
_TEST = re.compile(r"^async def test_statements?_((?:\d+_(?:and_|to_)?)+)", re.MULTILINE)
_ROW = re.compile(r"^\| (\d+)(?:-(\d+))? \|[^|]*\| (.*) \|$", re.MULTILINE)
_MODULE = re.compile(r"`(test_\w+\.py)`")


def numbers_of(name: str) -> set[int]:
    """Of `15_to_18_`: 15 to 18; of `1_and_4_`: 1 and 4."""
    numbers = [int(text) for text in re.findall(r"\d+", name)]
    return set(range(numbers[0], numbers[-1] + 1)) if "_to_" in name else set(numbers)


def numbers_by_module() -> dict[str, set[int]]:
    """The statements that each module tests."""
    return {
        path.name: {number for name in _TEST.findall(path.read_text(encoding="utf-8")) for number in numbers_of(name)}
        for path in sorted(FOLDER.glob("test_*.py"))
    }


def rows() -> dict[int, str]:
    """Where README.md says that each statement is tested."""
    found = _ROW.findall((FOLDER / "README.md").read_text(encoding="utf-8"))
    return {number: where for first, last, where in found for number in range(int(first), int(last or first) + 1)}


def test_the_readme_has_a_row_for_every_statement() -> None:
    assert sorted(rows()) == list(STATEMENTS)


def test_every_module_that_a_row_names_tests_its_statements_and_no_other_does() -> None:
    tested = numbers_by_module()
    for number, where in rows().items():
        named = set() if where.startswith("nowhere: ") else set(_MODULE.findall(where))
        assert {module for module, numbers in tested.items() if number in numbers} == named, number
