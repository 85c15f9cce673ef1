"""Replays `subset`: consistent subsets, owners of buckets, names of children, the hash beneath."""

from typing import Any

from kube.names import child_name
from kube.subset import bucket_names, bucket_owner, choose_subset, fnv1a_64
from tests.golden.replay import Golden, same


def test_subset(golden: Golden) -> None:
    with golden("subset") as vectors:
        vectors.each("choose_subset", check_choose_subset)
        vectors.each("bucket_owner", check_bucket_owner)
        vectors.each("child_name", check_child_name)
        vectors.each("fnv1a_64", check_fnv1a_64)


def check_choose_subset(case: dict[str, Any]) -> None:
    same(sorted(choose_subset(case["from"], case["n"], case["target"])), case["expect"]["subset"], "subset")


def check_bucket_owner(case: dict[str, Any]) -> None:
    buckets = bucket_names(case["total"])
    same(buckets, case["expect"].get("buckets", buckets), "buckets")
    same({key: bucket_owner(buckets, key) for key in case["expect"]["owner"]}, case["expect"]["owner"], "owner")


def check_child_name(row: list[str]) -> None:
    parent, suffix, name = row
    same(child_name(parent, suffix), name, "name")


def check_fnv1a_64(row: list[Any]) -> None:
    text, decimal, digits, modulo = row
    value = fnv1a_64(text.encode())
    same([str(value), f"{value:x}", value % 2048], [decimal, digits, modulo], "hash")
