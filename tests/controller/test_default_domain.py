"""The job that makes a default domain of the gateway's address."""

import asyncio
import dataclasses
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from controller.default_domain import DefaultDomainConfig, NoAddress, assign, domain_of
from kube.addresses import Address
from kube.client import Client
from kube.errors import NotFound
from kube.models.core import ConfigMap, Namespace, Service, ServicePort, ServiceSpec
from kube.models.meta import ObjectMeta
from kube.models.networking import Ingress, IngressStatus, LoadBalancer, LoadBalancerIngress
from tests.support.api import running_api_server
from tests.support.processes import eventually

SYSTEM = "knative-serving"
LOCAL = {"svc.cluster.local": ""}


class World:
    """An API server with a `config-domain`, and a gateway whose words are the test's."""

    def __init__(self, client: Client, config: DefaultDomainConfig) -> None:
        self.client = client
        self.config = config

    async def ingress(self) -> Ingress:
        """What the job asks for."""

        async def find() -> Ingress | None:
            try:
                return await self.client.get(Ingress, "default-domain", SYSTEM)
            except NotFound:
                return None

        found: Ingress | None = await eventually(find)
        assert found is not None
        return found

    async def gateway_says(self, where: LoadBalancerIngress) -> None:
        status = IngressStatus(public_load_balancer=LoadBalancer(ingress=[where]))
        await self.client.patch_status(await self.ingress(), status)

    async def domains(self) -> dict[str, str]:
        return (await self.client.get(ConfigMap, "config-domain", SYSTEM)).data


@asynccontextmanager
async def world(data: dict[str, str], *, within_s: float = 20) -> AsyncIterator[World]:
    async with running_api_server() as api, Client(api.config) as client:
        await client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        await client.create(ConfigMap(metadata=ObjectMeta(name="config-domain", namespace=SYSTEM), data=data))
        config = DefaultDomainConfig(
            api=api.config,
            system_namespace=SYSTEM,
            magic_dns="sslip.io",
            address=Address("127.0.0.1", 0),
            within_s=within_s,
        )
        yield World(client, config)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.default_domain._LOOK_S", 0.01)


@pytest.mark.parametrize("data", [{}, LOCAL, {"apps.org": "selector: {a: b}"}])
async def test_the_gateways_address_becomes_the_default_and_the_ingress_goes(data: dict[str, str]) -> None:
    async with world(data) as running:
        job = asyncio.get_running_loop().create_task(assign(running.config))
        asked = await running.ingress()
        assert asked.metadata.annotations == {
            "networking.knative.dev/ingress.class": "istio.ingress.networking.knative.dev"
        }
        await running.gateway_says(LoadBalancerIngress(ip="203.0.113.7"))
        assert await job == "203.0.113.7.sslip.io"
        assert await running.domains() == {**data, "203.0.113.7.sslip.io": ""}
        with pytest.raises(NotFound):
            await running.client.get(Ingress, "default-domain", SYSTEM)


async def test_a_chosen_default_stays() -> None:
    async with world({"example.com": ""}) as running:
        assert await assign(running.config) == "example.com"
        assert await running.domains() == {"example.com": ""}


async def test_a_service_of_the_cluster_is_asked_for_its_own_address() -> None:
    async with world({}) as running:
        meta = ObjectMeta(name="gateway", namespace=SYSTEM)
        service = await running.client.create(Service(metadata=meta, spec=ServiceSpec(ports=[ServicePort(port=80)])))
        job = asyncio.get_running_loop().create_task(assign(running.config))
        await running.gateway_says(LoadBalancerIngress(domain_internal=f"gateway.{SYSTEM}.svc.cluster.local"))
        status: dict[str, Any] = {"loadBalancer": {"ingress": [{"hostname": "localhost"}]}}
        path = f"{Service.RESOURCE.path(SYSTEM, service.name)}/status"
        body = json.dumps({"status": status}).encode()
        await running.client.raw("PATCH", path, body=body, content_type="application/merge-patch+json")
        assert await job == "127.0.0.1.sslip.io"


async def test_who_has_chosen_meanwhile_is_not_overruled() -> None:
    async with world({}) as running:
        job = asyncio.get_running_loop().create_task(assign(running.config))
        await running.ingress()
        await running.client.patch(ConfigMap, "config-domain", SYSTEM, {"data": {"example.com": ""}})
        await running.gateway_says(LoadBalancerIngress(ip="203.0.113.7"))
        assert await job == "example.com"
        assert await running.domains() == {"example.com": ""}


async def test_a_gateway_without_an_address_is_given_up_and_nothing_stays() -> None:
    async with world({}, within_s=0.05) as running:
        with pytest.raises(NoAddress, match=r"no address within 0\.05 s"):
            await assign(running.config)
        with pytest.raises(NotFound):
            await running.client.get(Ingress, "default-domain", SYSTEM)


def test_addresses_of_version_6_are_named_where_that_is_possible() -> None:
    assert domain_of("2001:db8::7", "sslip.io") == "2001-db8--7.sslip.io"
    with pytest.raises(NoAddress, match=r"sslip\.io has"):
        domain_of("2001:db8::7", "nip.io")


async def test_the_program_ends_with_what_is_wrong() -> None:
    async with running_api_server() as api:
        environ = {"PATH": os.defpath, "KUBECONFIG": str(api.kubeconfig), "SYSTEM_NAMESPACE": SYSTEM}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controller", "default-domain"), env=environ, stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 1
        assert said.decode() == "default-domain: ConfigMap knative-serving/config-domain does not exist\n"


async def test_probes_are_answered_meanwhile_and_a_job_that_is_ended_leaves_nothing() -> None:
    async with world({}) as running, aiohttp.ClientSession() as session:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = dataclasses.replace(running.config, address=Address("127.0.0.1", port))
        job = asyncio.get_running_loop().create_task(assign(config))
        await running.ingress()
        async with session.get(f"http://127.0.0.1:{port}/healthz", headers={"K-Network-Hash": "h"}) as response:
            assert (response.status, response.headers["K-Network-Hash"]) == (200, "h")
        job.cancel()
        await asyncio.wait([job])
        with pytest.raises(NotFound):
            await running.client.get(Ingress, "default-domain", SYSTEM)
