"""docs/sizing.md: what follows from the measured figures for an installation, with the arithmetic shown."""

# ruff: noqa: E501 - Markdown, whose lines are as long as those of docs/

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from loadtests.report.performance import about, warning
from loadtests.report.records import Record, Row, amount

__all__ = ["page"]

_BUSY: Final = 0.6
"""Of a core, planned for: queues grow steeply beyond, and garbage collection and other pods need some."""

_HEAD: Final = f"""# Sizing

How much of each component an installation needs. Every figure comes from the run that [performance](performance.md) tells of, every result
from the arithmetic beside it; this page is written by `make report`. Put your own figures into the same arithmetic: processors differ
by a factor of two.

Each of our processes uses **one core**: more comes from more replicas, not from more cores for one. Cores are planned {_BUSY:.0%} busy: waiting
grows steeply beyond, and a burst needs room.
"""

_RULES: Final = """## Requests and limits of pods

| program | CPU request | memory limit | replicas |
|---|---|---|---|
| queue-proxy | 25m, what Knative gives; no limit: it would throttle bursts | twice the memory above, with your connections | one in each pod |
| activator | 1 core | three times the memory of its revisions: held requests come on top, bounded by `KNUV_HELD_BYTES_MAX` | 2, or the cores above and one to lose |
| autoscaler | cores of the table, at least 100m | twice the memory of the table | 2: one acts for each bucket, the other takes over |
| controller, gateway | 100m, 1 core while it starts | twice the memory of the table | 2 |
| broker ingress, filter, dispatcher | 1 core | 128 MB, and for held bodies and journals what [channels](channels.md) says | the cores above and one to lose |

A journal belongs to one dispatcher and one disk; in memory and with JetStream dispatchers can be several.
"""


@dataclass(frozen=True, slots=True)
class _Figures:
    """Look-ups that fail together: a line whose figures were not all measured says so."""

    records: Mapping[str, Record]

    def __call__(self, lab: str, scenario: str, pattern: str) -> float:
        """Raises `LookupError` for what was not measured."""
        return self._row(lab, scenario, pattern).value

    def counted(self, lab: str, scenario: str, pattern: str) -> tuple[float, int]:
        """The same, and the number with which the figure's name begins: of what it is the figure."""
        row = self._row(lab, scenario, pattern)
        return row.value, int(row.figure.split()[0])

    def _row(self, lab: str, scenario: str, pattern: str) -> Row:
        record = self.records.get(lab)
        row = None if record is None else record.find(scenario, pattern)
        if row is None:
            raise LookupError(f"{lab} {scenario} {pattern}")
        return row


_Line = tuple[str, str]
"""(arithmetic, result)."""


def _rate(lab: str, scenario: str, pattern: str, what: str) -> Callable[[_Figures], _Line]:
    def line(figures: _Figures) -> _Line:
        cpu_us = figures(lab, scenario, pattern)
        return f"{_BUSY:g} x 1,000,000 us / {_three(cpu_us)} us", f"{_rounded(_BUSY * 1e6 / cpu_us)} {what}/s"

    return line


def _connection(figures: _Figures) -> _Line:
    few, many = figures("queue-proxy", "memory", "RSS"), figures("queue-proxy", "idle", "RSS")
    return f"({many:.3g} MB - {few:.3g} MB) / 900", f"{max(0.0, (many - few) * 1e6 / 900 / 1024):.1f} KiB"


def _http2_connection(figures: _Figures) -> _Line:
    each = figures("queue-proxy-h2", "idle", "memory of a connection")
    return "measured: 1,000 connections", f"{each:.3g} KiB"


def _sidecar(figures: _Figures) -> _Line:
    return "measured: 100 busy connections", amount(figures("queue-proxy", "memory", "RSS"), "MB")


def _share(lab: str, scenario: str, pattern: str) -> Callable[[_Figures], _Line]:
    """What one of many takes at most: the process itself is in the figure, too."""

    def line(figures: _Figures) -> _Line:
        rss_mb, count = figures.counted(lab, scenario, pattern)
        return f"{rss_mb:.3g} MB / {count:,}, the process itself included", f"{rss_mb * 1000 / count:.2g} KB at most"

    return line


def _per_core(lab: str, scenario: str, pattern: str, what: str) -> Callable[[_Figures], _Line]:
    def line(figures: _Figures) -> _Line:
        cores, count = figures.counted(lab, scenario, pattern)
        return f"{_BUSY:g} / {cores:.3g} core x {count:,}", f"{_rounded(_BUSY / cores * count)} {what} a core"

    return line


def _ingress(figures: _Figures) -> _Line:
    few = figures("gateway", "", "gateway's memory with 2000")
    many = figures("gateway", "", "gateway's memory with 7500")
    return f"({many:.3g} MB - {few:.3g} MB) / 5,500", f"{(many - few) * 1e6 / 1024 / 5500:.2g} KiB"


def _whole_path(figures: _Figures) -> _Line:
    each = figures("broker", "path", "one event (*")
    return (
        f"1,000,000 us / {_three(each)} us, sender and sink included",
        f"{_rounded(1e6 / each)} events/s on two cores",
    )


def _journal_path(figures: _Figures) -> _Line:
    each = figures("broker", "path", "one event, on a journal")
    return f"1,000,000 us / {_three(each)} us", f"{_rounded(1e6 / each)} events/s on two cores"


