"""Replays `config_autoscaler`: the ConfigMap, parsed and validated."""

from dataclasses import asdict
from typing import Any

import pytest

from kube.autoscaling.config import AutoscalerConfig, InvalidConfig
from tests.golden.replay import Golden, same


def test_config_autoscaler(golden: Golden) -> None:
    with golden("config_autoscaler") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    if case["expect"]["valid"]:
        same(asdict(AutoscalerConfig.from_data(case["data"])), case["expect"]["values"], "values")
        return
    with pytest.raises(InvalidConfig) as caught:
        AutoscalerConfig.from_data(case["data"])
    same(str(caught.value), case["expect"]["error"], "error")
