"""The outcome of simulations for people: a table for the terminal, and one HTML page that needs nothing else."""

import json
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from autoscaler.simulation.charts import LEFT, RIGHT, WIDTH, Panel, clock, svg
from autoscaler.simulation.model import Run, Sample

__all__ = ["Figure", "figures", "page"]

_POINTS_MAX = 1200
"""Seconds drawn one by one; of longer runs several share a point, which shows their extremes."""


class Figure(NamedTuple):
    """One line of the table: its name, and for each run a number and how it is written. Less is better."""

    name: str
    values: tuple[float, ...]
    texts: tuple[str, ...]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Return what the runs come to."""

    def row(name: str, value: Callable[[Run], float], write: Callable[[float], str]) -> Figure:
        values = tuple(value(run) for run in runs)
        return Figure(name, values, tuple(write(each) for each in values))

    def share(run: Run) -> float:
        return run.delayed / run.requests if run.requests else 0.0

    def count(value: float) -> str:
        return f"{value:,.0f}"

    return [
        row("requests", lambda run: run.requests, count),
        row("delayed", lambda run: run.delayed, count),
        row("delayed, share", share, lambda value: f"{value:.1%}"),
        row("wait p50", lambda run: run.wait_s(0.5), _seconds),
        row("wait p95", lambda run: run.wait_s(0.95), _seconds),
        row("wait p99", lambda run: run.wait_s(0.99), _seconds),
        row("wait max", lambda run: run.wait_s(1.0), _seconds),
        row("unserved at the end", lambda run: run.unserved, count),
        row("cold starts", lambda run: run.cold_starts, count),
        row("pods, most", lambda run: run.pods_max, count),
        row("pod-seconds", lambda run: run.pod_seconds, count),
        row("scale changes", lambda run: run.scale_changes, count),
        row("panic", lambda run: run.panic_s, clock),
    ]


def page(runs: Sequence[Run], title: str) -> str:
    """Return the report as HTML; runs under each other on the same scales."""
    load_top = 1.05 * max(1.0, *(max(s.concurrency, s.stable, s.panic) for run in runs for s in run.samples))
    pods_top = 1.05 * max(1.0, *(max(s.replicas, s.desired) for run in runs for s in run.samples))
    excess = [s.excess_burst_capacity for run in runs for s in run.samples]
    excess_range = (1.05 * min(0.0, *excess) - 1, 1.05 * max(0.0, *excess) + 1)
    parts = [_HEAD.format(title=escape(title), style=_STYLE), _table(runs)]
    for run in runs:
        points = _points(run.samples)
        chart = _chart(points, load_top, pods_top, excess_range, run.setting.name)
        parts.append(f"<section><h2>{escape(run.setting.name)}</h2><p class='facts'>{escape(_facts(run))}</p>")
        parts.append(f"<p class='readout'>&nbsp;</p>{chart}{_data(points)}</section>")
    parts.append(_FOOT.format(left=LEFT, right=RIGHT, width=WIDTH, script=_SCRIPT))
    return "".join(parts)


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def _facts(run: Run) -> str:
    setting = run.setting
    decider = setting.revision.decider
    shortest_s, longest_s = setting.pod_start_s
    start = f"{shortest_s:g}" if shortest_s == longest_s else f"{shortest_s:g} to {longest_s:g}"
    return (
        f"{decider.scaling_metric}: each pod aims at {decider.target_value:g} of {decider.total_value:g} · "
        f"container concurrency {setting.container_concurrency or 'unlimited'} · pods start in {start} s · "
        f"stable window {clock(decider.stable_window_s)}, "
        f"panic window {clock(setting.revision.metric.panic_window_s)}, "
        f"panic from {decider.panic_threshold:g} times the ready pods · "
        f"target burst capacity {decider.target_burst_capacity:g} · "
        f"scale {setting.revision.min_scale} to {setting.revision.max_scale or 'any'}"
    )


def _points(samples: Sequence[Sample]) -> list[Sample]:
    """At most `_POINTS_MAX` samples: of several the one with most requests inside, with the most pods of all."""
    size = -(-len(samples) // _POINTS_MAX)
    if size == 1:
        return list(samples)
    points: list[Sample] = []
    for begin in range(0, len(samples), size):
        group = samples[begin : begin + size]
        points.append(
            Sample(
                time_s=group[-1].time_s,
                rps=max(s.rps for s in group),
                concurrency=max(s.concurrency for s in group),
                waiting=max(s.waiting for s in group),
                stable=max(s.stable for s in group),
                panic=max(s.panic for s in group),
                desired=max(s.desired for s in group),
                replicas=max(s.replicas for s in group),
                ready=min(s.ready for s in group),
                panicking=any(s.panicking for s in group),
                excess_burst_capacity=min(s.excess_burst_capacity for s in group),
                proxied=any(s.proxied for s in group),
            )
        )
    return points


def _chart(
    points: Sequence[Sample], load_top: float, pods_top: float, excess_range: tuple[float, float], name: str
) -> str:
    load = Panel(
        "Requests inside",
        190,
        load_top,
        areas=[("inside", [s.concurrency for s in points]), ("waiting", [s.waiting for s in points])],
        lines=[("stable", [s.stable for s in points], False), ("panic", [s.panic for s in points], False)],
        legend=[
            ("inside", "running"),
            ("waiting", "waiting"),
            ("stable", "stable window"),
            ("panic", "panic window"),
            ("band", "panic mode"),
        ],
    )
    pods = Panel(
        "Pods",
        150,
        pods_top,
        areas=[("starting", [s.replicas for s in points]), ("ready", [s.ready for s in points])],
        lines=[("desired", [s.desired for s in points], True)],
        legend=[("ready", "ready"), ("starting", "starting"), ("desired", "desired")],
    )
    excess = Panel(
        "Excess burst capacity",
        110,
        excess_range[1],
        excess_range[0],
        lines=[("excess", [s.excess_burst_capacity for s in points], True)],
        ribbons=[("proxied", [s.proxied for s in points])],
        legend=[("excess", "room for more requests"), ("proxied", "activators in the path")],
    )
    label = f"{name}: requests, pods and excess burst capacity over time"
    return svg([s.time_s for s in points], [load, pods, excess], [s.panicking for s in points], label)


def _table(runs: Sequence[Run]) -> str:
    head = "".join(f"<th>{escape(run.setting.name)}</th>" for run in runs)
    rows: list[str] = []
    for figure in figures(runs):
        best = min(figure.values)
        cells = "".join(
            f"<td{' class=best' if len(set(figure.values)) > 1 and value == best else ''}>{escape(text)}</td>"
            for value, text in zip(figure.values, figure.texts, strict=True)
        )
        rows.append(f"<tr><th>{escape(figure.name)}</th>{cells}</tr>")
    return f"<table><thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _data(points: Sequence[Sample]) -> str:
    """What the pointer reads out: one list per point."""
    rows = [
        [s.time_s, round(s.rps, 1), round(s.concurrency, 1), round(s.waiting, 1), round(s.stable, 2),
         round(s.panic, 2), s.desired, s.replicas, s.ready, s.excess_burst_capacity]
        for s in points
    ]  # fmt: skip
    return f'<script type="application/json">{json.dumps(rows, separators=(",", ":"))}</script>'


_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>
<body><main><h1>{title}</h1>"""
_FOOT = """<p class="note">Simulated by the autoscaler itself: the same windows, deciders and bounds that scale a
cluster. Requests are a fluid; pods, activators and probes take no longer than stated.</p></main>
<script>const LEFT={left}, RIGHT={right}, WIDTH={width};{script}</script></body></html>"""
_STYLE = """
:root { color-scheme: light dark; --text:#1c2126; --soft:#5d6770; --grid:#e3e7ea; --page:#fff; --inside:#a9cfe8;
  --waiting:#d55e00; --stable:#0072b2; --panic:#e69f00; --ready:#7fcdb4; --starting:#d5e3dc; --desired:#1c2126;
  --excess:#0072b2; --proxied:#cc79a7; --band:#e69f0022; }
@media (prefers-color-scheme: dark) { :root { --text:#e7eaec; --soft:#98a2aa; --grid:#2c3338; --page:#14181b;
  --inside:#2b5876; --stable:#56b4e9; --ready:#1f7a61; --starting:#33443d; --desired:#e7eaec; --excess:#56b4e9; } }
body { margin:0; background:var(--page); color:var(--text); font:15px/1.5 system-ui, sans-serif; }
main { max-width:1020px; margin:0 auto; padding:28px 20px 48px; }
h1 { font-size:22px; margin:0 0 18px; } h2 { font-size:17px; margin:34px 0 2px; }
.facts, .note { color:var(--soft); font-size:13px; margin:0; } .note { margin-top:30px; }
.readout { font:12.5px/1.6 ui-monospace, monospace; margin:8px 0 4px; min-height:20px; white-space:pre-wrap; }
table { border-collapse:collapse; font-variant-numeric:tabular-nums; } td, thead th { text-align:right; }
tbody th { text-align:left; font-weight:400; color:var(--soft); } td, th { padding:3px 22px 3px 0;
  border-bottom:1px solid var(--grid); } .best { font-weight:650; }
svg { width:100%; height:auto; display:block; touch-action:none; } .title { font:600 13px system-ui; fill:var(--text); }
.legend, .tick { font:12px system-ui; fill:var(--soft); } .grid { stroke:var(--grid); } .axis { stroke:var(--soft); }
.zero { stroke:var(--soft); stroke-dasharray:3 3; } .line { fill:none; stroke-width:1.8; stroke-linejoin:round; }
.cursor { stroke:var(--soft); stroke-width:1; }
.area { stroke:none; } .band { fill:var(--band); } .key.band { stroke:var(--panic); }
.area.inside, .key.inside { fill:var(--inside); } .area.waiting, .key.waiting { fill:var(--waiting); }
.line.stable { stroke:var(--stable); } .key.stable { fill:var(--stable); } .line.panic { stroke:var(--panic); }
.key.panic { fill:var(--panic); } .area.ready, .key.ready { fill:var(--ready); }
.area.starting, .key.starting { fill:var(--starting); } .line.desired { stroke:var(--desired); }
.key.desired { fill:var(--desired); } .line.excess { stroke:var(--excess); } .key.excess { fill:var(--excess); }
.proxied { fill:var(--proxied); }
"""
_SCRIPT = """
const NAMES = ['rps', 'inside', 'waiting', 'stable', 'panic', 'desired', 'pods', 'ready', 'excess'];
const clock = s => (s >= 3600 ? Math.floor(s / 3600) + 'h' : '') + Math.floor(s % 3600 / 60) + 'm' +
  String(Math.round(s % 60)).padStart(2, '0') + 's';
for (const section of document.querySelectorAll('section')) {
  const svg = section.querySelector('svg'), cursor = svg.querySelector('.cursor');
  const rows = JSON.parse(section.querySelector('script').textContent), end = rows[rows.length - 1][0];
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * WIDTH;
    const time = Math.min(Math.max((x - LEFT) / (WIDTH - LEFT - RIGHT), 0), 1) * end;
    const row = rows.find(each => each[0] >= time) || rows[rows.length - 1];
    const at = LEFT + row[0] / end * (WIDTH - LEFT - RIGHT);
    cursor.setAttribute('x1', at); cursor.setAttribute('x2', at); cursor.setAttribute('visibility', 'visible');
    section.querySelector('.readout').textContent =
      clock(row[0]).padEnd(8) + NAMES.map((name, index) => name + ' ' + row[index + 1]).join('   ');
  });
}
"""
