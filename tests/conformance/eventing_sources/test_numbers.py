"""Every numbered statement about sources is named by a test; what is about flows and sinks is tested with these."""

import re
from pathlib import Path

HERE = Path(__file__).parent
_NAMED = re.compile(r"def test_((?:\d+_(?:and_|to_)?)+)")
SOURCES = range(1, 48)


def numbers_of(name: str) -> set[int]:
    """Of `39_to_41_`: 39, 40 and 41; of `42_and_43_`: 42 and 43."""
    numbers = [int(text) for text in re.findall(r"\d+", name)]
    return set(range(numbers[0], numbers[-1] + 1)) if "_to_" in name else set(numbers)


def test_every_statement_has_a_test() -> None:
    named: set[int] = set()
    for path in HERE.glob("test_*.py"):
        for name in _NAMED.findall(path.read_text()):
            named |= numbers_of(name)
    assert set(SOURCES) - named == set()
