"""Pictures as SVG text: what was measured and nothing else. Two colours that everybody can tell apart.

Sides differ by colour and by shape as well (circle and square, solid and dashed), so that a print in grey can be read.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from loadtests.lab.compare.statistics import Estimate, quantile

__all__ = ["COLOURS", "Strip", "cumulative", "lines", "ranges", "strips"]

COLOURS: Final = ("#0072b2", "#d55e00")
"""Blue and vermilion of Okabe and Ito's palette."""
_INK: Final = "#222"
_FAINT: Final = "#d9d9d9"
_WIDTH: Final = 560
_LEFT: Final = 58
_WIDE_LEFT: Final = 150
_WIDEST_LEFT: Final = 200
_RIGHT: Final = 18
_TOP: Final = 10
_BOTTOM: Final = 40
_ROW: Final = 44
_TICKS: Final = 5
_LOG_FROM: Final = 30.0
"""A logarithmic axis where the largest value is so many times the least."""
_STEPS: Final = 80
"""Of a curve over time."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of `strips`: of each side the values of its runs and their median with its interval."""

    label: str
    values: tuple[Sequence[float], Sequence[float]]
    estimates: tuple[Estimate | None, Estimate | None]


def strips(title: str, unit: str, rows: Sequence[Strip]) -> str:
    """Each run as a mark, the median as a line, its interval as a band."""
    axes = _Axes(_TOP + _ROW * len(rows) + _BOTTOM, left=_WIDE_LEFT)
    axes.scale_x([value for row in rows for values in row.values for value in values], unit)
    for number, row in enumerate(rows):
        axes.row(number, row.label)
        for side, (values, estimate) in enumerate(zip(row.values, row.estimates, strict=True)):
            y, colour = _TOP + _ROW * number + 13 + 18 * side, COLOURS[side]
            if estimate is not None:
                axes.band(estimate.low, estimate.high, y, 14, side)
                axes.mark(estimate.median, y, 18, side)
            for count, value in enumerate(values):
                x, up = axes.x(value), y + (count % 3 - 1) * 3.5
                shape = (
                    f'<rect x="{x - 2.6:.1f}" y="{up - 2.6:.1f}" width="5.2" height="5.2"'
                    if side
                    else f'<circle cx="{x:.1f}" cy="{up:.1f}" r="2.9"'
                )
                axes.parts.append(f'{shape} fill="{colour}" stroke="white" stroke-width="0.6"/>')
    return axes.svg(title)


