"""The two patch formats on plain values, against their RFCs."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.apiserver.patch import PatchError, PatchTestFailed, json_patch, merge_patch

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "b"])
KEYS = st.sampled_from(["a", "b", "c/d", "e~f"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def without_nulls(value: Any) -> Any:
    """What can be reached by merging: null is never a value."""
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return value


def merge_difference(source: Any, target: Any) -> Any:
    """The merge patch from `source` to `target`."""
    if not isinstance(source, dict) or not isinstance(target, dict):
        return target
    patch: dict[str, Any] = {key: None for key in source if key not in target}
    for key, value in target.items():
        if key not in source:
            patch[key] = value
        elif source[key] != value or type(source[key]) is not type(value):
            patch[key] = merge_difference(source[key], value)
    return patch


@given(OBJECTS, OBJECTS)
def test_the_difference_of_two_objects_merges_one_into_the_other(source: Any, target: Any) -> None:
    source, target = without_nulls(source), without_nulls(target)
    assert merge_patch(source, merge_difference(source, target)) == target


@given(OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once_and_leaves_the_arguments_alone(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    merged = merge_patch(target, patch)
    assert merge_patch(merged, patch) == merged
    assert (target, patch) == before


# The examples of RFC 7386, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


def pointer(path: list[str | int]) -> str:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def places(value: Any, path: list[str | int]) -> list[list[str | int]]:
    """Every path that exists in `value`."""
    found = [path]
    members: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, member in members:
        found += places(member, [*path, step])
    return found


@given(OBJECTS, VALUES, st.data())
def test_what_was_put_somewhere_is_found_there(document: Any, value: Any, data: st.DataObject) -> None:
    path = pointer(data.draw(st.sampled_from(places(document, []))))
    before = copy.deepcopy(document)
    replaced = json_patch(document, [{"op": "replace", "path": path, "value": value}])
    json_patch(replaced, [{"op": "test", "path": path, "value": value}])
    assert document == before


@given(OBJECTS, st.data())
def test_removing_and_adding_again_restores_the_document(document: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(places(document, [])))
    if not path:
        return
    value: Any = document
    for step in path:
        value = value[step]
    text = pointer(path)
    operations = [{"op": "remove", "path": text}, {"op": "add", "path": text, "value": value}]
    assert json_patch(document, operations) == document


@given(VALUES, VALUES)
def test_any_patch_is_applied_or_refused(document: Any, patch: Any) -> None:
    try:
        json_patch(document, patch)
    except PatchError:
        return


@pytest.mark.parametrize(
    ("document", "operations", "result"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
        ({"a": [1, 2, 3]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": [2, 3, 1]}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"": 1}, [{"op": "test", "path": "/", "value": 1}], {"": 1}),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": None}], {"a": 1}),
        ({"a": 1}, [{"op": "add", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patch_examples(document: Any, operations: Any, result: Any) -> None:
    assert json_patch(document, operations) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": True},
        {"op": "test", "path": "/a", "value": "1"},
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "add", "path": "/l/3", "value": 1},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "remove", "path": "/l/-"},
        {"op": "remove", "path": ""},
        {"op": "move", "from": "/l", "path": "/l/0"},
    ],
)
def test_operations_that_do_not_fit_the_document_fail(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchTestFailed):
        json_patch({"a": 1, "l": [1, 2]}, [operation])


@pytest.mark.parametrize(
    "operations",
    [
        {},
        [1],
        [{}],
        [{"op": "add", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "remove"}] * 10_001,
    ],
)
def test_malformed_patches_are_refused(operations: Any) -> None:
    with pytest.raises(PatchError):
        json_patch({}, operations)
