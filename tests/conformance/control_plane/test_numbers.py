"""Every numbered statement is named by a test, here or beside the unit tests of the controller."""

import re
from pathlib import Path

STATEMENTS = range(1, 103)

HERE = Path(__file__).parent
_HERE = re.compile(r"def test_((?:\d+_(?:and_|to_)?)+)")
_BESIDE = re.compile(r"(?:\"|_|\b)s(\d+)(?=[ _\"])")


def numbers_of(name: str) -> set[int]:
    """Of `62_to_64_`: 62, 63 and 64; of `62_and_64_`: 62 and 64."""
    numbers = [int(text) for text in re.findall(r"\d+", name)]
    return set(range(numbers[0], numbers[-1] + 1)) if "_to_" in name else set(numbers)


def test_every_statement_has_a_test() -> None:
    named: set[int] = set()
    for path in HERE.glob("test_*.py"):
        for name in _HERE.findall(path.read_text()):
            named |= numbers_of(name)
    for path in (HERE.parents[1] / "controller").glob("test_*.py"):
        named |= {int(number) for number in _BESIDE.findall(path.read_text())}
    assert set(STATEMENTS) - named == set()
