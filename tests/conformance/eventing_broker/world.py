"""The surroundings of the broker's processes: a real API server, channels and subscribers that answer as a test says.

A test reads

    broker = await world.broker(channel)
    response = await world.produce(broker, EVENT)
    call = await channel.call()

One API server, one ingress and one filter serve a whole session; every test has Brokers and Triggers of its own.
"""

import asyncio
import base64
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from kube.client import Client
from kube.models.core import ConfigMap, Namespace
from kube.models.eventing import Broker, Trigger
from kube.models.meta import ObjectMeta
from tests.support.api import RunningApiServer, running_api_server
from tests.support.http import App, Call, Response, fetch, running_app
from tests.support.loopback import loopback_subnet
from tests.support.processes import eventually

SYSTEM = "knative-eventing"
DEADLINE_S = 40.0
EVENT = ["ce-specversion: 1.0", "ce-id: 1", "ce-source: /test", "ce-type: a"]
TTL = "ce-knativebrokerttl: 9"
DATA = b'{"n": 1.0}'
STRUCTURED = "Content-Type: application/cloudevents+json"
_NUMBERS = itertools.count(1)


def structured(data: bytes | None = None, **attributes: Any) -> bytes:
    """The body of an event in the JSON format; None takes an attribute away."""
    content = {"specversion": "1.0", "id": "1", "source": "/test", "type": "a", **attributes}
    body = json.dumps({name: value for name, value in content.items() if value is not ...}).encode()
    return body if data is None else body[:-1] + b', "data": ' + data + b"}"


@dataclass
class Sink:
    """Whatever events are sent to: a channel, a subscriber, a dead letter sink."""

    app: App
    bodies: list[bytes] = field(default_factory=list)
    status: int = 202
    body: bytes = b""
    headers: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.app.port}/in?x=1"

    async def call(self, number: int = 0) -> tuple[Call, bytes]:
        """The request of that number, from 0, and its body."""
        await eventually(lambda: len(self.bodies) > number, timeout_s=DEADLINE_S)
        return self.app.calls[number], self.bodies[number]


@asynccontextmanager
async def running_sink(status: int = 202, body: bytes = b"", *headers: str) -> AsyncIterator[Sink]:
    """A sink that answers so."""
    sink = Sink(App(), status=status, body=body, headers=list(headers))
    sink.gate.set()

    async def handle(call: Call) -> None:
        received, _ = await call.body()
        sink.bodies.append(received)
        await sink.gate.wait()
        await call.respond(sink.status, sink.body, *sink.headers)

    async with running_app(handle) as app:
        sink.app = app
        yield sink


class Process:
    """One process of the broker."""

    def __init__(self, name: str, host: str, environ: dict[str, str]) -> None:
        self.name = name
        self.host = host
        self.environ = environ
        self.log: list[dict[str, Any]] = []
        self.stderr: list[str] = []
        self.process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def start(self) -> None:
        """Start it, and return when it listens."""
        await self.spawn()
        await self.logged("broker_started")

    async def spawn(self) -> None:
        """Start it."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "broker", self.name),
            env=self.environ,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def stop(self) -> None:
        """Kill it if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def logged(self, event: str, count: int = 1) -> dict[str, Any]:
        """The log line of that event, when it is there so many times."""

        def found() -> dict[str, Any] | None:
            lines = [line for line in self.log if line["message"] == event]
            if len(lines) < count:
                assert not self._reading.done(), f"ended without {event}: {self.log} {self.stderr}"
                return None
            return lines[count - 1]

        line = await eventually(found, timeout_s=DEADLINE_S)
        assert line is not None
        return line

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            if line.startswith(b"{"):
                self.log.append(json.loads(line))
            else:
                self.stderr.append(line.decode())


