"""One autoscaler process, and a cluster in which every fact that it looks at is set by the test.

    async with autoscaler() as world:
        revision = await world.revision(ready=1, load=100, target="10", max_scale="8")
        await revision.until_replicas(8)

Nothing here reacts: Deployments make no pods, ServerlessServices stay as they are. A revision is prepared under a class
that nobody scales, then handed to the autoscaler, which so finds everything in place at its first look. Times that the
autoscaler measures from conditions lie as far in the past as a test wants. Every world has loopback addresses of its
own: pods answer scrapes there, and one server plays all activators.
"""

import asyncio
import dataclasses
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
import msgspec
from websockets.asyncio.client import connect

from kube.client import Client
from kube.informer import Informer
from kube.models.apps import Deployment, DeploymentSpec
from kube.models.autoscaling import Metric, PodAutoscaler, PodAutoscalerSpec, PodAutoscalerStatus
from kube.models.core import (
    ConfigMap,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Namespace,
    ObjectReference,
    Pod,
    PodStatus,
    Service,
    ServicePort,
    ServiceSpec,
)
from kube.models.meta import Condition, LabelSelector, ObjectMeta, Resource
from kube.models.networking import ServerlessService, ServerlessServiceSpec, ServerlessServiceStatus
from kube.timestamps import format_time
from local_cluster.apiserver.errors import forbidden
from local_cluster.subnet import Subnet
from proxies.wire.stat import Stat, StatMessage, encode_messages, encode_stat
from tests.support.api import RunningApiServer, running_api_server
from tests.support.processes import eventually

__all__ = ["KPA", "Revision", "World", "autoscaler", "condition"]

SYSTEM = "knative-serving"
NAMESPACE = "default"
KPA = "kpa.autoscaling.knative.dev"
NOBODYS_CLASS = "prepared.example.com"
WITHIN_S = 40.0
_ACTIVE_WORDS = {
    "True": ("", ""),
    "False": ("NoTraffic", "The target is not receiving traffic."),
    "Unknown": ("Queued", "Requests to the target are being buffered as resources are provisioned."),
}
"""Reason and message of the condition Active: with others it would count as a transition."""
STAT_PORT, DEBUG_PORT, METRICS_PORT = 8080, 8090, 9090


@dataclass(frozen=True, slots=True)
class Write:
    """One request that changed something."""

    path: str
    """`plural/name[/subresource]`."""
    content_type: str
    body: Any


