"""`knuv up --without`, `--replace` and `knuv kubeconfig`: other programs in the place of the stack's own."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kube.client import Client
from kube.config import ApiConfig
from kube.models.core import Pod
from loadtests.lab.cold_start import ready_host
from loadtests.load import fetch
from loadtests.scenario import until
from local_cluster.manifests import apply
from local_cluster.system import SYSTEM_NAMESPACE
from tests.system.conftest import BIN, System, program, running_system, service

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("stack-components")]

STAND_IN = Path(__file__).with_name("stand_in.py")
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the in-cluster files need a mount namespace, and that needs root")


def stand_in(*ports: int) -> str:
    """The command of a stand-in that listens on `ports`."""
    return f"{sys.executable} {STAND_IN} {' '.join(map(str, ports))}"


async def told(system: System, app: str, namespace: str = SYSTEM_NAMESPACE) -> dict[str, Any]:
    """What the stand-in for `app` found, and its pod."""

    async def line() -> dict[str, Any] | None:
        pods = (await system.client.list(Pod, namespace, label_selector=f"app={app}")).items
        if not pods or not pods[0].status.pod_ip or not pods[0].is_ready():
            return None
        text = await system.client.raw("GET", Pod.RESOURCE.path(namespace, pods[0].name, "log"))
        return {**json.loads(text.splitlines()[0]), "pod": pods[0].name, "pod_ip": pods[0].status.pod_ip}

    return await until(line, 90, f"the stand-in for {app} to tell")


async def test_components_are_left_out_and_another_program_runs_as_one_of_them(tmp_path: Path) -> None:
    async with running_system(tmp_path, "--without", "controller,gateway", "--without", "envoy") as system:
        pods = (await system.client.list(Pod, SYSTEM_NAMESPACE)).items
        assert {pod.metadata.labels["app"] for pod in pods} == {"autoscaler", "activator"}
        printed = await system.knuv("kubeconfig", "--as", "controller")
        assert printed.code == 0, printed.err
        kubeconfig = tmp_path / "controller.kubeconfig"
        kubeconfig.write_text(printed.out)
        review = b'{"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}'
        async with Client(ApiConfig.from_kubeconfig(kubeconfig)) as client:
            answer = await client.raw("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
        user = json.loads(answer)["status"]["userInfo"]
        assert user["username"] == "system:serviceaccount:knative-serving:controller"
        assert "system:serviceaccounts:knative-serving" in user["groups"]
        assert (await system.knuv("kubeconfig")).out == system.stack.kubeconfig.read_text()
        spelt = await system.knuv("kubeconfig", "--as", "system:serviceaccount:default:default")
        assert 'namespace: "default"' in spelt.out
        missing = await system.knuv("kubeconfig", "--as", "default/nobody")
        assert (missing.code, missing.err) == (1, 'knuv: serviceaccounts "nobody" not found\n')


async def test_our_own_programs_serve_in_the_places_of_the_stacks(tmp_path: Path) -> None:
    arguments = [
        word
        for name, module in {"queue-proxy": "queue_proxy", "activator": "activator", "autoscaler": "autoscaler"}.items()
        for word in ("--replace", f"{name}={sys.executable} -m {module}")
    ]
    async with running_system(tmp_path, *arguments) as system:
        await apply(system.client, system.kinds, service("hello"), "default")
        host, _ = await ready_host(system.client, "hello")
        answer = await fetch(system.stack.http_port, host, "/")
        assert (answer.status, answer.body) == (200, b"Hello World!\n"), answer.problem


@ROOT
async def test_a_replaced_component_finds_what_the_original_finds(tmp_path: Path) -> None:
    without = "controller,gateway,envoy,activator"
    arguments = ("--without", without, "--replace", f"autoscaler={stand_in(8080)}")
    async with running_system(tmp_path, *arguments) as system:
        found = await told(system, "autoscaler")
    expected = {
        "SYSTEM_NAMESPACE": SYSTEM_NAMESPACE,
        "POD_NAME": found["pod"],
        "POD_IP": found["pod_ip"],
        "CONFIG_LOGGING_NAME": "config-logging",
        "CONFIG_OBSERVABILITY_NAME": "config-observability",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
    }
    assert expected.items() <= found["env"].items()
    assert set(found["files"]) == {"token", "ca.crt", "namespace"}
    assert found["namespace"] == SYSTEM_NAMESPACE
    assert found["user"] == "system:serviceaccount:knative-serving:autoscaler"
    assert {"config-autoscaler", "config-network", "config-deployment"} <= set(found["config_maps"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--without", "nobody"), "'nobody': expected controller, autoscaler, activator, gateway, envoy"),
        (("--replace", "nobody=x"), "expected COMPONENT=COMMAND with one of queue-proxy"),
        (("--replace", "activator"), "expected COMPONENT=COMMAND"),
        (("--replace", "activator="), "the command is empty"),
        (("--replace", "activator='x"), "No closing quotation"),
        (("--replace", "activator=x", "--without", "activator"), "activator is left out by --without, too"),
    ],
)
async def test_wrong_choices_are_refused_by_name(tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    env = {"PATH": os.defpath, "COLUMNS": "300", "TERM": "dumb"}
    refused = await program(BIN / "knuv", "up", "--state-dir", tmp_path, *arguments, env=env)
    assert refused.code == 2
    assert problem in refused.err