@dataclass
class World:
    """Everything together."""

    api: RunningApiServer
    client: Client
    subnet: str
    ingress: Process
    filter: Process
    stack: AsyncExitStack

    # Objects.

    async def create(self, resource: Any, status: dict[str, Any]) -> Any:
        """Create an object and write its status."""
        created = await self.client.create(resource)
        return await self.client.patch_status(created, status)

    async def broker(
        self,
        channel: Sink | str | None,
        *,
        namespace: str = "ns",
        annotations: dict[str, str] | None = None,
        **status: Any,
    ) -> Broker:
        """A Broker whose channel that is; None: it has none."""
        name = f"broker-{next(_NUMBERS)}"
        spec = {"metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}}}
        url = channel.url if isinstance(channel, Sink) else channel
        annotated = {"knative.dev/channelAddress": url} if url else {}
        annotated |= status.pop("annotations_", {})
        broker: Broker = await self.create(
            Broker(metadata=ObjectMeta(**spec["metadata"])), {"annotations": annotated, **status}
        )
        # Changes of a kind are seen in their order: who knows what came later knows this.
        marker = await self.client.create(Broker(metadata=ObjectMeta(name=f"{name}-known", namespace=namespace)))
        await self._is_known(self.ingress, f"/{namespace}/{marker.name}")
        return broker

    async def trigger(
        self, subscriber: Sink | str | None, *, namespace: str = "ns", spec: dict[str, Any] | None = None, **status: Any
    ) -> Trigger:
        """A Trigger whose subscriber that is; None: it has none."""
        name = f"trigger-{next(_NUMBERS)}"
        wanted = {"broker": "none", "subscriber": {"uri": "http://example.com"}, **(spec or {})}
        manifest = {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {"name": name, "namespace": namespace},
            "spec": wanted,
        }
        path = Trigger.RESOURCE.path(namespace)

        async def create() -> None:
            await self.client.raw("POST", path, body=json.dumps(manifest).encode())

        await create()
        url = subscriber.url if isinstance(subscriber, Sink) else subscriber
        created = await self.client.get(Trigger, name, namespace)
        trigger = await self.client.patch_status(created, {"subscriberUri": url, **status} if url else status)
        manifest["metadata"] = {"name": f"{name}-known", "namespace": namespace}
        await create()
        await self._is_known(self.filter, f"/triggers/{namespace}/{name}-known/other-uid")
        return trigger

    async def features(self, **flags: str) -> None:
        """Set feature flags for both processes, and return when they know; names with `_` for `-`."""
        counts = {}
        for process in (self.ingress, self.filter):
            counts[process] = len([line for line in process.log if line["message"] == "features"])
        data = {name.replace("_", "-"): value for name, value in flags.items()}
        await self.client.patch(
            ConfigMap, "config-features", SYSTEM, [{"op": "add", "path": "/data", "value": data}], type="json"
        )
        for process, count in counts.items():
            await process.logged("features", count + 1)

    async def _is_known(self, process: Process, path: str) -> None:
        """Wait until a process answers something else than 404; what is sent is sent on nowhere."""

        async def is_known() -> bool:
            headers = [*EVENT, "ce-knativebrokerttl: 0"]
            return (await fetch(process.host, 8080, path, method="POST", headers=headers)).status != 404

        await eventually(is_known, timeout_s=DEADLINE_S)

    @staticmethod
    def path(trigger: Trigger, leg: str = "") -> str:
        """Where the filter serves a Trigger."""
        return f"/triggers/{trigger.namespace}/{trigger.name}/{trigger.metadata.uid}{leg}"

    # Requests.

    async def produce(
        self, broker: Broker | str, headers: Iterable[str] = EVENT, body: bytes = b"", *, method: str = "POST"
    ) -> Response:
        """Send to the ingress; `broker`: whose event it is, or the target."""
        target = broker if isinstance(broker, str) else f"/{broker.namespace}/{broker.name}"
        return await fetch(self.ingress.host, 8080, target, method=method, headers=headers, body=body)

    async def dispatch(
        self,
        trigger: Trigger | str,
        headers: Iterable[str] = (*EVENT, TTL),
        body: bytes = b"",
        *,
        method: str = "POST",
        leg: str = "",
    ) -> Response:
        """Send to the filter, as a channel does."""
        target = trigger if isinstance(trigger, str) else self.path(trigger, leg)
        return await fetch(self.filter.host, 8080, target, method=method, headers=headers, body=body)


@asynccontextmanager
async def running_world(**environ: str) -> AsyncIterator[World]:
    """Both processes and their API server."""
    async with AsyncExitStack() as stack:
        subnet = stack.enter_context(loopback_subnet())
        api = await stack.enter_async_context(running_api_server())
        client = await stack.enter_async_context(Client(api.config))
        for name in (SYSTEM, "ns", "other"):
            await client.create(Namespace(metadata=ObjectMeta(name=name)))
        for name, data in (
            ("config-features", {"_example": "x"}),
            ("config-logging", {}),
            ("config-observability", {"metrics-protocol": "prometheus"}),
        ):
            await client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace=SYSTEM), data=data))
        processes = [
            Process(name, f"{subnet}.{last}", environment(name, f"{subnet}.{last}", api, **environ))
            for last, name in ((2, "ingress"), (3, "filter"))
        ]
        for process in processes:
            await process.spawn()
            stack.push_async_callback(process.stop)
        for process in processes:
            await process.logged("broker_started")
        yield World(api, client, subnet, *processes, stack)


def environment(name: str, host: str, api: RunningApiServer, **environ: str) -> dict[str, str]:
    """What a process is started with."""
    return {
        "PATH": os.defpath,
        "KUBECONFIG": str(api.kubeconfig),
        "SYSTEM_NAMESPACE": SYSTEM,
        "NAMESPACE": SYSTEM,
        "POD_NAME": f"mt-broker-{name}-1",
        "CONTAINER_NAME": name,
        "KNUV_BIND_ADDRESS": host,
        "KNUV_DRAIN_SECONDS": "0",
        **environ,
    }


def attributes_of(call: Call) -> dict[str, str]:
    """The attributes of an event in binary mode, without those that say when and how often."""
    return {
        name.lower()[3:]: value
        for name, value in call.fields
        if name.lower().startswith("ce-") and not name.lower().startswith("ce-knative")
    }


def decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


Handler = Callable[[Call], Awaitable[None]]
