"""Why a plan is as it is, in words: what became of the decider's wish, for log lines and debug pages.

Goes once more through the steps of `autoscaler.scale.plan_scale`. Pure.
"""

from autoscaler.scale import ACTIVATION_SLACK_S, Plan, Situation, bounds, clamp
from autoscaler.settings import RevisionSettings

__all__ = ["explain_plan"]


def explain_plan(now: Situation, settings: RevisionSettings, plan: Plan, progress_deadline_s: float) -> str:
    """Say what made `plan.scale` of `now.desired`, or why nothing is applied."""
    if plan.scale != 0 and now.desired < 0:
        return _without_decision(now, settings, plan, progress_deadline_s)
    smallest, largest = bounds(settings, is_initialized=now.is_initialized)
    scale = clamp(now.desired, smallest, largest)
    if scale != 0:
        if scale > now.desired:
            return f"{_lower_bound(now, settings)} keeps {scale}"
        return "as decided" if scale == now.desired else f"max-scale allows {largest}"
    if not settings.enable_scale_to_zero:
        return "enable-scale-to-zero is off: the last pod stays"
    if now.active == "Unknown":
        return f"no pod became ready within {_activation_timeout_s(settings, progress_deadline_s):g} s: given up"
    if now.active == "True":
        if plan.applies:
            return f"idle, but not yet for the stable window of {settings.decider.stable_window_s:g} s: one pod stays"
        return "idle for a stable window: activators go before it, the last pods stay for now"
    return _on_the_way_to_zero(now, settings, plan)


def _without_decision(now: Situation, settings: RevisionSettings, plan: Plan, progress_deadline_s: float) -> str:
    if not plan.applies:
        if now.active == "Unknown":
            timeout_s = _activation_timeout_s(settings, progress_deadline_s)
            return f"the load is not known yet: waits for a ready pod, {timeout_s:g} s at most"
        return "the load is not known yet"
    smallest, _ = bounds(settings, is_initialized=now.is_initialized)
    if plan.scale == smallest:
        return f"the load is not known yet: {_lower_bound(now, settings)} keeps {smallest}"
    return f"the load is not known yet: stays at {plan.scale}"


def _on_the_way_to_zero(now: Situation, settings: RevisionSettings, plan: Plan) -> str:
    if plan.applies:
        return "no load, and activators stand before it: no pods"
    if plan.needs_background_probe or plan.needs_probe:
        return "no activator answers at its address: the last pods stay"
    if now.active_status_for_s < settings.pod_retention_s:
        return f"scale-to-zero-pod-retention-period of {settings.pod_retention_s:g} s: the last pods stay"
    return f"activators have not stood before it for {settings.grace_s:g} s: the last pods stay"


def _lower_bound(now: Situation, settings: RevisionSettings) -> str:
    smallest, _ = bounds(settings, is_initialized=now.is_initialized)
    return "initial-scale" if smallest > settings.min_scale else "min-scale"


def _activation_timeout_s(settings: RevisionSettings, progress_deadline_s: float) -> float:
    own = settings.progress_deadline_s
    return (progress_deadline_s if own is None else own) + ACTIVATION_SLACK_S
