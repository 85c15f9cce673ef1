"""The autoscaler is restarted every 20 s, in three ways, under a steady load of four pods: nobody may notice.

One minute here; `make soak-autoscaler` makes it five. Two services carry the load, since a restarted autoscaler learns
of it in two ways: from the pods that it scrapes, and from an activator that has to find it again.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kube.informer import Informer
from kube.models.apps import Deployment
from kube.models.autoscaling import PodAutoscaler
from kube.models.core import ConfigMap, Pod
from kube.models.serving import Service
from loadtests.load import Load
from loadtests.scenario import until
from local_cluster.manifests import apply
from local_cluster.system import SYSTEM_NAMESPACE
from tests.system.conftest import System, running_system, service

NAMESPACE = "default"
PODS = 4
TARGET = 10
USERS = 38
"""Just what four pods carry: one pod less would be too few, one user more than 40 would ask for a fifth."""
EVERY_S = 20.0
LEASE = {"lease-duration": "5s", "renew-deadline": "3s", "retry-period": "1s"}
"""A successor of a killed autoscaler waits for this long, well within the 20 s."""

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("stack-autoscaler-restarts"),
]


def manifest(name: str, burst: str) -> dict[str, Any]:
    """A Service whose four pods just carry the load. `burst` 0: its pods are scraped, -1: activators see everything."""
    made: dict[str, Any] = service(name)
    annotations = {"target": str(TARGET), "target-utilization-percentage": "100", "target-burst-capacity": burst}
    made["spec"]["template"]["metadata"] = {
        "annotations": {f"autoscaling.knative.dev/{key}": text for key, text in annotations.items()}
    }
    return made


class Scales:
    """Every scale that was wished for or applied since `begin`."""

    def __init__(self, system: System) -> None:
        self.seen: list[tuple[str, int]] = []
        self._autoscalers = Informer(system.client, PodAutoscaler, namespace=NAMESPACE)
        self._deployments = Informer(system.client, Deployment, namespace=NAMESPACE)
        self._is_watching = False
        self._autoscalers.on_change(self._desired)
        self._deployments.on_change(self._applied)

    async def start(self) -> None:
        await self._autoscalers.start()
        await self._deployments.start()

    async def stop(self) -> None:
        await self._autoscalers.stop()
        await self._deployments.stop()

    def are_steady(self) -> bool | None:
        """Whether all revisions are at four pods, in wish and deed."""
        desired = [autoscaler.status.desired_scale for autoscaler in self._autoscalers.list()]
        replicas = [deployment.spec.replicas for deployment in self._deployments.list()]
        return (desired == replicas == [PODS, PODS]) or None

    def begin(self) -> None:
        self._is_watching = True

    def _desired(self, old: PodAutoscaler | None, new: PodAutoscaler | None) -> None:
        if self._is_watching and new is not None and new.status.desired_scale is not None:
            self.seen.append((new.name, new.status.desired_scale))

    def _applied(self, old: Deployment | None, new: Deployment | None) -> None:
        if self._is_watching and new is not None:
            self.seen.append((new.name, 1 if new.spec.replicas is None else new.spec.replicas))


async def delete(system: System, pod: Pod) -> None:
    """An orderly end; another pod takes over what this one releases."""
    await system.client.delete(Pod, pod.name, SYSTEM_NAMESPACE)


async def destroy(system: System, pod: Pod) -> None:
    """The end without a word; another pod has to wait for the lease."""
    await system.client.delete(Pod, pod.name, SYSTEM_NAMESPACE, grace_period_s=0)


async def crash(system: System, pod: Pod) -> None:
    """The process dies; the same pod starts it again."""
    mark = f"{system.stack.state_dir}/kubeconfigs/autoscaler".encode()
    (pid,) = (pid for pid, command, environ in processes() if b"-m\0autoscaler" in command and mark in environ)
    os.kill(pid, signal.SIGKILL)


def processes() -> Iterator[tuple[int, bytes, bytes]]:
    """Every process that can be read: id, command line, environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            found = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue  # not a process, or one that has just ended
        yield int(entry.name), *found


WAYS: tuple[Callable[[System, Pod], Awaitable[None]], ...] = (delete, destroy, crash)


async def autoscaler_pod(system: System) -> Pod:
    """The one that is not on its way out."""

    async def find() -> Pod | None:
        pods = (await system.client.list(Pod, SYSTEM_NAMESPACE, label_selector="app=autoscaler")).items
        return next((pod for pod in pods if pod.is_ready()), None)

    return await until(find, 60, "an autoscaler to be ready")


async def has_decided(system: System) -> bool | None:
    """Whether the autoscaler has come to a decision about each revision of its own."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{system.stack.autoscaler_debug}/debug/state") as response,
        ):
            revisions = (await response.json())["revisions"]
    except aiohttp.ClientError:
        return None  # between two autoscalers
    return (len(revisions) == 2 and all(revision["stable"] is not None for revision in revisions)) or None


async def url_of(system: System, name: str) -> str:
    async def ready() -> str | None:
        found = await system.client.get(Service, name, NAMESPACE)
        is_ready = any(
            condition.type == "Ready" and condition.status == "True" for condition in found.status.conditions
        )
        return found.status.url if is_ready else None

    return await until(ready, 90, f"Service {name} to be ready")


async def test_restarts_under_a_steady_load_are_not_noticed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seconds = request.config.getoption("--restart-seconds", default=20)
    async with running_system(tmp_path) as system:
        await system.client.patch(ConfigMap, "config-leader-election", SYSTEM_NAMESPACE, {"data": LEASE})
        await delete(system, await autoscaler_pod(system))  # which makes it read that
        loads = []
        for name, burst in (("scraped", "0"), ("reported", "-1")):
            await apply(system.client, system.kinds, manifest(name, burst), NAMESPACE)
            host = (await url_of(system, name)).removeprefix("http://")
            loads.append(Load(system.stack.http_port, host, "/?sleep=500", users=USERS))
        scales = Scales(system)
        await scales.start()
        for load in loads:
            load.start()
        try:
            await until(lambda: steady(scales), 90, "both revisions to be at four pods")
            scales.begin()
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            for turn, end in enumerate(cycle(WAYS), 1):
                if turn * EVERY_S > seconds:
                    break
                await asyncio.sleep(began_s + turn * EVERY_S - loop.time())
                await until(lambda: has_decided(system), 10, f"decisions before restart {turn}")
                await end(system, await autoscaler_pod(system))
            await until(lambda: has_decided(system), EVERY_S, "decisions after the last restart")
        finally:
            for load in loads:
                await load.stop()
            await scales.stop()
    assert [seen for seen in scales.seen if seen[1] < PODS] == []
    assert [load.problems for load in loads] == [[], []]
    assert all(load.total > seconds * USERS for load in loads)


async def steady(scales: Scales) -> bool | None:
    return scales.are_steady()
