"""Manifests: read with clear refusals, merged as kubectl merges them."""

import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.apiserver.patch import merge_patch
from local_cluster.manifests import KindInfo, Kinds, ManifestError, load, three_way_merge
from local_cluster.views import table_rows

objects = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)
mappings = st.dictionaries(st.sampled_from("abcd"), objects, max_size=4)


def without_nulls(value: Any) -> Any:
    """A merge patch cannot set a null; nobody's manifest needs to."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


@given(before=mappings, wanted=mappings, added=mappings)
def test_applying_brings_what_is_wanted_and_keeps_what_others_added(
    before: dict[str, Any], wanted: dict[str, Any], added: dict[str, Any]
) -> None:
    before, wanted = without_nulls(before), without_nulls(wanted)
    current = {**before, **{f"x{key}": value for key, value in without_nulls(added).items()}}
    result = merge_patch(current, three_way_merge(before, wanted, current))
    assert {key: value for key, value in result.items() if not key.startswith("x")} == wanted
    assert {key for key in result if key.startswith("x")} == {key for key in current if key.startswith("x")}


@given(wanted=mappings)
def test_applying_the_same_again_is_an_empty_patch(wanted: dict[str, Any]) -> None:
    assert three_way_merge(wanted, wanted, wanted) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not YAML"),
        ("", "no object in it"),
        ("- a", "document 1: expected an object, got list"),
        ("kind: X\nmetadata: {name: a}", "document 1: apiVersion is missing"),
        ("apiVersion: v1\nkind: X\n---\napiVersion: v1\nkind: X", "document 1: metadata.name is missing"),
    ],
)
def test_what_cannot_be_applied_is_named_with_file_and_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(ManifestError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing\.yaml: No such file or directory"):
        load(tmp_path / "nothing.yaml")


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is a directory; name the files in it"):
        load(tmp_path)


def test_a_manifest_may_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"))
    assert [obj["metadata"]["name"] for obj in load(Path("-"))] == ["a"]


KINDS = Kinds(
    [
        KindInfo("serving.knative.dev/v1", "Service", "services", True, ("services", "service", "ksvc")),
        KindInfo("eventing.knative.dev/v1", "Trigger", "triggers", True, ("triggers", "trigger")),
    ]
)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("servces", "did you mean services or service?"),
        ("Triger", "did you mean trigger or triggers?"),
        ("qqqq", "it has services, triggers"),
    ],
)
def test_a_slip_in_a_kind_is_answered_with_what_was_meant(word: str, told: str) -> None:
    with pytest.raises(ManifestError) as caught:
        KINDS.named(word)
    assert str(caught.value) == f'the server has no resource type "{word}"; {told}'


@pytest.mark.parametrize(
    ("api_version", "kind", "told"),
    [
        ("serving.knative.dev/v1", "Servce", "; did you mean Service of serving.knative.dev/v1?"),
        ("serving.knative.dev/v2", "Service", "; did you mean Service of serving.knative.dev/v1?"),
        ("serving.knative.dev/v1", "Zebra", ""),
    ],
)
def test_a_manifest_of_an_unknown_kind_is_answered_likewise(api_version: str, kind: str, told: str) -> None:
    with pytest.raises(ManifestError) as caught:
        KINDS.of(api_version, kind)
    assert str(caught.value) == f'no matches for kind "{kind}" in version "{api_version}"{told}'


def test_lists_are_unpacked_and_empty_documents_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "---\n---\napiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n"
        "- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n"
    )
    assert [obj["metadata"]["name"] for obj in load(path)] == ["a", "b"]


def test_a_table_shows_what_is_not_for_the_wide_view() -> None:
    table = {
        "columnDefinitions": [{"name": "Name"}, {"name": "Node", "priority": 1}, {"name": "Age"}],
        "rows": [{"cells": ["a", "n", None], "object": {"metadata": {"namespace": "ns"}}}],
    }
    assert table_rows(table, with_namespace=False) == (["Name", "Age"], [["a", ""]])
    assert table_rows(table, with_namespace=True) == (["namespace", "Name", "Age"], [["ns", "a", ""]])
