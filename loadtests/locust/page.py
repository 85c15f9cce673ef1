"""What a run showed: each request as a point over the pods that were there, a table, and the method. One HTML file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from loadtests.locust.samples import Row, Sample

__all__ = ["Story", "page"]

_GOOD: Final = "#0072b2"
_BAD: Final = "#d55e00"
"""Blue and vermilion of Okabe and Ito's palette, which everybody can tell apart; the shape differs as well."""
_INK: Final = "#222"
_FAINT: Final = "#d9d9d9"
_WIDTH: Final = 900
_LEFT: Final = 64
_RIGHT: Final = 20
_BARS_MAX: Final = 60
"""So few requests are shown as one line each."""
_POINTS_MAX: Final = 6000
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 940px; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 1.8rem 0 .4rem }
table { border-collapse: collapse } th, td { text-align: right; padding: .3rem .8rem; border-bottom: 1px solid #e5e5e5 }
th:first-child, td:first-child { text-align: left } svg { width: 100%; height: auto; font: 12px system-ui, sans-serif }
.verdict { font-size: 1.1rem; font-weight: 600; border-left: 5px solid; padding-left: .7rem }
.faint { color: #666 }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All that the page tells."""

    name: str
    about: str
    verdict: str
    is_good: bool
    command: str
    busy: str
    """How busy locust was."""
    date: str
    samples: Sequence[Sample]
    rows: Sequence[Row]
    pods: Sequence[tuple[float, int]]
    """(time on the samples' clock in seconds, pods that are ready), in order; empty where there are none to count."""
    beside: Sequence[str]
    """Files in the same folder."""


def page(story: Story) -> str:
    """The whole file."""
    colour = _GOOD if story.is_good else _BAD
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Load test {escape(story.name)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(story.name)}</h1><p>{escape(story.about)}</p>",
        f"<p class=verdict style='border-color:{colour}'>{escape(story.verdict)}</p>",
        _pictures(story),
        "<h2>Figures</h2>",
        "<table><tr><th>what<th>requests<th>failed<th>p50<th>p95<th>p99<th>longest</tr>",
        *(
            f"<tr><td>{escape(row.name)}<td>{row.count:,}<td>{row.failed:,}<td>{row.p50_ms:,.0f} ms"
            f"<td>{row.p95_ms:,.0f} ms<td>{row.p99_ms:,.0f} ms<td>{row.max_ms:,.0f} ms</tr>"
            for row in story.rows
        ),
        "</table><p class=faint>Times are those of requests that did not fail. Where arrivals are open they count from",
        "the moment at which a request should have begun.</p>",
        _problems(story.samples),
        "<h2>How</h2><ul>",
        f"<li>{escape(story.date)}: <code>{escape(story.command)}</code>",
        f"<li>{escape(story.busy)}",
        "<li>beside this page: " + ", ".join(f"<a href='{escape(n)}'>{escape(n)}</a>" for n in story.beside),
        "</ul></html>",
    ]
    return "\n".join(part for part in parts if part)


def _problems(samples: Sequence[Sample]) -> str:
    counts: dict[str, int] = {}
    for sample in samples:
        if sample.problem:
            counts[sample.problem] = counts.get(sample.problem, 0) + 1
    if not counts:
        return ""
    most = sorted(counts.items(), key=lambda item: -item[1])[:20]
    return "<h2>Failures</h2><ul>" + "".join(f"<li>{count:,} &times; {escape(what)}" for what, count in most) + "</ul>"


def _pictures(story: Story) -> str:
    if not story.samples:
        return ""
    began_s = story.samples[0].due_s
    pods = [(at_s - began_s, count) for at_s, count in story.pods]
    last_s = max(1.0, *(sample.due_s - began_s + sample.ms / 1000 for sample in story.samples))
    scale = _Scale(last_s)
    if len(story.samples) <= _BARS_MAX:
        how = "A line goes from when a request was due to when it was answered; a broken one is of one that failed."
        picture = _bars(story.samples, began_s, scale)
    else:
        how = "A point stands where a request was due, as high as it took; a cross is one that failed."
        picture = _points(_thinned(story.samples), began_s, scale)
    parts = [
        f"<h2>Each request</h2><p class=faint>{how}</p>",
        picture,
        "<h2>Begun in each second</h2>",
        _steps(_per_second(story.samples, began_s, last_s), scale, "requests that were due"),
    ]
    if pods:
        parts += ["<h2>Pods that were ready</h2>", _steps(_within(pods, last_s), scale, "ready pods")]
    return "\n".join(parts)


def _per_second(samples: Sequence[Sample], began_s: float, last_s: float) -> list[tuple[float, int]]:
    counts = [0] * (int(last_s) + 1)
    for sample in samples:
        counts[int(sample.due_s - began_s)] += 1
    return [(float(second), count) for second, count in enumerate(counts)]


def _within(pods: Sequence[tuple[float, int]], last_s: float) -> list[tuple[float, int]]:
    """From the first request on; what was there before stands at the beginning."""
    before = [count for at_s, count in pods if at_s <= 0]
    return [(0.0, before[-1] if before else pods[0][1]), *((at, count) for at, count in pods if 0 < at <= last_s)]


def _thinned(samples: Sequence[Sample]) -> list[Sample]:
    """Every so many-th, but all that failed and the slowest: these are what one looks for."""
    if len(samples) <= _POINTS_MAX:
        return list(samples)
    slowest = sorted(samples, key=lambda sample: -sample.ms)[: _POINTS_MAX // 4]
    failed = [sample for sample in samples if sample.problem][: _POINTS_MAX // 4]
    every = math.ceil(len(samples) / (_POINTS_MAX // 2))
    return [*samples[::every], *slowest, *failed]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Seconds to pixels, the same in all pictures."""

    last_s: float

    def x(self, at_s: float) -> float:
        return _LEFT + at_s / self.last_s * (_WIDTH - _LEFT - _RIGHT)

    def axis(self, height: int) -> str:
        step = _nice(self.last_s / 8)
        ticks = [number * step for number in range(int(self.last_s / step) + 1)]
        marks = "".join(
            f"<text x='{self.x(t):.1f}' y='{height + 18}' text-anchor='middle' fill='{_INK}'>{t:g}</text>"
            for t in ticks
        )
        middle = (_LEFT + _WIDTH) / 2
        return f"{marks}<text x='{middle}' y='{height + 36}' text-anchor='middle' fill='{_INK}'>seconds</text>"


def _bars(samples: Sequence[Sample], began_s: float, scale: _Scale) -> str:
    """A line for each, from when it was due to its end."""
    row, top = 11, 8
    height = top + row * len(samples)
    parts = []
    for number, sample in enumerate(samples):
        due_s, y = sample.due_s - began_s, top + row * number + row // 2
        colour, dash = (_BAD, " stroke-dasharray='6 4'") if sample.problem else (_GOOD, "")
        parts.append(
            f"<line class='request' x1='{scale.x(due_s):.1f}' x2='{scale.x(due_s + sample.ms / 1000):.1f}' y1='{y}'"
            f" y2='{y}' stroke='{colour}' stroke-width='6'{dash}><title>{_duration(round(sample.ms))}</title></line>"
        )
    parts.append(scale.axis(height))
    return _svg(height, "requests from when each was due until its answer", parts)


def _points(samples: Sequence[Sample], began_s: float, scale: _Scale) -> str:
    """A point for each, the time it took on a logarithmic axis."""
    height, top = 300, 12
    times = [max(sample.ms, 0.1) for sample in samples]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)) + 1e-9)
    high = max(high, low + 1)

    def y(ms: float) -> float:
        return height - (math.log10(max(ms, 0.1)) - low) / (high - low) * (height - top)

    parts = [_line(y(10.0**power), _duration(10.0**power)) for power in range(low, high + 1)]
    for sample in samples:
        at, up = scale.x(sample.due_s - began_s), y(sample.ms)
        if sample.problem:
            cross = f"M{at - 4:.1f} {up - 4:.1f}l8 8m-8 0l8 -8"
            parts.append(f"<path d='{cross}' stroke='{_BAD}' stroke-width='2'/>")
        else:
            parts.append(f"<circle cx='{at:.1f}' cy='{up:.1f}' r='2.4' fill='{_GOOD}' fill-opacity='.35'/>")
    parts.append(scale.axis(height))
    return _svg(height, "time until the answer, by when a request was due; a cross is one that failed", parts)


def _steps(values: Sequence[tuple[float, int]], scale: _Scale, label: str) -> str:
    """A filled line of steps: each value holds until the next."""
    height, top = 150, 12
    most = max(1, *(count for _, count in values))
    step = max(1, round(_nice(most / 4)))
    ceiling = math.ceil(most / step) * step

    def y(count: float) -> float:
        return height - count / ceiling * (height - top)

    parts = [_line(y(count), f"{count:,}") for count in range(0, ceiling + 1, step)]
    path = [f"M{scale.x(values[0][0]):.1f} {height}"]
    for number, (at_s, count) in enumerate(values):
        until_s = values[number + 1][0] if number + 1 < len(values) else scale.last_s
        path.append(f"L{scale.x(at_s):.1f} {y(count):.1f}L{scale.x(min(until_s, scale.last_s)):.1f} {y(count):.1f}")
    path.append(f"L{scale.x(scale.last_s):.1f} {height}Z")
    parts.append(f"<path d='{''.join(path)}' fill='{_GOOD}' fill-opacity='.25' stroke='{_GOOD}' stroke-width='1.5'/>")
    parts.append(scale.axis(height))
    return _svg(height, label, parts)


def _line(y: float, text: str) -> str:
    return (
        f"<line x1='{_LEFT}' x2='{_WIDTH - _RIGHT}' y1='{y:.1f}' y2='{y:.1f}' stroke='{_FAINT}'/>"
        f"<text x='{_LEFT - 8}' y='{y + 4:.1f}' text-anchor='end' fill='{_INK}'>{text}</text>"
    )


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    inner = "".join(parts)
    return f"<svg viewBox='0 0 {_WIDTH} {height + 44}' role='img'><title>{escape(title)}</title>{inner}</svg>"


def _duration(ms: float) -> str:
    return f"{ms / 1000:g} s" if ms >= 1000 else f"{ms:g} ms"


def _nice(least: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... and their tenths."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least - 1e-12)
