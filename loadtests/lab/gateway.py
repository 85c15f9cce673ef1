"""Budgets of the gateway: how soon an Ingress is ready among many, and how long a start with many takes.

A real API server, a real gateway and a real Envoy, the latter two as processes of their own; the only backend answers
probes. Ingresses are shaped as Routes make them: one public and three cluster-local names.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import uvloop
from aiohttp import web

from gateway.bootstrap import render_bootstrap
from kube.client import Client
from kube.config import ApiConfig
from kube.informer import Informer
from kube.models import core
from kube.models.discovery import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointSlice
from kube.models.meta import ObjectMeta
from kube.models.networking import (
    Ingress,
    IngressBackendSplit,
    IngressHTTP,
    IngressPath,
    IngressRule,
    IngressSpec,
)
from loadtests.scenario import until
from local_cluster.apiserver.certificates import CertificateAuthority, write_kubeconfig
from local_cluster.apiserver.server import ApiServer, ApiServerConfig, Identity
from local_cluster.subnet import Subnet

__all__ = ["main"]

READY_BUDGET_S = 5.0
START_BUDGET_S = 15.0
_CLASS = "knuv.ingress.networking.knative.dev"
_NAMESPACE = "default"
_SYSTEM = "knative-serving"
_WITHIN_S = 240.0
_PARALLEL = 32
_TOKEN = "lab"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; the budget of None: it is for information."""

    name: str
    value: float
    unit: str
    budget: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it is within its budget."""
        return self.budget is None or self.value <= self.budget


def main(arguments: list[str]) -> int:
    """Measure; 0 when every budget is met, 1 when one is not."""
    options = _parser().parse_args(arguments)
    routes, start_routes = (20, 40) if options.quick else (options.routes, options.start_routes)
    figures = uvloop.run(_measure(routes, start_routes, rounds=2 if options.quick else options.rounds))
    are_met = all(figure.is_met for figure in figures)
    if options.json:
        found = {"routes": routes, "start_routes": start_routes, "met": are_met}
        sys.stdout.write(json.dumps({**found, "figures": [asdict(figure) for figure in figures]}, indent=1) + "\n")
    else:
        for figure in figures:
            budget = "" if figure.budget is None else f"  (budget {figure.budget:g})"
            sys.stdout.write(f"{figure.name:52}{figure.value:10.2f} {figure.unit}{budget}\n")
    return 0 if options.quick or are_met else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.lab gateway", description=__doc__)
    parser.add_argument("--routes", type=int, default=2_000, help="Ingresses among which one is applied (2000)")
    parser.add_argument("--start-routes", type=int, default=7_500, help="Ingresses with which it starts (7500)")
    parser.add_argument("--rounds", type=int, default=10, help="Ingresses that are applied and deleted (10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it works; the figures mean nothing")
    return parser


async def _measure(routes: int, start_routes: int, *, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="knuv-lab-") as scratch:
        async with _world(Path(scratch)) as world:
            await world.fill(routes)
            await world.start()
            settle_s = await world.seconds_until_all_ready([])
            fresh = [await world.seconds_until_ready(f"fresh-{number}") for number in range(rounds)]
            after_delete = []
            for number in range(rounds):
                await world.client.delete(Ingress, f"fresh-{number}", _NAMESPACE)
                after_delete.append(await world.seconds_until_ready(f"next-{number}"))
            burst_s = await world.seconds_until_all_ready([f"burst-{number}" for number in range(rounds * 5)])
            rss_mb = world.rss_mb()
            await world.stop()
            await world.fill(start_routes)
            start_s = await world.start()
            await world.seconds_until_all_ready([])
            await world.stop()
            again_s = await world.start()
            started_rss_mb = world.rss_mb()
    return [
        Figure(f"ready after apply among {routes}: worst of {rounds}", max(fresh), "s", READY_BUDGET_S),
        Figure(f"ready after apply among {routes}: median", statistics.median(fresh), "s"),
        Figure("ready after apply right after a delete: worst", max(after_delete), "s", READY_BUDGET_S),
        Figure("ready after apply right after a delete: median", statistics.median(after_delete), "s"),
        Figure(f"{rounds * 5} at once, all ready", burst_s, "s"),
        Figure(f"{routes} that were never ready, all ready after a start", settle_s, "s"),
        Figure(f"gateway's memory with {routes}", rss_mb, "MB"),
        Figure(f"start with {start_routes} until Envoy serves the last", start_s, "s", START_BUDGET_S),
        Figure(f"start with {start_routes} that were ready before", again_s, "s", START_BUDGET_S),
        Figure(f"gateway's memory with {start_routes}", started_rss_mb, "MB"),
    ]


class _World:
    """The cluster, and a gateway with its Envoy in front of it."""

    def __init__(self, client: Client, config: ApiConfig, kubeconfig: Path, scratch: Path, subnet: Subnet) -> None:
        self.client = client
        self._kubeconfig = kubeconfig
        self._scratch = scratch
        self._address = str(subnet.network.network_address + 6)
        self.backend = str(subnet.network.network_address + 256)
        self._ingresses = Informer(client, Ingress)
        self._changed = asyncio.Event()
        self._unready: set[str] = set()
        self._ingresses.on_change(self._note)
        self._processes: list[asyncio.subprocess.Process] = []
        self._count = 0

    async def open(self) -> None:
        """A backend, its Service, and the system's namespace."""
        await self._ingresses.start()
        await self.client.create(core.Namespace(metadata=ObjectMeta(name=_SYSTEM)))
        port = core.ServicePort(name="http", port=80)
        meta = ObjectMeta(name="web", namespace=_NAMESPACE)
        await self.client.create(core.Service(metadata=meta, spec=core.ServiceSpec(ports=[port])))
        await self.client.create(
            EndpointSlice(
                metadata=ObjectMeta(name="web-1", namespace=_NAMESPACE, labels={SERVICE_NAME_LABEL: "web"}),
                address_type="IPv4",
                ports=[core.EndpointPort(name="http", port=8012)],
                endpoints=[Endpoint(addresses=[self.backend], conditions=EndpointConditions(ready=True))],
            )
        )

    async def fill(self, count: int) -> None:
        """So many Ingresses in all."""
        slots = asyncio.Semaphore(_PARALLEL)

        async def create(number: int) -> None:
            async with slots:
                await self.client.create(_ingress(f"route-{number}"))

        await asyncio.gather(*(create(number) for number in range(self._count, count)))
        self._count = count

    async def start(self) -> float:
        """Start gateway and Envoy; seconds until Envoy answers for the last Ingress."""
        began_s = time.monotonic()
        log = self._scratch / "gateway.log"
        environ = {
            "PATH": os.defpath,
            "KUBECONFIG": str(self._kubeconfig),
            "SYSTEM_NAMESPACE": _SYSTEM,
            "POD_NAME": "gateway",
            "KNUV_XDS_ADDRESS": f"unix:{self._scratch}/xds",
            "KNUV_GATEWAY_EXTERNAL_ADDRESS": f"{self._address}:8080",
            "KNUV_GATEWAY_INTERNAL_ADDRESS": f"{self._address}:8081",
        }
        await self._spawn(log, environ, sys.executable, "-m", "gateway")
        admin = f"{self._address}:9901"
        bootstrap = self._scratch / "envoy.json"
        bootstrap.write_text(render_bootstrap(xds_address=f"unix:{self._scratch}/xds", admin_address=admin))
        flags = ("--disable-hot-restart", "--concurrency", "1", "-l", "warn")
        envoy = Path(sys.executable).parent / "envoy"
        await self._spawn(self._scratch / "envoy.log", None, str(envoy), "-c", str(bootstrap), *flags)
        async with aiohttp.ClientSession() as session:
            await until(self._serves(session, f"route-{self._count - 1}"), _WITHIN_S, "the last route", every_s=0.01)
        return time.monotonic() - began_s

    def _serves(self, session: aiohttp.ClientSession, name: str) -> Callable[[], Awaitable[bool | None]]:
        async def check() -> bool | None:
            try:
                async with session.get(
                    f"http://{self._address}:8080/", headers={"Host": f"{name}.default.example.com"}
                ) as response:
                    return response.status == 200 or None
            except aiohttp.ClientError:
                return None

        return check

    async def seconds_until_ready(self, name: str) -> float:
        """Apply one Ingress; how long until it is ready."""
        return await self.seconds_until_all_ready([name])

    async def seconds_until_all_ready(self, names: Sequence[str]) -> float:
        """Apply some at once; how long until everything is ready."""
        began_s = time.monotonic()
        await asyncio.gather(*(self.client.create(_ingress(name)) for name in names))
        async with asyncio.timeout(_WITHIN_S):
            while self._unready or any(self._ingresses.get(_NAMESPACE, name) is None for name in names):
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic() - began_s

    def _note(self, old: Ingress | None, new: Ingress | None) -> None:
        changed = new or old
        assert changed is not None
        if new is not None and not any(c.type == "Ready" and c.status == "True" for c in new.status.conditions):
            self._unready.add(changed.name)
        else:
            self._unready.discard(changed.name)
        self._changed.set()

    def rss_mb(self) -> float:
        """Resident memory of the gateway, in 10^6 bytes."""
        status = Path(f"/proc/{self._processes[0].pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) * 1024 / 1e6 if found else 0.0

    async def stop(self) -> None:
        """End gateway and Envoy."""
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()
        self._processes.clear()

    async def close(self) -> None:
        """End everything."""
        await self.stop()
        await self._ingresses.stop()

    async def _spawn(self, log: Path, environ: dict[str, str] | None, *command: str) -> None:
        with log.open("ab") as output:
            self._processes.append(
                await asyncio.create_subprocess_exec(*command, env=environ, stdout=output, stderr=output)
            )


@asynccontextmanager
async def _world(scratch: Path) -> AsyncIterator[_World]:
    async with AsyncExitStack() as stack:
        authority = CertificateAuthority.create()
        server = ApiServer(ApiServerConfig(ca=authority, tokens={_TOKEN: Identity("lab", ("system:masters",))}))
        await server.start()
        stack.push_async_callback(server.stop)
        kubeconfig = scratch / "kubeconfig"
        write_kubeconfig(kubeconfig, server.url, authority.certificate_pem, _TOKEN)
        config = ApiConfig.from_kubeconfig(kubeconfig)
        client = await stack.enter_async_context(Client(config))
        subnet = Subnet.claim()
        stack.callback(subnet.release)
        world = _World(client, config, kubeconfig, scratch, subnet)
        runner = web.ServerRunner(web.Server(_answer))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, world.backend, 8012).start()
        stack.push_async_callback(world.close)
        await world.open()
        yield world


async def _answer(request: web.BaseRequest) -> web.StreamResponse:
    """As a queue-proxy answers probes."""
    return web.Response(headers={"K-Network-Hash": request.headers.get("K-Network-Hash", "")})


def _ingress(name: str) -> Ingress:
    """As a Route makes it."""
    headers = {"Knative-Serving-Namespace": _NAMESPACE, "Knative-Serving-Revision": name}
    split = IngressBackendSplit(
        service_namespace=_NAMESPACE, service_name="web", service_port=80, percent=100, append_headers=headers
    )
    http = IngressHTTP(paths=[IngressPath(splits=[split])])
    local = [f"{name}.{_NAMESPACE}", f"{name}.{_NAMESPACE}.svc", f"{name}.{_NAMESPACE}.svc.cluster.local"]
    return Ingress(
        metadata=ObjectMeta(
            name=name, namespace=_NAMESPACE, annotations={"networking.knative.dev/ingress.class": _CLASS}
        ),
        spec=IngressSpec(
            rules=[
                IngressRule(hosts=local, visibility="ClusterLocal", http=http),
                IngressRule(hosts=[f"{name}.{_NAMESPACE}.example.com"], visibility="ExternalIP", http=http),
            ]
        ),
    )
