"""One dispatcher process in surroundings of its own: a real API server, channels, subscribers that do as they are told.

A test reads

    async with surroundings() as world:
        sink = await world.sink()
        channel = await world.channel(subscriber(sink.url))
        assert (await world.send(channel)).status == 202
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from kube.client import Client
from kube.models.core import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Namespace,
    Service,
    ServicePort,
    ServiceSpec,
)
from kube.models.duck import Addressable, ChannelableStatus, SubscribableSpec, SubscriberSpec
from kube.models.messaging import InMemoryChannel
from kube.models.meta import Condition, ObjectMeta
from tests.support.api import running_api_server
from tests.support.http import Client as HttpClient
from tests.support.http import Response
from tests.support.loopback import loopback_subnet
from tests.support.processes import eventually

SYSTEM = "knative-eventing"
NAMESPACE = "ns"
DEADLINE_S = 40.0

EVENT = ("Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Source: /source", "Ce-Type: type")


@dataclass
class Got:
    """One request as a subscriber received it."""

    method: str
    target: str
    lines: list[tuple[str, str]]
    body: bytes
    at_s: float
    """Monotonic time of its arrival."""

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.lines if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a header; None: there is none. It must not be there twice."""
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else None


@dataclass
class Reply:
    """What a subscriber answers."""

    status: int = 200
    lines: tuple[str, ...] = ()
    body: bytes = b""


