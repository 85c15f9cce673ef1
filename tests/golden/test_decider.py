"""Replays `decider`: traces of scaling decisions."""

from typing import Any

from autoscaler.decider import Decider, DeciderSpec
from tests.golden.replay import Golden, same


def test_decider(golden: Golden) -> None:
    with golden("decider") as vectors:
        vectors.each("cases", check_case)


def check_case(case: dict[str, Any]) -> None:
    base_s = case["base_unix_ms"] / 1000
    decider = Decider(DeciderSpec(**case["spec"]), now_s=base_s, ready_pods=case["created_ready"])
    same(decider.is_panicking, case["expect"]["created_panic"], "created_panic")
    same(decider.panic_floor, case["expect"]["created_floor"], "created_floor")
    updates = {update["before_row"]: DeciderSpec(**update["spec"]) for update in case.get("updates", ())}
    for index, (t_ms, ready, stable, panic, error, valid, desired, ebc, panic_mode, floor) in enumerate(case["rows"]):
        decider.spec = updates.get(index, decider.spec)
        # Without a metric or a pod count there is nothing to decide: the multiscaler does not ask.
        if error in ("nodata", "notcollecting", "podcount"):
            same(valid, 0, f"rows[{index}].valid")
            continue
        # Pods that do not exist yet are none.
        decision = decider.decide((case["base_unix_ms"] + t_ms) / 1000, ready or 0, stable, panic)
        got = (1, decision.desired, decision.excess_burst_capacity, int(decision.panicking), decider.panic_floor)
        same(got, (valid, desired, ebc, panic_mode, floor), f"rows[{index}]")
