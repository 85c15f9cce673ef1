"""The control plane under a steady load: what fails in it must not be noticed by those who are served."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kube.models.apps import Deployment
from kube.models.coordination import Lease
from kube.models.core import Pod
from kube.models.serving import Service
from loadtests.load import Load, fetch
from loadtests.scenario import until
from local_cluster.manifests import apply
from local_cluster.system import SYSTEM_NAMESPACE
from tests.system.conftest import System, service

pytestmark = [
    pytest.mark.system,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("stack-control-plane"),
]
NAMESPACE = "default"


async def ready(system: System, name: str) -> Service:
    """The Service once it is ready as it was last applied."""

    async def probe() -> Service | None:
        found = await system.client.get(Service, name, NAMESPACE)
        is_current = found.status.observed_generation == found.metadata.generation
        is_ready = any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)
        return found if is_current and is_ready else None

    return await until(probe, 90, f"Service {name} to be ready")


@asynccontextmanager
async def steady_load(system: System, host: str) -> AsyncIterator[Load]:
    """Four users who ask while the body runs, and for a hundred answers more; none may fail."""
    load = Load(system.stack.http_port, host, "/", users=4)
    load.start()
    try:
        yield load
        goal = load.total + 100

        async def enough() -> bool | None:
            return True if load.total >= goal else None

        await until(enough, 90, "more answers")
    finally:
        await load.stop()
    assert load.problems == []


def process_of(pod: str) -> int:
    """Process id of a system component by the name of its pod."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"POD_NAME={pod}".encode() in environ:
                return int(entry.name)
    raise AssertionError(f"no process of pod {pod}")


async def test_a_revision_that_never_becomes_ready_leaves_the_one_that_serves_in_peace(system: System) -> None:
    await apply(system.client, system.kinds, service("split", TARGET="One"), NAMESPACE)
    host = (await ready(system, "split")).status.url.removeprefix("http://")
    async with steady_load(system, host):
        broken = service("split", command=["python3", "-c", "import sys; print('no database'); sys.exit(5)"])
        await apply(system.client, system.kinds, broken, NAMESPACE)

        async def failed() -> Service | None:
            found = await system.client.get(Service, "split", NAMESPACE)
            conditions = {c.type: c for c in found.status.conditions}
            return found if conditions["ConfigurationsReady"].status == "False" else None

        found = await until(failed, 90, "the second Revision to fail")
        assert found.status.latest_ready_revision_name == "split-00001"
        assert [target.revision_name for target in found.status.traffic] == ["split-00001"]
        assert (await fetch(system.stack.http_port, host, "/")).body == b"Hello One!\n"
        await apply(system.client, system.kinds, service("split", TARGET="Three"), NAMESPACE)
        await ready(system, "split")
        assert (await fetch(system.stack.http_port, host, "/")).body == b"Hello Three!\n"


async def test_one_of_two_controllers_is_killed_and_a_gateway_too(system: System) -> None:
    await apply(system.client, system.kinds, service("steady", TARGET="Steady"), NAMESPACE)
    host = (await ready(system, "steady")).status.url.removeprefix("http://")
    await system.client.patch_scale(Deployment, "controller", SYSTEM_NAMESPACE, 2)

    async def both() -> list[Pod] | None:
        pods = (await system.client.list(Pod, SYSTEM_NAMESPACE, label_selector="app=controller")).items
        return pods if sum(pod.is_ready() for pod in pods) == 2 else None

    await until(both, 90, "two controllers")
    async with steady_load(system, host):
        lease = await system.client.get(Lease, "knuv-controller", SYSTEM_NAMESPACE)
        os.kill(process_of(lease.spec.holder_identity or ""), signal.SIGKILL)
        await apply(system.client, system.kinds, service("later", TARGET="Later"), NAMESPACE)
        later = (await ready(system, "later")).status.url.removeprefix("http://")
        assert (await fetch(system.stack.http_port, later, "/")).body == b"Hello Later!\n"
        (gateway,) = (await system.client.list(Pod, SYSTEM_NAMESPACE, label_selector="app=gateway")).items
        os.kill(process_of(gateway.name), signal.SIGKILL)
        # What it served is served on, and what comes is served when it is back.
        assert (await fetch(system.stack.http_port, later, "/")).status == 200
        await apply(system.client, system.kinds, service("latest", TARGET="Latest"), NAMESPACE)
        latest = (await ready(system, "latest")).status.url.removeprefix("http://")
        assert (await fetch(system.stack.http_port, latest, "/")).body == b"Hello Latest!\n"
