"""Ingress objects: admission, names, readiness (statements 2 to 6)."""

from typing import Any

import pytest

from controller import domains
from gateway.reconciler import CONDITIONS
from tests.controller.objects import CLUSTER_DOMAIN, route, settings
from tests.controller.writes import Write, admit, refusal

GROUP = "networking.internal.knative.dev"


def split(percent: int | None = None, namespace: str = "default") -> dict[str, Any]:
    target = {"serviceNamespace": namespace, "serviceName": "web", "servicePort": 80}
    return target if percent is None else {**target, "percent": percent}


def written(*splits: dict[str, Any], **spec: Any) -> Write:
    rules = [{"hosts": ["a.com"], "http": {"paths": [{"splits": list(splits)}]}}]
    body = {"kind": "Ingress", "metadata": {"name": "web", "namespace": "default"}, "spec": {"rules": rules, **spec}}
    return Write("Ingress", body, group=GROUP, operation="CREATE")


def test_1_defaults_are_stored() -> None:
    [rule] = admit(written(split()))["spec"]["rules"]
    assert rule["visibility"] == "ExternalIP"
    assert rule["http"]["paths"][0]["splits"][0]["percent"] == 100


def test_2_shares_that_do_not_add_up_are_refused() -> None:
    assert refusal(written(split(60), split(30))) == (
        "traffic split percentage must total to 100, but was 90: spec.rules[0].http.paths[0].splits"
    )


def test_3_a_backend_of_another_namespace_is_refused() -> None:
    assert refusal(written(split(namespace="theirs"))) == (
        "invalid value: theirs: spec.rules[0].http.paths[0].splits[0].serviceNamespace\n"
        "service namespace must match ingress namespace"
    )


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"tls": [{"hosts": ["a.com"], "secretName": "s"}]}, "missing field(s): spec.tls[0].secretNamespace"),
        ({"tls": [{"hosts": ["a.com"], "secretNamespace": "s"}]}, "missing field(s): spec.tls[0].secretName"),
        ({"httpOption": "foo"}, "invalid value: foo: spec.httpOption"),
    ],
)
def test_4_certificates_without_a_place_and_unknown_options_are_refused(spec: dict[str, Any], text: str) -> None:
    assert refusal(written(split(), **spec)) == text


@pytest.mark.parametrize(
    ("namespace", "names"),
    [("b", ["a.b", "a.b.svc", "a.b.svc.cluster.local"]), ("123", ["a.123.svc", "a.123.svc.cluster.local"])],
)
def test_5_cluster_local_names_are_three_unless_one_would_be_an_address(namespace: str, names: list[str]) -> None:
    owner = route()
    owner.metadata.name, owner.metadata.namespace = "a", namespace
    found = domains.hosts_of(owner, [""], settings(), CLUSTER_DOMAIN, {})
    assert list(found[""].local) == names


def test_6_ready_means_configured_and_reachable() -> None:
    conditions = CONDITIONS.manage([], 0.0)
    conditions.initialise()
    conditions.mark_true("NetworkConfigured")
    assert conditions.status("Ready") == "Unknown"
    conditions.mark_true("LoadBalancerReady")
    assert conditions.status("Ready") == "True"
    conditions.mark_unknown("NetworkConfigured", "why", "")
    assert conditions.status("Ready") == "Unknown"
