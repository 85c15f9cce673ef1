"""The scaling decision of one revision: observed load in, desired pods and excess burst capacity out.

Theory of operation. Each decision divides two averages, over the stable and over the panic window, by what one pod
should carry. The stable one rules, within the limits of how fast the revision may grow and shrink. When the panic one
asks for `panic_threshold` times the pods that are ready, the revision panics: the larger of both counts and the number
never falls, until nothing asked for that much during one whole stable window. While less than `COVERAGE_MIN` of the
load was seen, the number does not fall either: what was not seen is unknown, not zero. Nor does it fall below the pods
that were there when the decider was made, until it has watched for one stable window.

Pure state: two numbers of panic, the last outcome and, with a scale-down delay, the recent maximum. Bounds, initial
scale and scaling to zero are not its business (`autoscaler.scale`). Source: knative/serving
`pkg/autoscaler/scaling/autoscaler.go`; spec autoscaler.md 5; golden set `decider`; decision record 0005 (coverage).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from autoscaler.windows import MaxWindow

__all__ = ["COVERAGE_MIN", "TICK_S", "Decider", "DeciderSpec", "Decision"]

TICK_S = 2
"""Decisions are this far apart; also the granularity of the scale-down delay. Not configurable, as in the original."""

COVERAGE_MIN = 0.5
"""The share of the load that must have been seen for a revision to shrink."""

_INT32_MAX = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeciderSpec:
    """What a revision's settings come to (`autoscaler.settings.decider_spec`). Loads are in units of the metric."""

    scaling_metric: str
    """`rps`, `url` (a gauge of the app's own), or anything else for concurrency."""
    target_value: float
    """Load that one pod aims at; at least 0.01."""
    total_value: float
    """Load that one pod can take."""
    target_burst_capacity: float
    """Load that the ready pods shall be able to take on top. 0: none, -1: unlimited."""
    activator_capacity: float
    """Load that one activator can take."""
    panic_threshold: float
    """Ratio of wanted to ready pods from which the revision panics."""
    stable_window_s: float
    scale_down_delay_s: float
    """A smaller scale counts only when it was wanted for this long. 0: at once."""
    max_scale_up_rate: float
    """Largest ratio of desired to ready pods."""
    max_scale_down_rate: float
    """Largest ratio of ready to desired pods."""
    initial_scale: int
    reachable: bool
    """False: no route leads here; the revision may shrink as fast as it likes."""
    activation_scale: int
    """Pods to begin with once there is any load; from 2 on."""


class Decision(NamedTuple):
    """The outcome of one decision, with what it rests on."""

    desired: int
    excess_burst_capacity: int
    """Room for more load in the ready pods; negative: activators must stay in the path."""
    panicking: bool
    stable: float
    """Load averaged over the stable window."""
    panic: float
    """Load averaged over the panic window."""
    coverage: float = 1.0
    """The share of the stable window's load that was seen, from 0 to 1."""
    is_held: bool = False
    """`desired` would be less if more had been seen, or for longer."""


class Decider:
    """Decides for one revision. `spec` may be replaced at any time; panic and the delay's maximum go on.

    `ready_pods` at creation, None when they cannot be counted. A decider that is made with several pods ready starts in
    panic: it has no history, and must not take the pods of a revision that an earlier autoscaler had scaled up.
    `keeps_one`: nor a single one, as the original does.
    """

    __slots__ = ("_delay", "_desired", "_found", "_made_s", "_panic_since_s", "panic_floor", "spec")

    def __init__(self, spec: DeciderSpec, *, now_s: float, ready_pods: int | None, keeps_one: bool = False) -> None:
        self.spec = spec
        self.panic_floor = ready_pods or 0
        """Pods below which a panicking revision does not go."""
        self._desired = self.panic_floor
        self._made_s = now_s
        self._found = self.panic_floor if keeps_one else 0
        self._panic_since_s: float | None = now_s if self.panic_floor > 1 else None
        # Made once: a delay that is switched on, off or changed later has no effect (spec 13, pitfall 24).
        self._delay = MaxWindow(spec.scale_down_delay_s, TICK_S) if spec.scale_down_delay_s > 0 else None

    @property
    def is_panicking(self) -> bool:
        """Whether the last decision left the revision in panic mode."""
        return self._panic_since_s is not None

    def decide(self, now_s: float, ready_pods: int, stable: float, panic: float, coverage: float = 1.0) -> Decision:
        """Decide at `now_s` (Unix seconds) from the ready pods and the load over both windows. O(1).

        `coverage`: the share of the load that was seen, from 0 to 1.
        """
        spec = self.spec
        at_least_one = max(1, ready_pods)
        largest = math.ceil(min(spec.max_scale_up_rate * at_least_one, _INT32_MAX))
        smallest = math.floor(at_least_one / spec.max_scale_down_rate) if spec.reachable else 0
        stable_pods = _pods(stable, spec.target_value)
        panic_pods = _pods(panic, spec.target_value)
        desired = min(max(stable_pods, smallest), largest)
        desired_in_panic = min(max(panic_pods, smallest), largest)
        # After the rate limits on purpose: a cold start may jump to the activation scale.
        if spec.activation_scale > 1:
            if stable_pods > 0 and spec.activation_scale > desired:
                desired = spec.activation_scale
            if panic_pods > 0 and spec.activation_scale > desired_in_panic:
                desired_in_panic = spec.activation_scale
        self._watch_panic(now_s, panic_pods / at_least_one >= spec.panic_threshold)
        if self._panic_since_s is not None:
            self.panic_floor = max(self.panic_floor, desired, desired_in_panic)
            desired = self.panic_floor
        least = self._desired if coverage < COVERAGE_MIN else 0
        if now_s - self._made_s < spec.stable_window_s:
            least = max(least, self._found)
        is_held = spec.reachable and desired < least
        if is_held:
            desired = least
        if self._delay is not None and spec.reachable:
            self._delay.record(now_s, desired)
            desired = self._delay.current()
        self._desired = desired
        excess = self._excess_burst_capacity(ready_pods, panic)
        return Decision(desired, excess, self._panic_since_s is not None, stable, panic, coverage, is_held)

    def _watch_panic(self, now_s: float, is_over: bool) -> None:
        if is_over:
            self._panic_since_s = now_s
        elif self._panic_since_s is not None and self._panic_since_s + self.spec.stable_window_s < now_s:
            self._panic_since_s = None
            self.panic_floor = 0

    def _excess_burst_capacity(self, ready_pods: int, panic: float) -> int:
        """Room left in the pods that are really ready, which may be none."""
        burst = self.spec.target_burst_capacity
        if burst == 0:
            return 0
        if not burst > 0:
            return -1
        room = ready_pods * self.spec.total_value - burst - panic
        return math.floor(max(-_INT32_MAX, min(room, _INT32_MAX)))


def _pods(load: float, target: float) -> int:
    """Pods for `load`; bounded, since scales are 32 bit integers in the API and settings may be infinite."""
    return math.ceil(min(load / target, _INT32_MAX))