def _jetstream(figures: _Figures) -> _Line:
    each = figures("broker", "jetstream", "broker: one event acknowledged*")
    return f"1,000,000 us / {_three(each)} us", f"{_rounded(1e6 / each)} events/s on two cores"


def _stack(figures: _Figures) -> _Line:
    return "measured", amount(figures("apiserver", "stack", "Python processes, shared pages once"), "MB")


_SECTIONS: Final = (
    (
        "Throughput of a core",
        (
            ("queue-proxy, HTTP/1.1", _rate("queue-proxy", "get-unique", "CPU per request", "requests")),
            ("queue-proxy, gRPC unary", _rate("queue-proxy-h2", "unary", "CPU per request", "calls")),
            ("queue-proxy, event streams", _rate("queue-proxy", "events", "CPU per event", "events")),
            ("activator", _rate("activator", "warm", "CPU per request", "requests")),
            ("broker ingress", _rate("broker", "ingress", "accepting channel, CPU per event", "events")),
            ("broker filter", _rate("broker", "filter", "match, CPU per event", "events")),
            ("dispatcher, in memory", _rate("broker", "dispatch", "in memory, CPU per event", "events")),
            ("dispatcher, journal", _rate("broker", "dispatch", "journal, CPU per event", "events")),
            (
                "autoscaler, load pushed by activators",
                _per_core("autoscaler", "tick", "* revisions, cores", "revisions"),
            ),
            ("autoscaler, pods asked each second", _per_core("autoscaler", "scrapes", "* scrapes/s, cores", "pods")),
        ),
    ),
    (
        "Memory",
        (
            ("a queue-proxy", _sidecar),
            ("queue-proxy, an open connection of HTTP/1.1", _connection),
            ("queue-proxy, an open connection of HTTP/2", _http2_connection),
            ("activator, a revision", _share("activator", "memory", "* revisions known, RSS")),
            ("activator, a request that is held", _share("activator", "held", "* held, CC=100, RSS")),
            ("autoscaler, a revision with full windows", _share("autoscaler", "tick", "* revisions, RSS")),
            ("gateway, an Ingress with four names", _ingress),
            ("an idle local stack, all Python processes", _stack),
        ),
    ),
    (
        "Events the whole way",
        (
            ("in memory", _whole_path),
            ("on a journal", _journal_path),
            ("JetStreamBroker, file store, acknowledged", _jetstream),
        ),
    ),
)


def page(records: Mapping[str, Record]) -> str:
    """The page; lines whose figures are missing say so."""
    figures = _Figures(records)
    parts = [_HEAD]
    parts += [text + "\n" for text in (warning(records),) if text]
    parts.append(about(records) + "\n")
    for title, lines in _SECTIONS:
        rows = [f"## {title}\n", "| what | arithmetic | result |", "|---|---|---|"]
        for what, line in lines:
            try:
                arithmetic, result = line(figures)
            except (LookupError, ZeroDivisionError):  # too little to be told from nothing
                arithmetic, result = "", "not measured"
            rows.append(f"| {what} | {arithmetic} | {result} |")
        parts.append("\n".join(rows) + "\n")
    parts += [_example(figures), _RULES]
    return "\n".join(parts)


def _example(figures: _Figures) -> str:
    """One installation, calculated through."""
    head = """## An example

500 revisions; 4,000 requests a second, a quarter of them through activators; 1,000 pods; 2,000 events a second, each to two subscribers.
"""
    try:
        lines = [
            _cores("activator", "requests/s", 1000, figures("activator", "warm", "CPU per request")),
            _cores("all queue-proxies", "requests/s", 4000, figures("queue-proxy", "get-unique", "CPU per request")),
            _autoscaler(figures),
            _cores(
                "broker ingress", "events/s", 2000, figures("broker", "ingress", "accepting channel, CPU per event")
            ),
            _cores("dispatcher", "deliveries/s", 4000, figures("broker", "dispatch", "in memory, CPU per event")),
            _cores("broker filter", "deliveries/s", 4000, figures("broker", "filter", "match, CPU per event")),
        ]
    except LookupError:
        return f"{head}\nNot all figures for it were measured.\n"
    rows = [f"| {what} | {arithmetic} | {cores:.2f} | {count} |" for what, arithmetic, cores, count in lines]
    table = ["| what | arithmetic | cores | replicas, without one to lose |", "|---|---|---|---|", *rows]
    return head + "\n" + "\n".join(table) + "\n"


def _cores(what: str, unit: str, rate: float, cpu_us: float) -> tuple[str, str, float, str]:
    cores = rate * cpu_us / 1e6 / _BUSY
    count = "one in each pod" if what.endswith("proxies") else str(math.ceil(cores))
    return what, f"{rate:,.0f} {unit} x {_three(cpu_us)} us / {_BUSY:g}", cores, count


def _autoscaler(figures: _Figures) -> tuple[str, str, float, str]:
    cores_of_all, count = figures.counted("autoscaler", "scrapes", "* scrapes/s, cores")
    each = cores_of_all / count
    cores = 1000 * each / _BUSY
    return "autoscaler", f"1,000 pods x {each * 1e6:.3g} us/s / {_BUSY:g}", cores, str(math.ceil(cores))


def _three(value: float) -> str:
    """Three digits, and all before the point."""
    return amount(value, "")


def _rounded(value: float) -> str:
    """Two digits: more would be a promise."""
    return f"{float(f'{value:.2g}'):,.0f}"
