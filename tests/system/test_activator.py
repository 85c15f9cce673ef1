"""The activator on a whole local stack, under a steady rate of requests through the gateway, half of them orders.

An order is a POST with a body: nobody may send it twice, so nobody may lose it. `make soak-transitions` goes on longer.
"""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from kube.models.apps import Deployment
from kube.models.core import Endpoints, Pod
from kube.models.networking import ServerlessService
from loadtests.load import fetch
from loadtests.scenario import until
from local_cluster.manifests import apply
from local_cluster.system import SYSTEM_NAMESPACE
from tests.faults.activator.support import Traffic, flowing
from tests.system.conftest import System, service
from tests.system.test_serving import NAMESPACE, at_zero, ready

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("stack-activator"),
]
APP = Path(__file__).parent / "orders.py"
ALWAYS_PROXY = "-1"
CLIENTS = 20
_LISTEN = "0A"
"""In /proc/net/tcp."""
RATE = 100.0


def orders(name: str, *, burst: str = ALWAYS_PROXY, scale: int = 1, **env: str) -> dict[str, Any]:
    """A Service that takes orders, with so many pods. `burst` -1: the activator sees every request."""
    made: dict[str, Any] = service(name, command=[sys.executable, str(APP)], **env)
    annotations = {"target-burst-capacity": burst, "initial-scale": str(max(scale, 1)), "min-scale": str(scale)}
    made["spec"]["template"]["metadata"] = {
        "annotations": {f"autoscaling.knative.dev/{key}": text for key, text in annotations.items()}
    }
    return made


def traffic(system: System, name: str, *, path: str = "/", rate: float = RATE) -> AbstractAsyncContextManager[Traffic]:
    """Requests for the Service `name`."""
    head = f" {path} HTTP/1.1\r\nHost: {name}.{NAMESPACE}.127.0.0.1.sslip.io\r\n".encode()
    requests = [b"GET" + head + b"\r\n", b"POST" + head + b"Content-Length: 5\r\n\r\norder"]
    seen = Traffic("127.0.0.1", system.stack.http_port, requests)
    return flowing(seen, clients=max(CLIENTS, int(rate / 5)), rate=rate)


async def deploy(system: System, manifest: dict[str, Any], *, generation: int = 1) -> None:
    await apply(system.client, system.kinds, manifest, NAMESPACE)
    await ready(system, manifest["metadata"]["name"], generation=generation)


async def scale_component(system: System, name: str, replicas: int) -> None:
    """Let so many pods of a component of the stack run, and return when it is so."""
    await system.client.patch_scale(Deployment, name, SYSTEM_NAMESPACE, replicas)

    async def scaled() -> bool | None:
        pods = (await system.client.list(Pod, SYSTEM_NAMESPACE, label_selector=f"app={name}")).items
        return True if len(pods) == sum(pod.is_ready() for pod in pods) == replicas else None

    await until(scaled, 90, f"{replicas} pods of {name}")


@asynccontextmanager
async def without_autoscaler(system: System) -> AsyncIterator[None]:
    await scale_component(system, "autoscaler", 0)
    try:
        yield
    finally:
        await scale_component(system, "autoscaler", 1)


async def addresses(system: System, name: str) -> set[str]:
    """The ready addresses of Endpoints."""
    found = await system.client.get(Endpoints, name, NAMESPACE)
    return {address.ip for subset in found.subsets for address in subset.addresses}


def listener(address: str, port: int) -> int:
    """The process that listens there."""
    hexadecimal = f"{IPv4Address(address).packed[::-1].hex().upper()}:{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    (inode,) = (row[9] for row in rows if row[1] == hexadecimal and row[3] == _LISTEN)
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # closed meanwhile, or not ours to read
        if target == f"socket:[{inode}]":
            return int(entry.parts[2])
    raise AssertionError(f"nobody listens at {address}:{port}")


async def test_a_cold_revision_answers_while_there_is_no_autoscaler(
    system: System, request: pytest.FixtureRequest
) -> None:
    seconds = request.config.getoption("--away-seconds", default=5)
    await deploy(system, orders("alone", scale=0, TARGET="alone"))
    async with without_autoscaler(system):
        await Stage(system, "alone-00001").scale(0)
        gone_s = time.monotonic()
        answer = await fetch(system.stack.http_port, "alone.default.127.0.0.1.sslip.io", "/")
        assert (answer.status, answer.body) == (200, b"alone"), answer
        async with traffic(system, "alone") as seen:
            while time.monotonic() - gone_s < seconds:
                await seen.until(10)
        assert not seen.failed
    # Whoever was woken is the autoscaler's again.
    await at_zero(system, "alone")


