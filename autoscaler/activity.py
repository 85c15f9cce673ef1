"""The conditions Active and ScaleTargetInitialized of a PodAutoscaler after a reconcile.

Pure. Source: knative/serving `pkg/reconciler/autoscaling/kpa/kpa.go` (computeStatus); spec autoscaler.md 7.5; golden
set `active_condition`.
"""

from typing import NamedTuple

__all__ = ["Activity", "Mark", "next_activity"]


class Mark(NamedTuple):
    """A condition to set."""

    status: str
    reason: str = ""
    message: str = ""


ACTIVE = Mark("True")
QUEUED = Mark("Unknown", "Queued", "Requests to the target are being buffered as resources are provisioned.")
NO_TRAFFIC = Mark("False", "NoTraffic", "The target is not receiving traffic.")
TIMED_OUT = Mark("False", "TimedOut", "The target could not be activated.")


class Activity(NamedTuple):
    """`active` None: the condition stays as it is. `becomes_initialized`: the initial scale was reached just now."""

    active: Mark | None
    becomes_initialized: bool


def next_activity(
    *,
    active: str,
    is_initialized: bool,
    has_service: bool,
    want: int,
    ready: int,
    min_scale: int,
    initial_scale: int,
) -> Activity:
    """Return what becomes of the conditions.

    `active`: status before (`True`, `False`, `Unknown`); `want`: the applied scale, -1 when unknown; `has_service`: the
    public Service has its name.
    """
    # A bound of 0 counts as 1 once the initial scale was reached: a revision without pods is not active.
    min_ready = max(min_scale, 1) if is_initialized else max(min_scale, initial_scale)
    becomes_initialized = not is_initialized and ready >= min_ready and has_service
    if want == 0 or min_ready == 0:
        timed_out = active == "Unknown" and min_ready > 0
        return Activity(TIMED_OUT if timed_out else NO_TRAFFIC, becomes_initialized)
    is_wanted = want > 0 or active != "False"
    if ready < min_ready:
        return Activity(QUEUED if is_wanted else NO_TRAFFIC, becomes_initialized)
    return Activity(ACTIVE if is_wanted else None, becomes_initialized)
