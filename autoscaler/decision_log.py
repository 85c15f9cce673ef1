"""Why a revision has the scale that it has: its last decisions with everything that they rest on, and in words.

Theory of operation. A decision is packed into 41 bytes of a ring as it is made, which costs less than a microsecond
and leaves nothing for the garbage collector to look at: ten thousand revisions times sixty decisions are 25 MB and not
a million objects. Settings change seldom, so a row only says by its place which of them were in force. Words are found
when somebody asks, by going once more through the steps of the decider.

Pure: no clock, no I/O. The ring holds `KEPT` decisions, two minutes of them.
"""

import math
import struct
from dataclasses import asdict
from typing import Any, NamedTuple

from autoscaler.collector import MetricSpec
from autoscaler.decider import COVERAGE_MIN, DeciderSpec, Decision
from kube.timestamps import format_micro_time

__all__ = ["KEPT", "Change", "DecisionLog", "Entry", "explain"]

KEPT = 60

_ROW = struct.Struct("<dddfiiiB")
"""at_s, stable, panic, coverage, ready, desired, excess burst capacity, flags."""
_ROW_BYTES = _ROW.size
_pack_into = _ROW.pack_into
_PANICKING, _HELD, _POKED = 1, 2, 4
_INT32_MAX = (1 << 31) - 1


class _Settings(NamedTuple):
    """What was in force, from the decision of that number on."""

    first: int
    decider: DeciderSpec
    metric: MetricSpec


class Entry(NamedTuple):
    """One decision. Loads are in units of the metric, for the whole revision."""

    at_s: float
    """Unix seconds of the autoscaler's steady clock."""
    ready: int
    stable: float
    panic: float
    coverage: float
    desired: int
    excess_burst_capacity: int
    panicking: bool
    held: bool
    """More pods are kept than the load asks for, since too little of it was seen, or not for long enough."""
    poked: bool
    """Made at once, because a request waits for a revision at zero."""
    decider: DeciderSpec
    metric: MetricSpec


class Change(NamedTuple):
    """The last decision wants another scale than the one before."""

    before: int
    """-1: there was none."""
    entry: Entry
    why: str


class DecisionLog:
    """The last decisions of one revision."""

    __slots__ = ("_count", "_decider", "_rows", "_settings", "unknown_since_s")

    def __init__(self) -> None:
        self._rows = bytearray(KEPT * _ROW_BYTES)
        self._count = 0
        self._decider: DeciderSpec | None = None
        self._settings: list[_Settings] = []
        self.unknown_since_s: float | None = None
        """Since when nothing could be decided, because the load is not known; None while it is."""

    def __len__(self) -> int:
        return min(self._count, KEPT)

    def record(
        self, now_s: float, ready: int, decider: DeciderSpec, metric: MetricSpec, decision: Decision, *, poked: bool
    ) -> None:
        """Keep a decision. O(1)."""
        if decider is not self._decider:
            self._note_settings(decider, metric)
        desired, excess, panicking, stable, panic, coverage, is_held = decision
        flags = panicking | is_held << 1 | poked << 2
        at = self._count % KEPT * _ROW_BYTES
        _pack_into(self._rows, at, now_s, stable, panic, coverage, ready, desired, excess, flags)
        self._count += 1
        self.unknown_since_s = None

    def note_unknown(self, now_s: float) -> None:
        """Nothing was decided, because the load is not known."""
        if self.unknown_since_s is None:
            self.unknown_since_s = now_s

    def latest_change(self) -> Change | None:
        """The last decision, if it wants another scale than the one before."""
        if self._count == 0:
            return None
        entry = self._entry(self._count - 1)
        before = self._entry(self._count - 2) if self._count > 1 else None
        if before is not None and before.desired == entry.desired:
            return None
        return Change(-1 if before is None else before.desired, entry, explain(entry, before))

    def entries(self) -> list[Entry]:
        """The decisions that are kept, oldest first."""
        return [self._entry(number) for number in range(self._count - len(self), self._count)]

    def rendered(self) -> dict[str, Any]:
        """All of it, as it is written as JSON: decisions newest first, and the settings that they refer to by index."""
        entries = self.entries()
        used = {id(entry.decider) for entry in entries}
        settings = [each for each in self._settings if id(each.decider) in used]
        places = {id(each.decider): place for place, each in enumerate(settings)}
        decisions = [
            {
                "at": format_micro_time(entry.at_s),
                "why": explain(entry, previous),
                "desired": entry.desired,
                "ready": entry.ready,
                "stable": entry.stable,
                "panic": entry.panic,
                "coverage": round(entry.coverage, 3),
                "excess_burst_capacity": entry.excess_burst_capacity,
                "panicking": entry.panicking,
                "held": entry.held,
                "poked": entry.poked,
                "settings": places[id(entry.decider)],
            }
            for entry, previous in zip(entries, [None, *entries], strict=False)
        ]
        since = self.unknown_since_s
        return {
            "load_unknown_since": None if since is None else format_micro_time(since),
            "decisions": decisions[::-1],
            "settings": [{**asdict(each.decider), **asdict(each.metric)} for each in settings],
        }

    def _note_settings(self, decider: DeciderSpec, metric: MetricSpec) -> None:
        self._decider = decider
        settings = self._settings
        if settings and (settings[-1].decider, settings[-1].metric) == (decider, metric):
            return
        settings.append(_Settings(self._count, decider, metric))
        # The oldest row that stays after this decision decides which settings are still referred to.
        while len(settings) > 1 and settings[1].first <= self._count + 1 - KEPT:
            del settings[0]

    def _entry(self, number: int) -> Entry:
        at_s, stable, panic, coverage, ready, desired, excess, flags = _ROW.unpack_from(
            self._rows, number % KEPT * _ROW_BYTES
        )
        settings = next(each for each in reversed(self._settings) if each.first <= number)
        return Entry(
            at_s,
            ready,
            stable,
            panic,
            coverage,
            desired,
            excess,
            bool(flags & _PANICKING),
            bool(flags & _HELD),
            bool(flags & _POKED),
            settings.decider,
            settings.metric,
        )


