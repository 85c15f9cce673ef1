"""From the desired scale to the replicas that are applied: bounds, initial scale, and the way to zero.

Theory of operation. A revision goes to zero in steps, one per reconcile, so that no request is lost. While it is Active
and nothing was wanted for a whole stable window, it is only *marked* inactive, which puts activators before it. Once an
activator answers at the revision's own address (`needs_probe`), and traffic has been going that way for the grace
period, and the last pod's retention has passed, the replicas become 0. On the way up (Active Unknown) an activation
that takes longer than its deadline is given up.

Pure: everything observed comes in as `Situation`, the outcome is a `Plan`. Source: knative/serving
`pkg/reconciler/autoscaling/kpa/scaler.go`; spec autoscaler.md 7.3 and 7.4; golden set `scale`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from autoscaler.settings import RevisionSettings

__all__ = ["ACTIVATION_SLACK_S", "ActivatorProbe", "Plan", "Situation", "bounds", "clamp", "plan_scale"]

ACTIVATION_SLACK_S = 30.0
"""Added to the progress deadline, so that the Deployment's own verdict comes first."""
_ALREADY_PROXY_S = 3.0
"""When activators are in the path already, how soon to look whether the rest of the way is free."""


class ActivatorProbe(Enum):
    """Whether an activator answers at the revision's public address."""

    NOT_ASKED = "not asked"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known about a revision when its scale is applied. `*_for_s`: seconds so far."""

    desired: int
    """The decider's wish; -1 when it has none."""
    active: str
    """Status of the condition Active: `True`, `False`, or `Unknown` while activating."""
    active_status_for_s: float
    is_initialized: bool
    """The initial scale was reached once."""
    is_proxied: bool
    """The ServerlessService is in mode Proxy."""
    proxied_for_s: float
    """How long the public endpoints have been activators; 0 when they are not."""
    activator: ActivatorProbe = ActivatorProbe.NOT_ASKED


class Plan(NamedTuple):
    """What to do. With `needs_probe` nothing else counts: ask the activator, then plan again with the answer."""

    scale: int
    """The scale to report; -1: unknown."""
    applies: bool = True
    """Whether the replicas are to become `scale`."""
    again_after_s: float | None = None
    needs_probe: bool = False
    needs_background_probe: bool = False
    """The activator did not answer: keep asking, and reconcile once it does."""


def bounds(settings: RevisionSettings, *, is_initialized: bool) -> tuple[int, int]:
    """(smallest, largest) scale; largest 0 means unbounded. The initial scale is a lower bound until it was reached."""
    smallest = settings.min_scale
    if settings.initial_scale > 1 and not is_initialized and not settings.is_unreachable:
        smallest = max(settings.initial_scale, smallest)
    return smallest, settings.max_scale


def clamp(scale: int, smallest: int, largest: int) -> int:
    """Bring a scale within bounds; the lower one wins over a smaller upper one."""
    if scale < smallest:
        return smallest
    return largest if largest and scale > largest else scale


def plan_scale(now: Situation, settings: RevisionSettings, progress_deadline_s: float) -> Plan:
    """Return what to do. `progress_deadline_s` is the cluster's, for revisions without one of their own."""
    if now.desired < 0 and now.active != "Unknown":
        return Plan(now.desired, applies=False)
    scale = clamp(now.desired, *bounds(settings, is_initialized=now.is_initialized))
    if scale != 0:
        return Plan(scale)
    if not settings.enable_scale_to_zero:
        return Plan(1)
    if now.active == "Unknown":
        return _give_up_activation(now, settings, progress_deadline_s)
    if now.active == "True":
        return _deactivate(now, settings)
    return _remove_last_pods(now, settings)


def _give_up_activation(now: Situation, settings: RevisionSettings, progress_deadline_s: float) -> Plan:
    own = settings.progress_deadline_s
    timeout_s = (progress_deadline_s if own is None else own) + ACTIVATION_SLACK_S
    if now.active_status_for_s > timeout_s:
        return Plan(0)
    return Plan(-1, applies=False, again_after_s=timeout_s)


def _deactivate(now: Situation, settings: RevisionSettings) -> Plan:
    idle_s = settings.decider.stable_window_s
    if now.active_status_for_s >= idle_s:
        # Reporting 0 marks the revision inactive, which turns the ServerlessService to Proxy; the pods stay.
        return Plan(0, applies=False, again_after_s=_ALREADY_PROXY_S if now.is_proxied else None)
    return Plan(1, again_after_s=idle_s - now.active_status_for_s)


def _remove_last_pods(now: Situation, settings: RevisionSettings) -> Plan:
    # With unlimited burst capacity activators never leave the path: nothing to ask.
    if settings.decider.target_burst_capacity != -1:
        if now.activator is ActivatorProbe.NOT_ASKED:
            return Plan(0, applies=False, needs_probe=True)
        if now.activator is ActivatorProbe.FAILED:
            return Plan(0, applies=False, needs_background_probe=True)
    inactive_s = now.active_status_for_s
    if inactive_s >= max(settings.grace_s, settings.pod_retention_s):
        return Plan(0)
    if inactive_s < settings.pod_retention_s:
        return Plan(0, applies=False, again_after_s=settings.pod_retention_s - inactive_s)
    missing_s = settings.grace_s - now.proxied_for_s
    if missing_s <= 0:
        return Plan(0)
    return Plan(0, applies=False, again_after_s=missing_s)
