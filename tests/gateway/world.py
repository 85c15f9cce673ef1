"""A cluster with a gateway: a real API server, gateway, Envoy and backends, on addresses of their own."""

import asyncio
import collections
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from gateway.bootstrap import render_bootstrap
from kube.client import Client
from kube.errors import NotFound
from kube.models.core import Namespace, ServicePort
from kube.models.discovery import EndpointSlice
from kube.models.meta import ObjectMeta
from kube.models.networking import Ingress, IngressRule
from loadtests.scenario import until
from local_cluster.subnet import Subnet
from tests.gateway.objects import NAMESPACE, endpoint_slice, ingress, service
from tests.support.api import RunningApiServer, running_api_server
from tests.support.processes import eventually

BIN = Path(sys.executable).parent
WITHIN_S = 40.0
POLL_S = 0.005


class Backend:
    """An app behind its queue-proxy, as far as the gateway can tell: answers probes, names itself to everybody else."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.requests: list[web.BaseRequest] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("K-Network-Probe") == "probe":
            return web.Response(headers={"K-Network-Hash": request.headers.get("K-Network-Hash", "")})
        self.requests.append(request)
        return web.Response(text=self.name, status=self.status)


class World:
    """A cluster with a gateway. Addresses are those of a subnet that is this module's alone."""

    def __init__(self, api: RunningApiServer, client: Client, subnet: Subnet, directory: Path) -> None:
        self.client = client
        self._api = api
        self._directory = directory
        self._network = subnet.network
        self._exits = AsyncExitStack()
        self._hosts = 0
        self.external = f"{self.address(6)}:8080"
        self.internal = f"{self.address(6)}:8081"
        self.admin = f"{self.address(6)}:9901"
        self.gateway: asyncio.subprocess.Process | None = None
        self.envoy: asyncio.subprocess.Process | None = None
        self.processes: list[asyncio.subprocess.Process] = []
        self.session = aiohttp.ClientSession()

    def address(self, index: int) -> str:
        return str(self._network.network_address + index)

    # Processes

    async def start_gateway(self, name: str = "gateway") -> asyncio.subprocess.Process:
        """`python -m gateway`; returns when it serves xDS. The one of the plain name is `gateway`."""
        log = self._directory / f"{name}.log"
        log.write_bytes(b"")
        environ = {
            "PATH": os.defpath,
            "KUBECONFIG": str(self._api.kubeconfig),
            "SYSTEM_NAMESPACE": "knative-serving",
            "POD_NAME": name,
            "KNUV_XDS_ADDRESS": self._xds(name),
            "KNUV_GATEWAY_EXTERNAL_ADDRESS": self.external,
            "KNUV_GATEWAY_INTERNAL_ADDRESS": self.internal,
            "KNUV_GATEWAY_ENVOY_ADMIN_ADDRESS": self.admin,
            "KNUV_BIND_ADDRESS": self.address(5),
        }
        process = await self._spawn(log, sys.executable, "-m", "gateway", env=environ)
        self.processes.append(process)
        if name == "gateway":
            self.gateway = process
        try:
            await eventually(
                lambda: "gateway_started" in log.read_text() or process.returncode is not None, timeout_s=WITHIN_S
            )
            assert process.returncode is None, f"ended with {process.returncode}"
        except AssertionError as error:
            raise AssertionError(f"{error}; {log.read_text()}") from None
        return process

    def _xds(self, gateway: str) -> str:
        return f"unix:{self._directory}/{'xds' if gateway == 'gateway' else f'xds-{gateway}'}"

    async def kill_gateway(self) -> None:
        assert self.gateway is not None
        self.gateway.kill()
        await self.gateway.wait()

    async def start_envoy(self, *gateways: str, connections_max: int | None = None) -> None:
        """Envoy, which asks any of these gateways; returns when it has its listeners."""
        text = render_bootstrap(
            xds_address=self._xds("gateway"), admin_address=self.admin, connections_max=connections_max
        )
        found = json.loads(text)
        (cluster,) = found["static_resources"]["clusters"]
        (locality,) = cluster["load_assignment"]["endpoints"]
        for name in gateways:
            address = {"pipe": {"path": self._xds(name).removeprefix("unix:")}}
            locality["lb_endpoints"].append({"endpoint": {"address": address}})
        bootstrap = self._directory / "envoy.json"
        bootstrap.write_text(json.dumps(found))
        flags = ("--disable-hot-restart", "--concurrency", "1", "-l", "warn")
        log = self._directory / "envoy.log"
        self.envoy = await self._spawn(log, BIN / "envoy", "-c", bootstrap, *flags)
        self.processes.append(self.envoy)

        async def is_ready() -> bool:
            try:
                async with self.session.get(f"http://{self.admin}/ready") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await soon(is_ready, "Envoy")

    async def _spawn(
        self, log: Path, *command: object, env: dict[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *map(str, command), env=env, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
            )

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = (self._directory / "gateway.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["message"] == event]

    async def close(self) -> None:
        """End everything that was started."""
        await self.session.close()
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await self._exits.aclose()

    # The cluster

    def new_address(self) -> str:
        """A pod's address that nobody else has."""
        self._hosts += 1
        return self.address(256 + self._hosts)

    async def run(self, name: str, address: str = "", *, tls: ssl.SSLContext | None = None) -> Backend:
        """A backend that listens, without a Service."""
        backend = Backend(name)
        await self.serve(backend.answer, address or self.new_address(), 8012, tls=tls)
        return backend

    async def serve(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        address: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """An HTTP server until the end."""
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        self._exits.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, address, port, ssl_context=tls).start()

    async def deploy(self, name: str, *, port: ServicePort | None = None, tls: ssl.SSLContext | None = None) -> Backend:
        """A backend with its Service and its slice."""
        address = self.new_address()
        backend = await self.run(name, address, tls=tls)
        port = port or ServicePort(name="http", port=80)
        await self.client.create(service(name, port))
        await self.client.create(endpoint_slice(name, address, ports={port.name: 8012}))
        return backend

    async def rewire(self, name: str, *addresses: str) -> None:
        """Other addresses for a Service."""
        endpoints = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
        await self.client.patch(EndpointSlice, f"{name}-1", NAMESPACE, {"endpoints": endpoints})

    async def ingress(self, name: str, *rules: IngressRule, http_option: str = "") -> Ingress:
        """Create an Ingress or give it these rules, and wait until it is ready."""
        wanted = ingress(name, *rules, http_option=http_option)
        await self.apply(wanted)
        return await self.until_ready(name)

    async def apply(self, wanted: Ingress) -> Ingress:
        try:
            await self.client.get(Ingress, wanted.name, NAMESPACE)
        except NotFound:
            return await self.client.create(wanted)
        spec = json.loads(msgspec.json.encode(wanted.spec))
        return await self.client.patch(Ingress, wanted.name, NAMESPACE, {"spec": spec})

    async def until(self, name: str, holds: Callable[[Ingress], object]) -> Ingress:
        """The Ingress once `holds` is true of it."""
        last: list[Ingress] = []

        async def check() -> Ingress | None:
            last[:] = [await self.client.get(Ingress, name, NAMESPACE)]
            return last[0] if holds(last[0]) else None

        try:
            return await until(check, WITHIN_S, name, every_s=POLL_S)
        except TimeoutError as error:
            raise AssertionError(f"{error}; {last}; {self.logged('configuration_refused')}") from None

    async def until_ready(self, name: str) -> Ingress:
        return await self.until(name, is_ready)

    # Clients

    async def get(
        self, host: str, path: str = "/", *, local: bool = False, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and body."""
        face = self.internal if local else self.external
        async with self.session.get(
            f"http://{face}{path}", headers={**(headers or {}), "Host": host}, allow_redirects=False
        ) as response:
            return response.status, await response.text()

    async def get_securely(self, host: str, trust: ssl.SSLContext, *, local: bool = False) -> tuple[int, str]:
        """The same over TLS, with the host's certificate verified."""
        face = f"{self.address(6)}:{8444 if local else 8443}"
        async with self.session.get(
            f"https://{face}/", headers={"Host": host}, server_hostname=host, ssl=trust, allow_redirects=False
        ) as response:
            return response.status, await response.text()

    async def until_status(self, host: str, *statuses: int) -> None:
        """Return once the host is answered with one of these."""

        async def check() -> bool:
            return (await self.get(host))[0] in statuses

        await soon(check, f"{statuses} of {host}")

    async def until_answered(self, host: str, by: str, *, within_s: float = WITHIN_S) -> None:
        """Return once that backend answers for the host."""

        async def check() -> bool:
            return await self.get(host) == (200, by)

        await soon(check, f"{host} by {by}", within_s=within_s)

    @asynccontextmanager
    async def load(self, host: str, clients: int = 20) -> AsyncIterator["Load"]:
        """Clients that keep asking while the body runs."""
        load = Load()

        async def ask() -> None:
            while not load.is_over:
                load.answers[await self.get(host)] += 1

        tasks = [asyncio.get_running_loop().create_task(ask()) for _ in range(clients)]
        try:
            await load.more()
            yield load
            await load.more()
        finally:
            load.is_over = True
            await asyncio.gather(*tasks)


class Load:
    """What the clients got so far."""

    def __init__(self) -> None:
        self.answers: collections.Counter[tuple[int, str]] = collections.Counter()
        self.is_over = False

    async def more(self, count: int = 200) -> None:
        """Return after so many more answers."""
        goal = self.answers.total() + count
        await eventually(lambda: self.answers.total() >= goal, timeout_s=WITHIN_S)


async def soon(check: Callable[[], Awaitable[bool]], what: str, *, within_s: float = WITHIN_S) -> None:
    """Return once `check` is true."""

    async def probe() -> bool | None:
        return await check() or None

    await until(probe, within_s, what, every_s=POLL_S)


def condition(of: Ingress, type_: str = "Ready") -> tuple[str, str]:
    """Status and reason of a condition; ("", "") when it is not there."""
    return next(((c.status, c.reason) for c in of.status.conditions if c.type == type_), ("", ""))


def is_ready(of: Ingress) -> bool:
    return condition(of)[0] == "True" and of.status.observed_generation == of.metadata.generation


@asynccontextmanager
async def running_world(directory: Path) -> AsyncIterator[World]:
    """API server and client; gateway and Envoy are the test's to start."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_api_server())
        client = await stack.enter_async_context(Client(api.config))
        for name in (NAMESPACE, "knative-serving"):
            await client.create(Namespace(metadata=ObjectMeta(name=name)))
        subnet = Subnet.claim()
        stack.callback(subnet.release)
        world = World(api, client, subnet, directory)
        stack.push_async_callback(world.close)
        yield world
