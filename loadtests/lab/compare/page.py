"""The report: one HTML file that needs nothing but a browser, and the raw data beside it."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Final

from loadtests.lab.compare import charts
from loadtests.lab.compare.model import Metric, Run, Scenario
from loadtests.lab.compare.statistics import Estimate, Verdict, compare, estimate, quantile

__all__ = ["Comparison", "judged", "rows", "write"]

SATURATED: Final = 0.95
"""Beyond this use of its core the load waits for itself, and what it times is not the side's."""

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff }
body { max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #e5e5e5 }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(500px, 1fr)); gap: 1rem 2rem }
figure { margin: 0 }
figcaption { font-weight: 600 }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif }
ul { padding-left: 1.2rem }
.a { color: #0072b2; font-weight: 600 }
.b { color: #d55e00; font-weight: 600 }
.faint { color: #666 }
.interval { color: #666; font-size: .85em }
.lead { font-size: 1.05rem }
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was measured."""

    scenario: Scenario
    labels: tuple[str, str]
    runs: tuple[list[Run], list[Run]]
    machine: Mapping[str, str]
    command: str


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of both sides."""

    metric: Metric
    name: str
    values: tuple[list[float], list[float]]
    estimates: tuple[Estimate | None, Estimate | None]
    verdict: Verdict
    is_invalid: bool
    """The load was the bottleneck in most runs: no verdict."""


def rows(comparison: Comparison) -> list[Row]:
    """Return every metric that was measured of at least one side."""
    found = []
    for name, metric in comparison.scenario.metrics.items():
        values = tuple(
            [run.figures[name] for run in runs if name in run.figures and not _is_saturated(metric, run)]
            for runs in comparison.runs
        )
        had = any(name in run.figures for runs in comparison.runs for run in runs)
        if not had:
            continue
        a, b = (estimate(each) if each else None for each in values)
        is_invalid = any(
            sum(_is_saturated(metric, run) for run in runs) * 2 > len(runs) for runs in comparison.runs if runs
        )
        verdict = Verdict.UNKNOWN if is_invalid else compare(a, b, is_low_good=metric.is_low_good)
        found.append(Row(metric, name, (values[0], values[1]), (a, b), verdict, is_invalid))
    return found


def judged(comparison: Comparison) -> list[tuple[str, str, bool]]:
    """Return (side, gate in words, passed) for each gate, by the median of a side's runs."""
    found = []
    for label, runs in zip(comparison.labels, comparison.runs, strict=True):
        for gate in comparison.scenario.gates:
            values = [run.figures[gate.figure] for run in runs if gate.figure in run.figures]
            if values:
                metric = comparison.scenario.metrics[gate.figure]
                median = estimate(values).median
                text = f"{metric.label} {median:,.{metric.digits}f} {metric.unit}, at most {gate.limit:g}"
                found.append((label, text, gate.is_passed(median)))
    return found


def write(comparison: Comparison, folder: Path) -> Path:
    """Write index.html, data.json and runs.csv into `folder`; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    table = rows(comparison)
    page = folder / "index.html"
    page.write_text(_page(comparison, table), encoding="utf-8")
    sides = [
        {"side": "AB"[number], "label": label, "runs": [asdict(run) for run in runs]}
        for number, (label, runs) in enumerate(zip(comparison.labels, comparison.runs, strict=True))
    ]
    data = {
        "scenario": comparison.scenario.name,
        "command": comparison.command,
        **comparison.machine,
        "verdicts": {row.name: row.verdict.value for row in table},
        "sides": sides,
    }
    (folder / "data.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    with (folder / "runs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["side", "label", "run", "figure", "unit", "value"])
        for number, (label, runs) in enumerate(zip(comparison.labels, comparison.runs, strict=True)):
            for count, run in enumerate(runs, 1):
                for name, value in run.figures.items():
                    metric = comparison.scenario.metrics.get(name)
                    writer.writerow(["AB"[number], label, count, name, metric.unit if metric else "", value])
    return page


def _is_saturated(metric: Metric, run: Run) -> bool:
    return metric.is_timed and run.load_core_ratio > SATURATED


def _page(comparison: Comparison, table: Sequence[Row]) -> str:
    scenario, (a, b) = comparison.scenario, comparison.labels
    counts = " and ".join(f"{len(runs)}" for runs in comparison.runs)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(scenario.name)}: {escape(a)} and {escape(b)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(scenario.what)}</h1>",
        f"<p class=lead><span class=a>A: {escape(a)}</span> &nbsp; <span class=b>B: {escape(b)}</span>",
        f"<br><span class=faint>{escape(scenario.name)}, {counts} runs in turns, {comparison.machine['date']}</span>",
        _sentence(table),
        _gates(comparison),
        "<h2>Figures</h2>",
        _table(table),
        "<p class=faint>Medians of runs, below them the interval that holds the median with 95 % (bootstrap).",
        "A side is called better only where the intervals do not overlap, with at least four runs of each.</p>",
        "<h2>Runs</h2><p class=faint>Each mark is one run, the line their median, the band its interval.</p>",
        "<div class=grid>",
        *(_figure(row, comparison.labels) for row in table if not row.is_invalid and any(map(any, row.values))),
        "</div>",
        _distributions(comparison),
        _series(comparison),
        "<h2>Method</h2>",
        f"<p>{escape(scenario.method)}</p>",
        "<h2>Where</h2><ul>",
        *(f"<li>{escape(key)}: {escape(value)}</li>" for key, value in comparison.machine.items()),
        f"<li>command: <code>{escape(comparison.command)}</code></li></ul>",
        _notes(comparison),
        "<p class=faint>All that was measured is beside this page: <code>data.json</code>, <code>runs.csv</code>.</p>",
    ]
    return "\n".join(part for part in parts if part)


def _sentence(table: Sequence[Row]) -> str:
    better = {verdict: [row.metric.label for row in table if row.verdict is verdict] for verdict in Verdict}
    said = []
    for verdict, side in ((Verdict.A_BETTER, "a"), (Verdict.B_BETTER, "b")):
        if better[verdict]:
            said.append(f"<span class={side}>{side.upper()}</span> is better at {escape(', '.join(better[verdict]))}.")
    if not said:
        said.append("No difference between A and B was shown.")
    return f"<p class=lead>{' '.join(said)}</p>"


def _gates(comparison: Comparison) -> str:
    found = judged(comparison)
    if not found:
        return ""
    items = "".join(
        f"<li><b>{'passed' if passed else 'NOT PASSED'}</b> {escape(label)}: {escape(text)}</li>"
        for label, text, passed in found
    )
    return f"<h2>Gates</h2><ul>{items}</ul>"


def _table(table: Sequence[Row]) -> str:
    lines = ["<table><tr><th>figure<th>A<th>B<th>B / A<th>verdict</tr>"]
    for row in table:
        a, b = row.estimates
        ratio = f"{b.median / a.median:.2f}" if a and b and a.median else ""
        verdict = "the load was the bottleneck" if row.is_invalid else row.verdict.value
        mark = {Verdict.A_BETTER: "a", Verdict.B_BETTER: "b"}.get(row.verdict, "faint")
        cells = "".join(f"<td>{_cell(each, row.metric)}" for each in (a, b))
        lines.append(
            f"<tr><td>{escape(row.metric.label)} <span class=faint>{escape(row.metric.unit)}</span>{cells}<td>{ratio}"
            f"<td class={mark}>{escape(verdict)}</tr>"
        )
    return "".join([*lines, "</table>"])


def _cell(value: Estimate | None, metric: Metric) -> str:
    if value is None:
        return "<span class=faint>-</span>"
    low, median, high = (f"{each:,.{metric.digits}f}" for each in (value.low, value.median, value.high))
    return f"{median}<br><span class=interval>{low} to {high}</span>"


def _figure(row: Row, labels: tuple[str, str]) -> str:
    title = f"{row.metric.label}, {row.metric.unit}"
    sides = list(zip(labels, row.values, row.estimates, strict=True))
    picture = charts.intervals(title, row.metric.unit, sides)
    return f"<figure><figcaption>{escape(row.metric.label)}</figcaption>{picture}</figure>"


def _distributions(comparison: Comparison) -> str:
    names = list(dict.fromkeys(name for runs in comparison.runs for run in runs for name in run.samples))
    figures = []
    for name in names:
        sides = [
            (label, [value for run in runs for value in run.samples.get(name, ())])
            for label, runs in zip(comparison.labels, comparison.runs, strict=True)
        ]
        picture = charts.cumulative(name, "milliseconds", sides)
        if not picture:
            continue
        marks = ", ".join(
            f"{side}: p50 {quantile(values, 0.5):,.1f} ms, p95 {quantile(values, 0.95):,.1f} ms of {len(values)}"
            for side, (_, values) in zip("AB", sides, strict=True)
            if values
        )
        figures.append(
            f"<figure><figcaption>{escape(name)}</figcaption><span class=faint>{escape(marks)}</span>{picture}</figure>"
        )
    if not figures:
        return ""
    legend = "<p class=faint>All runs of a side together; A drawn through, B dashed. The further left, the faster.</p>"
    return "".join(["<h2>Distributions</h2>", legend, "<div class=grid>", *figures, "</div>"])


def _series(comparison: Comparison) -> str:
    names = list(dict.fromkeys(name for runs in comparison.runs for run in runs for name in run.series))
    figures = []
    for name in names:
        sides = [[run.series[name] for run in runs if name in run.series] for runs in comparison.runs]
        figures.append(f"<figure><figcaption>{escape(name)}</figcaption>{charts.lines(name, name, sides)}</figure>")
    if not figures:
        return ""
    legend = "<p class=faint>One line for each run; A drawn through, B dashed.</p>"
    return "".join(["<h2>Over time</h2>", legend, "<div class=grid>", *figures, "</div>"])


def _notes(comparison: Comparison) -> str:
    lines = [
        f"<li>{'AB'[side]}, run {number}: {escape(note)}</li>"
        for side, runs in enumerate(comparison.runs)
        for number, run in enumerate(runs, 1)
        for note in run.notes
    ]
    return "".join(["<h2>Notes of runs</h2><ul>", *lines, "</ul>"]) if lines else ""
