"""What is asked and what one run gives. Plain data."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.lab.compare.sides import Side

__all__ = ["Gate", "Metric", "Run", "Scale", "Scenario"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of a run."""

    label: str
    unit: str
    is_low_good: bool = True
    digits: int = 1
    is_timed: bool = False
    """The load timed it: worth nothing in a run in which the load had no time left."""


@dataclass(slots=True)
class Run:
    """What one run of one side gave."""

    figures: dict[str, float] = field(default_factory=dict)
    """By the names of the scenario's metrics; what could not be measured is missing."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of single requests or phases, by what they are of."""
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """(seconds since the load began, value), by what it is of."""
    load_core_ratio: float = 0.0
    """How much of its core the load used; 0 where that was not measured."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the figures has to know of this run."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How long one run takes."""

    seconds: float = 5.0
    """Of load."""
    cycles: int = 10
    """Cold starts of a run."""
    services: int = 25
    """That start from zero together."""
    users: int = 50
    rate: int = 1000


@dataclass(frozen=True, slots=True)
class Gate:
    """A line that each side passes or does not."""

    figure: str
    limit: float

    def is_passed(self, value: float) -> bool:
        """Whether a figure keeps to it."""
        return value <= self.limit


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
    """What a side may be: `proxy` (nginx and the like), `components`."""
    gates: tuple[Gate, ...] = ()
