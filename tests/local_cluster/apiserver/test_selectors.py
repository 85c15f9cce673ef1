"""Selectors against their own definition: what is written can be read, and means what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cluster.apiserver.selectors import (
    LabelSelector,
    Requirement,
    SelectorError,
    label_errors,
    parse_fields,
    parse_labels,
)

KEYS = st.sampled_from(["a", "b", "a.example/c", "in", "notin", "x_y", "A1"])
VALUES = st.sampled_from(["", "1", "2", "red", "in", "a.b-c_d"])
LABELS = st.dictionaries(KEYS, VALUES, max_size=4)
SPACES = st.sampled_from(["", " ", "  "])


@st.composite
def requirements(draw: st.DrawFn) -> tuple[str, Requirement]:
    """A requirement as text, spaced at random, and what it means."""
    key, space = draw(KEYS), draw(SPACES)
    kind = draw(st.sampled_from(["=", "==", "!=", "in", "notin", "exists", "!exists"]))
    if kind == "exists":
        return f"{space}{key}{space}", Requirement(key, "exists")
    if kind == "!exists":
        return f"{space}!{space}{key}", Requirement(key, "!exists")
    if kind in ("in", "notin"):
        values = draw(st.lists(VALUES, min_size=1, max_size=3))
        listed = f",{space}".join(values)
        return f"{key} {kind} ({space}{listed}{space})", Requirement(key, kind, frozenset(values))
    value = draw(VALUES)
    operator = "notin" if kind == "!=" else "in"
    return f"{key}{space}{kind}{space}{value}{space}", Requirement(key, operator, frozenset([value]))


def expected(requirement: Requirement, labels: dict[str, str]) -> bool:
    """The documentation's words, one by one."""
    has_key = requirement.key in labels
    match requirement.operator:
        case "exists":
            return has_key
        case "!exists":
            return not has_key
        case "in":
            return has_key and labels[requirement.key] in requirement.values
    return not has_key or labels[requirement.key] not in requirement.values


@given(st.lists(requirements(), min_size=1, max_size=4), LABELS)
def test_a_selector_means_that_all_its_requirements_hold(
    parts: list[tuple[str, Requirement]], labels: dict[str, str]
) -> None:
    selector = parse_labels(",".join(text for text, _ in parts))
    assert list(selector.requirements) == [requirement for _, requirement in parts]
    assert selector.matches(labels) == all(expected(requirement, labels) for _, requirement in parts)


@given(LABELS)
def test_an_empty_selector_selects_everything(labels: dict[str, str]) -> None:
    assert parse_labels("").matches(labels)
    assert parse_labels("  ").matches(labels)
    assert LabelSelector.from_object({}).matches(labels)


@given(LABELS)
def test_labels_select_themselves_in_text_and_as_object(labels: dict[str, str]) -> None:
    assert parse_labels(",".join(f"{key}={value}" for key, value in labels.items())).matches(labels)
    assert LabelSelector.from_object({"matchLabels": labels}).matches(labels)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_labels(text)
        parse_fields(text, ["metadata.name"])
    except SelectorError:
        return


@pytest.mark.parametrize(
    ("text", "labels", "selected"),
    [
        ("size>4", {"size": "5"}, True),
        ("size>4", {"size": "4"}, False),
        ("size<4", {"size": "3"}, True),
        ("size<4", {"size": "big"}, False),
        ("size>4", {}, False),
    ],
)
def test_numbers_are_compared(text: str, labels: dict[str, str], selected: bool) -> None:
    assert parse_labels(text).matches(labels) is selected


@pytest.mark.parametrize(
    ("expression", "labels", "selected"),
    [
        ({"key": "a", "operator": "In", "values": ["1", "2"]}, {"a": "2"}, True),
        ({"key": "a", "operator": "NotIn", "values": ["1"]}, {}, True),
        ({"key": "a", "operator": "Exists"}, {"a": ""}, True),
        ({"key": "a", "operator": "DoesNotExist"}, {"a": ""}, False),
    ],
)
def test_expressions_of_an_object(expression: dict[str, object], labels: dict[str, str], selected: bool) -> None:
    assert LabelSelector.from_object({"matchExpressions": [expression]}).matches(labels) is selected


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(SelectorError):
        LabelSelector.from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_field_values_may_be_escaped() -> None:
    selector = parse_fields(r"reason=a\,b\=c\\d,type!=x", ["reason", "type"])
    assert selector.matches({"reason": r"a,b=c\d", "type": "y"}.__getitem__)
    assert not selector.matches({"reason": r"a,b=c\d", "type": "x"}.__getitem__)
    assert selector.required("reason") == r"a,b=c\d"
    assert selector.required("type") is None


@pytest.mark.parametrize("text", ["a", "a~b", "=b", "unknown=1"])
def test_malformed_or_unknown_fields_are_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_fields(text, ["a", "b"])


@pytest.mark.parametrize(
    ("labels", "count"),
    [
        ({"a": "", "a.example/b-c_d": "A.b"}, 0),
        ({"-a": "b"}, 1),
        ({"a/b/c": ""}, 1),
        ({"a": "x" * 64}, 1),
        ({"a": 1}, 1),
        ({"b" * 254 + "/a": ""}, 1),
    ],
)
def test_labels_have_a_grammar(labels: dict[str, object], count: int) -> None:
    assert len(list(label_errors(labels))) == count
