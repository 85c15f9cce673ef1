"""An API server with Brokers, Triggers and channels in it, and the processes that follow it.

The processes are `python -m broker ...`, told where everything is by their environment, as everywhere. Each has an
address of its own.
"""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from kube.client import Client
from kube.config import ApiConfig
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
from kube.models.eventing import (
    CHANNEL_ADDRESS_ANNOTATION,
    Broker,
    BrokerStatus,
    Trigger,
    TriggerSpec,
    TriggerStatus,
)
from kube.models.messaging import InMemoryChannel
from kube.models.meta import Condition, ObjectMeta
from loadtests.lab.queue_proxy.machine import Process
from loadtests.lab.queue_proxy.subjects import HOST, ROOT, LabError, accepts
from local_cluster.apiserver.certificates import CertificateAuthority, write_kubeconfig
from local_cluster.apiserver.server import ApiServer, ApiServerConfig, Identity

__all__ = ["DISPATCHER", "FILTER", "INGRESS", "NAMESPACE", "PORT", "World", "all_cores", "running_world"]

NAMESPACE: Final = "default"
SYSTEM: Final = "knative-eventing"
PORT: Final = 8080
_START_S: Final = 30.0
_THIRD: Final = HOST.rpartition(".")[0]
INGRESS: Final = f"{_THIRD}.252"
FILTER: Final = f"{_THIRD}.253"
DISPATCHER: Final = f"{_THIRD}.254"
_READY: Final = [Condition(type="Ready", status="True")]


@contextmanager
def all_cores() -> Iterator[None]:
    """Let this process, too, use all of them for a while, and what it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class World:
    """An API server and its objects."""

    def __init__(self, client: Client, kubeconfig: Path, scratch: Path) -> None:
        self.client = client
        self._kubeconfig = kubeconfig
        self._scratch = scratch

    async def broker(self, name: str, channel_url: str) -> None:
        """A Broker before a channel with this URL."""
        broker = await self.client.create(Broker(metadata=ObjectMeta(name=name, namespace=NAMESPACE)))
        address = Addressable(name="http", url=f"http://{INGRESS}:{PORT}/{NAMESPACE}/{name}")
        status = BrokerStatus(conditions=_READY, address=address, annotations={CHANNEL_ADDRESS_ANNOTATION: channel_url})
        await self.client.patch_status(broker, status)

    async def trigger(self, name: str, broker: str, kind: str, subscriber: str) -> str:
        """A Trigger for events of one type; return the URL at which the filter takes events for it."""
        spec = TriggerSpec(broker=broker, filter={"attributes": {"type": kind}})
        trigger = await self.client.create(Trigger(metadata=ObjectMeta(name=name, namespace=NAMESPACE), spec=spec))
        await self.client.patch_status(trigger, TriggerStatus(conditions=_READY, subscriber_uri=subscriber))
        # By its name, as the dispatcher knows the filter by it.
        return f"http://broker-filter.{SYSTEM}.svc.cluster.local/triggers/{NAMESPACE}/{name}/{trigger.metadata.uid}"

    async def channel(self, name: str, subscribers: Sequence[str], **delivery: Any) -> str:
        """A channel with these subscribers; return its URL at the dispatcher."""
        entries = [
            msgspec.convert({"uid": f"uid-{number}", "subscriberUri": url, "delivery": delivery}, SubscriberSpec)
            for number, url in enumerate(subscribers)
        ]
        channel = await self.client.create(
            InMemoryChannel(
                metadata=ObjectMeta(name=name, namespace=NAMESPACE), spec=SubscribableSpec(subscribers=entries)
            )
        )
        address = Addressable(name="http", url=f"http://{name}-kn-channel.{NAMESPACE}.svc.cluster.local")
        await self.client.patch_status(channel, ChannelableStatus(conditions=_READY, address=address))
        return f"http://{DISPATCHER}:{PORT}/{NAMESPACE}/{name}"

    @asynccontextmanager
    async def process(
        self, name: str, host: str, core: int | None, environ: Mapping[str, str] | None = None
    ) -> AsyncIterator[Process]:
        """Run one of the processes, on a core of its own if one is given; `environ` is more of its environment.

        Raises `LabError`, with what it said, when it does not listen.
        """
        if accepts(host, PORT):
            raise LabError(f"something listens on {host}:{PORT} already; end it first")
        log = self._scratch / f"{name}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "broker", name),
                env={**self._environ(name, host), **(environ or {})},
                stdout=output,
                stderr=output,
            )
        os.sched_setaffinity(process.pid, {core} if core is not None else range(os.cpu_count() or 1))
        try:
            async with asyncio.timeout(_START_S):
                while not accepts(host, PORT):
                    if process.returncode is not None:
                        raise LabError(f"broker {name} ended; it said: {log.read_text()[-500:]}")
                    await asyncio.sleep(0.01)
            yield Process(process.pid)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _environ(self, name: str, host: str) -> dict[str, str]:
        environ = {
            "PATH": os.defpath,
            "PYTHONPATH": str(ROOT),
            "KUBECONFIG": str(self._kubeconfig),
            "SYSTEM_NAMESPACE": SYSTEM,
            "POD_NAME": name,
            "CONTAINER_NAME": name,
            "KNUV_BIND_ADDRESS": host,
            "KNUV_SERVICE_RESOLUTION": "endpoints",
            "KNUV_DRAIN_SECONDS": "0",
        }
        # A dispatcher that has a namespace serves that one alone.
        return environ if name == "dispatcher" else {**environ, "NAMESPACE": SYSTEM}


@asynccontextmanager
async def running_world(scratch: Path) -> AsyncIterator[World]:
    """An API server in this process; nobody follows it yet."""
    ca = CertificateAuthority.create()
    token = secrets.token_hex(16)
    server = ApiServer(ApiServerConfig(ca=ca, tokens={token: Identity("lab", ("system:masters",))}))
    await server.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        kubeconfig = scratch / "kubeconfig"
        write_kubeconfig(kubeconfig, server.url, ca.certificate_pem, token)
        client = await stack.enter_async_context(Client(ApiConfig.from_kubeconfig(kubeconfig)))
        await client.create(Namespace(metadata=ObjectMeta(name=SYSTEM)))
        metadata = ObjectMeta(name="broker-filter", namespace=SYSTEM)
        ports = [ServicePort(name="http", port=80)]
        await client.create(Service(metadata=metadata, spec=ServiceSpec(ports=ports)))
        address, port = EndpointAddress(ip=FILTER), EndpointPort(name="http", port=PORT)
        await client.create(Endpoints(metadata=metadata, subsets=[EndpointSubset(addresses=[address], ports=[port])]))
        yield World(client, kubeconfig, scratch)
