"""Replays `config_defaults`: the ConfigMap, parsed and validated."""

from typing import Any

import pytest

from controller.settings import Defaults, InvalidConfig
from tests.golden.replay import Golden, same


def test_config_defaults(golden: Golden) -> None:
    with golden("config_defaults") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    if case["expect"]["valid"]:
        defaults = Defaults.from_data(case["data"])
        same({key: getattr(defaults, key) for key in case["expect"]["values"]}, case["expect"]["values"], "values")
        return
    with pytest.raises(InvalidConfig) as caught:
        Defaults.from_data(case["data"])
    same(str(caught.value), case["expect"]["error"], "error")
