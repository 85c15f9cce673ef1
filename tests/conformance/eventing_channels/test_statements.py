"""Every numbered statement about channels has a test that names it: here, with JetStream, or with the control plane."""

import re
from pathlib import Path

HERE = Path(__file__).parent
STATEMENTS = 65


def numbered(folder: str, mark: str = "") -> set[int]:
    """The numbers in names of tests: `test_28_29_...`, `test_31_to_34_...`, or with a mark `test_c57_and_c58_...`."""
    found: set[int] = set()
    for path in (HERE.parent / folder).glob("test_*.py"):
        for text in re.findall(rf"def test_({mark}\d+_(?:(?:and_|to_)?{mark}\d+_)*)", path.read_text()):
            numbers = [int(number) for number in re.findall(r"\d+", text)]
            found |= set(range(numbers[0], numbers[-1] + 1)) if "to_" in text else set(numbers)
    return found


def test_no_statement_is_left_out() -> None:
    named = numbered("eventing_channels") | numbered("eventing_jetstream") | numbered("eventing_control_plane", "c")
    assert set(range(1, STATEMENTS + 1)) - named == set()
