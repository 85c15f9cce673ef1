"""What is asked and what one run gives. Plain data."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtests.lab.compare.sides import Side

__all__ = ["LATE_MS_MAX", "NOISY", "PHASE", "SATURATED", "STEPS_MAX", "Gate", "Metric", "Run", "Scale", "Scenario"]

SATURATED: Final = 0.95
"""Beyond this use of its core the load waits for itself, and what it times is not the side's."""
NOISY: Final = 0.2
"""When what has nothing to do with a run uses more of the side's cores, times are as much its doing as the side's."""
PHASE: Final = "phase: "
"""How the samples of phases of a whole are called."""
STEPS_MAX: Final = 4
"""Of a ramp."""
LATE_MS_MAX: Final = 5.0
"""When the load's own delay (95th percentile) is longer, what it times is as much its own as the side's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of a run."""

    label: str
    unit: str
    is_low_good: bool = True
    digits: int = 1
    is_timed: bool = False
    """The load timed it: worth nothing in a run in which the load had no time left."""
    is_compared: bool = True
    """False for what says something about the load and not about a side: no verdict, no picture."""
    picture: str = ""
    """In which picture it is a row; empty: in one of its own."""
    row: str = ""
    """What it is called there."""


@dataclass(slots=True)
class Run:
    """What one run of one side gave."""

    figures: dict[str, float] = field(default_factory=dict)
    """By the names of the scenario's metrics; what could not be measured is missing."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of single requests or phases, by what they are of: `part: what`, or `what` alone."""
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """(seconds since the load began, value), by what it is of: `name, unit`."""
    moments: list[tuple[str, float]] = field(default_factory=list)
    """What happened when, on the time of `series`."""
    limited: dict[str, str] = field(default_factory=dict)
    """Why timed figures are worth nothing, by the first word of their names; the empty word stands for all."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the figures has to know of this run."""
    noise: list[float] = field(default_factory=list)
    """How much of the side's cores what has nothing to do with the run used, in each of its parts; 0 to 1."""
    is_failed: bool = False
    """It did not come to its end; the notes say why."""

    def limit_busy(self, part: str, load_core_ratio: float) -> None:
        """Mark what a load in a closed loop timed as worthless where its core had no time left."""
        if load_core_ratio > SATURATED:
            self.limited[part] = f"the load's core was {load_core_ratio:.0%} busy"

    def limit_late(self, part: str, late_ms: float) -> None:
        """Mark what constant arrivals timed as worthless where they came late, as told by the 95th percentile."""
        if late_ms > LATE_MS_MAX:
            self.limited[part] = f"the load sent {late_ms:.0f} ms too late (95th percentile)"

    def why_invalid(self, name: str, metric: Metric) -> str:
        """Why the figure of this run says nothing; empty when it does."""
        return self.why_limited(name.partition(".")[0]) if metric.is_timed else ""

    def why_limited(self, part: str) -> str:
        """Why what the load timed in a part of the run says nothing; empty when it does."""
        return self.limited.get("") or self.limited.get(part, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How long one run takes. Each scenario has defaults of its own."""

    runs: int = 10
    """Of each side."""
    seconds: float = 3.0
    """Of load."""
    cycles: int = 10
    """Cold starts of a run."""
    services: int = 25
    """That start from zero together."""
    users: int = 50
    rates: tuple[int, ...] = (1000,)
    """Arrivals a second; several: one step after the other, `seconds` each."""

    def in_words(self, uses: tuple[str, ...]) -> str:
        """What one run has of what counts."""
        words = {
            "seconds": f"{self.seconds:g} s of load" + (" in each step" if len(self.rates) > 1 else ""),
            "rates": f"{', '.join(f'{rate:,}' for rate in self.rates)} arrivals a second",
            "cycles": f"{self.cycles} cold starts",
            "services": f"{self.services} services",
            "users": f"{self.users} users",
        }
        return "; ".join(words[name] for name in uses)


@dataclass(frozen=True, slots=True)
class Gate:
    """A line that each side passes or does not."""

    figure: str
    limit: float
    is_each: bool = False
    """Every single run has to keep to it; otherwise their median."""


RunOnce = Callable[[Side, Scale, Path], Awaitable[Run]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One question."""

    name: str
    what: str
    method: str
    """In words, for who reads the report."""
    metrics: Mapping[str, Metric]
    run: RunOnce
    takes: tuple[str, ...]
    """What a side may be: `proxy` (a reference in the place of queue-proxy), `components`."""
    uses: tuple[str, ...]
    """The fields of `Scale` that count, besides `runs`."""
    gates: tuple[Gate, ...] = ()
    scale: Scale = field(default_factory=Scale)
