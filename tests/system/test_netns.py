"""`knuv up --network netns`: every pod in a network of its own, names and ClusterIPs as in a cluster, nothing left."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kube.models.autoscaling import Metric
from kube.models.core import Pod
from kube.models.eventing import Trigger
from loadtests.load import fetch
from loadtests.scenario import until
from local_cluster.manifests import apply
from tests.system.conftest import BIN, System, program, running_system
from tests.system.port_forwards import LISTENER, forwarded, talk
from tests.system.test_stack import guardian_mark, processes_of

pytestmark = [
    pytest.mark.system,
    pytest.mark.xdist_group("stack-netns"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

APP = Path(__file__).with_name("fixed_port.py")
QUEUE_WORKER = Path(__file__).parents[2] / "examples" / "queue_worker.py"
HOST = "{name}.default.127.0.0.1.sslip.io"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def netns(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """The module's stack."""
    async with running_system(tmp_path_factory.mktemp("netns"), "--network", "netns") as running:
        yield running


def fixed(name: str, scale: int = 0) -> dict[str, Any]:
    """A Knative Service with the app on port 8080, `scale` pods of it at least."""
    annotations = {"autoscaling.knative.dev/min-scale": str(scale), "autoscaling.knative.dev/window": "6s"}
    container = {"image": "dev.local/fixed", "command": [sys.executable, str(APP)]}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}},
    }


def mounts() -> str:
    """Everything that is mounted on this machine."""
    return Path("/proc/self/mountinfo").read_text()


async def ready(system: System, name: str) -> None:
    waited = await system.kubectl("wait", f"ksvc/{name}", "--for=condition=Ready", "--timeout=30s")
    assert waited.code == 0, waited.err


async def said(system: System, name: str, path: str = "/") -> str:
    """What the app answers through the gateway's port of this machine."""
    answer = await fetch(system.stack.http_port, HOST.format(name=name), path)
    assert answer.status == 200, answer
    return answer.body.decode()


@pytest.mark.asyncio(loop_scope="module")
async def test_apps_on_one_fixed_port_scale_up_and_to_zero(netns: System) -> None:
    await apply(netns.client, netns.kinds, fixed("pair", 2), "default")
    await apply(netns.client, netns.kinds, fixed("zero"), "default")
    await ready(netns, "pair")
    await ready(netns, "zero")

    async def both() -> set[str] | None:
        seen = {await said(netns, "pair") for _ in range(10)}
        return seen if len(seen) == 2 else None

    seen = await until(both, 90, "two pods to answer on port 8080")
    pods = (await netns.client.list(Pod, "default", label_selector="serving.knative.dev/service=pair")).items
    assert seen == {f"{pod.name} {pod.status.pod_ip}" for pod in pods}
    assert all(pod.status.pod_ip.startswith("10.244.") for pod in pods)

    async def none() -> bool | None:
        selector = "serving.knative.dev/service=zero"
        return not (await netns.client.list(Pod, "default", label_selector=selector)).items or None

    await until(none, 90, "the other app to be at zero")
    assert (await said(netns, "zero")).startswith("zero-00001-deployment-")


@pytest.mark.asyncio(loop_scope="module")
async def test_several_pods_are_scaled_by_a_gauge_at_their_own_port(netns: System) -> None:
    service = fixed("jobs")
    template = service["spec"]["template"]
    template["metadata"]["annotations"] |= {
        "autoscaling.knative.dev/metric": "url",
        "autoscaling.knuv.dev/metric-url": ":8080/metrics#jobs_waiting",
        "autoscaling.knative.dev/target": "5",
        "autoscaling.knative.dev/max-scale": "3",
    }
    template["spec"]["containers"][0]["command"] = [sys.executable, str(QUEUE_WORKER)]
    await apply(netns.client, netns.kinds, service, "default")
    await ready(netns, "jobs")
    jobs = asyncio.gather(*(said(netns, "jobs") for _ in range(100)))

    async def all_ready() -> bool | None:
        listed = await netns.client.list(Pod, "default", label_selector="serving.knative.dev/service=jobs")
        return sum(pod.is_ready() for pod in listed.items) == 3 or None

    await until(all_ready, 90, "three pods for the queue")
    assert set(await jobs) == {"done\n"}
    (metric,) = (each for each in (await netns.client.list(Metric, "default")).items if each.name.startswith("jobs-"))
    assert [(told.status, told.message) for told in metric.status.conditions if told.type == "Ready"] == [("True", "")]


