"""All revisions of this autoscaler: their windows, their deciders, and when each is decided.

One ticker drives everything. The two seconds between decisions of a revision are cut into `PHASES`; a revision belongs
to the phase in which it was made, and `decide_phase` decides the revisions of one phase. So ten thousand revisions cost
no task or timer each, and never block the loop for more than one phase's share. A revision at zero for which a stat
arrives does not wait for its phase: `record` decides at once (a *poke*), since a request is being held.

Pure: no clock, no tasks, no logs. Whoever calls learns from the `Outcome` what to log and which owner to tell. Source:
knative/serving `pkg/autoscaler/scaling/multiscaler.go`; spec autoscaler.md 6; golden sets `multiscaler` and `pipeline`.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from autoscaler.collector import Collection, MetricSpec
from autoscaler.decider import TICK_S, Decider, DeciderSpec, Decision
from autoscaler.decision_log import DecisionLog
from autoscaler.early_stats import EarlyStats
from kube.autoscaling.metric_url import MetricUrl
from proxies.wire.stat import Stat

__all__ = [
    "PHASES",
    "PHASE_S",
    "MultiScaler",
    "Outcome",
    "Revision",
    "RevisionKey",
    "initial_excess_burst_capacity",
    "is_worth_telling",
]

RevisionKey: TypeAlias = tuple[str, str]
"""(namespace, name) of a Revision, which its PodAutoscaler, Metric and ServerlessService share."""

PHASE_S = 0.01
PHASES = round(TICK_S / PHASE_S)
_PHASE_SLACK = 8
"""Revisions beyond its share that a phase takes before later ones go to the next phase."""
_FORWARDED_WITHIN_S = 60.0
"""A forwarder drops a stat after thirty tries, which take 45 s at most; what seems older has another clock's time."""
_INT32_MAX = (1 << 31) - 1
UNKNOWN_SCALE = -1


class Revision:
    """One revision's state. `desired` is -1 until the first decision."""

    __slots__ = (
        "collection",
        "decided_s",
        "decider",
        "decisions",
        "desired",
        "excess_burst_capacity",
        "first_due_s",
        "key",
        "last",
        "metric_url",
        "phase",
        "poked_s",
    )

    def __init__(self, key: RevisionKey, decider: Decider, collection: Collection, first_due_s: float) -> None:
        self.key = key
        self.decider = decider
        self.collection = collection
        self.desired = UNKNOWN_SCALE
        self.excess_burst_capacity = initial_excess_burst_capacity(decider.spec)
        self.last: Decision | None = None
        self.decisions = DecisionLog()
        self.metric_url: MetricUrl | None = None
        """Where the gauge is that it scales by, if it does."""
        self.first_due_s = first_due_s
        self.phase = 0
        self.decided_s: float | None = None
        """When `desired` last changed."""
        self.poked_s: float | None = None
        """When the stat arrived that made `desired` change, if it was a poke."""


class Outcome(NamedTuple):
    """One decision: whether the owner is to be told, and whether panic began (True), ended (False) or neither."""

    revision: Revision
    decision: Decision
    is_worth_telling: bool
    panic_became: bool | None


