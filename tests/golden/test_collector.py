"""Replays `collector`: from recorded stats to stable and panic values."""

from dataclasses import replace
from typing import Any

from autoscaler.collector import Collection, MetricSpec
from proxies.wire.stat import Stat
from tests.golden.replay import Golden, same

# Sums formed in another order than the stats' arrival may differ in the last of the six digits.
LAST_DIGIT = 2e-6


def test_collector(golden: Golden) -> None:
    with golden("collector") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    spec = MetricSpec(
        stable_window_s=case["stable_window_s"],
        panic_window_s=case["panic_window_s"],
        scrape_target=case["scrape_target"],
        aggregation_algorithm=case["algorithm"],
    )
    collection: Collection | None = Collection(spec)
    for index, (op, t_ms, *arguments) in enumerate(case["ops"]):
        now_s = (case["base_unix_ms"] + t_ms) / 1000
        if op == "delete":
            collection = None
        elif op == "query":
            same(observed(collection, now_s), arguments, f"ops[{index}]", absolute=LAST_DIGIT)
        elif collection is None:
            continue  # what arrives for a metric that is gone is dropped
        elif op == "update":
            spec = replace(spec, stable_window_s=arguments[0], panic_window_s=arguments[1])
            collection.update(now_s, spec)
        elif arguments[0] is not None:
            collection.record(now_s, Stat("pod", *arguments))


def observed(collection: Collection | None, now_s: float) -> list[object]:
    if collection is None:
        return [0, 0, "notcollecting", 0, 0, "notcollecting"]
    row: list[object] = []
    for metric in ("concurrency", "rps"):
        load = collection.load(metric, now_s)
        row += [0, 0, "nodata"] if load is None else [load.stable, load.panic, None]
    return row
