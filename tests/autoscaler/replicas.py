"""Several real autoscaler processes that share revisions, over a real API server.

    async with world({"lease-duration": "2s", ...}) as kn:
        await kn.revisions("hello-00001", pods=4)
        one = await kn.autoscaler(1)
        one.signal(signal.SIGKILL)

The pods are metrics servers that stay whatever is decided, so that a wrong decision shows as a patch and nothing else.
Every world has loopback addresses of its own.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from kube.client import Client
from kube.informer import Informer
from kube.models.apps import Deployment, DeploymentSpec
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerSpec
from kube.models.coordination import Lease
from kube.models.core import ConfigMap, Namespace, ObjectReference, Pod, PodStatus
from kube.models.meta import Condition, LabelSelector, ObjectMeta
from kube.models.networking import ServerlessService, ServerlessServiceStatus
from kube.reconcile import Loop
from kube.timestamps import format_time
from proxies.wire.stat import Stat, encode_stat
from tests.support.api import RunningApiServer, running_api_server
from tests.support.loopback import loopback_subnet
from tests.support.processes import eventually

SYSTEM = "knative-serving"
NAMESPACE = "default"
METRICS_PORT = 9090
DEBUG_PORT = 8090
TARGET = 10


class Autoscaler:
    """One process."""

    def __init__(self, ip: str, process: asyncio.subprocess.Process) -> None:
        self.ip = ip
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def state(self) -> dict[str, Any]:
        """What it says about its revisions and buckets."""
        url = f"http://{self.ip}:{DEBUG_PORT}/debug/state"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            state: dict[str, Any] = await response.json()
            return state

    async def logged(self, event: str) -> dict[str, Any]:
        """The first line of that event."""

        def find() -> dict[str, Any] | None:
            assert not self._reading.done(), f"the autoscaler ended: {self.lines[-5:]}"
            return next((line for line in self.lines if line["message"] == event), None)

        return await eventually(find)

    async def end(self) -> None:
        """Kill it if it still runs, and read what is left of its log."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines.append(json.loads(line) if line.startswith(b"{") else {"message": line.decode()})


class World:
    """The cluster around the autoscalers, and what became of it."""

    def __init__(self, api: RunningApiServer, client: Client, stack: AsyncExitStack) -> None:
        self.client = client
        self.load_per_pod = 9.5
        """Concurrency that each pod reports; four pods just carry it."""
        self.replicas: dict[str, list[int]] = {}
        """Each Deployment's replicas, in order."""
        self.desired: dict[str, list[int]] = {}
        """Each PodAutoscaler's desired scale once it is known, in order."""
        self.autoscalers: list[Autoscaler] = []
        self._api = api
        self._stack = stack
        self._subnet = stack.enter_context(loopback_subnet())
        self._pods = 0
        self._informers = (
            Informer(client, Deployment, namespace=NAMESPACE),
            Informer(client, PodAutoscaler, namespace=NAMESPACE),
            Informer(client, ServerlessService, namespace=NAMESPACE),
        )
        self._loop: Loop[tuple[str, str]] = Loop("fake controller", self._reconcile_service, workers=1)

    async def start(self, election: dict[str, str]) -> None:
        """Make the system's part."""
        await self.client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        for name, data in {"config-autoscaler": {}, "config-leader-election": election}.items():
            await self.client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace=SYSTEM), data=data))
        deployments, autoscalers, services = self._informers
        deployments.on_change(self._note_replicas)
        autoscalers.on_change(self._note_desired)
        services.on_change(lambda old, new: self._loop.add(new.key) if new is not None else None)
        for informer in self._informers:
            await informer.start()
            self._stack.push_async_callback(informer.stop)
        self._loop.start()
        self._stack.push_async_callback(self._loop.stop)

    async def revisions(self, *names: str, pods: int, **annotations: str) -> None:
        """Make revisions, each with so many ready pods and as many replicas."""
        for name in names:
            labels = {"serving.knative.dev/revision": name, "serving.knative.dev/configuration": name}
            metadata = ObjectMeta(name=f"{name}-deployment", namespace=NAMESPACE, labels=labels)
            template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
            spec = DeploymentSpec(replicas=pods, selector=LabelSelector(match_labels=labels), template=template)
            await self.client.create(Deployment(metadata=metadata, spec=spec))
            for _ in range(pods):
                await self._pod(name, labels, template)
            settings = {
                "class": "kpa.autoscaling.knative.dev",
                "metric": "concurrency",
                "target": str(TARGET),
                "target-utilization-percentage": "100",
                "target-burst-capacity": "0",
                **annotations,
            }
            texts = {f"autoscaling.knative.dev/{key}": text for key, text in settings.items()}
            target = ObjectReference(api_version="apps/v1", kind="Deployment", name=f"{name}-deployment")
            await self.client.create(
                PodAutoscaler(
                    metadata=ObjectMeta(name=name, namespace=NAMESPACE, labels=labels, annotations=texts),
                    spec=PodAutoscalerSpec(scale_target_ref=target, reachability="Reachable", protocol_type="http1"),
                )
            )

    def address(self, number: int) -> str:
        """The address of a replica, which may be the test itself."""
        return f"{self._subnet}.{number}"

    async def autoscaler(self, number: int) -> Autoscaler:
        """Start a replica; returns when it listens."""
        started = await self.spawn(number)
        await started.logged("autoscaler_started")
        return started

    async def spawn(self, number: int) -> Autoscaler:
        """Start a process, whatever becomes of it."""
        ip = self.address(number)
        environ = {
            "PATH": os.defpath,
            "KUBECONFIG": str(self._api.kubeconfig),
            "SYSTEM_NAMESPACE": SYSTEM,
            "POD_NAME": f"autoscaler-{number}",
            "POD_IP": ip,
            "KNUV_BIND_ADDRESS": ip,
            "KNUV_DEBUG_ADDRESS": f"{ip}:{DEBUG_PORT}",
            "KNUV_SERVICE_RESOLUTION": "endpoints",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "autoscaler"), env=environ, stderr=asyncio.subprocess.PIPE
        )
        started = Autoscaler(ip, process)
        self.autoscalers.append(started)
        self._stack.push_async_callback(started.end)
        return started

    async def holders(self) -> set[str]:
        """The addresses of the replicas that hold a bucket."""
        leases = (await self.client.list(Lease, SYSTEM)).items
        return {(lease.spec.holder_identity or "").partition("_")[2] for lease in leases}

    async def all_decided(self, *autoscalers: Autoscaler) -> None:
        """Wait until these replicas together have decided every revision."""

        async def decided() -> bool:
            states = [await one.state() for one in autoscalers]
            figures = [revision for state in states for revision in state["revisions"]]
            return len(figures) == len(self.replicas) and all(figure["stable"] is not None for figure in figures)

        await eventually(decided, timeout_s=20)

    # The cluster.

    async def _pod(self, revision: str, labels: dict[str, str], template: dict[str, Any]) -> None:
        self._pods += 1
        ip = f"{self._subnet}.{100 + self._pods}"
        server = await asyncio.start_server(self._serve_metrics, ip, METRICS_PORT)
        self._stack.callback(server.close)
        metadata = ObjectMeta(name=f"{revision}-{self._pods}", namespace=NAMESPACE, labels=labels)
        raw = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        await self.client.raw("POST", Pod.RESOURCE.path(NAMESPACE), body=msgspec.json.encode(raw))
        ready = Condition(type="Ready", status="True")
        status = PodStatus(phase="Running", pod_ip=ip, start_time=format_time(0), conditions=[ready])
        await self.client.patch_status(await self.client.get(Pod, metadata.name, NAMESPACE), status)

    async def _serve_metrics(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                load = self.load_per_pod
                body = encode_stat(Stat("pod", load, 0, load, 0, process_uptime=time.monotonic()))
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/protobuf\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _reconcile_service(self, key: tuple[str, str]) -> None:
        service = await self.client.get(ServerlessService, key[1], key[0])
        status = ServerlessServiceStatus(
            observed_generation=service.metadata.generation,
            service_name=service.name,
            private_service_name=f"{service.name}-private",
            conditions=[Condition(type="Ready", status="True", last_transition_time=format_time(0))],
        )
        if status != service.status:
            await self.client.patch_status(service, status)

    def _note_replicas(self, old: Deployment | None, new: Deployment | None) -> None:
        if new is not None:
            history = self.replicas.setdefault(new.name.removesuffix("-deployment"), [])
            if history[-1:] != [new.spec.replicas or 0]:
                history.append(new.spec.replicas or 0)

    def _note_desired(self, old: PodAutoscaler | None, new: PodAutoscaler | None) -> None:
        if new is not None and (new.status.desired_scale or -1) >= 0:
            history = self.desired.setdefault(new.name, [])
            if history[-1:] != [new.status.desired_scale]:
                history.append(new.status.desired_scale or 0)


@asynccontextmanager
async def world(election: dict[str, str]) -> AsyncIterator[World]:
    """A cluster with that ConfigMap `config-leader-election`; everything in it ends with it."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api_server())
        client = await stack.enter_async_context(Client(api.config))
        kn = World(api, client, stack)
        await kn.start(election)
        yield kn