class World:
    """What the autoscaler sees, and what it did."""

    def __init__(self, api: RunningApiServer, client: Client, stack: AsyncExitStack) -> None:
        self.api = api
        self.client = client
        self.writes: list[Write] = []
        """Patches, in order; those of the tests too."""
        self.lines: list[dict[str, Any]] = []
        """The autoscaler's log."""
        self.activator_port = 0
        self.deployments_flow = asyncio.Event()
        """Cleared: watches of Deployments bring nothing, to anybody."""
        self.deployments_flow.set()
        self.activators_answer = asyncio.Event()
        """Cleared: activators take probes and say nothing."""
        self.activators_answer.set()
        self.forbidden: set[str] = set()
        """Kinds, by their plural, that nobody may read or write."""
        self.stuck: set[str] = set()
        """Kinds whose writes are never answered."""
        self.revisions: dict[str, Revision] = {}
        self.autoscalers = Informer(client, PodAutoscaler)
        self.services = Informer(client, ServerlessService)
        self.deployments = Informer(client, Deployment)
        self.metrics = Informer(client, Metric)
        self.process: asyncio.subprocess.Process | None = None
        self._stack = stack
        self._changed = asyncio.Condition()
        self._telling: set[asyncio.Task[None]] = set()
        subnet = Subnet.claim()
        stack.callback(subnet.release)
        self._addresses = subnet.network.hosts()
        self.ip = self._address()
        self._names = count(1)

    # Set-up.

    async def start(self, config: dict[str, str], environ: dict[str, str], others: dict[str, dict[str, str]]) -> None:
        """Make the system's part, then start the process and wait until it serves."""
        self._intercept_requests()
        await self.client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        for name, data in {"config-autoscaler": config, **others}.items():
            await self.client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace=SYSTEM), data=data))
        activator = await asyncio.start_server(self._answer_as_activator, self.ip, 0)
        self._stack.callback(activator.close)
        self.activator_port = activator.sockets[0].getsockname()[1]
        for informer in (self.autoscalers, self.services, self.deployments, self.metrics):
            informer.on_change(lambda old, new: self._note())
            await informer.start()
            self._stack.push_async_callback(informer.stop)
        await self._run(environ)

    async def _run(self, environ: dict[str, str]) -> None:
        variables = {
            "PATH": os.defpath,
            "KUBECONFIG": str(self.api.kubeconfig),
            "SYSTEM_NAMESPACE": SYSTEM,
            "POD_NAME": "autoscaler-0",
            "POD_IP": self.ip,
            "KNUV_BIND_ADDRESS": self.ip,
            "KNUV_DEBUG_ADDRESS": f"{self.ip}:{DEBUG_PORT}",
            "KNUV_SERVICE_RESOLUTION": "endpoints",
            **environ,
        }
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "autoscaler", env=variables, stderr=asyncio.subprocess.PIPE
        )
        self._stack.push_async_callback(self._end)
        self._reading = asyncio.get_running_loop().create_task(self._read_log(self.process))
        await self.until(lambda: self.logged("autoscaler_started") or self._reading.done(), "started")
        assert self.logged("autoscaler_started"), f"the autoscaler ended: {self.lines}"

    async def revision(self, **settings: Any) -> "Revision":
        """Make a revision and hand it over; for the settings see `Revision.create`."""
        revision = Revision(self, f"hello-{next(self._names):05d}")
        self.revisions[revision.name] = revision
        await revision.create(**settings)
        return revision

    async def configure(self, changes: Mapping[str, str | None], name: str = "config-autoscaler") -> None:
        """Change a ConfigMap; None removes a key."""
        await self.client.patch(ConfigMap, name, SYSTEM, {"data": changes})

    # What came of it.

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until that is so; the tests' only way to wait."""
        try:
            async with asyncio.timeout(WITHIN_S), self._changed:
                await self._changed.wait_for(lambda: bool(holds()))
        except TimeoutError:
            raise AssertionError(f"not within {WITHIN_S} s: {what}") from None

    def logged(self, event: str, **fields: str) -> list[dict[str, Any]]:
        """Log lines of an event that have these fields."""
        return [line for line in self.lines if line.get("message") == event and fields.items() <= line.items()]

    async def debug(self, page: str) -> dict[str, Any]:
        """A debug page's content, empty when there is none."""
        url = f"http://{self.ip}:{DEBUG_PORT}/debug/{page}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            content: dict[str, Any] = await response.json()
            return content if response.status == 200 else {}

    async def push(self, *stats: tuple[str, Stat]) -> None:
        """Send stats as an activator does; one message for each (revision, stat)."""
        messages = [StatMessage(NAMESPACE, name, stat) for name, stat in stats]
        async with connect(f"ws://{self.ip}:{STAT_PORT}/", compression=None, proxy=None) as socket:
            await socket.send(encode_messages(messages))

    async def serve(self, handler: Callable[..., Any], port: int) -> str:
        """Serve connections on a new address of this world."""
        ip = self._address()
        server = await asyncio.start_server(handler, ip, port)
        self._stack.callback(server.close)
        return ip

    # Inside.

    def _address(self) -> str:
        return str(next(self._addresses))

    def _note(self) -> None:
        task = asyncio.get_running_loop().create_task(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _intercept_requests(self) -> None:
        """See each patch as it arrives at the API server, and hold back what a test wants to be late."""
        server = self.api.server
        route = server._route

        async def intercepted(kind: Any, method: str, request: Any) -> Any:
            if method == "PATCH":
                target = request.target
                path = "/".join(filter(None, (kind.plural, target.name, target.subresource)))
                self.writes.append(Write(path, request.content_type, json.loads(request.body)))
            if kind.plural in self.forbidden:
                raise forbidden(kind.group, kind.plural, request.target.name, "not in this cluster")
            if kind.plural in self.stuck and method != "GET":
                await asyncio.Event().wait()
            answer = await route(kind, method, request)
            if answer.stream is not None and kind.plural == "deployments":
                answer = dataclasses.replace(answer, stream=self._held(answer.stream))
            return answer

        server._route = intercepted  # type: ignore[method-assign]

    async def _held(self, stream: Any) -> AsyncGenerator[bytes]:
        async with aclosing(stream):
            async for chunk in stream:
                await self.deployments_flow.wait()
                yield chunk

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self.lines.append(json.loads(line) if line.startswith(b"{") else {"message": line.decode()})
            await self._tell()
        await self._tell()

    async def _end(self) -> None:
        assert self.process is not None
        if not self._reading.done():  # else it has ended by itself
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _answer_as_activator(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        host = next(line[6:] for line in head.split("\r\n") if line.startswith("Host: "))
        revision = self.revisions[host.partition(".")[0]]
        revision.probes.append(head)
        await self._tell()
        await self.activators_answer.wait()
        status, body = revision.activator
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()
        await self._tell()


class Revision:
    """One revision: its PodAutoscaler, Deployment, pods, ServerlessService."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.load = 0.0
        """Concurrency that each ready pod reports."""
        self.activator = (200, b"activator")
        """How whoever is at the public address answers a probe: status and body."""
        self.probes: list[str] = []
        """Heads of the probes."""
        self._world = world
        self._touched = count(1)
        self._pods = count(1)

    async def create(
        self,
        *,
        ready: int = 0,
        load: float = 0.0,
        replicas: int | None = None,
        active: tuple[str, float] | None = None,
        is_initialized: bool = True,
        desired_scale: int | None = None,
        mode: str | None = "Proxy",
        proxied_for_s: float | None = None,
        has_private_service: bool = True,
        has_service: bool = True,
        class_: str = KPA,
        container_concurrency: int = 0,
        reachability: str = "Reachable",
        progress_deadline: str = "",
        **annotations: str,
    ) -> None:
        """Make everything, then let the autoscaler see it.

        `ready`: pods that are ready, each reporting `load`. `replicas`: of the Deployment, by default `ready`.
        `active`: status of the condition Active and for how many seconds already. `mode` None: there is no
        ServerlessService. `proxied_for_s`: for how long activators have been behind the public address; None: they are
        not. `annotations`: keys of autoscaling.knative.dev, underscores for hyphens.
        """
        self.load = load
        await self._create_deployment(ready if replicas is None else replicas)
        for _ in range(ready):
            await self.add_pod()
        texts = {f"autoscaling.knative.dev/{key.replace('_', '-')}": text for key, text in annotations.items()}
        if progress_deadline:
            texts["serving.knative.dev/progress-deadline"] = progress_deadline
        autoscaler = await self._world.client.create(
            PodAutoscaler(
                metadata=self._metadata(annotations={**texts, "autoscaling.knative.dev/class": NOBODYS_CLASS}),
                spec=PodAutoscalerSpec(
                    scale_target_ref=ObjectReference(
                        api_version="apps/v1", kind="Deployment", name=f"{self.name}-deployment"
                    ),
                    reachability=reachability,
                    protocol_type="http1",
                    container_concurrency=container_concurrency,
                ),
            )
        )
        if active is not None:
            status = PodAutoscalerStatus(
                observed_generation=autoscaler.metadata.generation,
                conditions=[_condition("Active", *active, *_ACTIVE_WORDS[active[0]])],
                service_name=self.name if has_service else "",
                desired_scale=desired_scale,
            )
            if is_initialized:
                status.conditions.append(_condition("ScaleTargetInitialized", "True", active[1]))
            autoscaler = await self._world.client.patch_status(autoscaler, status)
        if mode is not None:
            await self._create_service(autoscaler, mode, proxied_for_s, has_private_service, has_service)
        await self.annotate(**{"class": class_})
        # Written is not yet heard of: what a test looks at comes by the world's own watches.
        world = self._world
        await world.until(
            lambda: (
                world.autoscalers.get(NAMESPACE, self.name)
                and (mode is None or world.services.get(NAMESPACE, self.name))
            ),
            f"{self.name} is heard of",
        )

    async def add_pod(self, **status: Any) -> Pod:
        """One more pod, ready unless `status` says otherwise."""
        client, name = self._world.client, f"{self.name}-pod-{next(self._pods)}"
        ip = await self._world.serve(self._answer_scrape, METRICS_PORT)
        spec = {"containers": [{"name": "user-container", "image": "hello"}]}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": self._metadata(name), "spec": spec}
        await client.raw("POST", Pod.RESOURCE.path(NAMESPACE), body=msgspec.json.encode(body))
        facts: dict[str, Any] = {
            "phase": "Running",
            "pod_ip": ip,
            "start_time": format_time(0),
            "conditions": [Condition(type="Ready", status="True")],
            **status,
        }
        return await client.patch_status(await client.get(Pod, name, NAMESPACE), PodStatus(**facts))

    async def remove_pods(self) -> None:
        """Take all pods away."""
        for pod in (await self._world.client.list(Pod, NAMESPACE)).items:
            if pod.metadata.labels.get("serving.knative.dev/revision") == self.name:
                await self._world.client.delete(Pod, pod.name, NAMESPACE, grace_period_s=0)

    async def annotate(self, **annotations: str | None) -> None:
        """Change annotations of the PodAutoscaler; None removes one."""
        texts = {f"autoscaling.knative.dev/{key.replace('_', '-')}": text for key, text in annotations.items()}
        await self.patch(PodAutoscaler, {"metadata": {"annotations": texts}})

    async def patch(self, kind: type[Resource], patch: dict[str, Any]) -> None:
        """Change one of its objects that have its own name."""
        await self._world.client.patch(kind, self.name, NAMESPACE, patch)

    async def set_service_status(self, **changes: Any) -> None:
        """Change the ServerlessService's status."""
        service = await self._world.client.get(ServerlessService, self.name, NAMESPACE)
        await self._world.client.patch_status(service, msgspec.structs.replace(service.status, **changes))

    async def report(self, concurrency: float) -> None:
        """Have an activator tell its load, once the revision is known."""
        await self.reconciled()
        await self._world.push((self.name, Stat("activator", average_concurrent_requests=concurrency)))

    async def decided(self, desired: int) -> dict[str, Any]:
        """Wait for a decision for that many pods, and for the reconcile that follows from all that is known then."""

        async def newest() -> dict[str, Any]:
            page = await self._world.debug(f"decisions/{NAMESPACE}/{self.name}")
            last: dict[str, Any] = page["decisions"][0] if page.get("decisions") else {}
            return last if last.get("desired") == desired else {}

        found: dict[str, Any] = await eventually(newest, timeout_s=WITHIN_S)
        await self.reconciled()
        return found

    async def reconciled(self) -> PodAutoscaler:
        """Wait until a reconcile that begins after this call has ended."""
        patch = {"spec": {"scaleTargetRef": {"fieldPath": f"seen-{next(self._touched)}"}}}
        asked = await self._world.client.patch(PodAutoscaler, self.name, NAMESPACE, patch)
        generation = asked.metadata.generation
        return await self.until(lambda pa: pa.status.observed_generation >= generation, "reconciled")

    async def until(self, holds: Callable[[PodAutoscaler], object], what: str) -> PodAutoscaler:
        """Wait until its PodAutoscaler is so."""
        try:
            await self._world.until(lambda: holds(self.autoscaler), what)
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error}; {self.autoscaler}, replicas {self.replicas}") from None
        return self.autoscaler

    async def until_active(self, status: str, reason: str = "") -> PodAutoscaler:
        """Wait for a state of the condition Active."""
        return await self.until(lambda pa: condition(pa, "Active") == (status, reason), f"Active {status} {reason}")

    async def until_replicas(self, replicas: int) -> None:
        """Wait until the Deployment has that many."""
        await self.until(lambda _: self.replicas == replicas, f"{replicas} replicas")

    async def until_service(self, holds: Callable[[ServerlessServiceSpec], object], what: str) -> None:
        """Wait until the ServerlessService is asked for that."""
        await self._world.until(
            lambda: (found := self._world.services.get(NAMESPACE, self.name)) is not None and holds(found.spec),
            f"{self.name}: ServerlessService {what}",
        )

    @property
    def autoscaler(self) -> PodAutoscaler:
        """The PodAutoscaler as the API last said."""
        found = self._world.autoscalers.get(NAMESPACE, self.name)
        assert found is not None
        return found

    @property
    def service(self) -> ServerlessService:
        """The ServerlessService as the API last said."""
        found = self._world.services.get(NAMESPACE, self.name)
        assert found is not None
        return found

    @property
    def metric(self) -> Metric:
        """The Metric as the API last said."""
        found = self._world.metrics.get(NAMESPACE, self.name)
        assert found is not None
        return found

    @property
    def replicas(self) -> int | None:
        """The Deployment's."""
        found = self._world.deployments.get(NAMESPACE, f"{self.name}-deployment")
        return None if found is None else found.spec.replicas

    @property
    def scale_writes(self) -> list[Write]:
        """What was asked of the Deployment's scale, in order."""
        return [write for write in self._world.writes if write.path == f"deployments/{self.name}-deployment/scale"]

    def _metadata(self, name: str = "", *, annotations: dict[str, str] | None = None) -> ObjectMeta:
        labels = {f"serving.knative.dev/{kind}": "hello" for kind in ("configuration", "service")}
        labels["serving.knative.dev/revision"] = self.name
        return ObjectMeta(name=name or self.name, namespace=NAMESPACE, labels=labels, annotations=annotations or {})

    async def _create_deployment(self, replicas: int) -> None:
        metadata = self._metadata(f"{self.name}-deployment")
        template = {
            "metadata": {"labels": metadata.labels},
            "spec": {"containers": [{"name": "user-container", "image": "hello"}]},
        }
        spec = DeploymentSpec(
            replicas=replicas, selector=LabelSelector(match_labels=metadata.labels), template=template
        )
        await self._world.client.create(Deployment(metadata=metadata, spec=spec))

    async def _create_service(
        self,
        owner: PodAutoscaler,
        mode: str,
        proxied_for_s: float | None,
        has_private_service: bool,
        has_service: bool,
    ) -> None:
        metadata = self._metadata()
        metadata.owner_references = [owner.owner_reference()]
        spec = ServerlessServiceSpec(
            mode=mode, object_ref=owner.spec.scale_target_ref, protocol_type="http1", num_activators=2
        )
        service = await self._world.client.create(ServerlessService(metadata=metadata, spec=spec))
        proxied = ("False", 0.0) if proxied_for_s is None else ("True", proxied_for_s)
        status = ServerlessServiceStatus(
            observed_generation=service.metadata.generation,
            service_name=self.name if has_service else "",
            private_service_name=f"{self.name}-private" if has_private_service else "",
            conditions=[_condition("ActivatorEndpointsPopulated", *proxied), _condition("Ready", "True", 100)],
        )
        await self._world.client.patch_status(service, status)
        await self._create_endpoints()

    async def _create_endpoints(self) -> None:
        """The public address: whoever plays the activators."""
        world = self._world
        spec = ServiceSpec(ports=[ServicePort(name="http", port=80, target_port=8012)])
        await world.client.create(Service(metadata=self._metadata(), spec=spec))
        port = EndpointPort(name="http", port=world.activator_port)
        subset = EndpointSubset(addresses=[EndpointAddress(ip=world.ip)], ports=[port])
        await world.client.create(Endpoints(metadata=self._metadata(), subsets=[subset]))

    async def _answer_scrape(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                body = encode_stat(Stat("pod", self.load, 0, self.load, 0, process_uptime=1000))
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/protobuf\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def condition(obj: PodAutoscaler | ServerlessService | Metric, type_: str) -> tuple[str, str]:
    """(status, reason) of a condition, empty when there is none."""
    return next(((c.status, c.reason) for c in obj.status.conditions if c.type == type_), ("", ""))


def _condition(type_: str, status: str, for_s: float, reason: str = "", message: str = "") -> Condition:
    since = format_time(time.time() - for_s)
    return Condition(type=type_, status=status, last_transition_time=since, reason=reason, message=message)


@asynccontextmanager
async def autoscaler(
    *,
    config: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    **others: dict[str, str],
) -> AsyncIterator[World]:
    """A world whose autoscaler runs. `config`: `config-autoscaler`; `others`: further ConfigMaps, `config_x={...}`."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api_server())
        client = await stack.enter_async_context(Client(api.config))
        world = World(api, client, stack)
        maps = {name.replace("_", "-"): data for name, data in others.items()}
        await world.start(config or {}, environ or {}, maps)
        yield world
