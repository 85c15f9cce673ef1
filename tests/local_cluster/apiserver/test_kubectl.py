"""Sessions of the real kubectl: what people type, and what they are shown."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from local_cluster.apiserver.admission import AdmissionDenied, AdmissionRequest
from tests.local_cluster.apiserver.raw import KSERVICES, PODS, Api, pod
from tests.support.api import RunningApiServer

KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent))
DEADLINE_S = 30.0

SERVICE = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: hello
spec:
  template:
    spec:
      containers:
      - image: example.com/hello
        env:
        - {name: TARGET, value: World}
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app
        image: example.com/app:1
        env:
        - {name: A, value: "1"}
        - {name: B, value: "2"}
"""


class Kubectl:
    """kubectl with a home of its own."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self._environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(home), "PATH": "/usr/bin:/bin"}

    async def __call__(self, command: str, stdin: str = "", *, code: int = 0) -> str:
        """Run `kubectl command`; its output. Fails unless it exits with `code`."""
        async with self.started(command) as process:
            output, _ = await asyncio.wait_for(process.communicate(stdin.encode()), DEADLINE_S)
            assert process.returncode == code, output.decode()
        return output.decode()

    @asynccontextmanager
    async def started(self, command: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """kubectl while it runs; it is killed at the end."""
        assert KUBECTL is not None
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            *command.split(),
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
def kubectl(running: RunningApiServer, tmp_path: Path) -> Kubectl:
    return Kubectl(running.kubeconfig, tmp_path)


async def line_of(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)).decode().split()


async def test_a_knative_service_is_applied_shown_changed_and_deleted(kubectl: Kubectl, api: Api) -> None:
    assert await kubectl("apply -f -", SERVICE) == "service.serving.knative.dev/hello created\n"
    assert await kubectl("apply -f -", SERVICE) == "service.serving.knative.dev/hello unchanged\n"
    changed = SERVICE.replace("World", "Moon")
    assert await kubectl("apply -f -", changed) == "service.serving.knative.dev/hello configured\n"
    status = {"status": {"url": "http://hello.example", "conditions": [{"type": "Ready", "status": "True"}]}}
    await api.patch(f"{KSERVICES}/hello/status", status)
    header, row = (await kubectl("get ksvc")).splitlines()
    assert header.split() == ["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"]
    assert row.split() == ["hello", "http://hello.example", "True"]
    described = await kubectl("describe ksvc hello")
    assert "Value:  Moon" in described
    assert "Events:" in described
    shown = await kubectl("get ksvc hello -o yaml")
    assert "value: Moon" in shown
    assert "url: http://hello.example" in shown
    assert await kubectl("get ksvc hello -o jsonpath={.metadata.generation}") == "2"
    assert await kubectl("wait --for=condition=Ready ksvc/hello --timeout=5s") == (
        "service.serving.knative.dev/hello condition met\n"
    )
    assert "deleted" in await kubectl("delete ksvc hello")
    assert "No resources found" in await kubectl("get ksvc")


async def test_a_misspelt_field_is_refused_by_its_path(kubectl: Kubectl) -> None:
    output = await kubectl("apply -f -", SERVICE.replace("containers", "contaners"), code=1)
    assert 'strict decoding error: unknown field "spec.template.spec.contaners"' in output
    output = await kubectl("apply -f -", DEPLOYMENT.replace("image:", "imagee:"), code=1)
    assert 'unknown field "spec.template.spec.containers[0].imagee"' in output
    output = await kubectl("apply -f -", DEPLOYMENT.replace('"1"', "1"), code=1)
    assert "cannot unmarshal number" in output


async def test_a_refusal_by_admission_is_shown_in_the_webhooks_words(
    running: RunningApiServer, kubectl: Kubectl
) -> None:
    def refuse(request: AdmissionRequest) -> None:
        raise AdmissionDenied("validation failed: expected 0 <= -1 <= 1000: spec.template.spec.containerConcurrency")

    running.server.add_admission(refuse)
    output = await kubectl("apply -f -", SERVICE, code=1)
    assert output == (
        'Error from server (BadRequest): error when creating "STDIN": admission webhook '
        '"validation.webhook.serving.knative.dev" denied the request: validation failed: expected 0 <= -1 <= 1000: '
        "spec.template.spec.containerConcurrency\n"
    )


async def test_a_deployment_through_all_ways_of_changing_it(kubectl: Kubectl, api: Api) -> None:
    containers = "get deploy web -o jsonpath={.spec.template.spec.containers[*]"
    assert await kubectl("apply -f -", DEPLOYMENT) == "deployment.apps/web created\n"
    without_a = DEPLOYMENT.replace('        - {name: A, value: "1"}\n', "")
    assert await kubectl("apply -f -", without_a) == "deployment.apps/web configured\n"
    assert await kubectl(f"{containers}.env[*].name}}") == "B"
    assert "scaled" in await kubectl("scale deploy web --replicas=3")
    assert "image updated" in await kubectl("set image deploy/web app=example.com/app:2")
    assert "labeled" in await kubectl("label deploy web tier=front")
    assert "annotated" in await kubectl("annotate deploy web a.example/note=yes")
    patch = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}'
    assert "patched" in await kubectl(f"patch deploy web -p {patch}")
    assert "restarted" in await kubectl("rollout restart deploy/web")
    assert await kubectl(f"{containers}.image}}") == "s example.com/app:2"
    header, row = (await kubectl("get deploy -o wide")).splitlines()
    assert header.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    assert row.split()[:2] == ["web", "0/3"]
    assert "Replicas:               3 desired" in await kubectl("describe deploy web")
    assert "deployment.apps/web" in await kubectl("get all")
    generation = int(await kubectl("get deploy web -o jsonpath={.metadata.generation}"))
    status = {
        "observedGeneration": generation,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }
    await api.patch("/apis/apps/v1/namespaces/default/deployments/web/status", {"status": status})
    assert "successfully rolled out" in await kubectl("rollout status deploy/web --timeout=5s")
    assert "exposed" in await kubectl("expose deploy web --port=80")
    assert "10.96." in await kubectl("get svc web")
    assert "deleted" in await kubectl("delete deploy,svc -l app=web")


async def test_applying_on_the_server_and_trying_without_writing(kubectl: Kubectl) -> None:
    assert await kubectl("apply --server-side -f -", DEPLOYMENT) == "deployment.apps/web serverside-applied\n"
    assert "serverside-applied" in await kubectl("apply --server-side -f -", DEPLOYMENT.replace("app:1", "app:2"))
    assert "app:2" in await kubectl("get deploy web -o yaml")
    dry = await kubectl("apply --server-side --dry-run=server -f -", DEPLOYMENT.replace("app:1", "app:3"))
    assert "(server dry run)" in dry
    assert "app:3" not in await kubectl("get deploy web -o yaml")
    assert "replaced" in await kubectl("replace -f -", DEPLOYMENT.replace("app:1", "app:4"))
    assert await kubectl("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}") == "example.com/app:4"


async def test_create_sends_protobuf_and_is_understood(kubectl: Kubectl) -> None:
    assert "created" in await kubectl("create namespace team")
    assert "created" in await kubectl("create configmap settings --from-literal=key=value -n team")
    assert await kubectl("get configmap settings -n team -o jsonpath={.data.key}") == "value"
    assert "created" in await kubectl("create secret generic s --from-literal=password=hunter2 -n team")
    assert await kubectl("get secret s -n team -o jsonpath={.data.password}") == "aHVudGVyMg=="
    assert "created" in await kubectl("create deployment web --image=app:1 --replicas=2 --port=80 -n team")
    assert await kubectl("get deploy web -n team -o jsonpath={.spec.replicas}") == "2"
    assert "created" in await kubectl("create service clusterip web --tcp=80:8080 -n team")
    assert await kubectl("get svc web -n team -o jsonpath={.spec.ports[0].targetPort}") == "8080"
    assert "created" in await kubectl("create job once --image=app:1 -n team")
    assert "created" in await kubectl("run single --image=app:1 -n team")
    assert "created" in await kubectl("create serviceaccount robot -n team")
    assert "created" in await kubectl("create role reader --verb=get --resource=pods -n team")
    assert 'namespace "team" deleted' in await kubectl("delete namespace team")
    assert "team" not in await kubectl("get ns")


async def test_watching_shows_changes_as_they_come(kubectl: Kubectl, api: Api) -> None:
    await api.create(PODS, pod("a", node="one"))
    async with kubectl.started("get pods -w") as watching:
        assert (await line_of(watching))[:3] == ["NAME", "READY", "STATUS"]
        assert (await line_of(watching))[:3] == ["a", "0/1", "Pending"]
        await api.patch(f"{PODS}/a/status", {"status": {"phase": "Running", "containerStatuses": [{"ready": True}]}})
        assert (await line_of(watching))[:3] == ["a", "1/1", "Running"]
        await api.call("DELETE", f"{PODS}/a")
        assert (await line_of(watching))[:3] == ["a", "1/1", "Terminating"]


async def test_delete_waits_for_finalizers(kubectl: Kubectl, api: Api) -> None:
    sent = pod("a")
    sent["metadata"]["finalizers"] = ["a.example/one"]
    created = await api.create(PODS, sent)
    version = created["metadata"]["resourceVersion"]
    async with kubectl.started("delete pod a") as deleting, api.watch(PODS, resourceVersion=version) as events:
        assert await events.names(1) == [("MODIFIED", "a")]
        assert deleting.returncode is None
        await api.patch(f"{PODS}/a", {"metadata": {"finalizers": None}})
        assert await asyncio.wait_for(deleting.wait(), DEADLINE_S) == 0


async def test_logs_are_followed_to_the_end(running: RunningApiServer, kubectl: Kubectl, api: Api) -> None:
    more = asyncio.Event()

    async def read_logs(
        namespace: str,
        pod: str,
        container: str,
        follow: bool,
        tail_lines: int | None,
        since_s: float | None,
        timestamps: bool,
        *,
        previous: bool,
    ) -> AsyncIterator[bytes]:
        yield b"first\n"
        if follow:
            await more.wait()
            yield b"last\n"

    running.server.set_log_reader(read_logs)
    await api.create(PODS, pod("a", node="one"))
    assert await kubectl("logs a") == "first\n"
    async with kubectl.started("logs -f a -c app") as following:
        assert await line_of(following) == ["first"]
        more.set()
        assert await line_of(following) == ["last"]
        assert await asyncio.wait_for(following.wait(), DEADLINE_S) == 0


async def test_describing_a_pod_shows_its_events(kubectl: Kubectl, api: Api) -> None:
    created = await api.create(PODS, pod("a"))
    involved = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "a",
        "namespace": "default",
        "uid": created["metadata"]["uid"],
    }
    event = {
        "metadata": {"generateName": "a."},
        "involvedObject": involved,
        "reason": "Started",
        "message": "Started container app",
        "type": "Normal",
        "firstTimestamp": created["metadata"]["creationTimestamp"],
        "lastTimestamp": created["metadata"]["creationTimestamp"],
    }
    await api.create("/api/v1/namespaces/default/events", event)
    assert "Started container app" in await kubectl("describe pod a")
    assert "Started container app" in await kubectl("events --for pod/a")
    assert "Started container app" in await kubectl("get events")


async def test_the_server_explains_itself(kubectl: Kubectl) -> None:
    resources = await kubectl("api-resources")
    for wanted in ("kservice,ksvc", "sks", "deploy", "domainmappings"):
        assert wanted in resources
    assert "serving.knative.dev/v1\n" in await kubectl("api-versions")
    assert "Most requests inside a pod at once" in await kubectl("explain ksvc.spec.template.spec")
    assert "maxSurge" in await kubectl("explain deploy.spec.strategy.rollingUpdate")
    assert "Server Version: v1." in await kubectl("version")
    assert await kubectl("auth can-i delete pods") == "yes\n"
    assert "kubernetes-admin" in await kubectl("auth whoami")
