"""How many activators stand before a revision.

Source: knative/serving `pkg/reconciler/autoscaling/kpa/kpa.go` (computeNumActivators); spec autoscaler.md 7.2; golden
set `activators`.
"""

import math

from autoscaler.decider import DeciderSpec

__all__ = ["ACTIVATORS_MIN", "activator_count"]

ACTIVATORS_MIN = 2
"""So that one may fail."""
_INT32_MAX = (1 << 31) - 1


def activator_count(ready_pods: int, spec: DeciderSpec) -> int:
    """Return enough activators for what the ready pods and the burst on top of them can take."""
    if spec.target_burst_capacity == 0:
        return ACTIVATORS_MIN
    capacity = ready_pods * spec.total_value
    if spec.target_burst_capacity > 0:
        capacity += spec.target_burst_capacity
    # The bounds first: a target may be infinite, and infinity times no pods is not a number.
    return math.ceil(max(ACTIVATORS_MIN, min(capacity / spec.activator_capacity, _INT32_MAX)))