class Sink:
    """Answers with `replies` in turn, the last one for ever, and keeps what it got."""

    def __init__(self, *replies: Reply | int) -> None:
        self.replies = [each if isinstance(each, Reply) else Reply(each) for each in replies] or [Reply(202)]
        self.got: list[Got] = []
        self.gate = asyncio.Event()
        """Requests are answered while it is set."""
        self.gate.set()
        self.gone = 0
        """Requests whose client left before it was answered."""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 22)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in list(self._serving):
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def until(self, count: int) -> list[Got]:
        """Wait until that many requests came."""
        await eventually(lambda: len(self.got) >= count, timeout_s=DEADLINE_S)
        return self.got

    @property
    def gaps_s(self) -> list[float]:
        """Seconds from each request to the next."""
        times = [got.at_s for got in self.got]
        return [later - earlier for earlier, later in pairwise(times)]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
                lines = [(name, value.strip()) for name, _, value in (line.partition(":") for line in rest)]
                length = next((int(value) for name, value in lines if name.lower() == "content-length"), 0)
                method, target, _ = first.split(" ")
                self.got.append(Got(method, target, lines, await reader.readexactly(length), time.monotonic()))
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if not self.gate.is_set() and not await self._wait(reader):
                    self.gone += 1
                    return
                answer = [f"HTTP/1.1 {reply.status} Scripted", f"Content-Length: {len(reply.body)}", *reply.lines]
                writer.write("\r\n".join([*answer, "", ""]).encode() + reply.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return
        finally:
            writer.close()

    async def _wait(self, reader: asyncio.StreamReader) -> bool:
        """Wait for the gate; False when the client left before."""
        opening = asyncio.create_task(self.gate.wait())
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((opening, leaving), return_when=asyncio.FIRST_COMPLETED)
            return opening.done()
        finally:
            for task in (opening, leaving):
                task.cancel()
            await asyncio.gather(opening, leaving, return_exceptions=True)


def subscriber(url: str | None = None, **more: Any) -> SubscriberSpec:
    """An entry of `spec.subscribers`; `more` as in YAML: replyUri, delivery, ..."""
    content = {"uid": f"uid-{random.getrandbits(64):x}", "name": "sub", "generation": 1, "subscriberUri": url, **more}
    return msgspec.convert(content, SubscriberSpec)


def dead_letters_to(url: str, **more: Any) -> dict[str, Any]:
    """A `delivery` section with a dead letter sink."""
    return {"deadLetterSink": {"uri": url}, **more}


@dataclass
class Channel:
    """One channel as those who send see it."""

    name: str
    host: str
    path: str


@dataclass
class World:
    """One dispatcher and what it works with."""

    client: Client
    stack: AsyncExitStack
    address: str
    environ: dict[str, str]
    log: list[dict[str, Any]] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None
    _count: int = 0

    async def start(self) -> None:
        """Start the dispatcher; return when it listens."""
        await self.spawn()
        await eventually(lambda: self.logged("broker_started"), timeout_s=DEADLINE_S)

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start its process."""
        self.log.clear()
        self.process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "broker", "dispatcher"), env=self.environ, stderr=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.get_running_loop().create_task(self._read_log(process))
        return process

    async def kill(self) -> None:
        """End it without a chance to do anything."""
        if self.process is not None and self._reading is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            await self._reading

    def logged(self, event: str) -> list[dict[str, Any]]:
        """All log lines of that event."""
        return [line for line in self.log if line["message"] == event]

    async def sink(self, *replies: Reply | int) -> Sink:
        """A subscriber; 202 unless told otherwise."""
        sink = Sink(*replies)
        await sink.start()
        self.stack.push_async_callback(sink.stop)
        return sink

    async def service(self, name: str, namespace: str, sink: Sink) -> str:
        """A Service on port 80 that leads to a sink; its URL."""
        return await self.service_at(name, namespace, "127.0.0.1", int(sink.url.rstrip("/").rpartition(":")[2]))

    async def service_at(self, name: str, namespace: str, ip: str, port: int) -> str:
        """A Service on port 80 that leads to an address; its URL."""
        metadata = ObjectMeta(name=name, namespace=namespace)
        ports = [ServicePort(name="http", port=80)]
        await self.client.create(Service(metadata=metadata, spec=ServiceSpec(ports=ports)))
        subset = EndpointSubset(addresses=[EndpointAddress(ip=ip)], ports=[EndpointPort(name="http", port=port)])
        await self.client.create(Endpoints(metadata=metadata, subsets=[subset]))
        return f"http://{name}.{namespace}.svc.cluster.local/"

    async def channel(
        self, *subscribers: SubscriberSpec, annotations: Mapping[str, str] | None = None, is_ready: bool = True
    ) -> Channel:
        """Create an InMemoryChannel as its controller leaves it; return when the dispatcher says that it serves it."""
        self._count += 1
        name = f"channel-{self._count}"
        host = f"{name}-kn-channel.{NAMESPACE}.svc.cluster.local"
        created = await self.client.create(
            InMemoryChannel(
                metadata=ObjectMeta(name=name, namespace=NAMESPACE, annotations=dict(annotations or {})),
                spec=SubscribableSpec(subscribers=list(subscribers)),
            )
        )
        status = ChannelableStatus(
            conditions=[Condition(type="Ready", status="True" if is_ready else "False")],
            address=Addressable(name="http", url=f"http://{host}"),
        )
        await self.client.patch_status(created, status)
        if is_ready:
            await self.subscribed(name, subscribers)
        return Channel(name, host, f"/{NAMESPACE}/{name}")

    async def subscribed(self, name: str, subscribers: tuple[SubscriberSpec, ...]) -> InMemoryChannel:
        """Wait until a channel's status tells of these subscribers, and it can be sent to."""
        wanted = {(each.uid, each.generation) for each in subscribers}

        async def served() -> InMemoryChannel | None:
            channel = await self.client.get(InMemoryChannel, name, NAMESPACE)
            told = {(each.uid, each.observed_generation) for each in channel.status.subscribers}
            if told != wanted or not channel.metadata.finalizers:
                return None
            found = await self.request("OPTIONS", f"/{NAMESPACE}/{name}")
            return channel if found.status == 200 else None

        return await eventually(served, timeout_s=DEADLINE_S)

    async def request(self, method: str, target: str, *lines: str, host: str = "any", body: bytes = b"") -> Response:
        """One request on a connection of its own."""
        client = await HttpClient.open(self.address, 8080)
        try:
            await client.request(target, method=method, headers=[f"Host: {host}", *lines], body=body)
            return await client.response(method=method)
        finally:
            client.close()

    async def send(self, channel: Channel, *lines: str, body: bytes = b"", event: tuple[str, ...] = EVENT) -> Response:
        """Send an event; `lines` are more header lines."""
        return await self.request("POST", "/", *event, *lines, host=channel.host, body=body)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self.log.append(json.loads(line) if line.startswith(b"{") else {"message": line.decode()})


@asynccontextmanager
async def surroundings(*, starts: bool = True, **environ: str) -> AsyncIterator[World]:
    """A world; with `starts` its dispatcher runs."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api_server())
        client = await stack.enter_async_context(Client(api.config))
        for name in (SYSTEM, NAMESPACE):
            await client.create(Namespace(metadata=ObjectMeta(name=name)))
        address = f"{stack.enter_context(loopback_subnet())}.2"
        world = World(
            client,
            stack,
            address,
            {
                "KUBECONFIG": str(api.kubeconfig),
                "SYSTEM_NAMESPACE": SYSTEM,
                "POD_NAME": "dispatcher",
                "CONTAINER_NAME": "dispatcher",
                "MAX_IDLE_CONNS": "1000",
                "MAX_IDLE_CONNS_PER_HOST": "1000",
                "KNUV_BIND_ADDRESS": address,
                "KNUV_SERVICE_RESOLUTION": "endpoints",
                "KNUV_DRAIN_SECONDS": "0",
                **environ,
            },
        )
        try:
            if starts:
                await world.start()
            yield world
        finally:
            # Before its peers, so that it is quiet.
            await world.kill()
