"""Every numbered statement is named by a test of this folder."""

import re
from pathlib import Path

STATEMENTS = range(1, 100)
_NAME = re.compile(r"def test_((?:\d+_(?:and_|to_)?)+)")


def numbers_of(name: str) -> set[int]:
    """Of `62_to_64_`: 62, 63 and 64; of `62_and_64_`: 62 and 64."""
    numbers = [int(text) for text in re.findall(r"\d+", name)]
    return set(range(numbers[0], numbers[-1] + 1)) if "_to_" in name else set(numbers)


def test_every_statement_has_a_test() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    named = {number for text in texts for name in _NAME.findall(text) for number in numbers_of(name)}
    assert sorted(set(STATEMENTS) - named) == []
