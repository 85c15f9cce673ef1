"""`python -m loadtests.report FOLDER`: write the last section of docs/performance.md from what the lab has measured.

`FOLDER/<component>.json` is what `python -m loadtests.lab <component> --json` printed. `make report` measures
everything and then runs this, so that no figure of that section is typed by hand.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["main", "renewed", "section"]

_PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
_HEADING: Final = "## The last report"
_MACHINE: Final = ("date", "commit", "machine", "versions", "limits")


class Row(NamedTuple):
    """One figure."""

    scenario: str
    figure: str
    unit: str
    value: float
    budget: float | None
    is_met: bool


def section(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The section: component -> what its lab printed. Raises `KeyError` for what is no such report."""
    parts = [f"{_HEADING}\n\nMade by `make report`; medians.\n"]
    for component, report in reports.items():
        about = [report[key] for key in _MACHINE if report[key]]
        command = " ".join(("python -m loadtests.lab", component, *report["command"]))
        lines = [
            f"### {component}\n",
            f"{'; '.join(about)}; `{command}`\n",
            "| scenario | figure | measured | budget | |",
            "|---|---|---|---|---|",
        ]
        for row in _rows(report):
            measured, budget = _amount(row.value, row.unit), _amount(row.budget, row.unit)
            verdict = "" if row.budget is None else "met" if row.is_met else "**not met**"
            lines.append(f"| {row.scenario} | {row.figure} | {measured} | {budget} | {verdict} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def renewed(page: str, found: str) -> str:
    """`page` with `found` in the place of its last section, or behind it when it has none."""
    return f"{page.partition(_HEADING)[0].rstrip()}\n\n{found}"


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}".rstrip() if abs(value) >= 1000 else f"{value:.3g} {unit}".rstrip()


def _rows(report: Mapping[str, Any]) -> Iterator[Row]:
    """Every figure, in either of the lab's two shapes."""
    for each in report.get("figures", ()):
        yield Row(each["scenario"], each["figure"], each["unit"], each["value"], each["budget"], each["met"])
    for scenario in report.get("scenarios", ()):
        for each in scenario["budgets"]:
            yield Row(scenario["scenario"], each["figure"], each["unit"], each["value"], each["budget"], each["met"])


def main(arguments: list[str], page: Path = _PAGE) -> int:
    """Renew the page from the folder that is named; the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m loadtests.report FOLDER\n")
        return 2
    reports = {}
    for path in sorted(Path(arguments[0]).glob("*.json")):
        try:
            reports[path.stem] = json.loads(path.read_text())
        except ValueError as error:
            sys.stderr.write(f"{path}: not what `python -m loadtests.lab {path.stem} --json` prints: {error}\n")
            return 2
    if not reports:
        sys.stderr.write(f"{arguments[0]}: no reports; `make report` makes them\n")
        return 2
    page.write_text(renewed(page.read_text(), section(reports)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
