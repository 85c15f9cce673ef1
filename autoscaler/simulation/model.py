"""Runs one revision's autoscaler over a load: `MultiScaler` decides, `plan_scale` bounds, a `Fleet` is the pods.

Nothing of the decisions is imitated here. Simulated are what surrounds them: activators and queue-proxies that report
each second, a PodAutoscaler that is reconciled when a decision is worth telling, and pods that take time to start.
"""

import random
from dataclasses import dataclass, field
from itertools import pairwise

from autoscaler.activity import next_activity
from autoscaler.decider import TICK_S
from autoscaler.multiscaler import MultiScaler, Outcome
from autoscaler.scale import ActivatorProbe, Situation, plan_scale
from autoscaler.settings import RevisionSettings
from autoscaler.simulation.fleet import Fleet
from autoscaler.simulation.load import Load
from proxies.wire.stat import Stat

__all__ = ["Run", "Sample", "Setting", "simulate"]

STEPS_PER_S = 10
_STEP_S = 1 / STEPS_PER_S
_KEY = ("default", "simulated")
_BEGIN_S = 1_000_000_000.0
"""Unix time of the first request: any will do."""
_LEAD_S = 4
"""Seconds without load before the first request, so that the first decision has been made."""
_SETTLE_S = 5.0
_TAIL_MAX_S = 1800.0
_PROGRESS_DEADLINE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is simulated."""

    name: str
    revision: RevisionSettings
    container_concurrency: int
    pod_start_s: tuple[float, float]
    """Shortest and longest time that a pod takes from being wanted to being ready."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One second."""

    time_s: float
    rps: float
    concurrency: float
    """Requests inside and waiting, averaged over the second."""
    waiting: float
    stable: float
    panic: float
    desired: int
    replicas: int
    ready: int
    panicking: bool
    excess_burst_capacity: int
    proxied: bool
    """Activators are in the path."""


@dataclass(slots=True)
class Run:
    """The outcome of one simulation."""

    setting: Setting
    samples: list[Sample] = field(default_factory=list)
    requests: float = 0.0
    unserved: float = 0.0
    """Requests that still waited at the end."""
    cold_starts: int = 0
    waits_s: dict[float, float] = field(default_factory=dict)
    """Requests by the seconds that they waited for a place, in ascending order."""

    @property
    def pods_max(self) -> int:
        """Most pods at once."""
        return max(sample.replicas for sample in self.samples)

    @property
    def pod_seconds(self) -> float:
        """What was paid for: each pod from being wanted to its end."""
        return float(sum(sample.replicas for sample in self.samples))

    @property
    def scale_changes(self) -> int:
        """How often the number of pods changed."""
        return sum(a.replicas != b.replicas for a, b in pairwise(self.samples))

    @property
    def panic_s(self) -> int:
        """Seconds in panic mode."""
        return sum(sample.panicking for sample in self.samples)

    @property
    def delayed(self) -> float:
        """Requests that waited at all."""
        return sum(count for wait_s, count in self.waits_s.items() if wait_s > 0)

    def wait_s(self, quantile: float) -> float:
        """The wait that this share of the requests did not exceed."""
        left = quantile * sum(self.waits_s.values())
        for wait_s, count in self.waits_s.items():
            left -= count
            if left <= 0:
                return wait_s
        return max(self.waits_s, default=0.0)


def simulate(load: Load, setting: Setting, *, seed: int = 1) -> Run:
    """Return what happens to `load` under `setting`. O(steps); the seed chooses the pods' starting times."""
    return _Simulation(load, setting, random.Random(seed)).run()


