"""Every numbered statement is named by a test: here, or with the control plane of eventing as `test_s<number>_...`."""

import re
from pathlib import Path

HERE = Path(__file__).parent
ELSEWHERE = HERE.parent / "eventing_control_plane"
_NAMED = re.compile(r"def test_((?:\d+_(?:and_|to_)?)+)")
_NAMED_ELSEWHERE = re.compile(r"def test_((?:s\d+_(?:and_|to_)?)+)")
STATEMENTS = range(1, 59)


def numbers_of(name: str) -> set[int]:
    """Of `39_to_41_`: 39, 40 and 41; of `42_and_43_`: 42 and 43."""
    numbers = [int(text) for text in re.findall(r"\d+", name)]
    return set(range(numbers[0], numbers[-1] + 1)) if "_to_" in name else set(numbers)


def test_every_statement_has_a_test() -> None:
    named: set[int] = set()
    for folder, pattern in ((HERE, _NAMED), (ELSEWHERE, _NAMED_ELSEWHERE)):
        for path in folder.glob("test_*.py"):
            for name in pattern.findall(path.read_text()):
                named |= numbers_of(name)
    assert set(STATEMENTS) - named == set()
