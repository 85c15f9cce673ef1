"""Every numbered statement has a test that names it, or is in the list of those tested elsewhere."""

import re
from pathlib import Path

ELSEWHERE = {83, 84, 97}
"""Admission: `tests/conformance/eventing_control_plane`."""


def test_no_statement_is_left_out() -> None:
    named: set[int] = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for text in re.findall(r"def test_statements?_([0-9]+(?:_(?:and|to)_[0-9]+)*)", path.read_text()):
            numbers = [int(number) for number in re.findall("[0-9]+", text)]
            named |= set(range(numbers[0], numbers[-1] + 1)) if "_to_" in text else set(numbers)
    assert named | ELSEWHERE == set(range(1, 98))
