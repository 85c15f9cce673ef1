"""Replays `annotations`: what admission says about a revision's autoscaling annotations."""

from typing import Any

from kube.autoscaling.annotations import describe, problems
from kube.autoscaling.config import AutoscalerConfig
from tests.golden.replay import Golden, same


def test_annotations(golden: Golden) -> None:
    with golden("annotations") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    found = problems(case["annotations"], AutoscalerConfig.from_data(case["config"]))
    same(not found, case["expect"]["valid"], "valid")
    same(describe(found), case["expect"].get("error", ""), "error")
