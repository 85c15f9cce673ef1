"""Replays `scale`: from the desired scale to what is applied."""

from typing import Any

from autoscaler.scale import ActivatorProbe, Plan, Situation, plan_scale
from autoscaler.settings import resolve
from kube.autoscaling.config import AutoscalerConfig
from tests.golden.replay import Golden, same


def test_scale(golden: Golden) -> None:
    with golden("scale") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    plan, probed = _plan(case)
    want = case["expect"]
    same(plan.scale, want["result"], "result")
    patched = plan.scale if plan.applies and plan.scale != case["replicas"] else None
    same(patched, want["patched_replicas"], "patched_replicas")
    again = [] if plan.again_after_s is None else [plan.again_after_s]
    # The situation carries durations, so the remainder of one is a difference of two floats.
    same(again, want["requeue_after_s"], "requeue_after_s", absolute=1e-6)
    same(probed, want["probed"], "probed")
    same(plan.needs_background_probe, want["async_probe"], "async_probe")


def _plan(case: dict[str, Any]) -> tuple[Plan, bool]:
    settings = resolve(
        case["annotations"],
        container_concurrency=0,
        reachability=case["reachability"],
        metrics_service="rev-private",
        config=AutoscalerConfig.from_data(case["config"]),
    )

    def plan(activator: ActivatorProbe) -> Plan:
        situation = Situation(
            desired=case["desired"],
            active=case["active"],
            active_status_for_s=case["active_since_s"],
            is_initialized=case["initialized"],
            is_proxied=case["sks_mode"] == "Proxy",
            proxied_for_s=case["proxy_for_s"] or 0,
            activator=activator,
        )
        return plan_scale(situation, settings, case["progress_deadline_s"])

    first = plan(ActivatorProbe.NOT_ASKED)
    if not first.needs_probe:
        return first, False
    return plan(ActivatorProbe.ANSWERED if case["probe"] == "ok" else ActivatorProbe.FAILED), True
