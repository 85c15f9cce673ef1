"""Replays `activators`: the number of activators before a revision."""

from dataclasses import replace

from autoscaler.activators import activator_count
from autoscaler.settings import resolve
from kube.autoscaling.config import AutoscalerConfig
from tests.golden.replay import Golden, same

SPEC = resolve({}, container_concurrency=0, reachability="", metrics_service="", config=AutoscalerConfig()).decider


def test_activators(golden: Golden) -> None:
    with golden("activators") as vectors:
        vectors.each("num_activators", check_row)


def check_row(row: list[float]) -> None:
    ready, burst, total, capacity, count = row
    spec = replace(SPEC, target_burst_capacity=burst, total_value=total, activator_capacity=capacity)
    same(activator_count(int(ready), spec), count, "num_activators")
