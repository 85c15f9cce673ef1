"""Replays `windows`: averages over a window, plain and weighted, through writes, late writes and resizing."""

from typing import Any

from autoscaler.windows import AverageWindow, WeightedWindow, round6, smoothing_coefficient
from tests.golden.replay import Golden, same


def test_windows(golden: Golden) -> None:
    with golden("windows") as vectors:
        vectors.each("cases", check_case)
        vectors.each("smoothing", check_smoothing)
        vectors.each("round6", check_round6)


def check_case(case: dict[str, Any]) -> None:
    kind = {"linear": AverageWindow, "weighted": WeightedWindow}[case["kind"]]
    window = kind(case["window_ms"] / 1000, case["granularity_ms"] // 1000)
    for index, (op, t_ms, argument) in enumerate(case["ops"]):
        now_s = (case["base_unix_ms"] + t_ms) / 1000
        what = f"ops[{index}] {op}"
        if op == "rec":
            window.record(now_s, argument)
        elif op == "avg":
            same(window.average(now_s), argument, what)
        elif op == "empty":
            same(window.is_empty(now_s), argument, what)
        else:
            assert op == "resize"
            window.resize(now_s, argument / 1000)


def check_smoothing(row: list[float]) -> None:
    count, coefficient = row
    same(smoothing_coefficient(int(count)), coefficient, "coefficient")


def check_round6(row: list[float]) -> None:
    value, rounded = row
    same(round6(value), rounded, "rounded", relative=0.0)
