"""Label selectors in ConfigMaps."""

import pytest

from controller.label_selector import LabelSelector
from kube.autoscaling.config import InvalidConfig


@pytest.mark.parametrize(
    ("text", "labels", "is_selected"),
    [
        ("", {"a": "b"}, False),
        ("{}", {}, True),
        ("matchLabels: {a: b}", {"a": "b", "c": "d"}, True),
        ("matchLabels: {a: b}", {"a": "c"}, False),
        ("matchExpressions: [{key: a, operator: In, values: [b, c]}]", {"a": "c"}, True),
        ("matchExpressions: [{key: a, operator: In, values: [b, c]}]", {}, False),
        ("matchExpressions: [{key: a, operator: NotIn, values: [b]}]", {}, True),
        ("matchExpressions: [{key: a, operator: NotIn, values: [b]}]", {"a": "b"}, False),
        ("matchExpressions: [{key: a, operator: Exists}]", {"a": ""}, True),
        ("matchExpressions: [{key: a, operator: DoesNotExist}]", {"a": ""}, False),
        ("{matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}", {"a": "b"}, False),
    ],
)
def test_who_is_selected(text: str, labels: dict[str, str], is_selected: bool) -> None:
    assert LabelSelector.parse(text, "key").selects(labels) is is_selected


@pytest.mark.parametrize(
    "text",
    [
        "matchLabel: {a: b}",
        "matchLabels: [a]",
        "matchExpressions: {a: b}",
        "matchExpressions: [a]",
        "matchExpressions: [{key: a, operator: Is, values: [b]}]",
        "matchExpressions: [{key: a, operator: In}]",
        "matchExpressions: [{key: a, operator: Exists, values: [b]}]",
        "matchExpressions: [{operator: Exists}]",
    ],
)
def test_what_is_none_is_refused_with_the_key(text: str) -> None:
    with pytest.raises(InvalidConfig, match=r"^namespaces: expected"):
        LabelSelector.parse(text, "namespaces")
