"""The surroundings of one activator process: a real API server, an autoscaler that listens, pods that answer, a client.

A test reads

    async with activator() as world:
        await world.revision(cc=1)
        pod = await world.pod(10)
        await world.endpoints(ready=[pod])
        response = await world.get()

Revision `rev` in namespace `ns` is meant unless said otherwise. Every world has loopback addresses of its own.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.protocol import Event

from kube.client import Client
from kube.errors import AlreadyExists
from kube.models.apps import Deployment, DeploymentSpec
from kube.models.autoscaling import PodAutoscaler, PodAutoscalerSpec
from kube.models.core import (
    ConfigMap,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Namespace,
    ObjectReference,
    Service,
    ServicePort,
    ServiceSpec,
)
from kube.models.meta import LabelSelector, ObjectMeta
from kube.models.serving import Revision
from proxies.wire.stat import StatMessage, decode_messages
from tests.support.api import running_api_server
from tests.support.loopback import loopback_subnet

SYSTEM = "knative-serving"
DEADLINE_S = 30.0
SOON_S = 3.0
"""Where a statement says 100 ms, on a machine that runs other tests, too; the labs measure how soon."""
Headers = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Message:
    """One request or response: its first line, its header lines, its body."""

    first_line: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    at: float = 0.0
    """Monotonic time of its head."""

    @property
    def status(self) -> int:
        return int(self.first_line.split(" ")[1])

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str:
        return next(iter(self.all(name)), "")


async def read_head(reader: asyncio.StreamReader) -> Message:
    """The next head; `IncompleteReadError` when the peer left."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first_line, *lines = head[:-4].split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Message(first_line, headers, at=time.monotonic())


async def read_message(reader: asyncio.StreamReader) -> Message:
    """A head and the body of its declared length."""
    message = await read_head(reader)
    message.body = await reader.readexactly(int(message.get("content-length") or 0))
    return message


class Pod:
    """A pod behind its queue-proxy: answers probes and, once `gate` is open, requests with its name."""

    def __init__(self, host: str, name: str, *, port: int = 0) -> None:
        self.host = host
        self.name = name
        self.port = port
        self.probe_answer: tuple[int, bytes] | None = (200, b"queue")
        """Status and body; None: no answer at all."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.probes: list[Message] = []
        self.requests: list[Message] = []
        self.active = 0
        self.active_max = 0
        self.connections = 0
        """Open at this moment."""
        self.changed = asyncio.Condition()
        self.answer = b""
        """Raw bytes instead of the ordinary response; the connection is closed behind them."""
        self.answers_by_target: dict[str, bytes] = {}
        """The same for requests with that target."""
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections and drop those that are open."""
        if self._server is not None:
            self._server.close()
            serving = list(self._serving)
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def until(self, is_so: Callable[["Pod"], bool], what: str) -> None:
        """Wait until the pod has seen what `is_so` looks for."""
        try:
            async with asyncio.timeout(DEADLINE_S), self.changed:
                await self.changed.wait_for(lambda: is_so(self))
        except TimeoutError:
            raise AssertionError(f"{self.name}: {what}: {len(self.probes)} probes, {self.requests}") from None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        # Also when it is cancelled before it began.
        task.add_done_callback(lambda _task: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await self._answer(await read_message(reader), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            # The peer left, or the pod was stopped.
            pass
        finally:
            self.connections -= 1
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, message: Message, writer: asyncio.StreamWriter) -> None:
        if message.get("k-network-probe"):
            await self._note(self.probes, message)
            if self.probe_answer is not None:
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % _with_length(*self.probe_answer))
            return
        self.active += 1
        self.active_max = max(self.active, self.active_max)
        try:
            await self._note(self.requests, message)
            await self.gate.wait()
        finally:
            self.active -= 1
        answer = self.answers_by_target.get(message.first_line.split(" ")[1], self.answer)
        if answer:
            writer.write(answer)
            await writer.drain()
            raise ConnectionResetError
        writer.write(b"HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s" % _with_length(200, self.name.encode()))

    async def _note(self, messages: list[Message], message: Message) -> None:
        async with self.changed:
            messages.append(message)
            self.changed.notify_all()


def _with_length(status: int, body: bytes) -> tuple[int, int, bytes]:
    return status, len(body), body


@dataclass(slots=True)
class Frame:
    """One message of the stat push."""

    at: float
    is_binary: bool
    messages: list[StatMessage]


