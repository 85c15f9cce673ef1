"""Events of changes of objects (spec eventing-sources.md 3.2)."""

import json
from typing import Any

import pytest

from kube.names import plural_of
from sources.resources import event_of, is_controlled_by, resource_path

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "ns", "labels": {"a": "b"}},
    "spec": {"x": 1.0},
}


def made(type_: str, obj: dict[str, Any], mode: str = "Reference") -> Any:
    event = event_of(type_, obj, json.dumps(obj).encode(), mode=mode, source="https://10.96.0.1:443")
    assert event is not None
    return event


@pytest.mark.parametrize(("watched", "verb"), [("ADDED", "add"), ("MODIFIED", "update"), ("DELETED", "delete")])
def test_types_by_mode(watched: str, verb: str) -> None:
    assert made(watched, POD).attributes["type"] == f"dev.knative.apiserver.ref.{verb}"
    assert made(watched, POD, "Resource").attributes["type"] == f"dev.knative.apiserver.resource.{verb}"


def test_a_bookmark_is_no_event() -> None:
    assert event_of("BOOKMARK", POD, b"", mode="Reference", source="/") is None


def test_reference_data_names_the_object_and_nothing_else() -> None:
    assert json.loads(made("ADDED", POD).data) == {"kind": "Pod", "namespace": "ns", "name": "p", "apiVersion": "v1"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    assert json.loads(made("ADDED", node).data) == {"kind": "Node", "name": "n", "apiVersion": "v1"}


def test_resource_data_is_the_object_as_it_came() -> None:
    raw = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"ns"},"n":1.50}'
    event = event_of("ADDED", json.loads(raw), raw, mode="Resource", source="/")
    assert event is not None
    assert event.data == raw


def test_attributes() -> None:
    assert made("ADDED", POD).attributes == {
        "specversion": "1.0",
        "type": "dev.knative.apiserver.ref.add",
        "source": "https://10.96.0.1:443",
        "subject": "/apis/v1/namespaces/ns/pods/p",
        "datacontenttype": "application/json",
        "kind": "Pod",
        "apiversion": "v1",
        "name": "p",
        "namespace": "ns",
    }


def test_subjects_begin_with_apis_and_leave_a_missing_namespace_empty() -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "ns"}}
    assert made("ADDED", deployment).attributes["subject"] == "/apis/apps/v1/namespaces/ns/deployments/d"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}
    assert made("ADDED", node).attributes["subject"] == "/apis/v1/namespaces//nodes/n"


@pytest.mark.parametrize(
    ("kind", "plural"),
    [("Pod", "pods"), ("Endpoints", "endpoints"), ("Ingress", "ingresses"), ("NetworkPolicy", "networkpolicies")],
)
def test_plurals_are_guessed(kind: str, plural: str) -> None:
    assert plural_of(kind) == plural


def test_only_the_controlling_owner_counts() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1"}
    obj = {"metadata": {"ownerReferences": [owner]}}
    assert not is_controlled_by(obj, "apps/v1", "ReplicaSet")
    owner["controller"] = True  # type: ignore[assignment]
    assert is_controlled_by(obj, "apps/v1", "ReplicaSet")
    assert not is_controlled_by(obj, "apps/v1", "Deployment")
    assert not is_controlled_by({}, "apps/v1", "ReplicaSet")


def test_paths() -> None:
    assert resource_path("", "v1", "pods", "ns") == "/api/v1/namespaces/ns/pods"
    assert resource_path("apps", "v1", "deployments", None) == "/apis/apps/v1/deployments"
