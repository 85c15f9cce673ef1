"""Replays `resolve`: effective settings of a revision."""

from dataclasses import asdict
from typing import Any

from autoscaler.settings import autoscaler_class, resolve
from kube.autoscaling.config import AutoscalerConfig
from tests.golden.replay import Golden, same


def test_resolve(golden: Golden) -> None:
    with golden("resolve") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    config = AutoscalerConfig.from_data(case["config"])
    settings = resolve(
        case["annotations"],
        container_concurrency=case["container_concurrency"],
        reachability=case["reachability"],
        metrics_service=case["metrics_service"],
        config=config,
    )
    want = case["expect"]
    same(asdict(settings.decider), want["decider"], "decider")
    same(asdict(settings.metric), want["metric"], "metric")
    same(autoscaler_class(case["annotations"], config), want["class"], "class")
    same(settings.min_scale, want["min_scale"], "min_scale")
    same(settings.max_scale, want["max_scale"], "max_scale")
    same(settings.initial_scale, want["initial_scale"], "initial_scale")
    same(settings.pod_retention_s, want["last_pod_retention_s"], "last_pod_retention_s")