async def test_nothing_is_lost_while_new_revisions_are_rolled_out(system: System) -> None:
    await deploy(system, orders("rolling", TARGET="1"))
    async with traffic(system, "rolling") as seen:
        for generation in (2, 3, 4):
            await seen.until(20)
            await deploy(system, orders("rolling", TARGET=str(generation)), generation=generation)
            await seen.until(50, lambda text, generation=generation: text == f"200 {generation}")
    assert not seen.failed


async def test_a_killed_pod_fails_at_most_what_it_had(system: System) -> None:
    await deploy(system, orders("dying", scale=3))
    pods = (await system.client.list(Pod, NAMESPACE, label_selector="serving.knative.dev/service=dying")).items
    pid = listener(pods[0].status.pod_ip, 8012)
    async with traffic(system, "dying", path="/?sleep=50") as seen:
        await seen.until(50)
        os.kill(pid, signal.SIGKILL)
        await seen.until(200)
    assert all(text.startswith("502 ") for text in seen.failed), seen.failed
    assert sum(seen.failed.values()) <= CLIENTS


async def activators(system: System) -> list[Pod]:
    """The activators that are there."""
    return (await system.client.list(Pod, SYSTEM_NAMESPACE, label_selector="app=activator")).items


async def test_one_of_two_activators_leaves_unnoticed_and_dies_with_what_it_had(system: System) -> None:
    await scale_component(system, "activator", 2)
    await deploy(system, orders("guarded", scale=2))

    async def both_are_asked() -> bool | None:
        return len(await addresses(system, "guarded-00001")) == 2 or None

    await until(both_are_asked, 90, "two activators behind the revision")
    async with traffic(system, "guarded", path="/?sleep=20") as seen:
        await seen.until(50)
        leaving = (await activators(system))[0]
        await system.client.delete(Pod, leaving.name, SYSTEM_NAMESPACE)

        async def is_replaced() -> bool | None:
            pods = await activators(system)
            names = {pod.name for pod in pods if pod.is_ready()}
            return (len(pods) == len(names) == 2 and leaving.name not in names) or None

        await until(is_replaced, 90, "another activator")
        await seen.until(100)
        assert not seen.failed
        os.kill(listener((await activators(system))[0].status.pod_ip, 8012), signal.SIGKILL)
        await seen.until(200)
    assert all(text.startswith(("502 ", "503 ")) for text in seen.failed), seen.failed
    assert sum(seen.failed.values()) <= CLIENTS
    await scale_component(system, "activator", 1)


class Stage:
    """One revision whose pods and mode the test decides, in the order in which an autoscaler would."""

    def __init__(self, system: System, revision: str) -> None:
        self._system = system
        self._revision = revision

    async def scale(self, replicas: int) -> None:
        """Let so many pods run; return when they are ready, and others are not listed any more."""
        await self._system.client.patch_scale(Deployment, f"{self._revision}-deployment", NAMESPACE, replicas)

        async def scaled() -> bool | None:
            return len(await addresses(self._system, f"{self._revision}-private")) == replicas or None

        await until(scaled, 90, f"{replicas} pods")

    async def mode(self, mode: str) -> None:
        """Send requests to pods (`Serve`) or to activators (`Proxy`)."""
        await self._system.client.patch(ServerlessService, self._revision, NAMESPACE, {"spec": {"mode": mode}})

        pods = await addresses(self._system, f"{self._revision}-private")

        async def rewired() -> bool | None:
            return ((await addresses(self._system, self._revision) == pods) == (mode == "Serve")) or None

        await until(rewired, 90, f"mode {mode}")


async def test_nothing_is_lost_while_pods_and_modes_change(system: System, request: pytest.FixtureRequest) -> None:
    count = request.config.getoption("--stack-transitions", default=24)
    rate = request.config.getoption("--stack-rate", default=100)
    await deploy(system, orders("restless"))
    stage = Stage(system, "restless-00001")
    async with without_autoscaler(system), traffic(system, "restless", rate=rate) as seen:
        done = 0
        while done < count:
            await stage.scale(3)
            await seen.until(20)
            await stage.mode("Serve")
            await seen.until(20)
            await stage.scale(1)
            await seen.until(20)
            await stage.mode("Proxy")
            await seen.until(20)
            # Everybody waits until there is a pod again.
            await stage.scale(0)
            await stage.scale(1)
            await seen.until(20)
            done += 6
    assert not seen.failed
