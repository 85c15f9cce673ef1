"""What the labs found: one JSON file each, and its figures as rows whatever shape the lab prints them in.

A record is what `loadtests.report.running` writes: which lab, with which arguments, when, on which machine, how long it
took, how it ended, and under `found` the object that the lab printed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from loadtests.lab.queue_proxy.figures import KINDS, LOAD_CORE_RATIO_MAX, OURS

__all__ = ["Record", "RecordError", "Row", "amount", "checked", "read", "write"]

_NOISE_RATIO_MAX: Final = 0.05
_ASIDE: Final = ("load_core_ratio", "noise_ratio")
_NONE: Final = {"median": 0.0}
_QUANTILES: Final = ("p50", "p95", "max")


class RecordError(ValueError):
    """A file that holds no record; the message names it and says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure of ours, perhaps beside a rival's."""

    scenario: str
    figure: str
    unit: str
    value: float
    low: float
    high: float
    rival: str = ""
    rival_value: float | None = None
    budget: str = ""
    """Empty: only told."""
    verdict: str = ""
    """`met`, `MISSED` and so on; empty without a budget."""

    @property
    def ratio(self) -> float | None:
        """Ours as a multiple of the rival's."""
        return self.value / self.rival_value if self.rival_value else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One lab's run."""

    lab: str
    arguments: tuple[str, ...]
    is_short: bool
    """A trial: full sizes, hardly any time."""
    date: str
    commit: str
    machine: str
    versions: str
    limits: str
    seconds: float
    """How long the lab took."""
    exit_code: int
    problem: str
    """Why there are no figures; empty when there are."""
    found: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """All figures, in the lab's order; none of a lab that failed."""
        return [] if self.problem else list(_rows(self.found))

    @property
    def failed(self) -> Mapping[str, str]:
        """Scenarios without figures, and why."""
        failed: Mapping[str, str] = self.found.get("failed") or {}
        return failed if isinstance(failed, Mapping) else {}

    def find(self, scenario: str, pattern: str) -> Row | None:
        """The first figure of a scenario whose name has the shape of `pattern` (`*` for anything)."""
        rows = (row for row in self.rows if row.scenario == scenario and fnmatchcase(row.figure, pattern))
        return next(rows, None)

    @property
    def disturbances(self) -> list[str]:
        """Where others used the machine, and where the load was the bottleneck."""
        noisy, saturated = dict[str, float](), list[str]()
        for scenario in self.found.get("scenarios", ()):
            name = f"`{scenario['scenario']}`"
            figures = scenario["proxies"].values()
            noise = max(each.get("noise_ratio", _NONE)["median"] for each in figures)
            if noise > _NOISE_RATIO_MAX:
                noisy[name] = noise
            if max(each.get("load_core_ratio", _NONE)["median"] for each in figures) > LOAD_CORE_RATIO_MAX:
                saturated.append(name)
        found = []
        if noisy:
            found.append(f"Others used up to {max(noisy.values()):.0%} of the proxy's core: {', '.join(noisy)}.")
        if saturated:
            found.append(f"The load used all of its core, so latencies are its own: {', '.join(saturated)}.")
        return found


def checked(record: Record) -> Record:
    """The record, with a problem if its figures are not in a shape that is known."""
    try:
        _ = record.rows
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"not the figures of `python -m loadtests.lab {record.lab} --json` ({error!r})"
        return replace(record, problem=problem, found={})
    return record


def amount(value: float | None, unit: str) -> str:
    """A figure as people read it: three digits that mean something."""
    if value is None:
        return ""
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{number} {unit}".rstrip()


def read(folder: Path) -> dict[str, Record]:
    """Lab -> its record. Raises `RecordError` for a file that is none."""
    records = {}
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_text())
            record = checked(Record(**{**data, "arguments": tuple(data["arguments"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(f"{path}: no record of a lab ({error}); delete it and run `make report` again") from error
        records[record.lab] = record
    return records


def write(folder: Path, record: Record) -> None:
    """Put a record where `read` finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {name: getattr(record, name) for name in Record.__slots__}
    (folder / f"{record.lab}.json").write_text(json.dumps(data, indent=1) + "\n")


def _rows(found: Mapping[str, Any]) -> Iterator[Row]:
    if "scenarios" in found:
        for scenario in found["scenarios"]:
            yield from _against_rivals(scenario)
    elif "figures" in found:
        for each in found["figures"]:
            yield _alone(each)
    else:
        yield from _phases(found)


def _against_rivals(scenario: Mapping[str, Any]) -> Iterator[Row]:
    """queue-proxy's labs: figures per proxy, and budgets that are absolute or multiples of a rival's figure."""
    ours = scenario["proxies"][OURS]
    rival = next((name for name in scenario["proxies"] if name != OURS), "")
    theirs = scenario["proxies"].get(rival, {})
    checks = {each["figure"]: each for each in scenario["budgets"] if each["budget"] is not None}
    for key, spread in ours.items():
        if key in _ASIDE:
            continue
        kind = KINDS[key]
        is_absolute = kind.label in checks
        check = checks.get(kind.label if is_absolute else f"{kind.label}, multiple of {rival}")
        budget = verdict = ""
        if check:
            limit = amount(check["budget"], kind.unit) if is_absolute else f"{check['budget']:g} x {rival}"
            budget = f"{limit}, goal {check['goal']:g}" if check["goal"] is not None else limit
            verdict = check["verdict"]
        yield Row(
            scenario=scenario["scenario"],
            figure=kind.label,
            unit=kind.unit,
            value=spread["median"],
            low=spread["min"],
            high=spread["max"],
            rival=rival,
            rival_value=theirs.get(key, {}).get("median"),
            budget=budget,
            verdict=verdict,
        )


def _alone(each: Mapping[str, Any]) -> Row:
    """The labs of budgets: `loadtests.reporting.as_json`, and the gateway's without rounds or scenarios."""
    values = each.get("values") or [each["value"]]
    is_met = each["met"] if "met" in each else each["budget"] is None or each["value"] <= each["budget"]
    return Row(
        scenario=each.get("scenario", ""),
        figure=each.get("figure") or each["name"],
        unit=each["unit"],
        value=each["value"],
        low=min(values),
        high=max(values),
        budget=amount(each["budget"], each["unit"]),
        verdict="" if each["budget"] is None else "met" if is_met else "MISSED",
    )


def _phases(found: Mapping[str, Any]) -> Iterator[Row]:
    """The lab of cold starts: quantiles per phase, budgets beside them."""
    budgets = found["budgets"]
    for phase, quantiles in found.items():
        if phase in ("budgets", "requests"):
            continue
        values = quantiles if isinstance(quantiles, Mapping) else {"requests": quantiles}  # how many failed
        for name, value in values.items():
            limit = budgets.get(phase, {}).get(name)
            yield Row(
                scenario=phase,
                figure=name,
                unit="ms" if name in _QUANTILES else "",
                value=value,
                low=value,
                high=value,
                budget=amount(limit, "ms" if name in _QUANTILES else ""),
                verdict="" if limit is None else "met" if value <= limit else "MISSED",
            )
