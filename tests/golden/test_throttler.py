"""Replays `throttler`: capacity and assignment, piece by piece and through updates of a snapshot."""

from dataclasses import replace
from typing import Any

from activator.endpoints import activators_changed
from activator.load_balancing import policy_for
from activator.throttler import Snapshot, Throttler, assign, at_least_one, capacity_of, index_among, share_of
from tests.golden.replay import Golden, same


def test_throttler(golden: Golden) -> None:
    with golden("throttler") as vectors:
        vectors.each("min_one_or_value", check_at_least_one)
        vectors.each("pick_indices", check_share_of)
        vectors.each("assign_slice", check_assign)
        vectors.each("infer_index", check_index_among)
        vectors.each("capacity", check_capacity)
        vectors.each("lb_policy_by_container_concurrency", check_policy)
        vectors.each("updates", check_updates)


def check_at_least_one(row: list[int]) -> None:
    same(at_least_one(row[0]), row[1], "at least one")


def check_share_of(row: list[int]) -> None:
    pods, index, activators, *expected = row
    same(share_of(pods, index, activators), expected, "share")


def check_assign(case: dict[str, Any]) -> None:
    pods = [f"p{index:02}" for index in range(case["pods"])]
    same(assign(pods, case["self_index"], case["activators"]), case["expect"]["assigned"], "assigned")


def check_index_among(case: dict[str, Any]) -> None:
    same(index_among(case["activator_ips_sorted"], case["self"]), case["expect"]["index"], "index")


def check_capacity(row: list[int]) -> None:
    container_concurrency, backends, targets, activators, expected = row
    capacity = capacity_of(container_concurrency, backends=backends, targets=targets, activators=activators)
    same(capacity, expected, "capacity")


def check_policy(row: list[Any]) -> None:
    container_concurrency, expected = row
    name = {"RandomChoiceOfTwo": "random-choice-2", "FirstAvailable": "first-available", "RoundRobin": "round-robin"}
    same(name[type(policy_for(container_concurrency)).__name__], expected, "policy")


def check_updates(case: dict[str, Any]) -> None:
    container_concurrency = case["container_concurrency"]
    snapshot = Snapshot(container_concurrency=container_concurrency)
    throttler = Throttler[int](snapshot, waiting_max=1)
    for index, op in enumerate(case["ops"]):
        if op["op"] == "activators":
            snapshot = activators_changed(snapshot, op["activators"], case["self_ip"])
        else:
            cluster_address = op.get("cluster_ip", "")
            pods = tuple(sorted(op["pods"]))
            snapshot = replace(
                snapshot,
                cluster_address=cluster_address,
                pods=() if cluster_address else pods,
                ready_count=len(pods) if cluster_address else 0,
            )
        throttler.update(snapshot)
        # Without a limit the original counts an open gate as 1.
        unlimited = container_concurrency == 0
        direct = [] if snapshot.cluster_address else throttler.targets
        got = {
            "capacity": min(snapshot.capacity, 1) if unlimited else snapshot.capacity,
            "assigned": [target.address for target in direct],
            "assigned_capacity": [1 if unlimited else target.capacity for target in direct],
            "using_cluster_ip": bool(snapshot.cluster_address),
            "activator_count": snapshot.activator_count,
            "activator_index": snapshot.activator_index,
        }
        same(got, {"using_cluster_ip": False, **{key: op[key] for key in got if key in op}}, f"ops[{index}] {op['op']}")