class _PingNotingConnection(ServerConnection):
    """Answers pings, as any server does, and remembers when they came."""

    def __init__(self, *args: Any, pings: list[float], **options: Any) -> None:
        self._pings = pings
        super().__init__(*args, **options)

    def process_event(self, event: Event) -> None:
        if isinstance(event, WebSocketFrame) and event.opcode is Opcode.PING:
            self._pings.append(time.monotonic())
        super().process_event(event)


class Autoscaler:
    """The stat server's side of the WebSocket."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.pings: list[float] = []
        """Monotonic times."""
        self.paths: list[str] = []
        self.request_headers: list[list[tuple[str, str]]] = []
        self.port = 0
        self._changed = asyncio.Condition()
        self._connections: set[ServerConnection] = set()
        self._server: Server

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await serve(
            self._take,
            "127.0.0.1",
            self.port,
            ping_interval=None,
            close_timeout=0.1,
            create_connection=partial(_PingNotingConnection, pings=self.pings),
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and listen no more."""
        self._server.close()
        await self._server.wait_closed()

    async def until(self, is_so: Callable[["Autoscaler"], bool], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S), self._changed:
                await self._changed.wait_for(lambda: is_so(self))
        except TimeoutError:
            raise AssertionError(f"{what}: {self.frames}") from None

    async def frame(self, index: int) -> Frame:
        """The message of that index, once it is here."""
        await self.until(lambda self: len(self.frames) > index, f"no message {index}")
        return self.frames[index]

    async def heard_of(self, concurrency: float) -> None:
        """Wait until the last message says that so many requests are inside."""
        await self.until(
            lambda self: (
                bool(self.frames) and self.frames[-1].messages[0].stat.average_concurrent_requests == concurrency
            ),
            f"not {concurrency} requests inside",
        )

    async def until_silent(self) -> None:
        """Wait until no message came for longer than the time between two."""
        while True:
            count = len(self.frames)
            try:
                async with asyncio.timeout(2.5), self._changed:
                    await self._changed.wait_for(lambda count=count: len(self.frames) > count)
            except TimeoutError:
                return

    async def close_connections(self) -> None:
        """End what is open, as a server that restarts does."""
        for connection in list(self._connections):
            await connection.close(1012)

    async def _take(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None
        async with self._changed:
            self.paths.append(request.path)
            self.request_headers.append(list(request.headers.raw_items()))
            self._changed.notify_all()
        self._connections.add(connection)
        try:
            while True:
                data = await connection.recv()
                is_binary = isinstance(data, bytes)
                messages = decode_messages(data) if isinstance(data, bytes) else []
                async with self._changed:
                    self.frames.append(Frame(time.monotonic(), is_binary, messages))
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        finally:
            self._connections.discard(connection)


@dataclass
class World:
    """One activator and everything around it."""

    client: Client
    subnet: str
    stack: AsyncExitStack
    environ: dict[str, str]
    autoscaler: Autoscaler = field(default_factory=Autoscaler)
    log: list[dict[str, Any]] = field(default_factory=list)
    """The activator's log lines."""
    stderr: list[str] = field(default_factory=list)
    """What it said that is no log line."""
    stdout: int | None = None
    """Where its standard output goes; None: to ours."""
    process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"{self.subnet}.2"

    # The activator.

    async def start(self) -> None:
        """Start the activator and return when it listens and its autoscaler has heard of it."""
        await self.spawn()
        await self.logged("activator_started")
        await self.autoscaler.until(lambda autoscaler: bool(autoscaler.paths), "no stat connection")
        await self.logged("stat_connection_up")

    async def spawn(self) -> asyncio.subprocess.Process:
        """Start the activator's process."""
        self.process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "activator"),
            env=self.environ,
            stdout=self.stdout,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.get_running_loop().create_task(self._read_log(process))
        return process

    async def end(self) -> None:
        """Kill the activator if it still runs."""
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            await self._reading

    async def logged(self, event: str, count: int = 1) -> dict[str, Any]:
        """The log line of that event, the last one when it is there so many times."""

        def found() -> dict[str, Any] | None:
            lines = [line for line in self.log if line["message"] == event]
            return lines[count - 1] if len(lines) >= count else None

        assert self._log_changed is not None
        try:
            async with asyncio.timeout(DEADLINE_S), self._log_changed:
                await self._log_changed.wait_for(lambda: found() is not None or self._log_ended)
        except TimeoutError:
            pass
        line = found()
        assert line is not None, f"no {event}: {self.log} {self.stderr}"
        return line

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            async with self._log_changed:
                if line.startswith(b"{"):
                    self.log.append(json.loads(line))
                else:
                    self.stderr.append(line.decode())
                self._log_changed.notify_all()
        async with self._log_changed:
            self._log_ended = True
            self._log_changed.notify_all()

    def __post_init__(self) -> None:
        self._log_changed = asyncio.Condition()
        self._log_ended = False
        self._reading: asyncio.Task[None]

    # The cluster.

    async def revision(
        self,
        name: str = "rev",
        namespace: str = "ns",
        *,
        cc: int = 0,
        annotations: dict[str, str] | None = None,
        **spec: Any,
    ) -> None:
        """Create a Revision."""
        await self._namespace(namespace)
        container = {"name": "user-container", "image": "dev.local/app", "ports": [{"containerPort": 8080}]}
        fields = {"containerConcurrency": cc, "timeoutSeconds": 5, "containers": [container], **spec}
        labels = {"serving.knative.dev/service": "svc", "serving.knative.dev/configuration": "conf"}
        meta = ObjectMeta(name=name, namespace=namespace, labels=labels, annotations=annotations or {})
        await self.client.create(Revision(metadata=meta, spec=fields))

    async def endpoints(
        self,
        *,
        ready: Sequence[Pod] = (),
        not_ready: Sequence[Pod] = (),
        name: str = "rev",
        namespace: str = "ns",
        port_name: str = "http",
    ) -> None:
        """Write the private Endpoints of a revision."""
        subsets = [
            EndpointSubset(
                addresses=[] if pod in not_ready else [EndpointAddress(ip=pod.host)],
                not_ready_addresses=[EndpointAddress(ip=pod.host)] if pod in not_ready else [],
                ports=[EndpointPort(name=port_name, port=pod.port)],
            )
            for pod in (*ready, *not_ready)
        ]
        labels = {"serving.knative.dev/revisionUID": "uid"}
        await self._write_endpoints(name, namespace, f"{name}-private", "Private", labels, subsets)

    async def activators(self, addresses: Sequence[str], *, name: str = "rev", namespace: str = "ns") -> None:
        """Write the public Endpoints of a revision."""
        subset = EndpointSubset(
            addresses=[EndpointAddress(ip=address) for address in addresses],
            ports=[EndpointPort(name="http", port=8012)],
        )
        await self._write_endpoints(name, namespace, name, "Public", {}, [subset])

    async def scale_target(self, *, replicas: int, name: str = "rev", namespace: str = "ns") -> None:
        """Create the PodAutoscaler of a revision and the Deployment that it scales."""
        labels = {"serving.knative.dev/revision": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "dev.local/app"}]}}
        spec = DeploymentSpec(replicas=replicas, selector=LabelSelector(match_labels=labels), template=template)
        target = f"{name}-deployment"
        await self.client.create(Deployment(metadata=ObjectMeta(name=target, namespace=namespace), spec=spec))
        reference = ObjectReference(api_version="apps/v1", kind="Deployment", name=target)
        metadata = ObjectMeta(name=name, namespace=namespace)
        await self.client.create(PodAutoscaler(metadata=metadata, spec=PodAutoscalerSpec(scale_target_ref=reference)))

    async def cluster_address(self, behind: Pod) -> None:
        """Write the private Service, with the address of a pod for its ClusterIP."""
        labels = {"serving.knative.dev/revision": "rev", "networking.internal.knative.dev/serviceType": "Private"}
        service = Service(
            metadata=ObjectMeta(name="rev-private", namespace="ns", labels=labels),
            spec=ServiceSpec(cluster_ip=behind.host, ports=[ServicePort(name="http", port=behind.port)]),
        )
        await self.client.create(service)

    async def pod(self, last: int, *, listens: bool = True) -> Pod:
        """A pod at the address that ends in `last`."""
        pod = Pod(f"{self.subnet}.{last}", f"pod-{last}")
        await pod.start()
        if not listens:
            await pod.stop()
        self.stack.push_async_callback(pod.stop)
        return pod

    async def _write_endpoints(
        self,
        revision: str,
        namespace: str,
        name: str,
        service_type: str,
        labels: dict[str, str],
        subsets: list[EndpointSubset],
    ) -> None:
        labels = {
            "serving.knative.dev/revision": revision,
            "networking.internal.knative.dev/serviceType": service_type,
            **labels,
        }
        await self._namespace(namespace)
        endpoints = Endpoints(metadata=ObjectMeta(name=name, namespace=namespace, labels=labels), subsets=subsets)
        try:
            await self.client.create(endpoints)
        except AlreadyExists:
            await self.client.patch(Endpoints, name, namespace, {"subsets": subsets})

    async def _namespace(self, name: str) -> None:
        with suppress(AlreadyExists):
            await self.client.create(Namespace(metadata=ObjectMeta(name=name)))

    # Requests.

    async def connect(self, port: int = 8012) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the activator, closed at the end of the test."""
        reader, writer = await asyncio.open_connection(self.address, port)

        async def close() -> None:
            writer.transport.abort()

        self.stack.push_async_callback(close)
        return reader, writer

    async def send(
        self,
        *,
        method: str = "GET",
        path: str = "/",
        host: str = "rev.example.com",
        headers: Headers = (),
        body: bytes = b"",
        revision: tuple[str, str] | None = ("ns", "rev"),
        port: int = 8012,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request on a new connection; `revision`: the headers that name it."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        if revision is not None:
            lines += [f"Knative-Serving-Namespace: {revision[0]}", f"Knative-Serving-Revision: {revision[1]}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        reader, writer = await self.connect(port)
        writer.write("\r\n".join([*lines, "\r\n"]).encode("latin-1") + body)
        return reader, writer

    async def get(self, **request: Any) -> Message:
        """Send a request and read its response."""
        reader, _ = await self.send(**request)
        async with asyncio.timeout(DEADLINE_S):
            return await read_message(reader)

    def start_get(self, **request: Any) -> "asyncio.Task[Message]":
        """The same in the background."""
        return asyncio.get_running_loop().create_task(self.get(**request))


@asynccontextmanager
async def surroundings(
    *, network: dict[str, str] | None = None, observability: dict[str, str] | None = None, **environ: str
) -> AsyncIterator[World]:
    """Everything but the activator, which `World.start` starts.

    `network`, `observability`: the data of config-network and config-observability; None: they do not exist.
    """
    async with AsyncExitStack() as stack:
        subnet = stack.enter_context(loopback_subnet())
        # ClusterIPs are addresses that pods of a test can have.
        network_of_services = ip_network(f"{subnet}.0/24")
        api = await stack.enter_async_context(running_api_server(service_cidr=network_of_services))
        client = await stack.enter_async_context(Client(api.config))
        world = World(
            client,
            subnet,
            stack,
            {
                "PATH": os.defpath,
                "KUBECONFIG": str(api.kubeconfig),
                "SYSTEM_NAMESPACE": SYSTEM,
                "POD_NAME": "activator-1",
                "POD_IP": f"{subnet}.2",
                "KNUV_BIND_ADDRESS": f"{subnet}.2",
                "KNUV_SERVICE_RESOLUTION": "endpoints",
                "KNUV_DRAIN_SECONDS": "0",
                **environ,
            },
        )
        await world.autoscaler.start()
        stack.push_async_callback(world.autoscaler.stop)
        await client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        await client.create(
            Service(
                metadata=ObjectMeta(name="autoscaler", namespace=SYSTEM),
                spec=ServiceSpec(ports=[ServicePort(name="http", port=8080)]),
            )
        )
        await client.create(
            Endpoints(
                metadata=ObjectMeta(name="autoscaler", namespace=SYSTEM),
                subsets=[
                    EndpointSubset(
                        addresses=[EndpointAddress(ip="127.0.0.1")],
                        ports=[EndpointPort(name="http", port=world.autoscaler.port)],
                    )
                ],
            )
        )
        if network is not None:
            await client.create(ConfigMap(metadata=ObjectMeta(name="config-network", namespace=SYSTEM), data=network))
        if observability is not None:
            metadata = ObjectMeta(name="config-observability", namespace=SYSTEM)
            await client.create(ConfigMap(metadata=metadata, data=observability))
        try:
            yield world
        finally:
            # Before its peers, so that nobody connects to one that is about to go.
            await world.end()


@asynccontextmanager
async def activator(*, network: dict[str, str] | None = None, **environ: str) -> AsyncIterator[World]:
    """A running activator that knows Revision `rev` in `ns`, with container concurrency 0."""
    async with surroundings(network=network or {}, **environ) as world:
        await world.revision()
        await world.start()
        yield world
