"""`knuv up --state-dir`: what a stack had, the next one in the same directory has and serves."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube.client import Client
from kube.config import ApiConfig
from kube.informer import Informer
from kube.models.core import ConfigMap, Pod
from kube.models.serving import Revision, Service
from loadtests.load import fetch
from loadtests.scenario import RunningStack, until
from local_cluster.manifests import Kinds, apply
from tests.system.conftest import BIN, program, service
from tests.system.test_stack import guardian_mark, processes_of

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("stack-kept")]

ALWAYS = {"autoscaling.knative.dev/min-scale": "1"}
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "kept", "namespace": "default"},
    "stringData": {"word": "sesame"},
}


@asynccontextmanager
async def stack_in(state_dir: Path, *arguments: str) -> AsyncIterator[tuple[RunningStack, Client]]:
    stack = RunningStack(state_dir, *arguments)
    try:
        await stack.start()
        async with Client(ApiConfig.from_kubeconfig(stack.kubeconfig)) as client:
            yield stack, client
    finally:
        await stack.stop()


async def served(stack: RunningStack, name: str) -> bytes:
    async def answer() -> bytes | None:
        found = await fetch(stack.http_port, f"{name}.default.127.0.0.1.sslip.io", "/")
        return found.body if found.status == 200 else None

    return await until(answer, 90, f"{name} to be served")


async def fill(client: Client, always: str, at_zero: str) -> None:
    kinds = await Kinds.discover(client)
    await apply(client, kinds, SECRET, "default")
    for name in (always, at_zero):
        manifest = service(name, TARGET=name)
        if name == always:
            manifest["spec"]["template"]["metadata"] = {"annotations": ALWAYS}  # type: ignore[index]
        await apply(client, kinds, manifest, "default")


async def newest_version(client: Client) -> int:
    listed = json.loads(await client.raw("GET", "/api/v1/namespaces"))
    return int(listed["metadata"]["resourceVersion"])


async def pods_of(client: Client, name: str) -> list[Pod]:
    return (await client.list(Pod, "default", label_selector=f"serving.knative.dev/service={name}")).items


async def _stopped(stack: RunningStack) -> None:
    assert await stack.stop() == 0


async def _killed(stack: RunningStack) -> None:
    stack.kill()


@pytest.mark.parametrize("end", [_stopped, _killed])
async def test_services_revisions_and_secrets_outlive_the_stack_and_serve(
    tmp_path: Path, end: Callable[[RunningStack], Awaitable[None]]
) -> None:
    async with stack_in(tmp_path) as (stack, client):
        await fill(client, "always", "zero")
        assert await served(stack, "always") == b"Hello always!\n"
        assert await served(stack, "zero") == b"Hello zero!\n"
        await client.patch(ConfigMap, "config-autoscaler", "knative-serving", {"data": {"stable-window": "7s"}})
        before = {revision.name: revision.metadata.uid for revision in (await client.list(Revision, "default")).items}
        (pod,) = await pods_of(client, "always")
        version = await newest_version(client)
        kubeconfig = stack.kubeconfig.read_text()
        port, seen = stack.http_port, Informer(client, Service, namespace="default")
        await seen.start()
        assert set(before) == {"always-00001", "zero-00001"}
        await end(stack)
        # At once: what a killed stack leaves is being ended meanwhile, and its ports are asked for again.
        async with stack_in(tmp_path) as (again, later):
            assert again.kubeconfig.read_text() == kubeconfig
            assert again.http_port == port
            assert await newest_version(later) > version
            after = {found.name: found.metadata.uid for found in (await later.list(Revision, "default")).items}
            assert after == before
            secret = json.loads(await later.raw("GET", "/api/v1/namespaces/default/secrets/kept"))
            assert secret["data"] == {"word": "c2VzYW1l"}
            kept = await later.get(ConfigMap, "config-autoscaler", "knative-serving")
            assert kept.data["stable-window"] == "7s"
            assert await served(again, "always") == b"Hello always!\n"
            assert await served(again, "zero") == b"Hello zero!\n"
            (same,) = await pods_of(later, "always")
            assert same.metadata.uid == pod.metadata.uid
            assert {status.restart_count for status in same.status.container_statuses} == {1}
            lost = same.status.container_statuses[0].last_state.terminated
            assert lost is not None
            assert lost.reason == "ContainerStatusUnknown"
            # A client of before goes on with the successor: same address, same certificates, same credentials.
            await later.raw("DELETE", "/apis/serving.knative.dev/v1/namespaces/default/services/zero")

            async def has_seen() -> bool | None:
                return [found.name for found in seen.list()] == ["always"] or None

            await until(has_seen, 90, "the informer of before to follow")
        await seen.stop()


async def test_what_is_asked_for_differently_counts(tmp_path: Path) -> None:
    async with stack_in(tmp_path) as (_, client):
        await fill(client, "always", "zero")
        printed = await program(BIN / "knuv", "kubeconfig", "--as", "default/default", "--state-dir", tmp_path)
    async with stack_in(tmp_path, "--without", "activator,envoy,gateway") as (again, client):
        pods = (await client.list(Pod, "knative-serving")).items
        assert {pod.metadata.labels["app"] for pod in pods} == {"controller", "autoscaler"}
        file = tmp_path / "account.kubeconfig"
        file.write_text(printed.out)
        async with Client(ApiConfig.from_kubeconfig(file)) as account:
            review = b'{"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}'
            answer = await account.raw("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
        assert json.loads(answer)["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"
        marks = (str(tmp_path), guardian_mark(tmp_path))
        await again.stop()
        assert processes_of(*marks) == []
    for file in (tmp_path / "cluster.sqlite", *(tmp_path / "credentials").iterdir()):
        wanted = 0o644 if file.name == "ca.crt" else 0o600
        assert file.stat().st_mode & 0o777 & ~wanted == 0, file
    assert (tmp_path / "credentials").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_a_kept_stack_moves_into_networks_of_its_own(tmp_path: Path) -> None:
    async with stack_in(tmp_path) as (_, client):
        await fill(client, "always", "zero")
    async with stack_in(tmp_path, "--network", "netns") as (stack, client):
        answers = list(await asyncio.gather(served(stack, "always"), served(stack, "zero")))
        assert answers == [b"Hello always!\n", b"Hello zero!\n"]
        (pod,) = await pods_of(client, "always")
        assert pod.status.pod_ip.startswith("10.244.")
        services = json.loads(await client.raw("GET", "/api/v1/services"))["items"]
        addresses = [found["spec"].get("clusterIP", "") for found in services]
        assert all(address.startswith("10.96.") or address in ("", "None") for address in addresses)


async def test_a_directory_of_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cluster.sqlite").write_text("this is no database, and long enough to be seen as none " * 100)
    ended = await program(BIN / "knuv", "up", "--http-port", "0", "--state-dir", tmp_path)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "cluster.sqlite: file is not a database; name another directory" in ended.err
