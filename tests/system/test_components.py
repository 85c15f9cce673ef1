"""`knuv up --without`, `--replace` and `knuv kubeconfig`: other programs in the place of the stack's own."""

import json
import os
import sys
from pathlib import Path

import pytest

from kube.client import Client
from kube.config import ApiConfig
from kube.models.core import Pod
from loadtests.lab.cold_start import ready_host
from loadtests.load import fetch
from local_cluster.manifests import apply
from local_cluster.system import SYSTEM_NAMESPACE
from tests.system.conftest import BIN, program, running_system, service

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("stack-components")]


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
        assert json.loads(spelt.out)["contexts"][0]["context"]["namespace"] == "default"
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
