"""`autoscaler.plan_words`: every way in which a plan can come about has words of its own."""

from dataclasses import replace
from typing import Any

import pytest

from autoscaler.plan_words import explain_plan
from autoscaler.scale import ActivatorProbe, Situation, plan_scale
from autoscaler.settings import resolve
from kube.autoscaling.config import AutoscalerConfig

SITUATION = Situation(
    desired=0,
    active="True",
    active_status_for_s=1000,
    is_initialized=True,
    is_proxied=False,
    proxied_for_s=0,
    activator=ActivatorProbe.ANSWERED,
)
FAILED = ActivatorProbe.FAILED


def words(situation: dict[str, Any], config: dict[str, str], annotations: dict[str, str]) -> str:
    settings = resolve(
        {f"autoscaling.knative.dev/{key.replace('_', '-')}": text for key, text in annotations.items()},
        container_concurrency=0,
        reachability="Reachable",
        metrics_service="rev-private",
        config=AutoscalerConfig.from_data(config),
    )
    now = replace(SITUATION, **situation)
    return explain_plan(now, settings, plan_scale(now, settings, 600), 600)


@pytest.mark.parametrize(
    ("situation", "config", "annotations", "expected"),
    [
        ({"desired": 3}, {}, {}, "as decided"),
        ({"desired": 10}, {}, {"max-scale": "8"}, "max-scale allows 8"),
        ({"desired": 1}, {}, {"min-scale": "2"}, "min-scale keeps 2"),
        ({"desired": 1, "is_initialized": False}, {}, {"initial-scale": "5"}, "initial-scale keeps 5"),
        ({"desired": -1}, {}, {}, "the load is not known yet"),
        (
            {"desired": -1, "active": "Unknown"},
            {},
            {"min-scale": "2"},
            "the load is not known yet: min-scale keeps 2",
        ),
        (
            {"desired": -1, "active": "Unknown", "active_status_for_s": 1},
            {},
            {},
            "the load is not known yet: waits for a ready pod, 630 s at most",
        ),
        ({"active": "Unknown"}, {}, {}, "no pod became ready within 630 s: given up"),
        ({}, {"enable-scale-to-zero": "false"}, {}, "enable-scale-to-zero is off: the last pod stays"),
        (
            {"active_status_for_s": 5},
            {},
            {},
            "idle, but not yet for the stable window of 60 s: one pod stays",
        ),
        ({}, {}, {}, "idle for a stable window: activators go before it, the last pods stay for now"),
        ({"active": "False"}, {}, {}, "no load, and activators stand before it: no pods"),
        ({"active": "False", "activator": FAILED}, {}, {}, "no activator answers at its address: the last pods stay"),
        (
            {"active": "False"},
            {},
            {"scale-to-zero-pod-retention-period": "1h"},
            "scale-to-zero-pod-retention-period of 3600 s: the last pods stay",
        ),
        (
            {"active": "False", "active_status_for_s": 5},
            {},
            {},
            "activators have not stood before it for 30 s: the last pods stay",
        ),
    ],
)
def test_words(situation: dict[str, Any], config: dict[str, str], annotations: dict[str, str], expected: str) -> None:
    assert words(situation, config, annotations) == expected


def test_a_restart_that_keeps_the_replicas() -> None:
    settings = resolve(
        {}, container_concurrency=0, reachability="", metrics_service="", config=AutoscalerConfig(min_scale=2)
    )
    now = replace(SITUATION, desired=-1, active="Unknown")
    plan = plan_scale(now, settings, 600)._replace(scale=7)
    assert explain_plan(now, settings, plan, 600) == "the load is not known yet: stays at 7"