class _Simulation:
    def __init__(self, load: Load, setting: Setting, chance: random.Random) -> None:
        self._load = load
        self._revision = setting.revision
        self._result = Run(setting)
        shortest_s, longest_s = setting.pod_start_s
        self._fleet = Fleet(
            concurrency=setting.container_concurrency,
            step_s=_STEP_S,
            start_steps=lambda: round(chance.uniform(shortest_s, longest_s) * STEPS_PER_S),
            ready=setting.revision.min_scale,
        )
        self._step = -_LEAD_S * STEPS_PER_S
        self._scalers = MultiScaler(lambda _: self._fleet.ready(self._step))
        self._state = self._scalers.put(
            _KEY, setting.revision.decider, setting.revision.metric, self._now_s - TICK_S, phase=0
        )
        self._active = "True" if setting.revision.min_scale else "False"
        self._active_since_s = self._proxied_since_s = self._now_s - _TAIL_MAX_S
        self._is_proxied = True
        self._again_s: float | None = None
        self._was_poked = False
        self._second_concurrency = 0.0
        self._second_arrivals = 0.0

    @property
    def _now_s(self) -> float:
        return _BEGIN_S + self._step * _STEP_S

    def run(self) -> Run:
        end_s = self._load.span_s
        while self._goes_on(end_s):
            self._advance()
            self._step += 1
        fleet = self._fleet
        self._result.requests = fleet.arrived
        self._result.unserved = fleet.waiting
        self._result.cold_starts = fleet.cold_starts
        self._result.waits_s = {steps * _STEP_S: count / 1000 for steps, count in sorted(fleet.waits.items())}
        return self._result

    def _goes_on(self, end_s: float) -> bool:
        """Until the load is over and the pods are as few as they get."""
        time_s = self._step * _STEP_S
        is_settled = self._fleet.replicas <= self._revision.min_scale or not self._revision.enable_scale_to_zero
        return time_s < end_s or (time_s < end_s + _TAIL_MAX_S and not is_settled) or time_s < end_s + _SETTLE_S

    def _advance(self) -> None:
        offered = self._load.at(self._step * _STEP_S)
        arriving = offered.rps * _STEP_S
        if arriving and self._state.desired == 0:
            self._poke()
        concurrency = self._fleet.advance(self._step, arriving, offered.duration_s)
        self._second_concurrency += concurrency * _STEP_S
        self._second_arrivals += arriving
        if (self._step + 1) % STEPS_PER_S == 0:
            self._end_second(offered.rps)
        if self._again_s is not None and self._now_s >= self._again_s:
            self._reconcile()

    def _poke(self) -> None:
        """A request for a revision at zero: its activator tells the autoscaler at once, and counts it once."""
        self._second_arrivals -= 1
        outcome = self._scalers.record(_KEY, Stat("activator", 1.0, 0.0, 1.0), self._now_s)
        if outcome is not None:
            self._take(outcome)

    def _end_second(self, rps: float) -> None:
        concurrency, arrivals = self._second_concurrency, self._second_arrivals
        self._second_concurrency = self._second_arrivals = 0.0
        outcome = self._scalers.record(_KEY, Stat("pods", concurrency, 0.0, arrivals), self._now_s)
        if outcome is not None:
            self._take(outcome)
        second = (self._step + 1) // STEPS_PER_S
        if second % TICK_S == 0:
            for outcome in self._scalers.decide_phase(self._state.phase, self._now_s):
                self._take(outcome)
        if second > 0:
            self._result.samples.append(self._sample(second, rps, concurrency))

    def _take(self, outcome: Outcome) -> None:
        if outcome.is_worth_telling or self._again_s is not None:
            self._reconcile()

    def _reconcile(self) -> None:
        now_s = self._now_s
        self._again_s = None
        state = self._state
        plan = plan_scale(
            Situation(
                desired=state.desired,
                active=self._active,
                active_status_for_s=now_s - self._active_since_s,
                is_initialized=True,
                is_proxied=self._is_proxied,
                proxied_for_s=now_s - self._proxied_since_s if self._is_proxied else 0.0,
                activator=ActivatorProbe.ANSWERED,
            ),
            self._revision,
            _PROGRESS_DEADLINE_S,
        )
        if plan.applies and plan.scale >= 0:
            self._fleet.scale(plan.scale, self._step)
        self._set_mode(is_proxied=not (plan.scale > 0 and state.excess_burst_capacity >= 0))
        self._set_active(plan.scale)
        waits = self._active == "Unknown" or self._fleet.ready(self._step) != self._fleet.replicas
        if plan.again_after_s is not None:
            self._again_s = now_s + plan.again_after_s
        elif waits or (self._active == "False" and self._fleet.replicas):
            self._again_s = now_s + _STEP_S

    def _set_mode(self, *, is_proxied: bool) -> None:
        if is_proxied and not self._is_proxied:
            self._proxied_since_s = self._now_s
        self._is_proxied = is_proxied

    def _set_active(self, want: int) -> None:
        activity = next_activity(
            active=self._active,
            is_initialized=True,
            has_service=True,
            want=want,
            ready=self._fleet.ready(self._step),
            min_scale=self._revision.min_scale,
            initial_scale=self._revision.initial_scale,
        )
        if activity.active is not None and activity.active.status != self._active:
            self._active = activity.active.status
            self._active_since_s = self._now_s

    def _sample(self, second: int, rps: float, concurrency: float) -> Sample:
        state, last = self._state, self._state.last
        return Sample(
            time_s=float(second),
            rps=rps,
            concurrency=concurrency,
            waiting=self._fleet.waiting,
            stable=last.stable if last else 0.0,
            panic=last.panic if last else 0.0,
            desired=max(0, state.desired),
            replicas=self._fleet.replicas,
            ready=self._fleet.ready(self._step),
            panicking=bool(last and last.panicking),
            excess_burst_capacity=state.excess_burst_capacity,
            proxied=self._is_proxied,
        )
