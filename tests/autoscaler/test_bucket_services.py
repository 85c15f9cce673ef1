"""`autoscaler.bucket_services` against a real API server: what is written, and who writes last."""

import json
from collections.abc import AsyncIterator

import pytest

from autoscaler import bucket_services
from autoscaler.bucket_services import BucketServices
from kube.client import Client
from kube.models.core import Namespace, Service, ServiceSpec
from kube.models.discovery import EndpointSlice
from kube.models.meta import ObjectMeta
from proxies.logs import Logger
from tests.support.api import RunningApiServer, running_api_server
from tests.support.processes import eventually

SYSTEM = "knative-serving"
BUCKET = "autoscaler-bucket-00-of-01"


@pytest.fixture
async def api() -> AsyncIterator[RunningApiServer]:
    async with running_api_server() as server:
        yield server


@pytest.fixture
async def client(api: RunningApiServer) -> AsyncIterator[Client]:
    async with Client(api.config) as opened:
        await opened.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        yield opened


def holder(client: Client, ip: str, lines: list[bytes] | None = None) -> BucketServices:
    write = (lines if lines is not None else []).append
    return BucketServices(client, namespace=SYSTEM, pod_ip=ip, port=8080, log=Logger("t", write=write))


async def slices(client: Client) -> list[EndpointSlice]:
    return (await client.list(EndpointSlice, SYSTEM)).items


async def published(client: Client, ip: str) -> EndpointSlice:
    async def find() -> EndpointSlice | None:
        found = await slices(client)
        return found[0] if found and found[0].endpoints[0].addresses == [ip] else None

    return await eventually(find)


@pytest.mark.parametrize(("ip", "family"), [("10.0.0.1", "IPv4"), ("fd00::1", "IPv6")])
async def test_the_holder_writes_a_service_without_selector_and_a_slice_with_itself(
    client: Client, ip: str, family: str
) -> None:
    services = holder(client, ip)
    services.publish(BUCKET, while_true=lambda: True)
    part = await published(client, ip)
    await services.stop()
    assert (part.name, part.address_type) == (BUCKET, family)
    assert part.metadata.labels == {"kubernetes.io/service-name": BUCKET}
    (endpoint,) = part.endpoints
    conditions = endpoint.conditions
    assert (conditions.ready, conditions.serving, conditions.terminating) == (True, True, False)
    assert [(port.name, port.port, port.protocol) for port in part.ports] == [("http", 8080, "TCP")]
    service = await client.get(Service, BUCKET, SYSTEM)
    assert service.spec.selector == {}
    assert [(p.name, p.port, p.target_port) for p in service.spec.ports] == [("http", 8080, 8080)]


@pytest.mark.parametrize("second_ip", ["10.0.0.2", "fd00::2"])
async def test_the_next_holder_takes_the_slice_over(client: Client, second_ip: str) -> None:
    first, second = holder(client, "10.0.0.1"), holder(client, second_ip)
    first.publish(BUCKET, while_true=lambda: True)
    await published(client, "10.0.0.1")
    second.publish(BUCKET, while_true=lambda: True)
    await published(client, second_ip)
    assert len(await slices(client)) == 1
    await first.stop()
    await second.stop()


async def test_a_slice_that_is_right_and_a_service_that_exists_are_left_alone(client: Client) -> None:
    own = Service(metadata=ObjectMeta(name=BUCKET, namespace=SYSTEM), spec=ServiceSpec(selector={"mine": "yes"}))
    own.spec.ports = [bucket_services.ServicePort(name="x", port=1)]
    await client.create(own)
    services = holder(client, "10.0.0.1")
    services.publish(BUCKET, while_true=lambda: True)
    before = await published(client, "10.0.0.1")
    await services.publish(BUCKET, while_true=lambda: True)
    assert await slices(client) == [before]
    assert (await client.get(Service, BUCKET, SYSTEM)).spec.selector == {"mine": "yes"}


async def test_what_cannot_be_written_is_told_once_and_tried_again(
    api: RunningApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_services, "_RETRY_S", 0.001)
    monkeypatch.setattr(bucket_services, "_SLOW_RETRY_S", 0.001)
    lines: list[bytes] = []
    async with Client(api.config) as client:
        services = holder(client, "10.0.0.1", lines)
        services.publish(BUCKET, while_true=lambda: True)  # into a namespace that is not there yet
        await eventually(lambda: lines)
        assert json.loads(lines[0])["message"] == "bucket_service_not_written"
        await client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        await published(client, "10.0.0.1")
        assert len(lines) == 1
        await services.stop()


async def test_who_is_no_longer_the_holder_writes_nothing_more(client: Client) -> None:
    services = holder(client, "10.0.0.1")
    await services.publish(BUCKET, while_true=lambda: False)
    assert await slices(client) == []
