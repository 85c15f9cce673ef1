"""The figures for people and for programs."""

from collections.abc import Mapping
from typing import Any, Final

from loadtests.lab.queue_proxy.figures import KINDS, LOAD_CORE_RATIO_MAX, Check, Spread
from loadtests.lab.queue_proxy.scenarios import Scenario

__all__ = ["as_json", "text"]

_NOISE_RATIO_MAX: Final = 0.05
_NAME_CHARS: Final = 12

Measured = Mapping[str, Mapping[str, Spread]]
"""Per proxy, per figure."""


def text(scenario: Scenario, measured: Measured, checks: list[Check]) -> str:
    """One scenario as lines: a row for each proxy, then one for each budget."""
    lines = [f"{scenario.name}: {scenario.what} ({scenario.method})"]
    for name, figures in measured.items():
        shown = (_figure(key, spread, figures) for key, spread in figures.items() if not key.endswith("_ratio"))
        if len(name) > _NAME_CHARS:
            lines.append(f"  {name}")
        column = "" if len(name) > _NAME_CHARS else name
        lines.append(f"  {column:{_NAME_CHARS}}  {'; '.join(shown)}{_caveats(figures)}")
    lines += [f"  {verdict(check)}" for check in checks]
    return "\n".join(lines)


def verdict(check: Check) -> str:
    """One budget as a line."""
    budget = check.budget
    digits = 2 if budget.rival else KINDS[budget.figure].digits
    value = "not measured" if check.value is None else f"{check.value:.{digits}f} {budget.unit}".rstrip()
    goal = "" if budget.goal is None else f", goal {budget.goal:g}"
    limit = "" if budget.limit is None else f" (budget {budget.limit:g}{goal})"
    return f"{check.verdict.value:8} {budget.label}: {value}{limit}"


def as_json(scenario: Scenario, measured: Measured, checks: list[Check]) -> dict[str, Any]:
    """One scenario as data."""
    return {
        "scenario": scenario.name,
        "what": scenario.what,
        "method": scenario.method,
        "proxies": {
            name: {
                key: {"median": spread.median, "min": spread.low, "max": spread.high} for key, spread in figures.items()
            }
            for name, figures in measured.items()
        },
        "budgets": [
            {
                "figure": check.budget.label,
                "unit": check.budget.unit,
                "value": check.value,
                "budget": check.budget.limit,
                "goal": check.budget.goal,
                "met": check.is_met,
                "verdict": check.verdict.value,
            }
            for check in checks
        ],
    }


def _figure(key: str, spread: Spread, figures: Mapping[str, Spread]) -> str:
    kind = KINDS[key]
    shown = f"{kind.label} {spread.median:.{kind.digits}f}{' ' if kind.unit[:1].isalpha() else ''}{kind.unit}"
    if spread.low != spread.high:
        shown += f" ({spread.low:.{kind.digits}f}-{spread.high:.{kind.digits}f})"
    load_core = figures.get("load_core_ratio")
    is_worthless = kind.is_latency and load_core is not None and load_core.median > LOAD_CORE_RATIO_MAX
    return f"{shown} [invalid]" if is_worthless else shown


def _caveats(figures: Mapping[str, Spread]) -> str:
    caveats = ""
    if (load_core := figures.get("load_core_ratio")) is not None:
        caveats += f"; load's core {load_core.median:.0%}"
    if (noise := figures.get("noise_ratio")) is not None and noise.median > _NOISE_RATIO_MAX:
        caveats += f"; NOISY: others used {noise.median:.0%} of the proxy's core"
    return caveats
