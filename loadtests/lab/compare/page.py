"""The report: one HTML file that needs nothing but a browser, and the raw data beside it."""

import csv
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Final

from loadtests.lab.compare import charts
from loadtests.lab.compare.model import PHASE, Metric
from loadtests.lab.compare.results import Comparison, Outcome, Row, caveats, judged, rows
from loadtests.lab.compare.statistics import RUNS_MIN, Estimate, Verdict, quantile

__all__ = ["write"]

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff }
body { max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #e5e5e5 }
th:first-child, td:first-child, td:last-child, th:last-child { text-align: left }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(500px, 100%), 1fr)); gap: 1rem 2rem }
figure { margin: 0 }
figcaption { font-weight: 600 }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif }
ul { padding-left: 1.2rem }
.gates { list-style: none; padding-left: 0 }
.caveat { border-left: 4px solid #e69f00; padding: .2rem .8rem; margin: .6rem 0 }
.wide { max-width: 720px }
.a { color: #0072b2; font-weight: 600 }
.b { color: #d55e00; font-weight: 600 }
.faint { color: #666 }
.interval { color: #666; font-size: .85em }
.lead { font-size: 1.05rem }
.said { white-space: pre-wrap }
"""


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


def _page(comparison: Comparison, table: Sequence[Row]) -> str:
    scenario, (a, b) = comparison.scenario, comparison.labels
    counts = " and ".join(f"{len(runs)}" for runs in comparison.runs)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{escape(scenario.name)}: {escape(a)} and {escape(b)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(scenario.what)}</h1>",
        f"<p class=lead><span class=a>&#9679; A: {escape(a)}</span> &emsp; <span class=b>&#9632; B: {escape(b)}</span>",
        f"<br><span class=faint>{escape(scenario.name)}, {counts} runs in turns, each with",
        f"{escape(comparison.machine['one run'])}; {comparison.machine['date']}</span>",
        _sentence(table),
        _caveats(comparison),
        _gates(comparison),
        "<h2>Figures</h2>",
        _table(table),
        "<p class=faint>Medians of runs, below them the interval that holds the median with 95 % (bootstrap).",
        f"A side is called better only where the intervals do not overlap, with at least {RUNS_MIN} runs of each.</p>",
        "<h2>Runs</h2><p class=faint>Each mark is one run, the line their median, the band its interval.</p>",
        "<div class=grid>",
        *_strips(table),
        "</div>",
        _phases(comparison),
        _distributions(comparison),
        _series(comparison),
        "<h2>Method</h2>",
        f"<p>{escape(scenario.method)}</p>",
        "<h2>Where</h2><ul>",
        *(f"<li>{escape(key)}: {escape(value)}</li>" for key, value in comparison.machine.items()),
        f"<li>command: <code>{escape(comparison.command)}</code></li></ul>",
        _notes(comparison),
        "<p class=faint>All that was measured is beside this page: <a href=data.json>data.json</a> (runs, samples,",
        "series), <a href=runs.csv>runs.csv</a> (a line for each figure of each run).</p>",
    ]
    return "\n".join(part for part in parts if part)


def _sentence(table: Sequence[Row]) -> str:
    said = []
    for verdict, side in ((Verdict.A_BETTER, "a"), (Verdict.B_BETTER, "b")):
        labels = [row.metric.label for row in table if row.verdict is verdict]
        if labels:
            said.append(f"<span class={side}>{side.upper()}</span> is better at {escape('; '.join(labels))}.")
    if not said:
        said.append("No difference between A and B was shown.")
    return f"<p class=lead>{'<br>'.join(said)}</p>"


def _caveats(comparison: Comparison) -> str:
    return "".join(f"<p class=caveat>{escape(each)}</p>" for each in caveats(comparison))


def _gates(comparison: Comparison) -> str:
    found = judged(comparison)
    if not found:
        return ""
    marks = {Outcome.PASSED: "&#10003;", Outcome.MISSED: "&#10007;", Outcome.INVALID: "?"}
    items = "".join(
        f"<li>{marks[gate.outcome]} <b>{gate.outcome.value}</b> &ensp;<span class={'ab'[gate.side]}>{'AB'[gate.side]}"
        f"</span> {escape(gate.text)}</li>"
        for gate in found
    )
    return f"<h2>Gates</h2><ul class=gates>{items}</ul>"


def _table(table: Sequence[Row]) -> str:
    lines = ["<table><tr><th>figure<th>A<th>B<th>B / A<th>verdict</tr>"]
    for row in table:
        a, b = row.estimates
        ratio = f"{b.median / a.median:.2f}" if a and b and a.median else ""
        verdict = f"invalid: {row.why_invalid}" if row.why_invalid else row.verdict.value
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
    return median if low == high else f"{median}<br><span class=interval>{low} to {high}</span>"


def _strips(table: Sequence[Row]) -> list[str]:
    """A figure for each picture of the metrics; rows that are zero everywhere, or do not count, are left out."""
    pictures: dict[tuple[str, str], list[charts.Strip]] = {}
    for row in table:
        metric = row.metric
        if metric.is_compared and not row.why_invalid and any(map(any, row.values)):
            strip = charts.Strip(metric.row or "", row.values, row.estimates)
            pictures.setdefault((metric.picture or metric.label, metric.unit), []).append(strip)
    return [_figure(name, charts.strips(name, unit, strips)) for (name, unit), strips in pictures.items()]


def _figure(caption: str, picture: str, remark: str = "") -> str:
    remark = f"<span class=faint>{escape(remark)}</span>" if remark else ""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{remark}{picture}</figure>"


def _samples(comparison: Comparison) -> dict[str, list[list[float]]]:
    """What it is of -> the values of all runs of each side, but for those in which the load was the bottleneck."""
    names = dict.fromkeys(name for runs in comparison.runs for run in runs for name in run.samples)
    return {
        name: [
            [
                value
                for run in runs
                if not run.why_limited(name.partition(":")[0])
                for value in run.samples.get(name, ())
            ]
            for runs in comparison.runs
        ]
        for name in names
    }


def _phases(comparison: Comparison) -> str:
    found = [
        (name.removeprefix(PHASE), sides)
        for name, sides in _samples(comparison).items()
        if name.startswith(PHASE) and any(map(any, sides))
    ]
    if not found:
        return ""
    legend = (
        "<p class=faint>All runs of a side together: the strong line is the median, half of all lie in the band, 90 %"
        " on the thin line.</p>"
    )
    return f"<h2>Phases</h2>{legend}<div class=wide>{_figure('', charts.ranges('phases', 'milliseconds', found))}</div>"


def _distributions(comparison: Comparison) -> str:
    figures = []
    for name, sides in _samples(comparison).items():
        if name.startswith(PHASE) or not (picture := charts.cumulative(name, "milliseconds", sides)):
            continue
        marks = "; ".join(
            f"{side}: p50 {quantile(values, 0.5):.3g} ms, p95 {quantile(values, 0.95):.3g} ms of {len(values):,}"
            for side, values in zip("AB", sides, strict=True)
            if values
        )
        figures.append(_figure(name, picture, marks))
    if not figures:
        return ""
    legend = "<p class=faint>All runs of a side together; A solid, B dashed. The further left, the faster.</p>"
    return "".join(["<h2>Distributions</h2>", legend, "<div class=grid>", *figures, "</div>"])


def _series(comparison: Comparison) -> str:
    names = dict.fromkeys(name for runs in comparison.runs for run in runs for name in run.series)
    moments = _moments(comparison)
    figures = []
    for name in names:
        what, _, unit = name.rpartition(", ")
        sides = [[run.series[name] for run in runs if name in run.series] for runs in comparison.runs]
        figures.append(_figure(what, charts.lines(what, unit, sides, moments)))
    if not figures:
        return ""
    legend = "<p class=faint>A faint line for each run, a strong one for their median; A solid, B dashed.</p>"
    return "".join(["<h2>Over time</h2>", legend, "<div class=grid>", *figures, "</div>"])


def _moments(comparison: Comparison) -> list[tuple[str, float, int]]:
    """What happened, when (the median of a side's runs), and on which side; said in words once."""
    found: list[tuple[str, float, int]] = []
    for side, runs in enumerate(comparison.runs):
        times: dict[str, list[float]] = {}
        for what, at_s in (moment for run in runs for moment in run.moments):
            times.setdefault(what, []).append(at_s)
        said = {what for what, _, _ in found}
        found += [("" if what in said else what, statistics.median(each), side) for what, each in times.items()]
    return found


def _notes(comparison: Comparison) -> str:
    lines = [
        f"<li>{'AB'[side]}, run {number}: <span class=said>{escape(note)}</span></li>"
        for side, runs in enumerate(comparison.runs)
        for number, run in enumerate(runs, 1)
        for note in run.notes
    ]
    return "".join(["<h2>Notes of runs</h2><ul>", *lines, "</ul>"]) if lines else ""
