"""`autoscaler.activator_probe` against a server that answers like an activator, a pod, or nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from autoscaler import activator_probe
from autoscaler.activator_probe import ActivatorProber, ProbeTarget
from kube.client import Client
from kube.config import ApiConfig
from kube.resolve import Resolver

TARGET = ProbeTarget("hello-00001.default.svc.cluster.local", 80)


class Backend(Resolver):
    """A server behind TARGET; also what resolves it. `body` None: there are no endpoints."""

    def __init__(self) -> None:
        super().__init__(Client(ApiConfig(server="")), by_endpoints=False)
        self.status = 200
        self.body: str | None = "activator"
        self.heads: list[str] = []
        self.answers_from = 1
        """The connection from which on `body` is sent; before that it is a pod's answer."""
        self.connections = 0
        self.port = 0

    async def resolve(self, host: str, port: int) -> list[tuple[str, int]]:
        assert (host, port) == (TARGET.host, TARGET.port)
        return [] if self.body is None else [("127.0.0.1", self.port)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        body = (self.body or "") if self.connections >= self.answers_from else "queue"
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    backend = Backend()
    server = await asyncio.start_server(backend.serve, "127.0.0.1", 0)
    backend.port = server.sockets[0].getsockname()[1]
    yield backend
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[ActivatorProber]:
    prober = ActivatorProber(backend)
    try:
        yield prober
    finally:
        await prober.close()


async def test_67_an_activator_answers(backend: Backend) -> None:
    async with opened(backend) as prober:
        assert await prober.probe(TARGET)
        assert await prober.probe(TARGET)
    head = backend.heads[0]
    assert head.startswith("GET /healthz HTTP/1.1\r\n")
    assert f"Host: {TARGET.host}\r\n" in head
    assert "K-Network-Probe: activator\r\n" in head
    assert "User-Agent: Knative-Autoscaling-Probe\r\n" in head
    assert backend.connections == 2


@pytest.mark.parametrize(
    ("status", "body"), [(200, "queue"), (200, "activators"), (503, "activator"), (200, ""), (200, None)]
)
async def test_67_anything_else_is_no_activator(backend: Backend, status: int, body: str | None) -> None:
    backend.status, backend.body = status, body
    async with opened(backend) as prober:
        assert not await prober.probe(TARGET)


async def test_60_one_background_probe_per_address_until_it_succeeds(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activator_probe, "_AGAIN_S", 0.001)
    backend.answers_from = 3
    done = asyncio.Event()
    called: list[str] = []

    def first() -> None:
        called.append("first")
        done.set()

    async with opened(backend) as prober:
        prober.watch(TARGET, first)
        prober.watch(TARGET, lambda: called.append("second"))
        async with asyncio.timeout(5):
            await done.wait()
    assert called == ["first"]
    assert backend.connections == 3
