"""The autoscaler's surroundings for integration tests: a real API server, and the peers that it talks to.

`Cluster` plays the Deployment controller and kubelet (pods appear ready at once), the ServerlessService controller
(names, conditions, public endpoints), an activator (WebSocket push, and the answer to the autoscaler's probe) and the
queue-proxies (metrics). All of it follows the API; the tests only set the load and watch what becomes of it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import msgspec
from websockets.asyncio.client import connect

from autoscaler.app import App
from autoscaler.config import Config
from kube.client import Client
from kube.informer import Informer
from kube.models.apps import Deployment, DeploymentSpec
from kube.models.autoscaling import Metric, PodAutoscaler, PodAutoscalerSpec
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
from kube.models.meta import Condition, LabelSelector, ObjectMeta
from kube.models.networking import ServerlessService, ServerlessServiceStatus
from kube.reconcile import Loop
from kube.timestamps import format_time
from proxies.logs import Logger
from proxies.wire.stat import Stat, StatMessage, encode_messages, encode_stat
from tests.support.api import RunningApiServer

NAMESPACE = "default"
REVISION = "hello-00001"
KEY = (NAMESPACE, REVISION)
WITHIN_S = 60.0
"""What is waited for comes with the windows, within 10 s on a machine that has nothing else to do."""
LABELS = {
    "serving.knative.dev/revision": REVISION,
    "serving.knative.dev/configuration": "hello",
    "serving.knative.dev/service": "hello",
}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "user-container", "image": "hello"}]}}


class Cluster:
    """One revision `hello-00001` and everything around it."""

    def __init__(self, client: Client, config: Config, log_lines: list[bytes]) -> None:
        self.client = client
        self.concurrency = 0.0
        """Requests inside the revision, wherever they are."""
        self.modes: list[str] = []
        """The ServerlessService's modes in order."""
        self.replicas: list[int] = []
        """The Deployment's replicas in order."""
        self.desired_scales: list[int | None] = []
        """What the PodAutoscaler's status said, in order."""
        self.pods_become_ready = True
        self.activator_answers = True
        self.probes = 0
        """How often the activator was asked whether it is there."""
        self._config = config
        self._log = Logger("autoscaler", write=log_lines.append)
        self.app = App(config, self._log)
        self.autoscalers = Informer(client, PodAutoscaler)
        self._deployments = Informer(client, Deployment)
        self._services = Informer(client, ServerlessService)
        self._pods = Informer(client, Pod)
        self._metrics = Informer(client, Metric)
        self._loop: Loop[str] = Loop("fake controllers", self._reconcile, workers=1)
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.metrics_port = 0
        self._activator_port = 0

    async def create(self, config_autoscaler: dict[str, str], annotations: dict[str, str]) -> None:
        """Write the system's ConfigMap and the revision's PodAutoscaler and Deployment, at one replica."""
        await self.client.create(Namespace(metadata=ObjectMeta(name="knative-serving")))
        meta = ObjectMeta(name="config-autoscaler", namespace="knative-serving")
        await self.client.create(ConfigMap(metadata=meta, data=config_autoscaler))
        deployment = Deployment(
            metadata=ObjectMeta(name=f"{REVISION}-deployment", namespace=NAMESPACE, labels=LABELS),
            spec=DeploymentSpec(replicas=1, selector=LabelSelector(match_labels=LABELS), template=TEMPLATE),
        )
        await self.client.create(deployment)
        await self.client.create(
            PodAutoscaler(
                metadata=ObjectMeta(
                    name=REVISION,
                    namespace=NAMESPACE,
                    labels=LABELS,
                    annotations={
                        "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
                        "autoscaling.knative.dev/metric": "concurrency",
                    }
                    | {
                        key if "/" in key else f"autoscaling.knative.dev/{key}": text
                        for key, text in annotations.items()
                    },
                ),
                spec=PodAutoscalerSpec(
                    scale_target_ref=ObjectReference(
                        api_version="apps/v1", kind="Deployment", name=f"{REVISION}-deployment"
                    ),
                    reachability="Reachable",
                    protocol_type="http1",
                ),
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the peers and the autoscaler."""
        metrics = await asyncio.start_server(self._serve_metrics, "127.0.0.1", 0)
        activator = await asyncio.start_server(self._serve_probe, "127.0.0.1", 0)
        self.metrics_port = metrics.sockets[0].getsockname()[1]
        self._activator_port = activator.sockets[0].getsockname()[1]
        informers = (self.autoscalers, self._deployments, self._services, self._pods, self._metrics)
        for informer in informers:
            informer.on_change(lambda old, new: self._note())
        try:
            for informer in informers:
                await informer.start()
            self._loop.start()
            await self.app.start()
            self._spawn(self._push_stats())
            yield
        finally:
            await self.app.stop()
            await self._loop.stop()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for informer in informers:
                await informer.stop()
            metrics.close()
            activator.close()

    async def restart(self) -> None:
        """End the autoscaler and start another."""
        await self.app.stop()
        self.app = App(self._config, self._log)
        await self.app.start()

    async def until(self, what: str, is_so: Callable[[PodAutoscaler], bool]) -> PodAutoscaler:
        """Wait until the PodAutoscaler is so; fails with `what` and its last state."""
        try:
            async with asyncio.timeout(WITHIN_S), self._changed:
                await self._changed.wait_for(lambda: (pa := self.autoscalers.get(*KEY)) is not None and is_so(pa))
        except TimeoutError:
            raise AssertionError(f"{what}: {self.autoscalers.get(*KEY)}; replicas {self.replicas}") from None
        found = self.autoscalers.get(*KEY)
        assert found is not None
        return found

    async def until_metric(self, what: str, is_so: Callable[[Metric], bool]) -> None:
        """Wait until the revision's Metric is so."""
        try:
            async with asyncio.timeout(WITHIN_S), self._changed:
                await self._changed.wait_for(lambda: (metric := self._metrics.get(*KEY)) is not None and is_so(metric))
        except TimeoutError:
            raise AssertionError(f"{what}: {self._metrics.get(*KEY)}") from None

    async def until_probed(self, times: int) -> None:
        """Wait until the activator was asked that often."""
        async with asyncio.timeout(WITHIN_S), self._changed:
            await self._changed.wait_for(lambda: self.probes >= times)

    async def changed(self) -> None:
        """Wait until anything in the API changes, half a second at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5), self._changed:
                await self._changed.wait()

    async def settled(self) -> None:
        """Wait until nothing in the API has changed for half a second."""
        while True:
            try:
                async with asyncio.timeout(0.5), self._changed:
                    await self._changed.wait()
            except TimeoutError:
                return

    async def first_request(self, concurrency: float) -> None:
        """A request arrives at an activator, which reports it at once; more follow."""
        self.concurrency = concurrency
        await self._push(Stat("activator-1", average_concurrent_requests=1, request_count=1))

    def ready_pods(self) -> int:
        """Pods that are ready."""
        return sum(pod.is_ready() for pod in self._pods.list(NAMESPACE))

    def _note(self) -> None:
        deployment = self._deployments.get(NAMESPACE, f"{REVISION}-deployment")
        service = self._services.get(*KEY)
        if deployment is not None and self.replicas[-1:] != [deployment.spec.replicas or 0]:
            self.replicas.append(deployment.spec.replicas or 0)
        autoscaler = self.autoscalers.get(*KEY)
        if autoscaler is not None and self.desired_scales[-1:] != [autoscaler.status.desired_scale]:
            self.desired_scales.append(autoscaler.status.desired_scale)
        if service is not None and self.modes[-1:] != [service.spec.mode]:
            self.modes.append(service.spec.mode)
        self._loop.add("all")
        self._spawn(self._tell())

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # The controllers.

    async def _reconcile(self, _: str) -> None:
        await self._reconcile_pods()
        await self._reconcile_service()

    async def _reconcile_pods(self) -> None:
        deployment = self._deployments.get(NAMESPACE, f"{REVISION}-deployment")
        wanted = deployment.spec.replicas or 0 if deployment is not None else 0
        names = {f"{REVISION}-pod-{number}" for number in range(wanted)}
        pods = (await self.client.list(Pod, NAMESPACE)).items
        existing = {pod.name for pod in pods}
        for name in sorted(names - existing):
            pod = Pod(metadata=ObjectMeta(name=name, namespace=NAMESPACE, labels=LABELS))
            raw = {"apiVersion": "v1", "kind": "Pod", "metadata": pod.metadata, "spec": TEMPLATE["spec"]}
            await self.client.raw("POST", Pod.RESOURCE.path(NAMESPACE), body=_json(raw))
        for pod in (await self.client.list(Pod, NAMESPACE)).items:
            if pod.name not in names:
                await self.client.delete(Pod, pod.name, NAMESPACE, grace_period_s=0)
            elif pod.status.phase != "Running" and self.pods_become_ready:
                ready = Condition(type="Ready", status="True")
                status = PodStatus(phase="Running", pod_ip="127.0.0.1", start_time=format_time(0), conditions=[ready])
                await self.client.patch_status(pod, status)

    async def _reconcile_service(self) -> None:
        service = self._services.get(*KEY)
        if service is None:
            return
        ready = self.ready_pods()
        is_proxied = service.spec.mode == "Proxy" or not ready
        status = ServerlessServiceStatus(
            observed_generation=service.metadata.generation,
            service_name=REVISION,
            private_service_name=f"{REVISION}-private",
            conditions=[
                _condition("ActivatorEndpointsPopulated", service, "True" if is_proxied else "False"),
                _condition("EndpointsPopulated", service, "True" if ready else "Unknown"),
                _condition("Ready", service, "True" if ready else "Unknown"),
            ],
        )
        if status != service.status:
            await self.client.patch_status(service, status)
        await self._reconcile_endpoints(self._activator_port if is_proxied else self.metrics_port)

    async def _reconcile_endpoints(self, port: int) -> None:
        meta = ObjectMeta(name=REVISION, namespace=NAMESPACE)
        subsets = [
            EndpointSubset(addresses=[EndpointAddress(ip="127.0.0.1")], ports=[EndpointPort(name="http", port=port)])
        ]
        known = {item.name: item for item in (await self.client.list(Endpoints, NAMESPACE)).items}
        if REVISION not in known:
            spec = ServiceSpec(ports=[ServicePort(name="http", port=80, target_port=8012)])
            await self.client.create(Service(metadata=meta, spec=spec))
            await self.client.create(Endpoints(metadata=meta, subsets=subsets))
        elif known[REVISION].subsets != subsets:
            await self.client.patch(Endpoints, REVISION, NAMESPACE, {"subsets": subsets})

    # The data plane.

    async def _push_stats(self) -> None:
        while True:
            await asyncio.sleep(1)
            if self.modes[-1:] == ["Proxy"] and self.concurrency:
                await self._push(
                    Stat("activator-1", average_concurrent_requests=self.concurrency, request_count=self.concurrency)
                )

    async def _push(self, stat: Stat) -> None:
        uri = f"ws://127.0.0.1:{self.app.stat_port}/"
        async with connect(uri, compression=None, proxy=None) as socket:
            await socket.send(encode_messages([StatMessage(*KEY, stat)]))

    async def _serve_metrics(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                share = self.concurrency / max(1, self.ready_pods())
                proxied = share if self.modes[-1:] == ["Proxy"] else 0.0
                body = encode_stat(Stat("pod", share, proxied, share, proxied, process_uptime=100))
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/protobuf\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _serve_probe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.probes += 1
        await self._tell()
        body = b"activator" if self.activator_answers else b"not there"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def cluster(
    api: RunningApiServer, log_lines: list[bytes], *, strict_compat: bool = False
) -> AsyncIterator[Cluster]:
    """A cluster on that API server; `create` and `running` are the test's to call."""
    config = Config(
        api=api.config,
        system_namespace="knative-serving",
        pod_name="autoscaler-0",
        pod_ip="127.0.0.1",
        bind_address="127.0.0.1",
        stat_port=0,
        debug_address=("127.0.0.1", 0),
        resolves_by_endpoints=True,
        strict_compat=strict_compat,
    )
    async with Client(api.config) as client:
        yield Cluster(client, config, log_lines)


def condition(autoscaler: PodAutoscaler, type_: str) -> tuple[str, str]:
    """(status, reason) of a condition."""
    for found in autoscaler.status.conditions:
        if found.type == type_:
            return found.status, found.reason
    return "", ""


def _condition(type_: str, service: ServerlessService, status: str) -> Condition:
    for held in service.status.conditions:
        if held.type == type_ and held.status == status:
            return held
    return Condition(type=type_, status=status, last_transition_time=format_time(time.time()))


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
