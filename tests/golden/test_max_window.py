"""Replays `max_window`: the sliding maximum behind the scale-down delay."""

from typing import Any

from autoscaler.windows import MaxWindow
from tests.golden.replay import Golden, same


def test_max_window(golden: Golden) -> None:
    with golden("max_window") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    window = MaxWindow(case["window_s"], case["granularity_s"])
    for index, (t_ms, recorded, maximum) in enumerate(case["rows"]):
        window.record((case["base_unix_ms"] + t_ms) / 1000, recorded)
        same(window.current(), maximum, f"rows[{index}]")
