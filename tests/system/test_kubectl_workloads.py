"""A kubectl session with workloads: what people type to see how their programs are doing."""

import asyncio
import json
import re
import sys
from typing import Any

import pytest
import yaml

from tests.support.processes import eventually
from tests.system.conftest import BIN, System
from tests.system.port_forwards import LISTENER, forwarded, talk

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("stack-workloads")]

CRASHES_ONCE = "test -e $0 && { echo second; exec sleep 600; }; touch $0; echo first; exit 1"


def workload(kind: str, name: str, script: str, *arguments: str, **spec: Any) -> str:
    """A Deployment or Job with one container."""
    container = {"name": "c", "image": "dev.local/x", "command": ["sh", "-c", script.replace("$", "$$"), *arguments]}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec.pop("pod", {})}
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    if kind == "Deployment":
        spec |= {"selector": {"matchLabels": {"app": name}}}
    group = "apps/v1" if kind == "Deployment" else "batch/v1"
    manifest = {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": {**spec, "template": template}}
    return yaml.safe_dump(manifest)


async def typed(system: System, *arguments: str, stdin: str | None = None) -> str:
    """What a command printed; it must succeed."""
    done = await system.kubectl(*arguments, stdin=stdin)
    assert done.code == 0, done.err
    return done.out


async def test_all_wide_explain_wait_and_rollouts(system: System) -> None:
    await typed(system, "apply", "-f", "-", stdin=workload("Deployment", "web", "exec sleep 600", replicas=2))
    assert "successfully rolled out" in await typed(system, "rollout", "status", "deployment/web", "--timeout=30s")
    assert await typed(system, "wait", "deployment/web", "--for=condition=Available", "--timeout=30s") == (
        "deployment.apps/web condition met\n"
    )
    await typed(system, "wait", "pod", "-l", "app=web", "--for=condition=Ready", "--timeout=30s")

    listed = await typed(system, "get", "all")
    for line in (
        r"pod/web-\S+ +1/1 +Running +0",
        r"deployment.apps/web +2/2 +2 +2",
        r"replicaset.apps/web-\S+ +2 +2 +2",
    ):
        assert re.search(line, listed), listed
    header, *rows = (await typed(system, "get", "pods", "-l", "app=web", "-o", "wide")).splitlines()
    assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert all(re.search(r" 127\.\d+\.\d+\.\d+ +local", row) for row in rows)
    header, row = (await typed(system, "get", "deployment", "web", "-o", "wide")).splitlines()
    assert header.split()[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert row.split()[-3:] == ["c", "dev.local/x", "app=web"]

    explained = await typed(system, "explain", "deployment.spec.replicas")
    assert "FIELD: replicas <integer>" in explained
    assert "KIND:       Pod" in await typed(system, "explain", "pod.spec.containers.env")

    await typed(system, "rollout", "restart", "deployment/web")
    assert "successfully rolled out" in await typed(system, "rollout", "status", "deployment/web", "--timeout=30s")
    images = await typed(system, "get", "rs", "-l", "app=web", "-o", "jsonpath={.items[*].spec.replicas}")
    assert sorted(images.split()) == ["0", "2"]
    await typed(system, "delete", "deployment", "web", "--wait=true")


async def test_logs_followed_cut_stamped_and_of_before(system: System) -> None:
    marker = str(system.stack.state_dir / "been")
    await typed(system, "apply", "-f", "-", stdin=workload("Deployment", "crash", CRASHES_ONCE, marker))

    async def second() -> bool:
        done = await system.kubectl("logs", "deployment/crash")
        return done.out == "second\n"

    await eventually(second, timeout_s=20)
    assert await typed(system, "logs", "deployment/crash", "--previous") == "first\n"
    assert re.search(r" 1 \(.*ago\)", await typed(system, "get", "pods", "-l", "app=crash"))

    script = "i=0; while [ $i -lt 5 ]; do echo line $i; i=$((i+1)); done; sleep 1; echo last; exec sleep 600"
    await typed(system, "apply", "-f", "-", stdin=workload("Deployment", "talk", script))
    follow = await asyncio.create_subprocess_exec(
        *(str(BIN / "kubectl"), "--kubeconfig", str(system.stack.kubeconfig), "logs", "-f", "deployment/talk"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert follow.stdout is not None
    try:
        seen = [await asyncio.wait_for(follow.stdout.readline(), 60) for _ in range(6)]
        assert seen == [b"line %d\n" % i for i in range(5)] + [b"last\n"]
        assert await typed(system, "logs", "deployment/talk", "--tail=2") == "line 4\nlast\n"
        stamped = await typed(system, "logs", "deployment/talk", "--tail=1", "--timestamps")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z last\n", stamped)
        assert await typed(system, "logs", "deployment/talk", "--since=1h", "--tail=1") == "last\n"
        assert await typed(system, "logs", "deployment/talk", "--since-time=2099-01-01T00:00:00Z") == ""
        await typed(system, "delete", "deployment", "talk")
        assert await asyncio.wait_for(follow.stdout.read(), 60) == b""
    finally:
        if follow.returncode is None:
            follow.kill()
        await follow.wait()
    await typed(system, "delete", "deployment", "crash")


async def test_a_job_is_waited_for_and_read(system: System) -> None:
    await typed(
        system, "apply", "-f", "-", stdin=workload("Job", "sum", "echo $((2 + 3))", pod={"restartPolicy": "Never"})
    )
    await typed(system, "wait", "job/sum", "--for=condition=Complete", "--timeout=30s")
    assert await typed(system, "logs", "job/sum") == "5\n"
    header, row = (await typed(system, "get", "job", "sum")).splitlines()
    assert header.split()[:3] == ["NAME", "STATUS", "COMPLETIONS"]
    assert row.split()[:3] == ["sum", "Complete", "1/1"]
    status = json.loads(await typed(system, "get", "job", "sum", "-o", "json"))["status"]
    assert status["succeeded"] == 1
    await typed(system, "delete", "job", "sum")
    assert await typed(system, "get", "pods", "-l", "job-name=sum", "-o", "name") == ""


async def test_ports_are_forwarded_side_by_side(system: System) -> None:
    field = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    container = {"name": "c", "image": "x", "command": [sys.executable, "-c", LISTENER, "9123"], "env": [field]}
    container["readinessProbe"] = {"tcpSocket": {"port": 9123}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "echo"}, "spec": {"containers": [container]}}
    await typed(system, "apply", "-f", "-", stdin=yaml.safe_dump(pod))
    await typed(system, "wait", "pod/echo", "--for=condition=Ready", "--timeout=20s")
    async with forwarded(system, "pod/echo", 9123) as port:
        sizes = (0, 5, 300_000, 3_000_000)
        answers = await asyncio.gather(*(talk(port, b"x" * size) for size in sizes))
        assert answers == [b"got %d " % size + b"x" * min(size, 5) for size in sizes]
    async with forwarded(system, "pod/echo", 9124) as port:
        assert await talk(port, b"") == b""
    refused = await system.kubectl("port-forward", "pod/none", ":80")
    assert 'pods "none" not found' in refused.err
    await typed(system, "delete", "pod", "echo", "--grace-period=0", "--force")
