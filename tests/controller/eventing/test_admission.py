"""Admission asked directly, as a webhook asks it: nothing has checked the types of fields before."""

import copy
from typing import Any

import pytest

from controller.admission import Denied
from controller.eventing.admission import EventingAdmission
from controller.webhook import ReviewRequest

_URI = {"uri": "http://them"}
_TRIGGER: dict[str, Any] = {"broker": "default", "subscriber": _URI}


def request(kind: str, spec: Any, **more: Any) -> ReviewRequest:
    """A CREATE of an object of one of eventing's kinds."""
    groups = {"Broker": "eventing", "Trigger": "eventing", "EventPolicy": "eventing", "Sequence": "flows"}
    group = f"{groups.get(kind, 'messaging')}.knative.dev"
    obj = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": "a", "namespace": "ns"}, "spec": spec}
    fields: dict[str, Any] = {
        "uid": "u",
        "operation": "CREATE",
        "group": group,
        "kind": kind,
        "namespace": "ns",
        "name": "a",
        "username": "me",
        "subresource": "",
        "object": obj,
    }
    return ReviewRequest(**fields | more)


@pytest.fixture
def admission() -> EventingAdmission:
    """With the settings of nobody."""
    return EventingAdmission({}.get)


@pytest.mark.parametrize(
    ("kind", "spec", "path"),
    [
        ("Trigger", {**_TRIGGER, "filters": "all"}, "spec.filters"),
        ("Trigger", {**_TRIGGER, "filters": [1]}, "spec.filters[0]"),
        ("Trigger", {**_TRIGGER, "delivery": {"retry": "three"}}, "spec.delivery.retry"),
        ("Broker", {"delivery": []}, "spec.delivery"),
        ("Broker", "all", "spec"),
        ("Channel", {"channelTemplate": "mine"}, "spec.channelTemplate"),
        ("Subscription", {"channel": 5}, "spec.channel"),
        ("Sequence", {"steps": {"a": 1}}, "spec.steps"),
        ("EventPolicy", {"from": [None]}, "spec.from[0]"),
    ],
)
def test_a_field_of_the_wrong_type_is_told_by_its_path(
    admission: EventingAdmission, kind: str, spec: Any, path: str
) -> None:
    with pytest.raises(Denied) as denied:
        admission.default(request(kind, spec))
    assert denied.value.message.startswith(f"mutation failed: cannot decode incoming new object: {path}: Expected ")
    assert denied.value.causes[0][0] == path


@pytest.mark.parametrize(
    ("filters", "path"),
    [
        ([{"all": "a"}], "spec.filters[0].all"),
        ([{"exact": ["a"]}], "spec.filters[0].exact"),
        ([{"exact": {"type": 5}}], "spec.filters[0].exact[type]"),
        ([{"not": "a"}], "spec.filters[0].not"),
        ([{"any": ["a"]}], "spec.filters[0].any[0]"),
        ([{"cesql": {"a": 1}}], "spec.filters[0].cesql"),
    ],
)
def test_filters_of_the_wrong_shape_are_told_by_their_path(
    admission: EventingAdmission, filters: list[Any], path: str
) -> None:
    with pytest.raises(Denied) as denied:
        admission.validate(request("Trigger", {**_TRIGGER, "filters": filters}))
    assert path in [cause[0] for cause in denied.value.causes]


def test_null_is_absence(admission: EventingAdmission) -> None:
    asked = request("Trigger", {**_TRIGGER, "delivery": None, "filter": None, "filters": None, "brokerRef": None})
    assert admission.default(asked)["spec"]["filter"] == {}
    assert admission.validate(asked) == []


def test_defaulting_twice_changes_nothing_more(admission: EventingAdmission) -> None:
    reference = {"apiVersion": "v1", "kind": "Service", "name": "a"}
    specs: dict[str, Any] = {
        "Broker": {"delivery": {"deadLetterSink": {"ref": reference}}},
        "Trigger": {**_TRIGGER, "subscriber": {"ref": reference}},
        "Channel": {},
        "Subscription": {"channel": dict(reference), "subscriber": {"ref": reference}, "reply": {"ref": reference}},
        "Sequence": {"steps": [{"ref": reference}], "reply": {"ref": reference}},
    }
    for kind, spec in specs.items():
        once = copy.deepcopy(admission.default(request(kind, spec)))
        assert admission.default(request(kind, {}, object=copy.deepcopy(once))) == once
    sequence = admission.default(request("Sequence", specs["Sequence"]))["spec"]
    assert sequence["steps"][0]["ref"]["namespace"] == "ns"
    assert sequence["channelTemplate"] == {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}
    assert "namespace" not in admission.default(request("Subscription", specs["Subscription"]))["spec"]["channel"]


def test_a_settings_map_that_cannot_be_read_counts_as_absent() -> None:
    maps = {"config-features": {"authentication-oidc": "perhaps"}, "default-ch-webhook": {"default-ch-config": "["}}
    admission = EventingAdmission(maps.get)
    assert admission.settings().features.is_oidc_on is False
    assert admission.settings().channels.of("ns")["kind"] == "InMemoryChannel"


def test_what_is_being_deleted_is_let_go_whatever_it_says(admission: EventingAdmission) -> None:
    """Or its finalizer could not be taken off."""
    asked = request("Subscription", {})
    asked.object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert admission.validate(asked) == []