@pytest.mark.asyncio(loop_scope="module")
async def test_names_and_cluster_ips_lead_to_pods(netns: System) -> None:
    await apply(netns.client, netns.kinds, fixed("caller", 1), "default")
    await ready(netns, "caller")
    plain = {
        "metadata": {"name": "plain"},
        "spec": {"selector": {"app": "plain"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    await apply(netns.client, netns.kinds, {"apiVersion": "v1", "kind": "Service", **plain}, "default")
    container = {
        "name": "c",
        "image": "x",
        "command": [sys.executable, str(APP)],
        "readinessProbe": {"tcpSocket": {"port": 8080}},
    }
    pod = {"metadata": {"name": "plain", "labels": {"app": "plain"}}, "spec": {"containers": [container]}}
    await apply(netns.client, netns.kinds, {"apiVersion": "v1", "kind": "Pod", **pod}, "default")
    assert (await netns.kubectl("wait", "pod/plain", "--for=condition=Ready", "--timeout=20s")).code == 0
    address = (await netns.kubectl("get", "svc", "plain", "-o", "jsonpath={.spec.clusterIP}")).out

    async def reached() -> str | None:
        text = await said(netns, "caller", "/fetch?plain.default.svc.cluster.local")
        return text if " 200 " in text else None

    assert (await until(reached, 90, "the ClusterIP to lead to the pod")).startswith(f"{address} 200 plain 10.244.")
    assert (await said(netns, "caller", "/fetch?plain")).startswith(f"{address} 200 plain ")
    own = await said(netns, "caller", "/fetch?caller.default.svc.cluster.local")
    assert " 200 caller-00001-deployment-" in own
    assert "not known" in await said(netns, "caller", "/fetch?no-such.default.svc.cluster.local")
    # Nothing of this machine's network is in reach, and nothing of the pods' network is on this machine.
    assert "refused" in await said(netns, "caller", f"/fetch?127.0.0.1:{netns.stack.http_port}")
    assert not [name for _, name in socket.if_nameindex() if name.startswith(("knuv", "pod"))]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_secret_is_seen_by_its_pod_alone(netns: System) -> None:
    made = await netns.kubectl("create", "secret", "generic", "word", "--from-literal=word=sesame")
    assert made.code == 0, made.err
    secrets = f"find {netns.stack.state_dir} -type f | wc -l"
    look = f"cat /secret/word; echo; id -u; {secrets}; touch /etc/knuv-netns && echo wrote"
    container = {
        "name": "c",
        "image": "x",
        "command": ["sh", "-c", look],
        "volumeMounts": [{"name": "s", "mountPath": "/secret"}],
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "volumes": [{"name": "s", "secret": {"secretName": "word"}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look"}, "spec": spec}
    await apply(netns.client, netns.kinds, pod, "default")
    await netns.kubectl("wait", "pod/look", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=20s")
    assert (await netns.kubectl("logs", "look")).out.splitlines() == ["sesame", "0", "0", "wrote"]
    assert "knuv-netns" not in os.listdir("/etc")


@pytest.mark.asyncio(loop_scope="module")
async def test_people_see_events_pass_ask_for_them_and_deliver_them_again(netns: System) -> None:
    for kind, name, spec in (
        ("Broker", "default", {}),
        # Nobody is there, so that something is to be delivered again.
        (
            "Trigger",
            "mine",
            {"broker": "default", "subscriber": {"uri": "http://127.0.0.1:1/"}, "delivery": {"retry": 0}},
        ),
    ):
        manifest = {"apiVersion": "eventing.knative.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        await apply(netns.client, netns.kinds, manifest, "default")

    async def is_ready() -> bool | None:
        return (await netns.client.get(Trigger, "mine", "default")).status.is_ready() or None

    await until(is_ready, 90, "the Trigger to be ready")
    tail = asyncio.create_task(netns.knuv("events", "tail", "--json", "--count", "1"))

    async def is_seen() -> bool | None:
        # Until the tail listens, and the gateway leads to the ingress.
        await netns.knuv("events", "send", "--id", "n1", "--data", '{"n": 1}')
        await asyncio.wait([tail], timeout=1)
        return tail.done() or None

    await until(is_seen, 90, "the event to pass the tail")
    seen = json.loads((await tail).out)
    assert (seen["id"], seen["data"]) == ("n1", {"n": 1})
    traced = await netns.knuv("events", "trace", "n1")
    for step in ("accepted", "matched", "not answered"):
        assert step in traced.out

    async def is_kept() -> bool | None:
        listed = await netns.knuv("events", "redrive", "--trigger", "mine", "--dry-run")
        return "n1 from /knuv/cli: code 500" in listed.out or None

    await until(is_kept, 90, "the dead letter to be kept")
    redriven = await netns.knuv("events", "redrive", "--trigger", "mine")
    assert redriven.out.endswith("sent again\n"), redriven.err

    async def nothing_is_left() -> bool | None:
        pods = (await netns.client.list(Pod, "default")).items
        return not [pod.name for pod in pods if pod.name.startswith("knuv-tail")] or None

    await until(nothing_is_left, 90, "the pod that listened to end")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_port_is_forwarded_to_what_listens_inside_the_pod_alone(netns: System) -> None:
    container = {"name": "c", "image": "x", "command": [sys.executable, "-c", LISTENER, "7000"]}
    container["readinessProbe"] = {"exec": {"command": ["sh", "-c", "grep -q :1B58 /proc/net/tcp"]}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "echo"}, "spec": {"containers": [container]}}
    await apply(netns.client, netns.kinds, pod, "default")
    assert (await netns.kubectl("wait", "pod/echo", "--for=condition=Ready", "--timeout=20s")).code == 0
    async with forwarded(netns, "pod/echo", 7000) as port:
        assert await talk(port, b"hello") == b"got 5 hello"


async def test_without_the_right_to_it_the_refusal_says_what_to_do(tmp_path: Path) -> None:
    powerless = ("setpriv", "--bounding-set", "-sys_admin")
    refused = await program(*powerless, BIN / "knuv", "up", "--network", "netns", "--state-dir", tmp_path)
    assert refused.code == 2
    assert refused.err == (
        "knuv: --network netns: [Errno 1] unshare: Operation not permitted; it needs root, or leave it at loopback\n"
    )


async def test_kill_9_leaves_no_process_and_no_link(tmp_path: Path) -> None:
    async with running_system(tmp_path, "--network", "netns") as system:
        await apply(system.client, system.kinds, fixed("left", 1), "default")
        await ready(system, "left")
        marks = (str(tmp_path), guardian_mark(tmp_path))
        before = mounts()
        system.stack.kill()

        async def gone() -> bool | None:
            return not processes_of(*marks) or None

        await until(gone, 30, "every process to be gone")
        assert mounts() == before
        assert not [name for _, name in socket.if_nameindex() if name.startswith(("knuv", "pod"))]
