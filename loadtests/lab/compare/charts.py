"""Pictures as SVG text: what was measured and nothing else. Two colours that everybody can tell apart.

Sides differ by colour and by shape (circle, square), so that a print in grey is read as well.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from loadtests.lab.compare.statistics import Estimate

__all__ = ["COLOURS", "cumulative", "intervals", "lines"]

COLOURS: Final = ("#0072b2", "#d55e00")
"""Blue and vermilion of Okabe and Ito's palette."""
_INK: Final = "#222"
_FAINT: Final = "#d9d9d9"
_WIDTH: Final = 560
_LEFT: Final = 56
_RIGHT: Final = 16
_TICKS: Final = 5


def _steps(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= _TICKS)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:,.10g}"


class _Axes:
    """A frame with scales; y grows upwards."""

    def __init__(self, height: int, x: tuple[float, float], y: tuple[float, float], *, bottom: int = 40) -> None:
        self.height = height
        self._x, self._y, self._bottom = x, y, bottom
        self.parts: list[str] = []

    def at_x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (value - low) / ((high - low) or 1.0) * (_WIDTH - _LEFT - _RIGHT)

    def at_y(self, value: float) -> float:
        low, high = self._y
        top, floor = 10, self.height - self._bottom
        return floor - (value - low) / ((high - low) or 1.0) * (floor - top)

    def draw_x(self, label: str) -> None:
        floor = self.height - self._bottom
        for value in _steps(*self._x):
            x = self.at_x(value)
            self.parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="10" y2="{floor}" stroke="{_FAINT}"/>')
            self.text(x, floor + 15, _number(value), "middle")
        self.text((_LEFT + _WIDTH - _RIGHT) / 2, self.height - 5, label, "middle")

    def draw_y(self, label: str) -> None:
        for value in _steps(*self._y):
            y = self.at_y(value)
            self.parts.append(
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_FAINT}"/>'
            )
            self.text(_LEFT - 6, y + 4, _number(value), "end")
        middle = (10 + self.height - self._bottom) / 2
        self.parts.append(
            f'<text x="12" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 12 {middle:.0f})">'
            f"{escape(label)}</text>"
        )

    def text(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    def path(self, points: Sequence[tuple[float, float]], side: int, *, opacity: float = 1.0) -> None:
        drawn = " ".join(f"{self.at_x(x):.1f},{self.at_y(y):.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 3"' if side else ""
        self.parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{COLOURS[side]}" stroke-width="2" opacity="{opacity:.2f}"'
            f"{dash}/>"
        )

    def svg(self, title: str) -> str:
        return (
            f'<svg viewBox="0 0 {_WIDTH} {self.height}" role="img" aria-label="{escape(title, quote=True)}">'
            f"<title>{escape(title)}</title>{''.join(self.parts)}</svg>"
        )


def intervals(title: str, unit: str, sides: Sequence[tuple[str, Sequence[float], Estimate | None]]) -> str:
    """Each run as a mark, the median as a line, its interval as a band; the axis begins at zero."""
    values = [value for _, runs, _ in sides for value in runs]
    axes = _Axes(46 + 34 * len(sides), (0.0, max(values, default=1.0) * 1.05 or 1.0), (0.0, 1.0))
    axes.draw_x(unit)
    for side, (label, runs, estimate) in enumerate(sides):
        y = 26 + 34 * side
        colour = COLOURS[side]
        axes.text(_LEFT - 8, y + 4, "AB"[side], "end")
        if estimate is not None:
            low, high, median = (axes.at_x(each) for each in (estimate.low, estimate.high, estimate.median))
            axes.parts.append(
                f'<rect x="{low:.1f}" y="{y - 11}" width="{max(1.0, high - low):.1f}" height="22" fill="{colour}"'
                f' opacity="0.25"><title>{escape(label)}: 95 % interval of the median</title></rect>'
                f'<line x1="{median:.1f}" x2="{median:.1f}" y1="{y - 13}" y2="{y + 13}" stroke="{colour}"'
                ' stroke-width="2.5"/>'
            )
        for number, value in enumerate(runs):
            x, up = axes.at_x(value), y + (number % 5 - 2) * 3
            shape = (
                f'<rect x="{x - 3:.1f}" y="{up - 3}" width="6" height="6"'
                if side
                else f'<circle cx="{x:.1f}" cy="{up}" r="3.2"'
            )
            axes.parts.append(f'{shape} fill="{colour}" stroke="white" stroke-width="0.7"/>')
    return axes.svg(title)


def cumulative(title: str, unit: str, sides: Sequence[tuple[str, Sequence[float]]]) -> str:
    """The share of all values that are at most so large; logarithmic where the largest is over 50 times the least."""
    values = [value for _, each in sides for value in each if value > 0]
    if not values:
        return ""
    is_log = max(values) > 50 * min(values)
    place = math.log10 if is_log else float
    low = math.floor(place(min(values))) if is_log else 0.0
    axes = _Axes(230, (low, place(max(values)) * (1.0 if is_log else 1.02)), (0.0, 100.0))
    if is_log:
        for power in range(int(low), math.ceil(place(max(values))) + 1):
            for factor in (1, 2, 5):
                if low <= (at := math.log10(factor * 10.0**power)) <= place(max(values)):
                    x = axes.at_x(at)
                    axes.parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="10" y2="190" stroke="{_FAINT}"/>')
                    axes.text(x, 205, _number(factor * 10.0**power), "middle")
        axes.text((_LEFT + _WIDTH - _RIGHT) / 2, 225, f"{unit}, logarithmic", "middle")
    else:
        axes.draw_x(unit)
    axes.draw_y("% of values")
    for side, (_, each) in enumerate(sides):
        ordered = sorted(value for value in each if value > 0)
        points = [(place(value), 100.0 * (number + 1) / len(ordered)) for number, value in enumerate(ordered)]
        if points:
            axes.path(_thinned([(points[0][0], 0.0), *points]), side)
    return axes.svg(title)


def lines(title: str, unit: str, sides: Sequence[Sequence[Sequence[tuple[float, float]]]]) -> str:
    """One line for each run, over seconds since the load began."""
    points = [point for runs in sides for run in runs for point in run]
    if not points:
        return ""
    axes = _Axes(210, (0.0, max(x for x, _ in points)), (0.0, max(y for _, y in points) * 1.05 or 1.0))
    axes.draw_x("seconds since the load began")
    axes.draw_y(unit)
    for side, runs in enumerate(sides):
        for run in runs:
            axes.path(run, side, opacity=max(0.25, 1.0 / math.sqrt(len(runs))))
    return axes.svg(title)


def _thinned(points: list[tuple[float, float]], most: int = 600) -> list[tuple[float, float]]:
    if len(points) <= most:
        return points
    return [points[round(number * (len(points) - 1) / (most - 1))] for number in range(most)]
