"""Medians, budgets and verdicts. Plain arithmetic: no clock, no process."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["KINDS", "OURS", "Budget", "Check", "Kind", "Spread", "Verdict", "judge", "quantile", "spreads"]

OURS: Final = "queue-proxy"
"""Whose budgets they are."""

LOAD_CORE_RATIO_MAX: Final = 0.95
"""Beyond this use of its core the load itself waits, and what it times is no longer the proxy's latency."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What one figure is called and how it is shown."""

    label: str
    unit: str
    digits: int = 1
    is_latency: bool = False
    """Timed by the load, so worth nothing when the load's core is saturated."""


KINDS: Final[Mapping[str, Kind]] = {
    "cpu_us": Kind("CPU per request", "us"),
    "event_cpu_us": Kind("CPU per event", "us"),
    "message_cpu_us": Kind("CPU per message", "us"),
    "plain_cpu_us": Kind("CPU per request in plaintext", "us"),
    "tls_cpu_us": Kind("CPU per request in TLS", "us"),
    "tls_ratio": Kind("CPU in TLS, multiple of plaintext", "x", 2),
    "full_cpu_us": Kind("CPU per connection with a full handshake", "us", 0),
    "resumed_cpu_us": Kind("CPU per connection that is resumed", "us", 0),
    "not_resumed": Kind("not resumed", "connections", 0),
    "idle_core_percent": Kind("idle CPU", "% of a core", 3),
    "wakeups": Kind("wake-ups", "/s"),
    "rate": Kind("throughput", "/s", 0),
    "p50_ms": Kind("p50", "ms", 2, is_latency=True),
    "p95_ms": Kind("p95", "ms", 2, is_latency=True),
    "p99_ms": Kind("p99", "ms", 2, is_latency=True),
    "max_ms": Kind("max", "ms", 1, is_latency=True),
    "direct_p95_ms": Kind("p95 without proxy", "ms", 2, is_latency=True),
    "start_ms": Kind("exec to accepting port", "ms"),
    "connect_ms": Kind("last connection open after", "ms", 0),
    "answered_ms": Kind("slowest answer", "ms", 0),
    "mean_ms": Kind("mean", "ms", 2, is_latency=True),
    "rss_mb": Kind("RSS", "MB"),
    "kib_each": Kind("memory of a connection", "KiB"),
    "upload_growth_mib": Kind("RSS growth, upload", "MiB", 2),
    "download_growth_mib": Kind("RSS growth, download", "MiB", 2),
    "upload_rate": Kind("upload", "MB/s", 0),
    "download_rate": Kind("download", "MB/s", 0),
    "refused": Kind("refused, reset or failed", "connections", 0),
    "errors": Kind("errors", "requests", 0),
    "load_core_ratio": Kind("load's core in use", "", 2),
    "noise_ratio": Kind("proxy's core used by others", "", 2),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def spreads(rounds: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Return each figure's spread over `rounds`, which all have the same figures."""
    return {key: Spread.of([round_[key] for round_ in rounds]) for key in rounds[0]}


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of `ordered` values that is no smaller than `share` (0 to 1) of them; at least one value."""
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[min(len(ordered), max(1, rank)) - 1]


class Verdict(Enum):
    """What became of a budget."""

    MET = "met"
    MISSED = "MISSED"
    INVALID = "INVALID"
    """The load was the bottleneck: the figure says nothing about the proxy."""
    UNKNOWN = "no rival"
    """The budget is a ratio, and its rival was not measured."""
    REPORTED = "-"
    """There is no limit."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a figure of queue-proxy may be."""

    figure: str
    limit: float | None
    """None: reported only."""
    rival: str = ""
    """The figure counts as a multiple of this proxy's in the same run; empty: by itself."""
    goal: float | None = None
    """Where we want to be."""

    @property
    def label(self) -> str:
        """What is held against the limit."""
        kind = KINDS[self.figure]
        return f"{kind.label}, multiple of {self.rival}" if self.rival else kind.label

    @property
    def unit(self) -> str:
        """Of the limit and the value."""
        return "x" if self.rival else KINDS[self.figure].unit


@dataclass(frozen=True, slots=True)
class Check:
    """A budget held against what was measured."""

    budget: Budget
    value: float | None
    verdict: Verdict

    @property
    def is_met(self) -> bool:
        """Met, or nothing that could be missed."""
        return self.verdict in (Verdict.MET, Verdict.REPORTED)


def judge(budget: Budget, measured: Mapping[str, Mapping[str, Spread]]) -> Check:
    """Hold `budget` against `measured`: per proxy, per figure."""
    ours = measured[OURS]
    rival = measured.get(budget.rival)
    if budget.rival and rival is None:
        return Check(budget, None, Verdict.UNKNOWN)
    value = ours[budget.figure].median
    if rival is not None:
        value /= rival[budget.figure].median
    if KINDS[budget.figure].is_latency and ours["load_core_ratio"].median > LOAD_CORE_RATIO_MAX:
        return Check(budget, value, Verdict.INVALID)
    if budget.limit is None:
        return Check(budget, value, Verdict.REPORTED)
    return Check(budget, value, Verdict.MET if value <= budget.limit else Verdict.MISSED)
