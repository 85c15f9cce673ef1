"""Figures against their budgets, as a table and as JSON. Plain arithmetic: no clock, no process."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "as_json", "quantile", "table"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over all rounds, and the most that it may be."""

    scenario: str
    name: str
    unit: str
    values: tuple[float, ...]
    budget: float | None = None
    """None: only told."""
    digits: int = 1

    @property
    def median(self) -> float:
        """What is held against the budget."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool:
        """Whether the median keeps the budget."""
        return self.budget is None or self.median <= self.budget


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that is no smaller than `share` (0 to 1) of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(figures: Sequence[Figure]) -> str:
    """A line for each figure: median, spread, budget, verdict."""
    width = max([10, *(len(figure.scenario) + 1 for figure in figures)])
    lines = [f"{'scenario':{width}}{'figure':42}{'median':>10}{'from':>10}{'to':>10}{'budget':>10}  {'unit':10}"]
    for figure in figures:
        median, low, high = (
            f"{value:.{figure.digits}f}" for value in (figure.median, min(figure.values), max(figure.values))
        )
        budget = "" if figure.budget is None else f"{figure.budget:g}"
        verdict = "" if figure.budget is None else "met" if figure.is_met else "MISSED"
        lines.append(
            f"{figure.scenario:{width}}{figure.name:42}{median:>10}{low:>10}{high:>10}{budget:>10}"
            f"  {figure.unit:10}{verdict}"
        )
    return "\n".join(line.rstrip() for line in lines)


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """The same as data."""
    return [
        {
            "scenario": figure.scenario,
            "figure": figure.name,
            "unit": figure.unit,
            "value": figure.median,
            "values": list(figure.values),
            "budget": figure.budget,
            "met": figure.is_met,
        }
        for figure in figures
    ]
