"""`local_cluster/node/environment.py`."""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from kube.models.core import Pod
from local_cluster.node.environment import (
    PodFacts,
    Reference,
    VariableError,
    container_environment,
    expand,
    inherited,
    references,
)

FACTS = PodFacts(pod_ip="127.80.1.1", host_ip="127.80.0.1", cpu="4", memory="2Gi")


def environment(
    env: list[dict[str, Any]] | None = None,
    sources: Mapping[tuple[str, str], Mapping[str, str]] | None = None,
    replaced: Mapping[str, str] | None = None,
    **container: Any,
) -> dict[str, str]:
    """The environment of one container, without what the stack passes on."""
    data = {
        "metadata": {
            "name": "pod-1",
            "namespace": "ns",
            "uid": "u-1",
            "labels": {"app": "web", "a/b": "slash"},
            "annotations": {"note": "hi"},
        },
        "spec": {"nodeName": "local", "containers": [{"name": "c", "env": env or [], **container}]},
    }
    pod = msgspec.convert(data, Pod)
    return container_environment(
        pod.spec.containers[0], pod, FACTS, base={"PATH": "/bin"}, sources=sources or {}, replaced=replaced or {}
    )


def value_from(source: str, **selector: Any) -> list[dict[str, Any]]:
    return [{"name": "X", "valueFrom": {source: selector}}]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "pod-1"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['a/b']", "slash"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", "hi"),
        ("spec.nodeName", "local"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "127.80.1.1"),
        ("status.hostIP", "127.80.0.1"),
    ],
)
def test_field_references(path: str, value: str) -> None:
    assert environment(value_from("fieldRef", fieldPath=path))["X"] == value


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(VariableError, match=r"status\.phase"):
        environment(value_from("fieldRef", fieldPath="status.phase"))


def test_variables_refer_to_earlier_ones_and_keep_unknown_references() -> None:
    env = environment(
        [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(C)-$$(A)-$A"},
            {"name": "C", "value": "3"},
        ]
    )
    assert env["B"] == "1-$(C)-$(A)-$A"


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)", "1"), ("$$", "$"), ("$$$(A)", "$1"), ("$(", "$("), ("$", "$"), ("$(A B)", "$(A B)"), ("$()", "$()")],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


def test_base_host_name_and_replacements() -> None:
    env = environment([{"name": "PORT", "value": "8080"}, {"name": "URL", "value": ":$(PORT)"}], replaced={"PORT": "7"})
    assert env == {"PATH": "/bin", "HOSTNAME": "pod-1", "PORT": "7", "URL": ":7"}


def test_keys_of_config_maps_and_secrets() -> None:
    sources = {("ConfigMap", "m"): {"k": "v"}, ("Secret", "s"): {"k": base64.b64encode(b"secret").decode()}}
    assert environment(value_from("configMapKeyRef", name="m", key="k"), sources)["X"] == "v"
    assert environment(value_from("secretKeyRef", name="s", key="k"), sources)["X"] == "secret"


def test_all_keys_with_a_prefix_give_way_to_env() -> None:
    env = environment(
        [{"name": "P_A", "value": "mine"}],
        {("ConfigMap", "m"): {"A": "1", "B": "2"}, ("Secret", "s"): {"C": base64.b64encode(b"3").decode()}},
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "m"}}, {"secretRef": {"name": "s"}}],
    )
    assert {key: env[key] for key in ("P_A", "P_B", "C")} == {"P_A": "mine", "P_B": "2", "C": "3"}


def test_what_is_missing_is_named_unless_it_is_optional() -> None:
    with pytest.raises(VariableError, match='configmap "m" not found'):
        environment(value_from("configMapKeyRef", name="m", key="k"))
    with pytest.raises(VariableError, match="couldn't find key k in Secret ns/s"):
        environment(value_from("secretKeyRef", name="s", key="k"), {("Secret", "s"): {}})
    with pytest.raises(VariableError, match='secret "s" not found'):
        environment(envFrom=[{"secretRef": {"name": "s"}}])
    assert "X" not in environment(value_from("configMapKeyRef", name="m", key="k", optional=True))
    assert "X" not in environment(
        value_from("configMapKeyRef", name="m", key="k", optional=True), {("ConfigMap", "m"): {}}
    )
    environment(envFrom=[{"configMapRef": {"name": "m", "optional": True}}])


def test_a_secret_that_is_no_text_is_refused_with_its_key() -> None:
    with pytest.raises(VariableError, match="key k of Secret s"):
        environment(value_from("secretKeyRef", name="s", key="k"), {("Secret", "s"): {"k": "/w=="}})


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "1"),
        ("limits.cpu", "1m", "500"),
        ("limits.memory", "1Mi", "64"),
        ("requests.cpu", "1m", "0"),
        ("limits.ephemeral-storage", None, "0"),
    ],
)
def test_resource_references(resource: str, divisor: str | None, value: str) -> None:
    selector = {"resource": resource} | ({"divisor": divisor} if divisor else {})
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}}
    assert environment(value_from("resourceFieldRef", **selector), resources=resources)["X"] == value


def test_without_a_limit_the_nodes_capacity_counts() -> None:
    assert environment(value_from("resourceFieldRef", resource="limits.cpu"))["X"] == "4"
    assert environment(value_from("resourceFieldRef", resource="limits.memory", divisor="1Gi"))["X"] == "2"


def test_references_lists_what_must_be_fetched() -> None:
    data = {
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "m"}}, {"secretRef": {"name": "s", "optional": True}}],
        "env": [*value_from("secretKeyRef", name="t", key="k"), *value_from("fieldRef", fieldPath="metadata.name")],
    }
    container = msgspec.convert({"spec": {"containers": [data]}}, Pod).spec.containers[0]
    assert references(container) == [
        Reference("ConfigMap", "m", False),
        Reference("Secret", "s", True),
        Reference("Secret", "t", False),
    ]


def test_only_the_allowed_part_of_the_stacks_environment_is_passed_on() -> None:
    assert inherited({"PATH": "/bin", "HOME": "/h", "AWS_SECRET_ACCESS_KEY": "x", "KUBECONFIG": "k"}) == {
        "PATH": "/bin",
        "HOME": "/h",
    }
