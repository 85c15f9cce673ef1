"""The controller's surroundings for integration tests: a real API server with Knative's admission, and its peers.

Workloads (Deployments to pods, Endpoints) are the real ones. `Peers` plays what is left: the kubelet (pods become
ready, or fail as told), the autoscaler (a ServerlessService per PodAutoscaler, status from the pods) and the gateway
(an Ingress is ready as soon as it is seen). All of it follows the API; tests only apply manifests and watch what
becomes of them.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import msgspec

from controller.app import App
from controller.config import Config
from kube.client import Client
from kube.informer import Informer
from kube.models import core, serving
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerStatus
from kube.models.meta import Condition, Resource
from kube.models.networking import (
    Ingress,
    IngressStatus,
    LoadBalancer,
    LoadBalancerIngress,
    ServerlessService,
)
from kube.reconcile import Loop
from kube.timestamps import format_time
from local_cluster import admission, system
from local_cluster.workloads.app import Workloads
from proxies.logs import Logger
from tests.support.api import RunningApiServer, running_api_server

NAMESPACE = "default"
SYSTEM = system.SYSTEM_NAMESPACE
WITHIN_S = 40.0

R = TypeVar("R", bound=Resource)


class Kn:
    """A running control plane and how to look at it."""

    def __init__(self, client: Client, app: App | None, peers: "Peers", log_lines: list[bytes]) -> None:
        self.client = client
        self.app = app
        self.peers = peers
        self._log_lines = log_lines

    async def create(self, kind: type[R], body: dict[str, Any]) -> R:
        """Create from a manifest without apiVersion and kind; the namespace is `default` unless it says otherwise."""
        meta = {"namespace": NAMESPACE, **body["metadata"]}
        whole = {"apiVersion": kind.RESOURCE.api_version, "kind": kind.RESOURCE.kind, **body, "metadata": meta}
        answer = await self.client.raw("POST", kind.RESOURCE.path(meta["namespace"]), body=json.dumps(whole).encode())
        return msgspec.json.decode(answer, type=kind)

    async def get(self, kind: type[R], name: str) -> R:
        """One object of the namespace `default`."""
        return await self.client.get(kind, name, NAMESPACE)

    async def raw(self, kind: type[Resource], name: str) -> dict[str, Any]:
        """The same, whole."""
        found: dict[str, Any] = json.loads(await self.client.raw("GET", kind.RESOURCE.path(NAMESPACE, name)))
        return found

    async def until(self, kind: type[R], name: str, what: str, is_so: Callable[[R], bool]) -> R:
        """Wait until an object is so; fails with `what` and its last state."""
        informer = Informer(self.client, kind, namespace=NAMESPACE)
        changed = asyncio.Event()
        informer.on_change(lambda _old, _new: changed.set())
        await informer.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                while (found := informer.get(NAMESPACE, name)) is None or not is_so(found):
                    changed.clear()
                    await changed.wait()
            return found
        except TimeoutError:
            held = informer.get(NAMESPACE, name)
            log = b"".join(self._log_lines[-10:]).decode()
            raise AssertionError(f"{kind.RESOURCE.kind} {name}: {what}; last seen {held}\n{log}") from None
        finally:
            await informer.stop()

    async def until_gone(self, kind: type[R], name: str) -> None:
        """Wait until there is no such object."""
        informer = Informer(self.client, kind, namespace=NAMESPACE)
        changed = asyncio.Event()
        informer.on_change(lambda _old, _new: changed.set())
        await informer.start()
        try:
            async with asyncio.timeout(WITHIN_S):
                while informer.get(NAMESPACE, name) is not None:
                    changed.clear()
                    await changed.wait()
        finally:
            await informer.stop()

    async def until_ready(self, name: str, generation: int | None = None) -> serving.Service:
        """Wait until a Knative Service is ready, at `generation` if given."""

        def is_ready(service: serving.Service) -> bool:
            seen = service.status.observed_generation
            wanted = generation is None or service.metadata.generation >= generation
            return wanted and seen == service.metadata.generation and condition(service, "Ready")[0] == "True"

        return await self.until(serving.Service, name, "ready", is_ready)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Log lines with that event."""
        return [line for line in map(json.loads, self._log_lines) if line["message"] == name]


