"""Panels of a time series as SVG: areas, lines, bands and axes. No more than the report needs.

Colours are Okabe and Ito's, which colour-blind people can tell apart; they come from the page's style sheet, by class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["LEFT", "RIGHT", "WIDTH", "Panel", "clock", "svg", "ticks"]

WIDTH = 980
LEFT, RIGHT = 64, 12
_TOP, _BOTTOM, _GAP = 26, 30, 22


@dataclass(slots=True)
class Panel:
    """One coordinate system. All series have one value per time."""

    title: str
    height: int
    top: float
    """Largest value of the axis."""
    bottom: float = 0.0
    areas: list[tuple[str, Sequence[float]]] = field(default_factory=list)
    """(style class, values) from the zero line up, drawn in this order."""
    lines: list[tuple[str, Sequence[float], bool]] = field(default_factory=list)
    """(style class, values, whether they jump)."""
    ribbons: list[tuple[str, Sequence[bool]]] = field(default_factory=list)
    """(style class, when) as strips along the bottom."""
    legend: list[tuple[str, str]] = field(default_factory=list)
    """(style class, text)."""


def svg(times: Sequence[float], panels: Sequence[Panel], bands: Sequence[bool], label: str) -> str:
    """Return panels above each other with a common time axis. `bands`: when the background is shaded."""
    height = sum(panel.height + _TOP + _GAP for panel in panels) + _BOTTOM
    out = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    y = 0
    for panel in panels:
        y += _TOP
        out.append(f'<g transform="translate(0 {y})">')
        out += _spans(times, bands, 0, panel.height, "band")
        out += _panel(times, panel)
        out.append("</g>")
        y += panel.height + _GAP
    out += _time_axis(times, y - _GAP)
    out.append(f'<line class="cursor" y1="0" y2="{y - _GAP}" visibility="hidden"/></svg>')
    return "".join(out)


def ticks(bottom: float, top: float, count: int = 4) -> list[float]:
    """Return round numbers between two values, some `count` of them."""
    span = top - bottom
    if span <= 0:
        return [bottom]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough))
    first = math.ceil(bottom / step - 1e-9)
    return [number * step for number in range(first, math.floor(top / step + 1e-9) + 1)]


def clock(time_s: float) -> str:
    """Return a time as people write it: 45s, 3m, 1h20m."""
    whole = round(time_s)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = (f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{rest}s" if rest else "")
    return "".join(parts) or "0s"


def _panel(times: Sequence[float], panel: Panel) -> list[str]:
    out = [f'<text class="title" x="{LEFT}" y="-9">{escape(panel.title)}</text>']
    x = LEFT + 18 + 7.6 * len(panel.title)
    for style, text in panel.legend:
        out.append(f'<rect class="key {style}" x="{x:.0f}" y="-17" width="12" height="9" rx="2"/>')
        out.append(f'<text class="legend" x="{x + 17:.0f}" y="-9">{escape(text)}</text>')
        x += 34 + 6.1 * len(text)
    for value in ticks(panel.bottom, panel.top):
        at = _y(panel, value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        out.append(f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    zero = _y(panel, 0.0)
    for style, values in panel.areas:
        out.append(f'<path class="area {style}" d="{_step_path(times, panel, values)} V{zero:.1f} H{LEFT} Z"/>')
    for style, values, jumps in panel.lines:
        path = _step_path(times, panel, values) if jumps else _line_path(times, panel, values)
        out.append(f'<path class="line {style}" d="{path}"/>')
    if panel.bottom < 0:
        out.append(f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{zero:.1f}" y2="{zero:.1f}"/>')
    for style, when in panel.ribbons:
        out += _spans(times, when, panel.height - 5, 5, style)
    out.append(f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="0" y2="{panel.height}"/>')
    return out


def _time_axis(times: Sequence[float], y: float) -> list[str]:
    out = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>']
    span = times[-1]
    step = next((each for each in _TIME_STEPS if span / each <= 12), 86400 * math.ceil(span / 86400 / 12))
    for number in range(int(span // step) + 1):
        x = _x(times, number * step)
        out.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 4}"/>')
        out.append(f'<text class="tick" x="{x:.1f}" y="{y + 18}" text-anchor="middle">{clock(number * step)}</text>')
    return out


_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400)


def _spans(times: Sequence[float], when: Sequence[bool], y: float, height: float, style: str) -> list[str]:
    """Rectangles over the stretches of time in which something holds."""
    out: list[str] = []
    begin_s: float | None = None
    for index, (time_s, holds) in enumerate(zip(times, when, strict=True)):
        before_s = times[index - 1] if index else 0.0
        if holds and begin_s is None:
            begin_s = before_s
        if begin_s is not None and (not holds or index == len(times) - 1):
            x, end = _x(times, begin_s), _x(times, time_s if holds else before_s)
            out.append(f'<rect class="{style}" x="{x:.1f}" y="{y}" width="{max(1.0, end - x):.1f}" height="{height}"/>')
            begin_s = None
    return out


def _line_path(times: Sequence[float], panel: Panel, values: Sequence[float]) -> str:
    points = (f"{_x(times, time_s):.1f} {_y(panel, value):.1f}" for time_s, value in zip(times, values, strict=True))
    return "M" + "L".join(points)


def _step_path(times: Sequence[float], panel: Panel, values: Sequence[float]) -> str:
    """A value holds from the time before its own until its own."""
    parts = [f"M{LEFT} {_y(panel, values[0]):.1f}"]
    last = None
    for time_s, value in zip(times, values, strict=True):
        if value != last:
            parts.append(f"V{_y(panel, value):.1f}")
            last = value
        parts.append(f"H{_x(times, time_s):.1f}")
    return "".join(parts)


def _x(times: Sequence[float], time_s: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * time_s / times[-1]


def _y(panel: Panel, value: float) -> float:
    share = (min(max(value, panel.bottom), panel.top) - panel.bottom) / (panel.top - panel.bottom)
    return panel.height * (1 - share)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:g}"
