"""Replays `queue_env`: which environments queue-proxy starts with, and what it reads from them."""

from typing import Any

import pytest

from proxies.environment import ConfigError
from queue_proxy.config import Config
from tests.golden.replay import Golden, same


def test_queue_env(golden: Golden) -> None:
    with golden("queue_env") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    expect = case["expect"]
    if not expect["valid"]:
        with pytest.raises(ConfigError) as raised:
            Config.from_env(case["env"])
        missing = expect["error"].startswith("required key")
        assert not missing or expect["error"] in raised.value.problems
        return
    config = Config.from_env(case["env"])
    same({name: getattr(config, name) for name in expect["values"]}, expect["values"], "values")
    limited = config.container_concurrency > 0
    same(config.container_concurrency if limited else None, expect["breaker_capacity"], "breaker_capacity")
    same(config.queue_depth if limited else None, expect["breaker_queue_depth"], "breaker_queue_depth")
