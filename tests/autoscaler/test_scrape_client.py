"""`autoscaler.scrape_client` against a real endpoint, and what a scraper asks for."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from unittest import mock

import pytest

from autoscaler import scrape_client
from autoscaler.gauge_scraper import GaugeScraper
from autoscaler.pods import ReadyPod
from autoscaler.scrape_client import ScrapeClient, ScrapeTarget
from autoscaler.scraper import FetchError, PodsExhausted
from kube.autoscaling.metric_url import MetricUrl
from kube.client import Client
from kube.config import ApiConfig
from kube.resolve import Resolver
from proxies.wire.stat import Stat, encode_stat

TARGET = ScrapeTarget("default", "hello-00001-private")
STAT = Stat("hello-00001-pod", average_concurrent_requests=3.25, request_count=12)


class Endpoint:
    """A metrics endpoint that answers with `body`; keeps the heads it received and counts connections."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.content_type = "application/protobuf"
        self.body = encode_stat(STAT)
        self.heads: list[str] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                writer.write(
                    f"HTTP/1.1 {self.status}\r\nContent-Type: {self.content_type}\r\n"
                    f"Content-Length: {len(self.body)}\r\n\r\n".encode()
                    + self.body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(scrape_client, "METRICS_PORT", endpoint.port)
    yield endpoint
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def opened(*, passthrough: bool = False) -> AsyncIterator[ScrapeClient]:
    resolver = Resolver(Client(ApiConfig(server="")), by_endpoints=False)
    client = ScrapeClient(resolver, cluster_domain="cluster.local", passthrough=passthrough)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


async def test_17_pods_are_asked_for_protobuf_over_one_connection(endpoint: Endpoint) -> None:
    async with opened() as client:
        for _ in range(3):
            assert await client.fetch_pod(TARGET, "127.0.0.1") == STAT
    assert endpoint.connections == 1
    assert endpoint.heads[0].startswith("GET /metrics HTTP/1.1\r\n")
    assert "Accept: application/protobuf\r\n" in endpoint.heads[0]
    assert "Knative-Direct-Lb" not in endpoint.heads[0]


async def test_passthrough_names_the_service(endpoint: Endpoint) -> None:
    async with opened(passthrough=True) as client:
        await client.fetch_pod(TARGET, "127.0.0.1")
    assert "Host: hello-00001-private.default\r\n" in endpoint.heads[0]
    assert "Knative-Direct-Lb: true\r\n" in endpoint.heads[0]


@pytest.mark.parametrize(
    ("spoil", "mesh"),
    [
        (lambda e: setattr(e, "status", "503 Service Unavailable"), True),
        (lambda e: setattr(e, "status", "500 Oops"), False),
        (lambda e: setattr(e, "content_type", "application/protobuf; charset=utf-8"), False),
        (lambda e: setattr(e, "body", b"\xff\xff"), False),
        (lambda e: setattr(e, "body", encode_stat(Stat("x" * 400))), False),
        (lambda e: setattr(e, "body", encode_stat(Stat("pod", math.nan))), False),
        (lambda e: setattr(e, "body", encode_stat(Stat("pod", -3.0))), False),
        (lambda e: setattr(e, "body", encode_stat(Stat("pod", 1.0, 2.0))), False),
    ],
    ids=["503", "500", "content type", "garbage", "too long", "NaN", "negative", "part larger than whole"],
)
async def test_18_and_19_other_answers_are_errors(
    endpoint: Endpoint, spoil: Callable[[Endpoint], None], mesh: bool
) -> None:
    spoil(endpoint)
    async with opened() as client:
        with pytest.raises(FetchError) as failed:
            await client.fetch_pod(TARGET, "127.0.0.1")
    assert failed.value.might_be_mesh is mesh


async def test_19_a_refused_connection_does_not_look_like_a_mesh(endpoint: Endpoint) -> None:
    async with opened() as client:
        with mock.patch.object(scrape_client, "METRICS_PORT", 1), pytest.raises(FetchError) as failed:
            await client.fetch_pod(TARGET, "127.0.0.1")
    assert not failed.value.might_be_mesh


def gauge(endpoint: Endpoint, path: str = "/metrics") -> MetricUrl:
    return MetricUrl(endpoint.port, path, "queue")


def gauges_of(client: ScrapeClient, url: MetricUrl) -> GaugeScraper:
    return GaugeScraper(client, url, allows_loopback=True, randomness=random.Random(1), share_min=0.5)


PODS = [ReadyPod("127.0.0.1", None)]


async def test_a_gauge_is_read_from_the_apps_own_port(endpoint: Endpoint) -> None:
    endpoint.content_type, endpoint.body = "text/plain; version=0.0.4", b"queue 7\n"
    async with opened() as client:
        gauges = gauges_of(client, gauge(endpoint, "/stats?all"))
        for _ in range(2):
            stat = await gauges.scrape(PODS, 0, 60)
    assert stat == Stat("service-scraper", average_concurrent_requests=7)
    assert endpoint.connections == 1
    assert endpoint.heads[0].startswith(f"GET /stats?all HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\n")
    assert "Accept: text/plain;version=0.0.4" in endpoint.heads[0]


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        ("404 Not Found", b"queue 7\n", "expected status 2xx, got 404"),
        ("200 OK", b"other 7\n", "no metric queue"),
        ("200 OK", b"queue -7\n", "queue: expected a number from 0 to 1e[+]15, got -7"),
        ("200 OK", b"queue 7\n" + b"#" * (1 << 20), "expected at most 1048576 bytes"),
        ("301 Moved\r\nLocation: /elsewhere", b"", "expected status 2xx, got 301"),
    ],
    ids=["status", "name", "value", "size", "redirect"],
)
async def test_a_gauge_that_cannot_be_read_is_an_error_that_says_where(
    endpoint: Endpoint, status: str, body: bytes, problem: str
) -> None:
    endpoint.status, endpoint.body = status, body
    async with opened() as client:
        with pytest.raises(PodsExhausted, match=f"127.0.0.1:{endpoint.port}/metrics#queue: {problem}"):
            await gauges_of(client, gauge(endpoint)).scrape(PODS, 0, 60)
