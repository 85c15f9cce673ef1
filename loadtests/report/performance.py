"""docs/performance.md, the whole of it, from the records of a run."""

# ruff: noqa: E501 - Markdown, whose lines are as long as those of docs/

from collections.abc import Mapping, Sequence
from typing import Final

from loadtests.report.labs import LABS, Lab
from loadtests.report.records import Record, Row, amount
from loadtests.report.selected import table

__all__ = ["about", "page", "warning"]

_HEAD: Final = """# Performance

What every component costs, against its budget and, where there is one, against a rival in the same run, on the same core, in turns.
This page is written by `make report`, all of it; [budgets](budgets.md) says how to make such figures yourself and what was learnt on the way,
[sizing](sizing.md) what follows for an installation.
"""

_READING: Final = """## How to read it

* **CPU** is what the kernel charged to the threads of the program under test. Other programs on the machine change it by the caches
  that they share, up to a third; ratios to a rival in the same run change less.
* **Measured** is the median of the rounds, the spread (least to most) behind it. A ratio is of medians.
* **MB** is 10^6 bytes. RSS includes the pages of Python and its libraries that all processes on the machine share.
* **Go original**: the originals of Knative in Go, measured by the project once, on another day, on a machine of the same kind (two
  cores, x86_64), with the same load; not part of this run. Those figures are a scale, not a match:
  `python -m loadtests.lab queue-proxy --against COMMAND` and `knuv lab compare` make one with your own binary.
* Where the originals are better, it says so: a Go program listens sooner, and one of our processes uses one core, never two.
"""

_DIGITS_RATIO: Final = 2


def page(records: Mapping[str, Record]) -> str:
    """The page. A lab without a record, or with one that failed, is named in its section."""
    parts = [_HEAD]
    parts += [text + "\n" for text in (warning(records),) if text]
    parts += ["## At a glance\n", about(records) + "\n", table(records) + "\n", _verdicts(records) + "\n", _READING]
    for lab in LABS:
        parts += [f"## {lab.title}\n", lab.words + "\n", *_section(lab, records.get(lab.name))]
    return "\n".join(parts)


def warning(records: Mapping[str, Record]) -> str:
    """What stands at the top when the figures are not to be trusted; empty when they are."""
    missing = [lab.name for lab in LABS if lab.name not in records or records[lab.name].problem]
    missing += [f"`{name}` of {lab}" for lab, record in records.items() for name in record.failed]
    if len(missing) == len(LABS) and not any(record.found for record in records.values()):
        return "> **Nothing has been measured yet**: `make report` does."
    texts = []
    if any(record.is_short for record in records.values()):
        texts.append(
            "**A trial**: hardly any time for each figure, on a machine that others used meanwhile. It shows that everything runs; "
            "do not quote its figures. `make report` on a quiet machine replaces it."
        )
    noisy = [f"`{name}`" for name, record in records.items() if record.disturbances]
    if noisy:
        texts.append(f"**Disturbed**: {', '.join(noisy)}; what it was stands below the tables.")
    if missing:
        texts.append(f"**Not measured**: {', '.join(missing)}; the reason stands in the section of each.")
    return "\n>\n".join(f"> {text}" for text in texts)


def about(records: Mapping[str, Record]) -> str:
    """When, where, with what: one line for each that differs."""
    measured = [record for record in records.values() if not record.problem]
    if not measured:
        return "No machine: nothing has been measured."
    dates = sorted({record.date for record in measured})
    minutes = sum(record.seconds for record in measured) / 60
    lines = [
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, commit {_each(measured, 'commit')}; {minutes:.0f} minutes."
    ]
    lines.append(f"{_each(measured, 'machine')}; {_each(measured, 'limits')}.")
    versions = dict.fromkeys(part for record in measured for part in record.versions.split(", "))
    lines.append(f"{', '.join(versions)}.")
    return "\n".join(lines)


def _each(records: Sequence[Record], name: str) -> str:
    return "; ".join(dict.fromkeys(getattr(record, name) for record in records))


def _verdicts(records: Mapping[str, Record]) -> str:
    """How many budgets are met, and each that is not."""
    judged = [(name, row) for name, record in records.items() for row in record.rows if row.verdict]
    missed = [(name, row) for name, row in judged if row.verdict != "met"]
    text = f"{len(judged) - len(missed)} of {len(judged)} budgets are met."
    if missed:
        text += " Not met:\n\n" + "\n".join(
            f"* {name}, `{row.scenario or 'all'}`: {row.figure} {amount(row.value, row.unit)}"
            f"{_ratio_text(row)}, budget {row.budget} ({row.verdict})"
            for name, row in missed
        )
    return text


def _section(lab: Lab, record: Record | None) -> list[str]:
    if record is None:
        return [f"Not measured in this run; `make report ONLY={lab.name}` does it.\n"]
    if record.problem:
        return [f"**This lab failed**: {_plain(record.problem)}. Repeat it with `make report ONLY={lab.name}`.\n"]
    rows = record.rows
    command = " ".join(("python -m loadtests.lab", lab.name, *record.arguments))
    parts = [f"`{command}`, {record.seconds:.0f} s.\n"]
    parts.append((_phases(rows) if lab.name == "cold-start" else _figures(rows)) + "\n")
    parts += [f"**Failed**: `{name}`, {_plain(why)}.\n" for name, why in record.failed.items()]
    if disturbed := record.disturbances:
        parts.append("\n".join(disturbed) + "\n")
    return parts


def _figures(rows: Sequence[Row]) -> str:
    rival = next((row.rival for row in rows if row.rival), "")
    columns = ["scenario", "figure", "measured", *([rival, "ratio"] if rival else []), "budget", ""]
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in rows:
        beside = [amount(row.rival_value, row.unit), _ratio(row)] if rival else []
        cells = [
            f"`{row.scenario}`" if row.scenario else "",
            row.figure,
            _measured(row),
            *beside,
            row.budget,
            _bold(row.verdict),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _phases(rows: Sequence[Row]) -> str:
    """Cold starts: a line for each phase, its quantiles side by side."""
    by_phase: dict[str, list[Row]] = {}
    for row in rows:
        by_phase.setdefault(row.scenario, []).append(row)
    lines = ["| phase | p50 | p95 | max | budget | |", "|---|---|---|---|---|---|"]
    for phase, found in by_phase.items():
        values = [amount(row.value, row.unit) for row in found]
        budgets = ", ".join(f"{row.figure} {row.budget}" for row in found if row.budget)
        verdicts = ", ".join(dict.fromkeys(_bold(row.verdict) for row in found if row.verdict))
        lines.append(f"| {phase} | {' | '.join([*values, '', ''][:3])} | {budgets} | {verdicts} |")
    return "\n".join(lines)


def _bold(verdict: str) -> str:
    return verdict if verdict in ("", "met") else f"**{verdict}**"


def _measured(row: Row) -> str:
    spread = "" if row.low == row.high else f" ({amount(row.low, '')} to {amount(row.high, '')})"
    return amount(row.value, row.unit) + spread


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else f"{row.ratio:.{_DIGITS_RATIO}f}"


def _ratio_text(row: Row) -> str:
    return f", {_ratio(row)} times {row.rival}'s" if row.rival and _ratio(row) else ""


def _plain(text: str) -> str:
    """A message that cannot be taken for markup."""
    return "`" + " ".join(text.split()).replace("`", "'").rstrip(".") + "`"