class Peers:
    """Kubelet, autoscaler and gateway."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.failures: dict[str, core.ContainerStatus] = {}
        """Image -> the state in which its containers stay; all others become ready."""
        self.lets_ingresses_ready = True
        self._pods = Informer(client, core.Pod)
        self._autoscalers = Informer(client, PodAutoscaler)
        self._services = Informer(client, ServerlessService)
        self._ingresses = Informer(client, Ingress)
        self._kubelet: Loop[tuple[str, str]] = Loop("kubelet", self._run_pod)
        self._autoscaler: Loop[tuple[str, str]] = Loop("autoscaler", self._scale)
        self._gateway: Loop[tuple[str, str]] = Loop("gateway", self._serve)
        self._pods.on_change(self._pod_changed)
        self._follow(self._autoscalers, self._autoscaler)
        self._follow(self._services, self._autoscaler)
        self._follow(self._ingresses, self._gateway)

    async def start(self) -> None:
        """Begin to play."""
        for informer in (self._pods, self._autoscalers, self._services, self._ingresses):
            await informer.start()
        for loop in (self._kubelet, self._autoscaler, self._gateway):
            loop.start()

    async def stop(self) -> None:
        """End."""
        for loop in (self._kubelet, self._autoscaler, self._gateway):
            await loop.stop()
        for informer in (self._pods, self._autoscalers, self._services, self._ingresses):
            await informer.stop()

    def let_ingresses_ready(self) -> None:
        """From now on the gateway serves."""
        self.lets_ingresses_ready = True
        for ingress in self._ingresses.list():
            self._gateway.add(ingress.key)

    def _follow(self, informer: Informer[R], loop: Loop[tuple[str, str]]) -> None:
        def changed(old: R | None, new: R | None) -> None:
            obj = new or old
            if obj is not None:
                loop.add(obj.key)

        informer.on_change(changed)

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new or old
        if pod is not None:
            self._kubelet.add(pod.key)
            self._autoscaler.add((pod.namespace, pod.metadata.labels.get("serving.knative.dev/revision", "")))

    async def _run_pod(self, key: tuple[str, str]) -> None:
        pod = self._pods.get(*key)
        if pod is None or not pod.spec.node_name:
            return
        if pod.metadata.deletion_timestamp is not None:
            await self._client.delete(core.Pod, pod.name, pod.namespace, grace_period_s=0)
            return
        if pod.status.container_statuses:
            return
        failing = [self.failures[c.image] for c in pod.spec.containers if c.image in self.failures]
        now = format_time(time.time())
        status = core.PodStatus(
            phase="Running",
            pod_ip="127.9.1.1",
            start_time=now,
            conditions=[
                Condition(type="PodScheduled", status="True", last_transition_time=now),
                Condition(type="Ready", status="False" if failing else "True", last_transition_time=now),
            ],
            container_statuses=[
                self.failures.get(c.image, core.ContainerStatus(name=c.name, image=c.image, ready=True))
                for c in pod.spec.containers
            ],
        )
        await self._client.patch_status(pod, status)

    async def _scale(self, key: tuple[str, str]) -> None:
        autoscaler, service = self._autoscalers.get(*key), self._services.get(*key)
        if autoscaler is None:
            return
        if service is None:
            await self._client.raw("POST", ServerlessService.RESOURCE.path(key[0]), body=_sks_of(autoscaler))
            return
        ready = sum(
            pod.is_ready()
            for pod in self._pods.list(key[0])
            if pod.metadata.labels.get("serving.knative.dev/revision") == key[1]
        )
        held = {condition.type: condition.status for condition in autoscaler.status.conditions}
        initialised = held.get("ScaleTargetInitialized") == "True" or (ready > 0 and bool(service.status.service_name))
        types = {"Active": bool(ready), "ScaleTargetInitialized": initialised, "SKSReady": True}
        ready_now = all(types.values())
        conditions = [
            Condition(type=type_, status="True" if is_so else "Unknown")
            for type_, is_so in (*types.items(), ("Ready", ready_now))
        ]
        status = PodAutoscalerStatus(
            observed_generation=autoscaler.metadata.generation,
            conditions=conditions,
            service_name=service.status.service_name,
            metrics_service_name=service.status.private_service_name,
            desired_scale=ready,
            actual_scale=ready,
        )
        if status != autoscaler.status:
            await self._client.patch_status(autoscaler, status)

    async def _serve(self, key: tuple[str, str]) -> None:
        ingress = self._ingresses.get(*key)
        if ingress is None or not self.lets_ingresses_ready:
            return
        status = IngressStatus(
            observed_generation=ingress.metadata.generation,
            conditions=[
                Condition(type=type_, status="True") for type_ in ("LoadBalancerReady", "NetworkConfigured", "Ready")
            ],
            public_load_balancer=LoadBalancer(ingress=[LoadBalancerIngress(ip="127.9.0.6")]),
            private_load_balancer=LoadBalancer(ingress=[LoadBalancerIngress(ip="127.9.0.6")]),
        )
        if status != ingress.status:
            await self._client.patch_status(ingress, status)


@asynccontextmanager
async def control_plane(*, resolves_tags: bool = False, **settings: dict[str, str]) -> AsyncIterator[Kn]:
    """Everything running; ConfigMaps as the local stack has them, and one activator.

    `settings` are added to ConfigMaps, by section: `control_plane(network={"http-protocol": "redirected"})`.
    """
    log_lines: list[bytes] = []
    async with cluster(**settings) as (api, client, peers):
        app = App(
            Config(api=api.config, system_namespace=SYSTEM, resolves_tags=resolves_tags),
            Logger("controller", level="debug", write=log_lines.append),
        )
        try:
            await app.start()
            yield Kn(client, app, peers, log_lines)
        finally:
            await app.stop()
        assert not [line for line in log_lines if b"reconcile_failed" in line], log_lines


@asynccontextmanager
async def cluster(**settings: dict[str, str]) -> AsyncIterator[tuple[RunningApiServer, Client, "Peers"]]:
    """The same without a controller."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api_server())
        admission.install(api.server)
        client = await stack.enter_async_context(Client(api.config))
        for body in (*system.namespaces(), *system.config_maps("example.com")):
            kinds: dict[str, type[Resource]] = {"Namespace": core.Namespace, "ConfigMap": core.ConfigMap}
            kind = kinds.get(body["kind"])
            if kind is None or (kind is core.Namespace and body["metadata"]["name"] != SYSTEM):
                continue
            if kind is core.ConfigMap:
                body["data"] |= settings.get(body["metadata"]["name"].removeprefix("config-").replace("-", "_"), {})
            await client.raw("POST", kind.RESOURCE.path(SYSTEM), body=json.dumps(body).encode())
        await client.raw("POST", core.Endpoints.RESOURCE.path(SYSTEM), body=json.dumps(ACTIVATORS).encode())
        workloads = Workloads(client)
        peers = Peers(client)
        for part in (workloads, peers):
            stack.push_async_callback(part.stop)
            await part.start()
        yield api, client, peers


