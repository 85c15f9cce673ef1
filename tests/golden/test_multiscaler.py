"""Replays `multiscaler`: a new decider's status, and which results its owner is told of."""

from dataclasses import replace
from typing import Any

from autoscaler.multiscaler import UNKNOWN_SCALE, initial_excess_burst_capacity, is_worth_telling
from autoscaler.settings import resolve
from kube.autoscaling.config import AutoscalerConfig
from tests.golden.replay import Golden, same

SPEC = resolve({}, container_concurrency=0, reachability="", metrics_service="", config=AutoscalerConfig()).decider


def test_multiscaler(golden: Golden) -> None:
    with golden("multiscaler") as vectors:
        vectors.each("initial_status", check_initial_status)
        vectors.each("notify", check_notify)


def check_initial_status(case: dict[str, Any]) -> None:
    spec = replace(
        SPEC,
        target_burst_capacity=case["target_burst_capacity"],
        initial_scale=case["initial_scale"],
        total_value=case["total_value"],
    )
    got = {"desired_scale": UNKNOWN_SCALE, "excess_burst_capacity": initial_excess_burst_capacity(spec)}
    same(got, case["expect"], "status")


def check_notify(case: dict[str, Any]) -> None:
    desired, excess = case["start_desired"], case["start_ebc"]
    for index, (next_desired, next_excess, told) in enumerate(case["rows"]):
        same(is_worth_telling(desired, excess, next_desired, next_excess), told, f"rows[{index}]")
        desired, excess = next_desired, next_excess
