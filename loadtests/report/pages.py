"""All that a report writes: docs/performance.md, docs/sizing.md, and README's table between its two marks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from loadtests.report import performance, selected, sizing
from loadtests.report.records import Record

__all__ = ["BEGIN", "END", "MarksError", "check", "renewed", "write"]

BEGIN: Final = "<!-- figures: begin (made by `make report`) -->"
END: Final = "<!-- figures: end -->"


class MarksError(ValueError):
    """README.md has not both marks once, one behind the other."""


def check(root: Path) -> None:
    """Raises `MarksError` when `write` could not write: to be known before a quarter of an hour is measured."""
    renewed((root / "README.md").read_text(), "")


def write(root: Path, records: Mapping[str, Record]) -> list[Path]:
    """Write everything below `root`; what was written. Raises `MarksError` before anything is written.

    A trial leaves README.md alone: its figures are nobody's business.
    """
    readme = root / "README.md"
    pages = {
        root / "docs" / "performance.md": performance.page(records),
        root / "docs" / "sizing.md": sizing.page(records),
    }
    if not any(record.is_short for record in records.values()):
        found = f"{performance.about(records)}\n\n{selected.table(records, is_for_readme=True)}"
        pages[readme] = renewed(readme.read_text(), found)
    for path, text in pages.items():
        path.write_text(text)
    return list(pages)


def renewed(text: str, inside: str) -> str:
    """`text` with what stands between the marks replaced. Raises `MarksError`."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before or END in after:
        raise MarksError(f"README.md: expected {BEGIN!r} and, behind it, {END!r}, each once")
    return f"{before}{begin}\n{inside}\n{end}{after}"