def explain(entry: Entry, before: Entry | None) -> str:
    """Say which rule made `desired` what it is. `before`: the decision before it, if it is known."""
    spec = entry.decider
    at_least_one = max(1, entry.ready)
    in_stable = _Demand.of(entry.stable, at_least_one, spec)
    in_panic = _Demand.of(entry.panic, at_least_one, spec)
    asked = max(in_stable.allowed, in_panic.allowed) if entry.panicking else in_stable.allowed
    if entry.held and entry.coverage >= COVERAGE_MIN:
        return f"held: not watched for a whole stable window of {_figure(spec.stable_window_s)} s yet"
    if entry.held:
        return f"held: only {entry.coverage:.0%} of the load was seen, to shrink takes {COVERAGE_MIN:.0%}"
    if entry.panicking:
        if entry.desired > asked:
            return f"panic: keeps the {_pods(entry.desired)} that were asked for since it began"
        if in_panic.allowed >= in_stable.allowed:
            return _panic_words(entry, at_least_one, in_panic)
        return f"panic: {_stable_words(entry, in_stable)}"
    if entry.desired > asked:
        return f"scale-down delay: {_pods(entry.desired)} were wanted in the last {_figure(spec.scale_down_delay_s)} s"
    words = _stable_words(entry, in_stable)
    return f"panic ended: {words}" if before is not None and before.panicking else words


class _Demand(NamedTuple):
    """Pods for a load: what it takes, what the rules allow, and the rule that made the difference."""

    wanted: int
    allowed: int
    rule: str

    @classmethod
    def of(cls, load: float, at_least_one: int, spec: DeciderSpec) -> "_Demand":
        wanted = math.ceil(min(load / spec.target_value, _INT32_MAX))
        largest = math.ceil(min(spec.max_scale_up_rate * at_least_one, _INT32_MAX))
        smallest = math.floor(at_least_one / spec.max_scale_down_rate) if spec.reachable else 0
        allowed = min(max(wanted, smallest), largest)
        if spec.activation_scale > 1 and wanted > 0 and spec.activation_scale > allowed:
            return cls(wanted, spec.activation_scale, f"activation-scale makes it {spec.activation_scale}")
        if allowed < wanted:
            return cls(wanted, allowed, f"max-scale-up-rate {_figure(spec.max_scale_up_rate)} allows {allowed}")
        if allowed > wanted:
            return cls(wanted, allowed, f"max-scale-down-rate {_figure(spec.max_scale_down_rate)} keeps {allowed}")
        return cls(wanted, allowed, "")


def _panic_words(entry: Entry, at_least_one: int, demand: _Demand) -> str:
    spec = entry.decider
    average = f"{_figure(entry.metric.panic_window_s)} s average {_figure(entry.panic)}"
    capacity = at_least_one * spec.target_value
    if entry.panic > spec.panic_threshold * capacity:
        words = f"panic: {average} over {spec.panic_threshold:.1f}x capacity {_figure(capacity)}"
    else:
        words = f"panic: {average} at target {_figure(spec.target_value)} takes {_pods(demand.wanted)}"
    return f"{words}; {demand.rule}" if demand.rule else words


def _stable_words(entry: Entry, demand: _Demand) -> str:
    window = f"{_figure(entry.metric.stable_window_s)} s"
    if entry.stable <= 0:
        words = f"no load in {window}"
    else:
        target = _figure(entry.decider.target_value)
        words = f"{window} average {_figure(entry.stable)} at target {target} takes {_pods(demand.wanted)}"
    return f"{words}; {demand.rule}" if demand.rule else words


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _figure(value: float) -> str:
    """A number for people: three digits below one, one decimal above, none that says nothing."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}".removesuffix(".0")
