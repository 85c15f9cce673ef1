"""A kubectl session against the stack: what a user types, in order; then the same with the project's own command."""

import asyncio
import json

import pytest
import yaml

from tests.system.conftest import BIN, System, service

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("stack-kubectl")]


async def test_a_session_with_a_knative_service(system: System) -> None:
    manifest = yaml.safe_dump(service("web", TARGET="kubectl"))
    applied = await system.kubectl("apply", "-f", "-", stdin=manifest)
    assert applied.out == "service.serving.knative.dev/web created\n", applied.err
    assert (await system.kubectl("wait", "ksvc/web", "--for=condition=Ready", "--timeout=30s")).code == 0
    # Applied once more it changes nothing, whatever kubectl calls it: no new generation, so no new revision.
    assert (await system.kubectl("apply", "-f", "-", stdin=manifest)).code == 0
    assert (await system.kubectl("get", "ksvc", "web", "-o", "jsonpath={.metadata.generation}")).out == "1"

    listed = await system.kubectl("get", "ksvc,revision,pods")
    assert listed.code == 0, listed.err
    header = listed.out.splitlines()[0].split()
    assert header == ["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"]
    for name in (
        "service.serving.knative.dev/web",
        "revision.serving.knative.dev/web-00001",
        "pod/web-00001-deployment-",
    ):
        assert name in listed.out

    described = await system.kubectl("describe", "ksvc", "web")
    assert "Latest Ready Revision Name:" in described.out
    pod = (await system.kubectl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")).out
    assert "queue-proxy:" in (await system.kubectl("describe", "pod", pod)).out
    assert '"message": "listening"' in (await system.kubectl("logs", pod, "-c", "user-container")).out

    patch = {"metadata": {"labels": {"team": "a"}}}
    assert (await system.kubectl("patch", "ksvc", "web", "--type=merge", "-p", json.dumps(patch))).code == 0
    assert "web" in (await system.kubectl("get", "ksvc", "-l", "team=a", "-o", "name")).out

    assert (await system.kubectl("delete", "ksvc", "web", "--timeout=30s")).out.startswith(
        "service.serving.knative.dev"
    )
    assert "NotFound" in (await system.kubectl("get", "ksvc", "web")).err
    for _ in range(100):
        left = (await system.kubectl("get", "revision,route,configuration,deployment", "-o", "name")).out
        if not left:
            break
        await asyncio.sleep(0.1)
    assert left == ""


async def test_a_deployment_is_scaled_and_watched(system: System) -> None:
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "plain"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "plain"}},
            "template": {
                "metadata": {"labels": {"app": "plain"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "c", "image": "dev.local/x", "command": ["sleep", "1000"]}],
                },
            },
        },
    }
    assert (await system.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))).code == 0
    rolled = await system.kubectl("rollout", "status", "deployment/plain", "--timeout=30s")
    assert "successfully rolled out" in rolled.out, rolled.err

    watch = await asyncio.create_subprocess_exec(
        *(str(BIN / "kubectl"), "--kubeconfig", str(system.stack.kubeconfig), "get", "deployment", "plain", "-w"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert watch.stdout is not None
    try:
        assert b"READY" in await asyncio.wait_for(watch.stdout.readline(), 60)
        assert b"1/1" in await asyncio.wait_for(watch.stdout.readline(), 60)
        assert (await system.kubectl("scale", "deployment", "plain", "--replicas=3")).code == 0
        while b"3/3" not in await asyncio.wait_for(watch.stdout.readline(), 60):
            pass
    finally:
        watch.kill()
        await watch.wait()
    assert (await system.kubectl("delete", "deployment", "plain")).code == 0


async def test_an_invalid_manifest_is_refused_with_the_path_and_the_reason(system: System) -> None:
    manifest = service("wrong")
    manifest["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = {}  # type: ignore[index]
    manifest["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"] = {"exec": {"command": ["x"]}}  # type: ignore[index]
    refused = await system.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert refused.code == 1
    assert "must not set the field(s): spec.template.spec.containers[0].lifecycle" in refused.err

    manifest = service("wrong")
    manifest["spec"]["template"]["spec"]["timeoutSeconds"] = 601  # type: ignore[index]
    refused = await system.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
    assert "expected 0 <= 601 <= 600: spec.template.spec.timeoutSeconds" in refused.err


async def test_the_same_without_kubectl(system: System, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("manifests") / "cli.yaml"
    manifest = service("cli", TARGET="knuv")
    # Its pod is there for its logs, however long the commands before take.
    manifest["spec"]["template"]["metadata"] = {"annotations": {"autoscaling.knative.dev/min-scale": "1"}}
    path.write_text(yaml.safe_dump(manifest))
    assert (await system.knuv("apply", "-f", str(path))).out == "service/cli created\n"
    for _ in range(300):
        listed = await system.knuv("get", "services", "cli")
        if "True" in listed.out:
            break
        await asyncio.sleep(0.1)
    header, row = listed.out.splitlines()[:2]
    assert header.split() == ["NAME", "URL", "LATEST", "REVISION", "READY", "REASON", "PODS", "MODE"]
    assert f"http://cli.default.127.0.0.1.sslip.io:{system.stack.http_port}" in row
    assert "cli-00001" in row
    assert "Proxy" in row
    assert '"listening"' in (await system.knuv("logs", "cli")).out
    assert "RoutesReady" in (await system.knuv("describe", "ksvc", "cli")).out
    assert (await system.knuv("why", "cli")).out.startswith("ok  Service cli: ready, since ")
    assert (await system.knuv("apply", "-f", str(path))).out == "service/cli unchanged\n"
    assert (await system.knuv("delete", "ksvc", "cli")).out == "service/cli deleted\n"
    unknown = await system.knuv("get", "nonsense")
    assert unknown.code == 1
    assert 'no resource type "nonsense"' in unknown.err
