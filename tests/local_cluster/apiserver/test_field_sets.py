"""Fields as paths: laws that hold for any object, and how people are told of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.apiserver.applying import FieldManagement
from local_cluster.apiserver.errors import StatusError
from local_cluster.apiserver.field_sets import FieldSets, decode, encode, path_text
from local_cluster.apiserver.kinds import BUILT_IN_KINDS
from local_cluster.apiserver.managed_fields import UPDATERS_MAX, read
from local_cluster.apiserver.schemas import Schemas

_SCHEMAS = Schemas()
_SETS = FieldSets(_SCHEMAS)
_FIELDS = FieldManagement(_SCHEMAS, now=lambda: "2020-01-01T00:00:00Z")
_CONFIG_MAP = next(kind for kind in BUILT_IN_KINDS if kind.plural == "configmaps")
_POD = next(kind for kind in BUILT_IN_KINDS if kind.plural == "pods")

_NAMES = st.text("abc", min_size=1, max_size=2)
_DATA = st.dictionaries(_NAMES, _NAMES, max_size=4)
_CONTAINERS = st.lists(
    st.fixed_dictionaries({"name": _NAMES}, optional={"image": _NAMES, "args": st.lists(_NAMES, max_size=2)}),
    max_size=3,
    unique_by=lambda container: container["name"],
)


def config_map(data: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, **({"data": data} if data else {})}


def pod(containers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": {"containers": containers}}


@given(
    st.frozensets(st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":1}', 'v:"x"']), min_size=1, max_size=4).map(tuple))
)
def test_reading_what_was_written_gives_the_same_paths(paths: frozenset[tuple[str, ...]]) -> None:
    assert decode(encode(paths)) == paths


@given(_CONTAINERS)
def test_what_is_applied_is_there_and_owned(containers: list[dict[str, Any]]) -> None:
    applied = _FIELDS.applied(_POD, None, pod(containers), manager="one", force=False)
    assert applied["spec"]["containers"] == containers
    owned = {path for owner in read(applied) for path in owner.paths}
    assert owned == set(_SETS.of(applied, _POD.schema))


@given(_CONTAINERS, _CONTAINERS)
def test_a_single_manager_gets_exactly_what_it_applies(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    before = _FIELDS.applied(_POD, None, pod(first), manager="one", force=False)
    after = _FIELDS.applied(_POD, before, pod(second), manager="one", force=False)
    assert after["spec"]["containers"] == second
    again = _FIELDS.applied(_POD, after, pod(second), manager="one", force=False)
    assert again == after


@given(_DATA, _DATA, _DATA)
def test_two_managers_never_lose_each_others_fields(
    first: dict[str, str], second: dict[str, str], third: dict[str, str]
) -> None:
    obj = _FIELDS.applied(_CONFIG_MAP, None, config_map(first), manager="one", force=False)
    conflicts = {key for key, value in second.items() if key in first and first[key] != value}
    if conflicts:
        with pytest.raises(StatusError) as refused:
            _FIELDS.applied(_CONFIG_MAP, obj, config_map(second), manager="two", force=False)
        assert refused.value.code == 409
        assert {cause["field"] for cause in refused.value.details["causes"]} == {f".data.{key}" for key in conflicts}
    obj = _FIELDS.applied(_CONFIG_MAP, obj, config_map(second), manager="two", force=bool(conflicts))
    assert obj.get("data", {}) == first | second
    obj = _FIELDS.applied(_CONFIG_MAP, obj, config_map(third), manager="one", force=True)
    assert obj.get("data", {}) == second | third


def test_managers_by_update_are_bounded() -> None:
    obj = config_map({})
    for number in range(3 * UPDATERS_MAX):
        after = {"metadata": dict(obj["metadata"]), "data": {**obj.get("data", {}), f"k{number}": "1"}}
        _FIELDS.updated(_CONFIG_MAP, after, obj, None, manager=f"m{number}", agent="", subresource="")
        obj = after
    owners = read(obj)
    assert len(owners) == UPDATERS_MAX
    assert {path for owner in owners for path in owner.paths} == set(_SETS.of(obj, _CONFIG_MAP.schema))


def test_paths_are_written_for_people() -> None:
    path = ("f:spec", 'k:{"name":"app","port":1}', "f:args", 'v:"x"')
    assert path_text(path) == '.spec[name="app",port=1].args[="x"]'


@pytest.mark.parametrize("fields", [[], "x", {"f:a": []}, {"a": {}}])
def test_fields_that_are_none_are_refused(fields: Any) -> None:
    with pytest.raises(ValueError, match="fieldsV1"):
        decode(fields)
