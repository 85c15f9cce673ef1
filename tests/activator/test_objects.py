"""What is kept of objects, and that the rest of them does no harm."""

import msgspec

from activator.objects import Endpoints, Revision, Service


def test_of_a_revision_its_limits_its_containers_and_our_annotations_are_kept() -> None:
    whole = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Revision",
        "metadata": {
            "name": "rev",
            "namespace": "ns",
            "uid": "u",
            "resourceVersion": "7",
            "managedFields": [{"manager": "controller", "fieldsV1": {"f:spec": {}}}],
            "labels": {"serving.knative.dev/service": "svc", "serving.knative.dev/configuration": "conf", "team": "a"},
            "annotations": {"serving.knuv.dev/waiting-page": "true", "serving.knative.dev/creator": "me"},
        },
        "spec": {
            "containerConcurrency": 5,
            "timeoutSeconds": 300,
            "responseStartTimeoutSeconds": 2,
            "idleTimeoutSeconds": 3,
            "serviceAccountName": "app",
            "containers": [
                {
                    "name": "user-container",
                    "image": "app",
                    "env": [{"name": "A", "value": "b"}],
                    "ports": [{"name": "h2c", "containerPort": 8080, "protocol": "TCP"}],
                    "readinessProbe": {"successThreshold": 1, "exec": {"command": ["true"]}},
                }
            ],
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    revision = msgspec.json.decode(msgspec.json.encode(whole), type=Revision)
    assert msgspec.to_builtins(revision) == {
        "metadata": {
            "name": "rev",
            "namespace": "ns",
            "uid": "u",
            "resourceVersion": "7",
            "labels": {
                "serving.knative.dev/revision": "",
                "serving.knative.dev/service": "svc",
                "serving.knative.dev/configuration": "conf",
            },
            "annotations": {"serving.knuv.dev/waiting-page": "true"},
        },
        "spec": {
            "containerConcurrency": 5,
            "timeoutSeconds": 300,
            "responseStartTimeoutSeconds": 2,
            "idleTimeoutSeconds": 3,
            "containers": (
                {"ports": ({"name": "h2c", "port": 0},), "readinessProbe": {"exec": {}}, "startupProbe": None},
            ),
        },
    }
    assert revision.key == ("ns", "rev")


def test_of_endpoints_the_ports_that_requests_go_to_are_kept() -> None:
    text = b"""{"metadata": {"name": "rev-private", "labels": {"serving.knative.dev/revision": "rev"}}, "subsets": [{
      "addresses": [{"ip": "10.0.0.1", "nodeName": "n", "targetRef": {"kind": "Pod", "name": "p"}}],
      "notReadyAddresses": [{"ip": "10.0.0.2"}],
      "ports": [{"name": "http-usermetric", "port": 9091}, {"name": "http", "port": 8012, "protocol": "TCP"}]}]}"""
    endpoints = msgspec.json.decode(text, type=Endpoints)
    (subset,) = endpoints.subsets
    assert [address.ip for address in subset.addresses] == ["10.0.0.1"]
    assert [address.ip for address in subset.not_ready_addresses] == ["10.0.0.2"]
    assert [(port.name, port.port) for port in subset.ports] == [("http", 8012)]
    assert endpoints.metadata.labels.revision == "rev"


def test_names_of_namespaces_are_held_once() -> None:
    text = b'{"metadata": {"name": "a", "namespace": "a-namespace"}, "spec": {"clusterIP": "10.1.0.1"}}'
    first, second = (msgspec.json.decode(text, type=Service) for _ in range(2))
    assert first.metadata.namespace is second.metadata.namespace
    assert first.spec.cluster_ip == "10.1.0.1"


def test_a_bookmark_has_a_version_and_nothing_else() -> None:
    bookmark = msgspec.json.decode(b'{"kind": "Revision", "metadata": {"resourceVersion": "9"}}', type=Revision)
    assert bookmark.metadata.resource_version == "9"
