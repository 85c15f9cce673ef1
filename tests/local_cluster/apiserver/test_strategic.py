"""Strategic merge patches on a pod's spec, directive by directive."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.apiserver.patch import PatchError
from local_cluster.apiserver.schemas import Schemas
from local_cluster.apiserver.strategic import strategic_patch

SCHEMAS = Schemas()


def patched(current: dict[str, Any], patch: dict[str, Any], schema: str = "core/v1.PodSpec") -> dict[str, Any]:
    return strategic_patch(SCHEMAS, schema, current, patch)


def containers(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "image": f"{name}:1"} for name in names]


@pytest.mark.parametrize(
    ("current", "patch", "result"),
    [
        # Elements are found by their key and merged, others appended in front of what the patch does not name.
        (containers("a", "b"), [{"name": "b", "image": "x"}], [*containers("a"), {"name": "b", "image": "x"}]),
        (containers("a"), containers("b"), containers("b", "a")),
        (containers("a", "b"), [{"name": "a", "$patch": "delete"}], containers("b")),
        (containers("a", "b"), [{"$patch": "replace"}, *containers("c")], containers("c")),
        (containers("a"), [{"name": "a", "image": None}], [{"name": "a"}]),
    ],
)
def test_containers_merge_by_name(current: Any, patch: Any, result: Any) -> None:
    assert patched({"containers": current}, {"containers": patch}) == {"containers": result}


def test_nested_lists_merge_by_their_own_keys() -> None:
    current = {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "http"}], "args": ["1", "2"]}]}
    patch = {"containers": [{"name": "a", "ports": [{"containerPort": 81}], "args": ["3"]}]}
    [container] = patched(current, patch)["containers"]
    assert container["ports"] == [{"containerPort": 81}, {"containerPort": 80, "name": "http"}]
    assert container["args"] == ["3"]


def test_the_order_of_elements_can_be_set_with_and_without_changes() -> None:
    order = [{"name": "b"}, {"name": "a"}]
    current = {"containers": containers("a", "x", "b")}
    patch = {"$setElementOrder/containers": order, "containers": [{"name": "b", "image": "b:1"}]}
    for given_patch in (patch, {"$setElementOrder/containers": order}):
        names = [container["name"] for container in patched(current, given_patch)["containers"]]
        assert [name for name in names if name != "x"] == ["b", "a"]
        assert "x" in names


def test_plain_values_merge_as_a_set_and_can_be_taken_out() -> None:
    current = {"finalizers": ["a", "b"]}
    merged = patched(current, {"finalizers": ["b", "c"]}, "meta/v1.ObjectMeta")
    assert sorted(merged["finalizers"]) == ["a", "b", "c"]
    removed = patched(current, {"$deleteFromPrimitiveList/finalizers": ["a"]}, "meta/v1.ObjectMeta")
    assert removed == {"finalizers": ["b"]}


def test_objects_can_be_replaced_deleted_or_kept_in_part() -> None:
    current = {"securityContext": {"runAsUser": 1, "fsGroup": 2}}
    assert patched(current, {"securityContext": {"$patch": "replace", "fsGroup": 3}}) == {
        "securityContext": {"fsGroup": 3}
    }
    assert patched(current, {"securityContext": {"$patch": "delete"}}) == {}
    kept = patched(current, {"securityContext": {"$retainKeys": ["fsGroup"]}})
    assert kept == {"securityContext": {"fsGroup": 2}}


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "explode"},
        {"$retainKeys": "name"},
        {"containers": ["a"]},
        {"containers": [{"image": "without a name"}]},
        {"$setElementOrder/containers": "a"},
        {"$deleteFromPrimitiveList/finalizers": "a"},
    ],
)
def test_malformed_patches_are_refused(patch: dict[str, Any]) -> None:
    with pytest.raises(PatchError):
        patched({"containers": containers("a")}, patch)


NAMES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=5)


@given(NAMES, NAMES)
def test_merging_keeps_every_element_once_and_the_patch_wins(before: list[str], changes: list[str]) -> None:
    patch = [{"name": name, "image": "new"} for name in changes]
    result = patched({"containers": containers(*before)}, {"containers": patch})["containers"]
    names = [container["name"] for container in result]
    assert sorted(names) == sorted({*before, *changes})
    assert {container["name"] for container in result if container["image"] == "new"} == set(changes)
    assert [name for name in names if name in changes] == changes
    assert [name for name in names if name not in changes] == [name for name in before if name not in changes]