ACTIVATORS = {
    "apiVersion": "v1",
    "kind": "Endpoints",
    "metadata": {"name": "activator-service", "namespace": SYSTEM},
    "subsets": [
        {
            "addresses": [{"ip": "127.9.0.2"}],
            "ports": [{"name": "http", "port": 8012}, {"name": "http2", "port": 8013}],
        }
    ],
}


def service(name: str, image: str = "dev.local/hello", /, **template_metadata: Any) -> dict[str, Any]:
    """A Knative Service with one container."""
    template = {"metadata": template_metadata, "spec": {"containers": [{"image": image}]}}
    return {"metadata": {"name": name}, "spec": {"template": template}}


def condition(obj: Any, type_: str) -> tuple[str, str]:
    """(status, reason) of a condition; empty texts when there is none."""
    for found in obj.status.conditions:
        if found.type == type_:
            return found.status, found.reason
    return "", ""


def _sks_of(autoscaler: PodAutoscaler) -> bytes:
    body = {
        "apiVersion": ServerlessService.RESOURCE.api_version,
        "kind": "ServerlessService",
        "metadata": {
            "name": autoscaler.name,
            "namespace": autoscaler.namespace,
            "labels": autoscaler.metadata.labels,
            "annotations": autoscaler.metadata.annotations,
            "ownerReferences": [msgspec.to_builtins(autoscaler.owner_reference())],
        },
        "spec": {
            "mode": "Serve",
            "protocolType": autoscaler.spec.protocol_type,
            "objectRef": msgspec.to_builtins(autoscaler.spec.scale_target_ref),
            "numActivators": 2,
        },
    }
    return json.dumps(body).encode()