class MultiScaler:
    """The revisions by key. `ready_pods(key)` counts a revision's ready pods, 0 when there are none.

    `is_strict`: an autoscaler that has just started takes a single pod away at the first sight of no load, drops stats
    for revisions that it does not know yet, and lets none that it never decided skip its phase, as the original does.
    `on_failure(key, error)` is told of a decision that failed, which is a bug of ours: it changes nothing, and the
    others are made.
    """

    def __init__(
        self,
        ready_pods: Callable[[RevisionKey], int],
        *,
        is_strict: bool = False,
        on_failure: Callable[[RevisionKey, Exception], None] | None = None,
    ) -> None:
        self._ready_pods = ready_pods
        self._is_strict = is_strict
        self._on_failure = on_failure
        self._revisions: dict[RevisionKey, Revision] = {}
        self._early = EarlyStats()
        self._phases: list[dict[RevisionKey, Revision]] = [{} for _ in range(PHASES)]

    def __iter__(self) -> Iterator[Revision]:
        return iter(self._revisions.values())

    def __len__(self) -> int:
        return len(self._revisions)

    def get(self, key: RevisionKey) -> Revision | None:
        """The revision's state, or None."""
        return self._revisions.get(key)

    def put(
        self,
        key: RevisionKey,
        spec: DeciderSpec,
        metric: MetricSpec,
        now_s: float,
        phase: int,
        metric_url: MetricUrl | None = None,
    ) -> Revision:
        """Take over a revision's settings; make its state when it is new, to be decided first one tick from now.

        `phase` is the one that was decided last.
        """
        revision = self._revisions.get(key)
        if revision is not None:
            revision.decider.spec = spec
            revision.collection.update(now_s, metric)
            revision.metric_url = metric_url
            return revision
        decider = Decider(spec, now_s=now_s, ready_pods=self._ready_pods(key), keeps_one=not self._is_strict)
        collection = Collection(metric)
        revision = Revision(key, decider, collection, now_s + TICK_S - PHASE_S)
        self._revisions[key] = revision
        revision.metric_url = metric_url
        revision.phase = self._phase_with_room(phase)
        self._phases[revision.phase][key] = revision
        for stat, arrived_s in self._early.take(key, now_s):
            collection.record(_sent_s(stat, arrived_s), stat)
        return revision

    def delete(self, key: RevisionKey) -> None:
        """Forget a revision; unknown keys are fine."""
        revision = self._revisions.pop(key, None)
        if revision is not None:
            del self._phases[revision.phase][key]

    def record(self, key: RevisionKey, stat: Stat, now_s: float) -> Outcome | None:
        """Take a stat from outside; the outcome when it made for an immediate decision."""
        revision = self._revisions.get(key)
        if revision is None:
            if not self._is_strict:
                self._early.keep(key, stat, now_s)
            return None
        revision.collection.record(_sent_s(stat, now_s), stat)
        if stat.average_concurrent_requests != 0 and self._is_at_zero(revision):
            return self._decide_or_tell(revision, now_s, poked_s=now_s)
        return None

    def decide_phase(self, phase: int, now_s: float) -> list[Outcome]:
        """Decide the revisions of one phase. O(revisions / PHASES)."""
        outcomes: list[Outcome] = []
        for revision in self._phases[phase % PHASES].values():
            if now_s >= revision.first_due_s:
                outcome = self._decide_or_tell(revision, now_s)
                if outcome is not None:
                    outcomes.append(outcome)
        return outcomes

    def decide(self, revision: Revision, now_s: float, *, poked_s: float | None = None) -> Outcome | None:
        """Decide one revision; None when its load is not known, which changes nothing."""
        decider = revision.decider
        load = revision.collection.load(decider.spec.scaling_metric, now_s)
        if load is None:
            revision.decisions.note_unknown(now_s)
            return None
        was_panicking = decider.is_panicking
        ready = self._ready_pods(revision.key)
        decision = decider.decide(now_s, ready, *load)
        metric = revision.collection.spec
        revision.decisions.record(now_s, ready, decider.spec, metric, decision, poked=poked_s is not None)
        telling = is_worth_telling(
            revision.desired, revision.excess_burst_capacity, decision.desired, decision.excess_burst_capacity
        )
        if revision.desired != decision.desired:
            revision.desired = decision.desired
            revision.decided_s = now_s
            revision.poked_s = poked_s
        revision.excess_burst_capacity = decision.excess_burst_capacity
        revision.last = decision
        panic_became = decision.panicking if decision.panicking != was_panicking else None
        return Outcome(revision, decision, telling, panic_became)

    def count_in_phase(self, phase: int) -> int:
        """How many revisions belong to that phase."""
        return len(self._phases[phase % PHASES])

    def in_phase(self, phase: int) -> list[Revision]:
        """The revisions of one phase."""
        return list(self._phases[phase % PHASES].values())

    def _is_at_zero(self, revision: Revision) -> bool:
        """Whether requests for it must be waiting."""
        if revision.desired == UNKNOWN_SCALE and not self._is_strict:
            return self._ready_pods(revision.key) == 0
        return revision.desired == 0

    def _decide_or_tell(self, revision: Revision, now_s: float, *, poked_s: float | None = None) -> Outcome | None:
        try:
            return self.decide(revision, now_s, poked_s=poked_s)
        except Exception as error:
            if self._on_failure is None:
                raise
            self._on_failure(revision.key, error)
            return None

    def _phase_with_room(self, phase: int) -> int:
        """The phase itself, or the next one that is not overfull when very many revisions appear at once."""
        share = len(self._revisions) / PHASES + _PHASE_SLACK
        for candidate in range(phase, phase + PHASES):
            if len(self._phases[candidate % PHASES]) < share:
                return candidate % PHASES
        raise AssertionError("some phase always holds no more than its share")


def _sent_s(stat: Stat, arrived_s: float) -> float:
    """The second that a stat is about.

    A forwarded stat carries the second of its arrival, by the clock of another replica. One from the future would make
    all that follows look old, and load that seems older than any forwarder keeps it is load all the same.
    """
    return stat.timestamp if arrived_s - _FORWARDED_WITHIN_S <= stat.timestamp <= arrived_s else arrived_s


def initial_excess_burst_capacity(spec: DeciderSpec) -> int:
    """What is assumed before the first decision: the initial scale is ready and idle."""
    burst = spec.target_burst_capacity
    if burst in (-1, 0):
        return int(burst)
    room = spec.initial_scale * spec.total_value - burst
    return math.trunc(max(-_INT32_MAX, min(room, _INT32_MAX)))


def is_worth_telling(desired: int, excess: int, next_desired: int, next_excess: int) -> bool:
    """Whether the reconciler must run: another scale, or another sign of the excess burst capacity (0 is positive)."""
    return desired != next_desired or (excess >= 0) != (next_excess >= 0)
