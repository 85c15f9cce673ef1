"""Statements 73 to 79: what stands behind a revision's public Service.

ServerlessServices are the controller's business: one controller process serves the whole file, and sees static
Endpoints. Every test has a ServerlessService of its own.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from kube.client import Client
from kube.informer import Informer
from kube.models.apps import Deployment, DeploymentSpec
from kube.models.core import ConfigMap, EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Namespace, Service
from kube.models.core import ObjectReference as Reference
from kube.models.meta import LabelSelector, ObjectMeta
from kube.models.networking import ServerlessService, ServerlessServiceSpec
from kube.subset import choose_subset
from local_cluster import system
from tests.conformance.autoscaler.world import condition
from tests.support.api import running_api_server
from tests.support.processes import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMESPACE = "default"
ACTIVATORS = [f"10.9.0.{number}" for number in range(1, 6)]
ALL_PORTS = [("http", 8012), ("http2", 8013), ("https", 8112), ("http-autometric", 9090)]
_names = count(1)


class World:
    """The controller, and what it made."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.services = Informer(client, ServerlessService)
        self.core_services = Informer(client, Service)
        self.endpoints = Informer(client, Endpoints)
        self._changed = asyncio.Event()
        for informer in (self.services, self.core_services, self.endpoints):
            informer.on_change(lambda old, new: self._changed.set())

    async def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until that is so."""
        try:
            async with asyncio.timeout(20):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what}: {self.services.list()} {self.endpoints.list()}") from None

    async def create(
        self,
        *,
        mode: str,
        pods: list[str],
        activators: int = 2,
        protocol: str = "http1",
        name: str = "",
        ports: list[tuple[str, int]] = ALL_PORTS,
    ) -> str:
        """Make a ServerlessService with these pods behind its private Service; its name."""
        name = name or f"hello-{next(_names):05d}"
        labels = {"serving.knative.dev/revisionUID": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        target = f"{name[:40]}-deployment"
        spec = DeploymentSpec(replicas=1, selector=LabelSelector(match_labels=labels), template=template)
        metadata = ObjectMeta(name=target, namespace=NAMESPACE, labels=labels)
        await self.client.create(Deployment(metadata=metadata, spec=spec))
        await self.client.create(
            ServerlessService(
                metadata=ObjectMeta(name=name, namespace=NAMESPACE),
                spec=ServerlessServiceSpec(
                    mode=mode,
                    object_ref=Reference(api_version="apps/v1", kind="Deployment", name=target),
                    protocol_type=protocol,
                    num_activators=activators,
                ),
            )
        )
        await self.until(lambda: self._private(name), "a private Service")
        private = _endpoints(self._private(name), NAMESPACE, pods, ports)
        # Kubernetes copies the Service's labels to the Endpoints that it makes.
        await self.until(lambda: self.core_services.get(NAMESPACE, private.name), "the Service itself")
        service = self.core_services.get(NAMESPACE, private.name)
        assert service is not None
        private.metadata.labels = service.metadata.labels
        await self.client.create(private)
        return name

    async def public(self, name: str) -> list[tuple[str, list[int]]]:
        """(address, ports) behind the public Service, once the watches of both have told."""
        await self.until(lambda: self.endpoints.get(NAMESPACE, name), "public Endpoints")
        await self.until(lambda: self.core_services.get(NAMESPACE, name), "the public Service")
        found = self.endpoints.get(NAMESPACE, name)
        assert found is not None
        return [
            (address.ip, [port.port for port in subset.ports])
            for subset in found.subsets
            for address in subset.addresses
        ]

    async def until_public(self, name: str, addresses: list[str]) -> None:
        """Wait until exactly these addresses are public."""

        async def are_public() -> bool:
            return [address for address, _ in await self.public(name)] == addresses

        await self.public(name)
        is_so: bool = await eventually(are_public)
        assert is_so

    def ports(self, name: str) -> list[dict[str, Any]]:
        """Ports of a core Service."""
        found = self.core_services.get(NAMESPACE, name)
        assert found is not None
        return [
            {"name": port.name, "port": port.port, "target": port.target_port, "protocol": port.app_protocol}
            for port in found.spec.ports
        ]

    def _private(self, name: str) -> str:
        found = self.services.get(NAMESPACE, name)
        return found.status.private_service_name if found is not None else ""


def _endpoints(name: str, namespace: str, addresses: list[str], ports: list[tuple[str, int]]) -> Endpoints:
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip=ip) for ip in addresses],
        ports=[EndpointPort(name=name, port=port) for name, port in ports],
    )
    return Endpoints(metadata=ObjectMeta(name=name, namespace=namespace), subsets=[subset] if addresses else [])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api_server())
        client = await stack.enter_async_context(Client(api.config))
        await client.create(Namespace(metadata=ObjectMeta(name=system.SYSTEM_NAMESPACE)))
        for body in system.config_maps("example.com"):
            await client.raw("POST", ConfigMap.RESOURCE.path(system.SYSTEM_NAMESPACE), body=json.dumps(body).encode())
        await client.create(_endpoints("activator-service", system.SYSTEM_NAMESPACE, ACTIVATORS, ALL_PORTS[:3]))
        environ = {"KUBECONFIG": str(api.kubeconfig), "SYSTEM_NAMESPACE": system.SYSTEM_NAMESPACE, "PATH": os.defpath}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "controller", env=environ, stderr=asyncio.subprocess.DEVNULL
        )

        async def end() -> None:
            process.kill()
            await process.wait()

        stack.push_async_callback(end)
        world = World(client)
        for informer in (world.services, world.core_services, world.endpoints):
            await informer.start()
            stack.push_async_callback(informer.stop)
        yield world


async def test_73_the_private_services_name_fits(world: World) -> None:
    name = await world.create(mode="Serve", pods=[], name="f" * 63)
    service = world.services.get(NAMESPACE, name)
    assert service is not None
    assert service.status.private_service_name == "f" * 23 + "105d7597f637e83cc711605ac3ea4957-private"


async def test_74_http2_is_public_at_81_and_private_at_80(world: World) -> None:
    name = await world.create(mode="Serve", pods=["10.0.0.1"], protocol="h2c")
    await world.public(name)
    http2 = {"name": "http2", "target": 8013, "protocol": "kubernetes.io/h2c"}
    assert world.ports(name)[0] == {**http2, "port": 81}
    assert world.ports(f"{name}-private")[0] == {**http2, "port": 80}
    plain = await world.create(mode="Serve", pods=["10.0.0.1"])
    await world.public(plain)
    http = {"name": "http", "port": 80, "target": 8012, "protocol": None}
    assert world.ports(plain)[0] == world.ports(f"{plain}-private")[0] == http


async def test_75_a_revision_that_serves_without_pods_has_activators(world: World) -> None:
    name = await world.create(mode="Serve", pods=[], activators=0)
    await world.until_public(name, ACTIVATORS)
    # With the first pod they give way.
    private = {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 8012}]}]}
    await world.client.patch(Endpoints, f"{name}-private", NAMESPACE, private)
    await world.until_public(name, ["10.0.0.1"])


async def test_76_a_proxied_revision_without_activators_has_its_pods(world: World) -> None:
    name = await world.create(mode="Proxy", pods=["10.0.0.1"], activators=0)
    await world.until_public(name, ACTIVATORS)
    activators = await world.client.get(Endpoints, "activator-service", system.SYSTEM_NAMESPACE)
    await world.client.patch(Endpoints, "activator-service", system.SYSTEM_NAMESPACE, {"subsets": []})
    try:
        await world.until_public(name, ["10.0.0.1"])
    finally:
        patch = {"subsets": activators.subsets}
        await world.client.patch(Endpoints, "activator-service", system.SYSTEM_NAMESPACE, patch)
    await world.until_public(name, ACTIVATORS)


async def test_77_some_activators_are_chosen_by_the_revisions_name(world: World) -> None:
    chosen = {}
    for _ in range(5):
        name = await world.create(mode="Proxy", pods=["10.0.0.1"], activators=2)
        chosen[name] = [address for address, _ in await world.public(name)]
        assert chosen[name] == [ip for ip in ACTIVATORS if ip in choose_subset(set(ACTIVATORS), 2, name)]
    assert {len(addresses) for addresses in chosen.values()} == {2}
    assert len({tuple(addresses) for addresses in chosen.values()}) > 1


@pytest.mark.parametrize(("protocol", "ports"), [("http1", [8012, 8112]), ("h2c", [8013, 8112])])
@pytest.mark.parametrize("mode", ["Serve", "Proxy"])
async def test_78_only_the_ports_of_requests_are_public(
    world: World, mode: str, protocol: str, ports: list[int]
) -> None:
    name = await world.create(mode=mode, pods=["10.0.0.1"], protocol=protocol)
    assert {tuple(found) for _, found in await world.public(name)} == {tuple(ports)}


async def test_79_without_pods_the_endpoints_are_not_populated(world: World) -> None:
    name = await world.create(mode="Serve", pods=[])

    def holds(type_: str, status: str, reason: str) -> bool:
        service = world.services.get(NAMESPACE, name)
        return service is not None and condition(service, type_) == (status, reason)

    await world.until(lambda: holds("EndpointsPopulated", "Unknown", "NoHealthyBackends"), "no healthy backends")
    assert holds("ActivatorEndpointsPopulated", "True", "ActivatorEndpointsPopulated")
    private = {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 8012}]}]}
    await world.client.patch(Endpoints, f"{name}-private", NAMESPACE, private)
    await world.until(lambda: holds("EndpointsPopulated", "True", ""), "populated")
    await world.until(
        lambda: holds("ActivatorEndpointsPopulated", "False", "ActivatorEndpointsPopulated"), "without activators"
    )
