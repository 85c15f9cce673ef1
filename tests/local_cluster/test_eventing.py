"""What the stack makes for eventing, as objects."""

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from local_cluster.eventing import base_manifests, job_sink_manifests, pod_manifests
from local_cluster.system import Components, SystemLayout
from sources.ping import exit_delay_s


def layout(*, pods_have_networks: bool = False) -> SystemLayout:
    """Some stack."""
    return SystemLayout(
        subnet=IPv4Network("127.9.0.0/16"),
        http_host="127.0.0.1",
        http_port=8080,
        state_dir=Path("/state"),
        envoy=Path("/envoy"),
        pods_have_networks=pods_have_networks,
    )


def deployments(channels: str, *, pods_have_networks: bool = False, replaced: str = "") -> dict[str, dict[str, Any]]:
    """The Deployments, by name."""
    components = Components(eventing=channels, replaced={replaced: ("theirs",)} if replaced else {})
    found = pod_manifests(layout(pods_have_networks=pods_have_networks), components, "secret")
    return {each["metadata"]["name"]: each for each in found if each["kind"] == "Deployment"}


def env_of(deployment: dict[str, Any]) -> dict[str, str]:
    """The variables that have a plain value."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def test_each_component_has_its_own_identity_and_knows_where_its_settings_are() -> None:
    found = deployments("journal")
    accounts = {name: each["spec"]["template"]["spec"]["serviceAccountName"] for name, each in found.items()}
    assert accounts["eventing-controller"] == "eventing-controller"
    assert accounts["broker-ingress"] == "mt-broker-ingress"
    assert {env_of(each)["SYSTEM_NAMESPACE"] for each in found.values()} == {"knative-eventing"}
    assert env_of(found["eventing-controller"])["KNUV_CONTROLLERS"] == "eventing"


def test_a_journal_has_one_process_at_a_time_and_a_folder_that_outlives_it() -> None:
    dispatcher = deployments("journal")["imc-dispatcher"]
    assert dispatcher["spec"]["strategy"] == {"type": "Recreate"}
    assert env_of(dispatcher)["KNUV_JOURNAL_DIR"] == "/state/events"
    memory = deployments("memory")["imc-dispatcher"]
    assert memory["spec"]["strategy"]["type"] == "RollingUpdate"
    assert "KNUV_JOURNAL_DIR" not in env_of(memory)


def test_where_pods_have_networks_the_folder_is_mounted_and_the_files_in_the_pod_are_its_credentials() -> None:
    dispatcher = deployments("journal", pods_have_networks=True)["imc-dispatcher"]
    pod = dispatcher["spec"]["template"]["spec"]
    assert pod["volumes"][0]["hostPath"]["path"] == "/state/events"
    assert pod["automountServiceAccountToken"] is True
    assert "KUBECONFIG" not in env_of(dispatcher)


@pytest.mark.parametrize("name", ["broker-ingress", "broker-filter"])
def test_what_is_replaced_is_not_made_a_second_time(name: str) -> None:
    assert name not in deployments("journal", replaced=name)


def test_what_makes_jobs_is_not_among_the_pods_that_everybody_has() -> None:
    assert "job-sink" not in deployments("journal")
    service, deployment = job_sink_manifests(layout())
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": 8080}]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["command"][-3:] == ["-m", "broker", "job-sink"]


def test_the_adapter_of_pings_may_stay_for_the_tick_that_it_waits_for() -> None:
    pod = deployments("journal")["pingsource-mt-adapter"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > exit_delay_s(55, 55) + 5


def test_without_eventing_there_is_nothing() -> None:
    assert base_manifests(Components(eventing="none")) == []
