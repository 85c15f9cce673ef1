"""What the runs of a comparison say: a row for each metric, an outcome for each gate. Plain data, no text of a page."""

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from loadtests.lab.compare.model import NOISY, Gate, Metric, Run, Scenario
from loadtests.lab.compare.statistics import Estimate, Verdict, compare, estimate

__all__ = ["Comparison", "Judgement", "Outcome", "Row", "caveats", "judged", "rows"]

_NOISE_APART: Final = 0.1
"""When others used so much more of the cores in the runs of one side, they may be the difference."""


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
    """Of the runs in which it counts."""
    estimates: tuple[Estimate | None, Estimate | None]
    verdict: Verdict
    why_invalid: str
    """Most runs of a side do not count, and this is why: there is no verdict. Otherwise empty."""


class Outcome(Enum):
    """What became of a gate."""

    PASSED = "passed"
    MISSED = "NOT PASSED"
    INVALID = "INVALID"
    """The load was the bottleneck, or missed while others used the machine: nothing can be said of the side."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One gate and one side."""

    side: int
    text: str
    outcome: Outcome


def rows(comparison: Comparison) -> list[Row]:
    """Return every metric that was measured of at least one side."""
    found = []
    for name, metric in comparison.scenario.metrics.items():
        if not any(name in run.figures for runs in comparison.runs for run in runs):
            continue
        a, b = (
            [run.figures[name] for run in runs if name in run.figures and not run.why_invalid(name, metric)]
            for runs in comparison.runs
        )
        why = next((why for runs in comparison.runs if (why := _why_invalid(name, metric, runs))), "")
        estimates = (None, None) if why else (estimate(a) if a else None, estimate(b) if b else None)
        if not metric.is_compared:
            verdict = Verdict.NONE
        else:
            verdict = Verdict.UNKNOWN if why else compare(*estimates, is_low_good=metric.is_low_good)
        found.append(Row(metric, name, (a, b), estimates, verdict, why))
    return found


def judged(comparison: Comparison) -> list[Judgement]:
    """Return the outcome of each gate for each side. A side of which a run failed has passed none."""
    return [
        _judged(comparison.scenario, gate, side, runs)
        for side, runs in enumerate(comparison.runs)
        for gate in comparison.scenario.gates
    ]


def caveats(comparison: Comparison) -> list[str]:
    """Say what spoils the whole comparison: other programs on the same cores, a load that was too slow, failures."""
    said = []
    by_side = [[share for run in runs for share in run.noise] for runs in comparison.runs]
    noise = [share for shares in by_side for share in shares]
    if noise and statistics.median(noise) > NOISY:
        said.append(
            "This machine was busy with other work: beside the measured programs others used"
            f" {statistics.median(noise):.0%} of the side's cores (median; {min(noise):.0%} to {max(noise):.0%})."
            " CPU times are higher than on a quiet machine, latencies and starts much longer; ratios suffer less."
        )
    if all(by_side):
        a, b = map(statistics.median, by_side)
        if abs(a - b) > _NOISE_APART:
            said.append(
                f"The sides did not meet the same: others used {a:.0%} of the cores in the runs of A, {b:.0%} in those"
                " of B (medians). A difference between them may be that of the machine."
            )
    every = [run for runs in comparison.runs for run in runs]
    if limited := Counter(part for run in every for part in run.limited):
        parts = ", ".join(f"{part or 'all'} in {count}" for part, count in limited.items())
        said.append(
            "The load, or this machine, was the bottleneck, and what was timed then is not counted:"
            f" {parts} of {len(every)} runs."
        )
    if failed := sum(run.is_failed for run in every):
        said.append(f"{failed} of {len(every)} runs failed; the notes of the runs say why.")
    return said


def _judged(scenario: Scenario, gate: Gate, side: int, runs: list[Run]) -> Judgement:
    metric = scenario.metrics[gate.figure]
    wanted = f"{metric.label}: at most {gate.limit:g} {metric.unit}"
    failed = sum(run.is_failed for run in runs)
    if failed:
        return Judgement(side, f"{wanted}; {failed} of {len(runs)} runs failed", Outcome.MISSED)
    values = [run.figures[gate.figure] for run in runs if gate.figure in run.figures]
    if not values:
        return Judgement(side, f"{wanted}; not measured", Outcome.MISSED)
    value = max(values) if gate.is_each else statistics.median(values)
    text = f"{wanted}; {'worst' if gate.is_each else 'median'} of {len(values)} runs {value:,.{metric.digits}f}"
    if why := _why_invalid(gate.figure, metric, runs):
        return Judgement(side, f"{text}; {why}", Outcome.INVALID)
    if value <= gate.limit:
        return Judgement(side, text, Outcome.PASSED)
    noise = statistics.median([share for run in runs for share in run.noise] or [0.0])
    if metric.is_timed and noise > NOISY:
        return Judgement(side, f"{text}; others used {noise:.0%} of the side's cores", Outcome.INVALID)
    return Judgement(side, text, Outcome.MISSED)


def _why_invalid(name: str, metric: Metric, runs: list[Run]) -> str:
    """Why a metric of these runs says nothing: the reason of the last of them, where most have one."""
    reasons = [why for run in runs if (why := run.why_invalid(name, metric))]
    return reasons[-1] if len(reasons) * 2 > len(runs) else ""