def ranges(title: str, unit: str, rows: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> str:
    """Of each row and side: where 90 % of all values lie (thin), where half of them (band), and the median (line)."""
    axes = _Axes(_TOP + _ROW * len(rows) + _BOTTOM, left=_WIDEST_LEFT)
    shown = [(quantile(v, 0.05), quantile(v, 0.95)) for _, sides in rows for v in sides if v]
    axes.scale_x([value for pair in shown for value in pair], unit)
    for number, (label, sides) in enumerate(rows):
        axes.row(number, label)
        for side, values in enumerate(sides):
            if not values:
                continue
            y = _TOP + _ROW * number + 13 + 18 * side
            p5, p25, p50, p75, p95 = (quantile(values, share) for share in (0.05, 0.25, 0.5, 0.75, 0.95))
            axes.parts.append(
                f'<line x1="{axes.x(p5):.1f}" x2="{axes.x(p95):.1f}" y1="{y}" y2="{y}" stroke="{COLOURS[side]}"'
                f' stroke-width="1.5"{_dash(side)}/>'
            )
            axes.band(p25, p75, y, 12, side)
            axes.mark(p50, y, 16, side)
    return axes.svg(title)


def cumulative(title: str, unit: str, sides: Sequence[Sequence[float]]) -> str:
    """The share of all values that are at most so large; nothing when no value is above zero."""
    ordered = [sorted(value for value in each if value > 0) for each in sides]
    if not any(ordered):
        return ""
    axes = _Axes(230)
    axes.scale_x([value for each in ordered for value in each], unit)
    axes.scale_y(100.0, "% of all")
    for side, each in enumerate(ordered):
        points = [(value, 100.0 * (number + 1) / len(each)) for number, value in enumerate(each)]
        if points:
            axes.path(_thinned([(points[0][0], 0.0), *points]), side)
    return axes.svg(title)


def lines(
    title: str, unit: str, sides: Sequence[Sequence[Points]], moments: Sequence[tuple[str, float, int]] = ()
) -> str:
    """Values over time: a faint line for each run, the median of a side's runs as a strong one.

    `moments`: (what happened, seconds, side), as upright lines.
    """
    points = [point for runs in sides for run in runs for point in run]
    if not points:
        return ""
    axes = _Axes(230)
    last_s = max(x for x, _ in points)
    axes.scale_x([0.0, last_s], "seconds since the load began", is_log_allowed=False)
    axes.scale_y(max(y for _, y in points) * (1.3 if moments else 1.08) or 1.0, unit)
    for number, (what, at_s, side) in enumerate(moments):
        axes.upright(at_s, what, side, number)
    for side, runs in enumerate(sides):
        for run in runs:
            axes.path(run, side, width=1.0, opacity=0.3)
        if curve := _median_curve(runs, last_s):
            axes.path(curve, side)
    return axes.svg(title)


class _Axes:
    """A frame with scales; y grows upwards."""

    def __init__(self, height: int, *, left: int = _LEFT) -> None:
        self._height, self._left = height, left
        self._floor = height - _BOTTOM
        self._x_place: Callable[[float], float] = float
        self._x_range = self._y_range = (0.0, 1.0)
        self.parts: list[str] = []

    def x(self, value: float) -> float:
        low, high = self._x_range
        return self._left + (self._x_place(value) - low) / ((high - low) or 1.0) * (_WIDTH - self._left - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y_range
        return self._floor - (value - low) / ((high - low) or 1.0) * (self._floor - _TOP)

    def scale_x(self, values: Sequence[float], unit: str, *, is_log_allowed: bool = True) -> None:
        """An axis from zero, or a logarithmic one where values differ by much."""
        low, high = min(values, default=0.0), max(values, default=1.0) or 1.0
        is_log = is_log_allowed and low > 0 and high > _LOG_FROM * low
        if is_log:
            self._x_place = math.log10
            self._x_range = (math.log10(low) - 0.05, math.log10(high) + 0.05)
            ticks = _log_ticks(low, high)
        else:
            self._x_range = (0.0, high * (1.04 if is_log_allowed else 1.0))
            ticks = _steps(*self._x_range)
        for value in ticks:
            at = self.x(value)
            self.parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{self._floor}" stroke="{_FAINT}"/>')
            self._text(at, self._floor + 15, _number(value), "middle")
        label = f"{unit}, logarithmic" if is_log else unit
        self._text((self._left + _WIDTH - _RIGHT) / 2, self._height - 5, label, "middle")

    def scale_y(self, high: float, label: str) -> None:
        self._y_range = (0.0, high)
        for value in _steps(0.0, high):
            at = self.y(value)
            self.parts.append(
                f'<line x1="{self._left}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="{_FAINT}"/>'
            )
            self._text(self._left - 6, at + 4, _number(value), "end")
        middle = (_TOP + self._floor) / 2
        self.parts.append(
            f'<text x="12" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 12 {middle:.0f})">'
            f"{escape(label)}</text>"
        )

    def row(self, number: int, label: str) -> None:
        """The name of a row, and a line between it and the one above."""
        top = _TOP + _ROW * number
        if number:
            self.parts.append(f'<line x1="0" x2="{_WIDTH - _RIGHT}" y1="{top}" y2="{top}" stroke="{_FAINT}"/>')
        self._text(self._left - 24, top + 26, label, "end")
        for side, letter in enumerate("AB"):
            self._text(self._left - 6, top + 17 + 18 * side, letter, "end", COLOURS[side])

    def band(self, low: float, high: float, y: float, height: float, side: int) -> None:
        at, width = self.x(low), max(1.0, self.x(high) - self.x(low))
        self.parts.append(
            f'<rect x="{at:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height}" fill="{COLOURS[side]}"'
            ' opacity="0.25"/>'
        )

    def mark(self, value: float, y: float, height: float, side: int) -> None:
        at = self.x(value)
        self.parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - height / 2:.1f}" y2="{y + height / 2:.1f}"'
            f' stroke="{COLOURS[side]}" stroke-width="2.5"/>'
        )

    def upright(self, value: float, text: str, side: int, number: int) -> None:
        """A line across, with its name; `number`: in which line the name stands."""
        at = self.x(value)
        self.parts.append(
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{self._floor}" stroke="{COLOURS[side]}"'
            ' stroke-dasharray="1 3"/>'
        )
        if text:
            self._text(at + 4, _TOP + 9 + 13 * number, text, "start")

    def path(self, points: Points, side: int, *, width: float = 2.0, opacity: float = 1.0) -> None:
        drawn = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{COLOURS[side]}" stroke-width="{width:g}"'
            f' opacity="{opacity:g}"{_dash(side)}/>'
        )

    def svg(self, title: str) -> str:
        return (
            f'<svg viewBox="0 0 {_WIDTH} {self._height}" role="img" aria-label="{escape(title, quote=True)}">'
            f"<title>{escape(title)}</title>{''.join(self.parts)}</svg>"
        )

    def _text(self, x: float, y: float, text: str, anchor: str, colour: str = _INK) -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>')


def _dash(side: int) -> str:
    return ' stroke-dasharray="5 3"' if side else ""


def _steps(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(step * factor for factor in (1, 2, 5, 10) if span / (step * factor) <= _TICKS)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between, with their doubles and fives where there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= _TICKS else (1,)
    return [tick for power in powers for factor in factors if low <= (tick := factor * 10.0**power) <= high]


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _median_curve(runs: Sequence[Points], last: float) -> list[tuple[float, float]]:
    """At equal distances the median of what each run had last, from where all have begun."""
    found = []
    for number in range(_STEPS + 1):
        at = last * number / _STEPS
        values = [[y for x, y in run if x <= at][-1:] for run in runs]
        if values and all(values):
            found.append((at, statistics.median(value for each in values for value in each)))
    return found


def _thinned(points: list[tuple[float, float]], most: int = 600) -> list[tuple[float, float]]:
    if len(points) <= most:
        return points
    return [points[round(number * (len(points) - 1) / (most - 1))] for number in range(most)]
