"""README.md says where each numbered statement is tested; this says that it is true."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
_TEST = re.compile(r"^(?:async )?def test_(\d\d)_", re.MULTILINE)
_ROW = re.compile(r"^\| (\d+)(?:-(\d+))? \|.*?`(test_\w+\.py)`", re.MULTILINE)


def modules_by_number() -> dict[int, set[str]]:
    """The modules that test a statement."""
    modules: dict[int, set[str]] = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        for number in _TEST.findall(path.read_text(encoding="utf-8")):
            modules.setdefault(int(number), set()).add(path.name)
    return modules


def test_every_statement_has_a_test_of_its_number() -> None:
    assert set(range(1, 97)) <= set(modules_by_number())


def test_the_readme_names_a_module_that_tests_it() -> None:
    rows = _ROW.findall((FOLDER / "README.md").read_text(encoding="utf-8"))
    named = {number: module for first, last, module in rows for number in range(int(first), int(last or first) + 1)}
    assert set(range(1, 97)) <= set(named)
    modules = modules_by_number()
    assert {number: module for number, module in named.items() if module not in modules.get(number, ())} == {}
