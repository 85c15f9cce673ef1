"""Every numbered statement is named by a test, here or beside the gateway's unit tests, or stands in the README."""

import re
from pathlib import Path

STATEMENTS = range(1, 54)
ELSEWHERE = {13, 14}
DIFFERENT = {17}
"""See the README for both."""
HERE = Path(__file__).parent
_NAME = re.compile(r"def test_((?:\d+_(?:and_|to_)?)+)")


def test_every_statement_has_a_test_or_a_reason() -> None:
    named: set[int] = set()
    for folder in (HERE, HERE.parents[1] / "gateway"):
        for path in folder.glob("test_*.py"):
            for name in _NAME.findall(path.read_text()):
                named |= {int(number) for number in re.findall(r"\d+", name)}
    assert set(STATEMENTS) - named == ELSEWHERE | DIFFERENT
